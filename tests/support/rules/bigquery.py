"""BigQuery's rules for jobs.

- **A job id is taken once.** "Any subsequent request with the same job ID fails as a duplicate":
  409 with reason `duplicate`, and the job is not run again
  (https://googleapis.dev/python/bigquery/latest/design/query-retries.html).
- **A load job takes time** (`job_seconds`): the insert is answered while the job runs, the job
  continues even if its caller ends, and its rows appear in one step when it completes
  (https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad). bqemulator
  runs it before it answers the insert.
- **A table that requires a filter on its partitions** has `requirePartitionFilter`, whether it was
  made by a request or by DDL (https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#Table).
  bqemulator knows only the older field in `timePartitioning`.
- **Jobs that BigQuery refuses**: see `job_checks`.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from proxy import Call, Proxy, Reply
from rules.job_checks import (
    JobError,
    bad_name,
    changed_table,
    elsewhere,
    failed,
    read_tables,
    too_many_loads,
    too_many_statements,
    unfiltered,
)
from rules.read_checks import required_columns

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
        self._statements: Counter[str] = Counter()  # running, by the table that they change
        self._guard = threading.Lock()
        self._filters = False  # whether a table with a required filter was ever made

    def answer(self, call: Call) -> Reply:
        path = unquote(call.path.partition("?")[0])
        self._filters |= _requires_a_filter(call.head)
        if call.command == "POST" and re.fullmatch(r"/bigquery/v2/projects/[^/]+/jobs", path):
            job = json.loads(call.head)
            if job.get("jobReference", {}).get("jobId"):
                return self._insert(call, job)
        if call.command == "GET" and (match := re.search(r"/(jobs|queries)/([^/]+)$", path)):
            if (known := self._known.get(match[2])) is not None:
                error = known["status"].get("errorResult")
                if match[1] == "queries" and error:
                    return Reply.error(400, error["reason"], error["message"])
                return Reply.of_json(200, known)
        if re.search(r"/datasets/[^/]+/tables(/[^/]+)?$", path):
            return _table(call)
        return call.forward()

    def _insert(self, call: Call, job: dict[str, Any]) -> Reply:
        job_id = job["jobReference"]["jobId"]
        configuration = job["configuration"]
        target = configuration.get("load", {}).get("destinationTable")
        load = Load("")
        if target:
            load = self.rules.loads.setdefault(job_id, Load(_name_of(target)))
            fields = configuration["load"].get("schema", {}).get("fields", [])
            if error := bad_name(field["name"] for field in fields):
                return Reply.error(400, error.reason, error.message)
        with self.rules.lock(job_id):
            load.inserted += 1
            if job_id in self._known:
                project = job["jobReference"].get("projectId", "")
                return Reply.error(409, "duplicate", f"Already Exists: Job {project}:{job_id}")
            if target is None:
                return self._query(call, job)
            if error := self._why_load_fails(call.server, job):
                return self._fail(job, error)
            if self.rules.job_seconds:
                return self._start(call, job, load)
            return self._run_now(call, job, load)

    def _run_now(self, call: Call, job: dict[str, Any], load: Load) -> Reply:
        reply = call.forward()
        reference = job["jobReference"]
        if reply.status == 200:
            self._known[reference["jobId"]] = None
            _count(load, json.loads(reply.body))
        elif reply.status == 409:  # it runs or ran, and its answer came too late
            path = "/bigquery/v2/projects/{projectId}/jobs/{jobId}".format(**reference)
            status, text = call.server.ask("GET", path)
            if status == 200:
                self._known[reference["jobId"]] = None
                _count(load, json.loads(text))
        return reply

    def _fail(self, job: dict[str, Any], error: JobError) -> Reply:
        """Answer that the job has failed; a dry run is refused at once."""
        if job["configuration"].get("dryRun"):
            return Reply.error(400, error.reason, error.message)
        known = self._known[job["jobReference"]["jobId"]] = failed(job, error)
        return Reply.of_json(200, known)

    def _start(self, call: Call, job: dict[str, Any], load: Load) -> Reply:
        reference = job["jobReference"]
        job_id = reference["jobId"]
        running = job | {"id": f"{reference['projectId']}:{job_id}", "kind": "bigquery#job"}
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
        error = JobError("invalid", answer["error"]["message"])
        self._known[job_id] = failed(self._known[job_id] or {}, error)

    def _query(self, call: Call, job: dict[str, Any]) -> Reply:
        """Run a query, or another job that is not a load."""
        sql = job["configuration"].get("query", {}).get("query", "")
        changed = changed_table(sql)
        with self._guard:
            self._statements[changed or ""] += 1
            running = self._statements[changed or ""]
        try:
            error = self._unfiltered(call.server, job, sql) if self._filters else None
            if changed and error is None:
                error = too_many_statements(changed, running, self.rules.statements_at_once)
            if error is not None:
                return self._fail(job, error)
            return self._run_now(call, job, Load(""))
        finally:
            with self._guard:
                self._statements[changed or ""] -= 1

    def _unfiltered(self, server: Proxy, job: dict[str, Any], sql: str) -> JobError | None:
        project = job["jobReference"]["projectId"]
        for parts, condition in read_tables(sql):
            if len(parts) < 2:
                continue
            names = ([project, *parts] if len(parts) == 2 else parts)[:3]
            target = "/bigquery/v2/projects/{}/datasets/{}/tables/{}".format(*names)
            status, text = server.ask("GET", target)
            columns = required_columns(json.loads(text)) if status == 200 else []
            if error := unfiltered(".".join(names), columns, condition):
                return error
        return None

    def _why_load_fails(self, server: Proxy, job: dict[str, Any]) -> JobError | None:
        configuration = job["configuration"]["load"]
        target = configuration["destinationTable"]
        table = _name_of(target).partition("$")[0]
        loads = list(self.rules.loads.values())
        before = sum(each.ran for each in loads if each.table.partition("$")[0] == table)
        if error := too_many_loads(before, self.rules.loads_a_day):
            return error
        path = "/bigquery/v2/projects/{projectId}/datasets/{datasetId}".format(**target)
        status, text = server.ask("GET", path)
        dataset = json.loads(text).get("location", "US") if status == 200 else "US"
        for uri in configuration.get("sourceUris", ()):
            bucket = uri.removeprefix("gs://").partition("/")[0]
            if error := elsewhere(self.rules.location_of(bucket), dataset):
                return error
        return None


def _name_of(target: dict[str, str]) -> str:
    return ".".join(target[key] for key in ("projectId", "datasetId", "tableId"))


def _requires_a_filter(body: bytes) -> bool:
    return b"requirePartitionFilter" in body or b"require_partition_filter" in body.lower()


def _table(call: Call) -> Reply:
    """Answer a call for tables with `requirePartitionFilter` in both places."""
    if call.command in ("POST", "PATCH", "PUT") and _requires_a_filter(call.head):
        body = json.loads(call.head)
        if body.get("timePartitioning") and "requirePartitionFilter" in body:
            body["timePartitioning"]["requirePartitionFilter"] = body["requirePartitionFilter"]
        status, text = call.server.ask(call.command, call.path, json.dumps(body).encode())
        return Reply.of_json(status, json.loads(text))
    reply = call.forward()
    if b"requirePartitionFilter" in reply.body and call.command == "GET":
        body = json.loads(reply.body)
        body["requirePartitionFilter"] = bool(required_columns(body))
        reply.body = json.dumps(body).encode()
    return reply


def _count(load: Load, job: dict[str, Any]) -> None:
    load.ran += 1
    status = job.get("status", {})
    load.succeeded += status.get("state") == "DONE" and "errorResult" not in status
