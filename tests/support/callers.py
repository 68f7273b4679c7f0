"""Processes that call prepare and execute, and that can be killed at any point.

A fresh interpreter takes seconds to import what a caller needs, so the callers are forked from one
that has imported it all, and has made no client, channel or thread: `python callers.py FD` serves
the socket FD. A message on it is a caller to fork, as JSON, with a pipe to report on; a caller
reports its pid, every call it makes, and how it ended. The zygote and the callers end with the
process that started the zygote, however that ends.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import google.cloud.bigquery
import google.cloud.storage
import grpc
import pandas
import pyarrow.parquet
import requests.adapters
import sklearn.linear_model
import sklearn.pipeline
from google.cloud.bigquery_storage_v1 import BigQueryReadClient
from google.cloud.run_v2 import JobsClient

from mlsys.cloud.clients import Clients
from mlsys.cloud.tables import TableRef
from mlsys.errors import OthersAtWork, RunInterrupted, TryAgain
from mlsys.settings import Settings
from proxy import name_call
from workers import jobs, machine
from workers.inference import host as host  # for the sandboxes
from workers.sandbox import nursery
from workers.scoring.engines import cloud_run_job, run, task
from workers.scoring.engines.perform import perform
from workers.scoring.journal import execution
from workers.scoring.journal.store import RunStore
from workers.scoring.planning import find_run
from workers.scoring.publishing import decision
from workers.scoring.request.parsed import MaxRejects, ScoringRequest
from workers.scoring.shards import pool, read_session
from workers.scoring.shards.chain import Share, read_chains

WARM = (google.cloud.storage, grpc, pandas, pyarrow.parquet, sklearn.linear_model, sklearn.pipeline)
LIFETIME = 120  # seconds after which a caller ends at the latest
PR_SET_PDEATHSIG = 1


def main(fd: int) -> None:
    """Fork a caller for each message, until the other end closes the socket."""
    with socket.socket(fileno=fd) as requests_socket:
        while True:
            message, pipes, _, _ = socket.recv_fds(requests_socket, 1 << 16, 1)
            if not message:
                return
            spec = json.loads(message)
            if "reap" in spec:  # until now no other process could get its PID
                os.waitpid(spec["reap"], 0)
            else:
                if os.fork() == 0:
                    requests_socket.close()
                    _run_caller(spec, pipes[0])
                os.close(pipes[0])
            requests_socket.send(b".")


def _run_caller(spec: dict[str, Any], pipe: int) -> None:
    try:
        faulthandler.register(signal.SIGUSR2, all_threads=True)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.alarm(LIFETIME)
        _report(pipe, "pid", os.getpid())
        _report(pipe, *_call(spec, pipe))
    finally:
        os._exit(0)


def _report(pipe: int, kind: str, value: Any) -> None:
    # A write of up to 4,096 bytes to a pipe is atomic, whichever thread it comes from.
    os.write(pipe, json.dumps([kind, value]).encode() + b"\n")


def _call(spec: dict[str, Any], pipe: int) -> tuple[str, Any]:
    """Do what a request does, and return how it ended."""
    nursery.fork_own()  # while there is neither a client nor a thread
    read_session.streams_to_request = lambda *_: (spec["streams"], spec["streams"])
    read_session.PART_ROWS = spec["part_rows"]
    machine.cores = lambda: 1  # so that every machine has the same number of streams
    jobs.POLL = 0.05
    if spec["pool"]:
        pool.INLINE_ROWS, pool._cores = 0, lambda: 2
        threading.Thread(target=_report_processes, args=(pipe,), daemon=True).start()
    clients = Clients(Settings.from_env(spec["environment"]))
    tables = {k: TableRef.parse(spec["request"][k]) for k in ("input_table", "output_table")}
    outputs = tuple(spec["request"]["outputs"])
    max_rejects = MaxRejects(spec["request"]["max_rejects"])
    given = spec["request"] | tables | {"outputs": outputs, "max_rejects": max_rejects}
    request = ScoringRequest(**given)
    run_id = None
    if spec["design"] == "fresh run id":
        run_id = f"fresh-{uuid4().hex}"
    elif spec["design"]:
        DESIGNS[spec["design"]](clients)
    _watch(pipe, spec["at"])
    if spec.get("share"):  # a task of a job, whose run is planned
        store = RunStore(clients, request.env, spec["run_id"])
        code = task.work(store, Share(*spec["share"]), max_rejects, lambda: False)
        return ("result", {"code": code}) if code == task.DONE else ("again", "repeated")
    try:
        prepared = find_run.prepare(clients, request, run_id)
        if request.engine == "job":
            cloud_run_job.POLL, cloud_run_job.LOOK, execution.START_SECONDS = 0.05, 0.2, 1.0
            result = perform(clients, prepared)
            assert result is not None
            return "result", result.to_dict()
        return "result", run.execute(clients, prepared).to_dict()
    except (TryAgain, RunInterrupted) as exc:
        return "again", f"{type(exc).__name__}: {exc}"
    except BaseException:
        return "error", traceback.format_exc()[-3500:]


def _watch(pipe: int, at: Mapping[str, Any] | None) -> None:
    """Report every call before it is sent and after its answer; end or stop at the one in `at`.

    `at` has the signal, the moment and the number of the call, counted among the calls named
    `name` if it has a name.
    """
    lock = threading.Lock()
    counts: dict[tuple[str, str | None], int] = {}

    def reach(moment: str, name: str) -> None:
        with lock:
            _report(pipe, moment, name)
            if at is None or moment != at["moment"] or at.get("name") not in (None, name):
                return
            counts[moment, at.get("name")] = n = counts.get((moment, at.get("name")), 0) + 1
            if n == at["number"]:
                _report(pipe, "at", name)
                os.kill(os.getpid(), at["signal"])

    def watched(call: Callable[..., Any], name_of: Callable[..., str]) -> Callable[..., Any]:
        def made(*args: Any, **kwargs: Any) -> Any:
            name = name_of(*args, **kwargs)
            reach("before", name)
            answer = call(*args, **kwargs)
            reach("after", name)
            return answer

        return made

    def http_name(_: Any, request: Any, *__: Any, **___: Any) -> str:
        return name_call(request.method, request.path_url, request.body or b"")

    adapter = requests.adapters.HTTPAdapter
    adapter.send = watched(adapter.send, http_name)
    for method in ("create_read_session", "read_rows"):
        real = getattr(BigQueryReadClient, method)
        setattr(BigQueryReadClient, method, watched(real, lambda *_, m=method, **__: m))
    JobsClient.run_job = watched(JobsClient.run_job, lambda *_, **__: "run_job")


def _report_processes(pipe: int) -> None:
    import multiprocessing
    import time

    known: set[int | None] = set()
    while True:
        for process in multiprocessing.active_children():
            if process.pid and process.pid not in known:
                known.add(process.pid)
                _report(pipe, "worker", process.pid)
        time.sleep(0.01)


# Weaker designs, which the suite must catch. They replace methods of the client, so that they do
# not change when the code above it does.


def _checkpoint_after_append(clients: Clients) -> None:
    """Load each part by a job of its own, and record afterwards that it was loaded."""
    load = google.cloud.bigquery.Client.load_table_from_uri

    def load_each(self: Any, uris: list[str], table: Any, job_id: str, **options: Any) -> Any:
        rows = 0
        for uri in uris:
            mark = google.cloud.storage.Blob.from_uri(f"{uri}.loaded", clients.storage)
            if mark.exists():
                job = self.get_job(mark.download_as_text())
            else:
                job = load(self, [uri], table, job_id=f"{job_id}_{uuid4().hex}", **options)
                job.result(timeout=60)
                mark.upload_from_string(job.job_id)
            rows += job.output_rows
        job._properties["statistics"]["load"]["outputRows"] = str(rows)  # of all jobs together
        return job

    google.cloud.bigquery.Client.load_table_from_uri = load_each


def _random_job_id(_: Clients) -> None:
    """Generate a random job id, as the client does when none is given."""
    load = google.cloud.bigquery.Client.load_table_from_uri

    def load_with_random_id(self: Any, uris: Any, table: Any, job_id: str, **options: Any) -> Any:
        return load(self, uris, table, job_id=f"{job_id}_{uuid4().hex}", **options)

    google.cloud.bigquery.Client.load_table_from_uri = load_with_random_id


def _publish_early(_: Clients) -> None:
    """Let a task publish the parts that are there once it has scored its own."""
    run.all_complete = lambda *_: True
    decision._complete_chains = lambda store, session: read_chains(
        store, session, store.parts(session.number)
    )
    decision.check_row_count = lambda *_: None


def _skip_on_retry(_: Clients) -> None:
    """Let a retry leave out a stream's second part, and let nobody look for gaps."""
    chains = run.read_chains

    def skipping(store: RunStore, session: Any, parts: Any) -> list[Any]:
        return [
            replace(chain, end=chain.end + session.part_rows)
            if len(chain.parts) == 1 and not chain.complete
            else chain
            for chain in chains(store, session, parts)
        ]

    run.read_chains = skipping
    decision._complete_chains = lambda store, session: read_chains(
        store, session, store.parts(session.number)
    )
    decision.check_row_count = lambda *_: None


def _skip_a_killed_share(_: Clients) -> None:
    """Let a task that is started again take its streams as scored."""
    real = task.execute

    def executed(clients: Clients, prepared: Any, *, share: Share, **options: Any) -> Any:
        begun = prepared.store.clients.storage.bucket(prepared.store.bucket_name).blob(
            f"{prepared.store.run_id}/begun-{share.index}"
        )
        if begun.exists():
            raise OthersAtWork("taken as scored")
        begun.upload_from_string("")
        return real(clients, prepared, share=share, **options)

    task.execute = executed


DESIGNS: dict[str, Callable[[Clients], None]] = {
    "checkpoint after append": _checkpoint_after_append,
    "random job id": _random_job_id,
    "publish early": _publish_early,
    "skip on retry": _skip_on_retry,
    "skip a killed share": _skip_a_killed_share,
}


if __name__ == "__main__":
    main(int(sys.argv[1]))
