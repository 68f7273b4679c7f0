"""BigQuery's rules for jobs.

- **A job id is taken once.** "Any subsequent request with the same job ID fails as a duplicate":
  409 with reason `duplicate`, and the job is not run again
  (https://googleapis.dev/python/bigquery/latest/design/query-retries.html). bqemulator runs it
  again.
- **A load job takes time** (`job_seconds`): the insert is answered while the job runs, the job
  continues even if its caller ends, and its rows appear in one step when it completes
  (https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad). bqemulator
  runs it before it answers the insert.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from proxy import Call, Proxy, Reply

if TYPE_CHECKING:
    from rules import Rules


@dataclass
class Load:
    """A load job id: how often it was inserted, ran and succeeded."""

    table: str
    inserted: int = 0
    ran: int = 0
    succeeded: int = 0


class BigQuery:
    """BigQuery's rules."""

    def __init__(self, rules: Rules) -> None:
        self.rules, self.wait_here = rules, rules.wait_here
        self._known: dict[str, dict[str, Any] | None] = {}  # by job id; None: ask the local server

    def answer(self, call: Call) -> Reply:
        path = unquote(call.path.partition("?")[0])
        if call.command == "POST" and re.fullmatch(r"/bigquery/v2/projects/[^/]+/jobs", path):
            job = json.loads(call.head)
            if job.get("jobReference", {}).get("jobId"):
                return self._insert(call, job)
        if call.command == "GET" and (found := re.search(r"/jobs/([^/]+)$", path)):
            if (known := self._known.get(found[1])) is not None:
                return Reply.of_json(200, known)
        return call.forward()

    def _insert(self, call: Call, job: dict[str, Any]) -> Reply:
        project, job_id = (job["jobReference"].get(k, "") for k in ("projectId", "jobId"))
        target = job["configuration"].get("load", {}).get("destinationTable")
        load = Load("")
        if target:
            table = ".".join(target[k] for k in ("projectId", "datasetId", "tableId"))
            load = self.rules.loads.setdefault(job_id, Load(table))
        with self.rules.lock(job_id):
            load.inserted += 1
            if job_id in self._known:
                return Reply.error(409, "duplicate", f"Already Exists: Job {project}:{job_id}")
            if not target or not self.rules.job_seconds:
                reply = call.forward()
                if reply.status == 200:
                    self._known[job_id] = None
                    _count(load, json.loads(reply.body))
                return reply
            running = job | {"id": f"{project}:{job_id}", "kind": "bigquery#job"}
            running |= {"status": {"state": "RUNNING"}, "statistics": {}}
            self._known[job_id] = running
        running_on = threading.Timer(
            self.rules.job_seconds, self._run, (call.server, call.path, call.head, job_id, load)
        )
        running_on.daemon = True
        running_on.start()
        self.rules.running.append(running_on)
        return Reply.of_json(200, running)

    def _run(self, server: Proxy, target: str, body: bytes, job_id: str, load: Load) -> None:
        status, text = server.ask("POST", target, body)
        answer = json.loads(text)
        if status == 200:
            _count(load, answer)
            self._known[job_id] = None
            return
        reason = {"reason": "invalid", "message": answer["error"]["message"]}
        failed = dict(self._known[job_id] or {})
        failed["status"] = {"state": "DONE", "errorResult": reason, "errors": [reason]}
        self._known[job_id] = failed


def _count(load: Load, job: dict[str, Any]) -> None:
    load.ran += 1
    status = job.get("status", {})
    load.succeeded += status.get("state") == "DONE" and "errorResult" not in status
