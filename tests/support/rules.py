"""Rules of Google Cloud that the local servers do not keep, kept by a proxy in front of them.

With `faults`, that share of the calls also fails (`faults.Faulty`).

Clients of any process that use `Rules.environment` reach the local servers through it:

- **A job id is taken once.** "Any subsequent request with the same job ID fails as a duplicate":
  409 with reason `duplicate`, and the job is not run again
  (https://googleapis.dev/python/bigquery/latest/design/query-retries.html). bqemulator runs it
  again.
- **A create-only upload creates.** With ifGenerationMatch=0 "the request succeeds only if there is
  no live version of the object", else it is 412, resumable uploads included; of two that finish at
  once one wins (https://cloud.google.com/storage/docs/request-preconditions). fake-gcs-server
  ignores it on resumable uploads.
- **A load job takes time** (`job_seconds`): the insert is answered while the job runs, the job
  continues even if its caller ends, and its rows appear in one step when it completes
  (https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad). bqemulator
  runs it before it answers the insert.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from faults import Faulty
from mlsys.cloud.clients import Clients
from mlsys.local.stack import LocalStack
from proxy import TIMEOUT, Call, Proxy, Reply


@dataclass
class Load:
    """A load job id: how often it was inserted, ran and succeeded."""

    table: str
    inserted: int = 0
    ran: int = 0
    succeeded: int = 0


@dataclass
class Hold:
    """Calls that are kept waiting; `reached` is set when one has arrived."""

    name: str
    moment: str
    reached: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


class Rules:
    """The layer over a local stack, for the duration of a `with` block."""

    def __init__(
        self, stack: LocalStack, job_seconds: float = 0.0, faults: float = 0.0, seed: int = 0
    ) -> None:
        self.job_seconds = job_seconds
        self.loads: dict[str, Load] = {}
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._holds: list[Hold] = []
        self.running: list[threading.Thread] = []  # load jobs still running
        upstream = stack.settings.emulators
        services = [_Storage(self), _BigQuery(self)]
        self.faulty = [Faulty(service, faults, seed + n) for n, service in enumerate(services)]
        self._servers = [
            Proxy(url or "", service)
            for url, service in zip((upstream.storage, upstream.bigquery), self.faulty, strict=True)
        ]
        storage, bigquery = (server.url for server in self._servers)
        here = replace(upstream, storage=storage, bigquery=bigquery)
        self.settings = replace(stack.settings, emulators=here)
        self.clients = Clients(self.settings)
        self.environment = stack.environment | {
            here.VARIABLES["storage"]: storage,
            here.VARIABLES["bigquery"]: bigquery,
        }

    def __enter__(self) -> Rules:
        self._threads = [
            threading.Thread(target=s.serve_forever, args=(0.05,), daemon=True)
            for s in self._servers
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for hold in self._holds:
            hold.release.set()
        for job in self.running:
            job.join(TIMEOUT)
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join(10)

    def succeeded(self, table: str) -> int:
        """Return the number of load jobs into the table that have succeeded."""
        with self._guard:
            return sum(load.succeeded for load in self.loads.values() if load.table == table)

    @contextlib.contextmanager
    def holding(self, name: str, moment: str = "before") -> Iterator[Hold]:
        """Keep the calls of that name waiting, `before` they are passed on or `after` the answer.

        They continue when `release` is set, when the block ends, or after a minute.
        """
        hold = Hold(name, moment)
        self._holds.append(hold)
        try:
            yield hold
        finally:
            self._holds.remove(hold)
            hold.release.set()

    def wait_here(self, name: str, moment: str) -> None:
        """Wait for as long as a `holding` block keeps this call."""
        for hold in list(self._holds):
            if (hold.name, hold.moment) == (name, moment):
                hold.reached.set()
                hold.release.wait(TIMEOUT)

    def lock(self, name: str) -> threading.Lock:
        """Return the lock of an object or a job."""
        with self._guard:
            return self._locks.setdefault(name, threading.Lock())


@dataclass
class _Upload:
    """A resumable upload that must create its object."""

    key: str
    target: str
    answer: Reply | None = None  # to its last request, once that has arrived


class _Storage:
    """Cloud Storage's rule."""

    def __init__(self, rules: Rules) -> None:
        self.rules, self.wait_here = rules, rules.wait_here
        self._uploads: dict[str, _Upload] = {}

    def answer(self, call: Call) -> Reply:
        path, _, query = call.path.partition("?")
        parameters = {k: v[0] for k, v in parse_qs(query).items()}
        upload = self._uploads.get(parameters.get("upload_id", ""))
        if upload and _is_last(call.headers.get("Content-Range", "")):
            return self._finish(call, upload)
        reply = call.forward()
        own, theirs = call.server.url, call.server.upstream
        reply.headers = [(k, v.replace(theirs, own)) for k, v in reply.headers]
        if not path.startswith("/download/"):  # links to objects, in their descriptions
            reply.body = reply.body.replace(theirs.encode(), own.encode())
        location = dict(reply.headers).get("Location", "")
        if (
            parameters.get("uploadType") == "resumable"
            and parameters.get("ifGenerationMatch") == "0"
        ):
            begun = {k: v[0] for k, v in parse_qs(urlsplit(location).query).items()}
            if "upload_id" in begun:
                bucket, name = path.split("/")[-2], begun["name"]
                target = f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
                self._uploads[begun["upload_id"]] = _Upload(f"{bucket}/{name}", target)
        return reply

    def _finish(self, call: Call, upload: _Upload) -> Reply:
        with self.rules.lock(upload.key):
            if upload.answer is not None:  # its answer was lost: the client repeats the request
                return upload.answer
            if call.server.ask("GET", upload.target)[0] == 200:
                return Reply.error(412, "conditionNotMet", "A pre-condition did not hold")
            reply = call.forward()
            if reply.status == 200:
                upload.answer = reply
            return reply


def _is_last(content_range: str) -> bool:
    """Return whether this request ends its upload: `bytes 0-9/10` and `bytes */10` do."""
    match = re.fullmatch(r"bytes (?:\d+-(\d+)|\*)/(\d+)", content_range)
    return bool(match) and (match[1] is None or int(match[1]) + 1 == int(match[2]))


class _BigQuery:
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
