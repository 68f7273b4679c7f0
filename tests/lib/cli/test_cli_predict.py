"""`mlsys predict` sends a request, waits, retries, and reports the result."""

import datetime as dt
import ipaddress
import json
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pandas as pd
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import crypt, jwt
from sklearn.tree import DecisionTreeClassifier

from app.api.predict_queries import PredictQuery
from mlsys.cli import parser as cli
from mlsys.cli import predict
from mlsys.errors import CredentialsMissing, SettingsError, TryAgain
from mlsys.local.stack import LocalStack
from mlsys.remote import call, identity_token, patience, progress, service
from scoring_cases import Lab

DATA = pd.DataFrame({"id": range(40), "a": [i % 7 for i in range(40)]})
MODEL = DecisionTreeClassifier().fit(DATA[["a"]], DATA["a"] > 3)


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture
def asked(lab: Lab, environment: dict[str, str]) -> dict[str, str]:
    """Return the parameters for `mlsys predict`: a new table, and a model that fits it."""
    return lab.params(lab.put(DATA), lab.upload(MODEL, DATA[["a"]]))


def words(asked: dict[str, str], *more: str) -> list[str]:
    """Return the command line."""
    return [
        "predict",
        *(w for k, v in asked.items() for w in (f"--{k.replace('_', '-')}", v)),
        *more,
    ]


def test_a_table_is_scored_and_the_result_is_printed(
    lab: Lab, asked: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words(asked)) == 0
    said = capsys.readouterr()
    assert "rows          40\n" in said.out
    assert f"output table  {asked['output_table']}\n" in said.out
    assert "reused" not in said.out
    assert f"{asked['model_name']} v1 on {asked['input_table']}: 40 rows\n" in said.err
    assert lab.count(asked["output_table"]) == 40


def test_the_version_defaults_to_the_latest(
    lab: Lab, asked: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    lab.upload(MODEL, DATA[["a"]], asked["model_name"], "v2")
    assert cli.main(words({k: v for k, v in asked.items() if k != "model_version"})) == 0
    assert f"{asked['model_name']} v2 on" in capsys.readouterr().err


def test_json_prints_only_the_services_answer_and_a_repeat_reuses_the_run(
    asked: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words(asked, "--json")) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["state"], first["rows"], first["reused"]) == ("succeeded", 40, False)
    assert cli.main(words(asked, "--json")) == 0
    assert json.loads(capsys.readouterr().out) == first | {"reused": True}
    assert cli.main(words(asked)) == 0
    assert "reused        the run was done already\n" in capsys.readouterr().out


def test_a_dry_run_prints_the_plan_and_does_nothing(
    lab: Lab, asked: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"outputs": "predict,predict_proba", "id_columns": "id", "run_id": lab_id()}
    assert cli.main(words(asked | options, "--dry-run")) == 0
    said = capsys.readouterr().out
    assert f"{asked['model_name']} v1 on {asked['input_table']}: 40 rows\n" in said
    assert f"run_id        {options['run_id']} (is new)\n" in said
    assert f"output table  {asked['output_table']} (would be created)\n" in said
    assert "probability_True FLOAT64" in said
    assert said.endswith("It would work.\n")
    assert cli.main(words(asked, "--dry-run", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert not lab.exists(asked["output_table"])


@pytest.mark.parametrize("dry", [True, False])
def test_a_table_that_does_not_fit_is_reported_column_by_column(
    lab: Lab, asked: dict[str, str], capsys: pytest.CaptureFixture[str], dry: bool
) -> None:
    wrong = asked | {"input_table": lab.put(DATA.rename(columns={"a": "other"}))}
    assert cli.main(words(wrong, *(["--dry-run"] if dry else []))) == 1
    said = capsys.readouterr()
    first, *columns = [line for line in said.err.splitlines() if line]
    assert first.startswith("mlsys: ") and "a: " not in first
    assert [line.split(":")[0] for line in columns] == ["  a"]
    assert said.out.endswith("It would not work.\n") == dry
    assert not lab.exists(asked["output_table"])


def test_every_malformed_parameter_is_reported_on_a_line_of_its_own(
    asked: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = asked | {"model_version": "1", "write_disposition": "APPEND"}
    assert cli.main(words(wrong)) == 1
    first, *others = capsys.readouterr().err.splitlines()
    assert first == "mlsys: A parameter is missing or malformed"
    assert {line.split(":")[0] for line in others} == {"  model_version", "  write_disposition"}


def test_a_missing_model_is_reported_and_json_prints_the_whole_problem(
    asked: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words(asked | {"model_version": "v9"}, "--json")) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["type"] == "urn:mlsys:problem:model-not-found"
    assert said.err.startswith("mlsys: ") and "v9" in said.err


def test_no_wait_prints_the_run_which_finishes_in_the_background(
    lab: Lab, asked: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words(asked, "--no-wait")) == 0
    told = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    run_id, address = told["run_id"], told["its state"]
    assert address == f"{lab.stack.url}/runs/{run_id}?env=dev"
    deadline = time.monotonic() + 60
    while lab.session.get(address, timeout=60).json()["state"] != "succeeded":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert cli.main(words(asked, "--no-wait")) == 0  # it is done: the answer is the result
    assert "reused " in capsys.readouterr().out


# Cases that the local stack cannot produce


@dataclass
class Stub:
    """A service with prepared answers that records its requests."""

    url: str
    answer: Callable[[str, dict[str, str]], tuple[int, dict[str, Any]]]
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    more: dict[str, str] = field(default_factory=dict)  # headers of the answers
    server: Any = None

    @property
    def scored(self) -> list[dict[str, str]]:
        """Return the requests other than dry runs and status requests."""
        return [q for path, q in self.requests if path == "/predict" and "dry_run" not in q]


VERDICT = {
    "run_id": "run-1",
    "run_exists": False,
    "model_name": "m",
    "model_version": "v1",
    "rows": 100,
    "ok": True,
    "problems": [],
    "warnings": ["a warning"],
}
RESULT = {
    "run_id": "run-1",
    "state": "succeeded",
    "rows": 100,
    "rows_rejected": 3,
    "rejects_table": "p.d.out_rejects",
    "output_table": "p.d.out",
    "seconds": 1.5,
    "reused": False,
}
ASKED = {"env": "dev", "input_table": "p.d.in", "output_table": "p.d.out", "model_name": "m"}
NONE = (
    404,
    {"type": "urn:mlsys:problem:run-not-found", "title": "None", "detail": "There is none"},
)


def lab_id() -> str:
    return f"dry-{time.time_ns()}"


def problem(status: int, detail: str, **more: Any) -> tuple[int, dict[str, Any]]:
    body = {"type": "urn:mlsys:problem:some", "title": "No", "status": status, "detail": detail}
    return status, body | more


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """Yield a `Stub` with a good verdict, whose run does not exist yet and then succeeds."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query))
            found.requests.append((parts.path, query))
            found.headers.append(dict(self.headers))
            found.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            status, body = found.answer(parts.path, query)
            content = json.dumps(body).encode() if isinstance(body, dict) else body
            try:
                self.send_response_only(status)
                for name, value in found.more.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except ConnectionError:
                pass

        do_POST = do_GET

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        found = Stub(f"http://127.0.0.1:{server.server_port}", fine, server=server)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        monkeypatch.setenv("MLSYS_URL", found.url)
        yield found
        server.shutdown()
        thread.join(5)


def fine(path: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
    if path != "/predict":
        return NONE
    return (200, VERDICT) if "dry_run" in query else (200, RESULT)


def test_rejected_rows_and_warnings_are_printed(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words(ASKED)) == 0
    said = capsys.readouterr()
    assert "rejected      3 rows, in p.d.out_rejects\n" in said.out
    assert said.err == "m v1 on p.d.in: 100 rows\nwarning: a warning\n"
    assert stub.scored == [ASKED | {"model_version": "latest"}]
    assert not [h for h in stub.headers if "Authorization" in h]


def test_a_run_id_is_passed_on_only_if_the_run_requires_it(stub: Stub) -> None:
    new = VERDICT | {"run_id": "view-1", "run_id_required": True, "rows": None}
    stub.answer = lambda path, q: (200, new) if "dry_run" in q else fine(path, q)
    assert cli.main(words(ASKED)) == 0
    assert [q.get("run_id") for q in stub.scored] == ["view-1"]


def test_ids_are_checked_in_the_dry_run_only(stub: Stub) -> None:
    assert cli.main(words(ASKED, "--check-ids")) == 0
    assert [q.get("check_ids") for _, q in stub.requests if "dry_run" in q] == ["true"]
    assert [q.get("check_ids") for q in stub.scored] == [None]


def test_allow_options_are_sent_and_repeated_in_the_printed_command(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.more["Retry-After"] = "0"
    stub.answer = lambda path, q: fine(path, q) if "dry_run" in q else problem(503, "later")
    assert cli.main([*words(ASKED), "--allow-version-mismatch"]) == 1
    asked = [q for path, q in stub.requests if path == "/predict"]
    assert {q.get("allow_version_mismatch") for q in asked} == {"true"}
    assert {q.get("allow_rejected") for q in asked} == {None}
    assert "--allow-version-mismatch" in shlex.split(capsys.readouterr().err.splitlines()[-1])


def test_rows_that_the_model_failed_on_are_printed(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = problem(422, "2 rows cannot be scored", rows=[{"id": 7, "reason": "NaN"}])
    stub.answer = lambda path, q: fine(path, q) if path != "/predict" or "dry_run" in q else failed
    assert cli.main(words(ASKED)) == 1
    assert capsys.readouterr().err.endswith("mlsys: 2 rows cannot be scored\n  id 7, reason NaN\n")


def test_after_a_503_the_same_run_is_requested_again(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.more["Retry-After"] = "1"

    def answer(path: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if stub.scored and len(stub.scored) < 3 and path == "/predict":
            return problem(503, "Out of time", progress={"run_id": "run-1", "rows_done": 50})
        return fine(path, query)

    stub.answer = answer
    began = time.monotonic()
    assert cli.main(words(ASKED)) == 0
    assert 2 <= time.monotonic() - began < 10
    assert [q.get("run_id") for q in stub.scored] == [None, "run-1", "run-1"]
    assert capsys.readouterr().err.count("Out of time; trying again in 1 s\n") == 2


def test_a_permanently_busy_service_ends_the_command_with_how_to_continue(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.more["Retry-After"] = "0"
    busy = problem(503, "Busy")
    stub.answer = lambda path, q: (
        busy if path == "/predict" and "dry_run" not in q else fine(path, q)
    )
    assert cli.main(words(ASKED)) == 1
    assert len(stub.scored) == patience.TRIES
    said = capsys.readouterr().err
    assert said.count("\nBusy; trying again in 0 s") == 2
    assert "\n3 of 10 tries made no progress; trying again in 0 s. The service says: Busy\n" in said
    assert (
        "mlsys: gave up after 10 tries in 0 s without progress: try again later. "
        "The service says: Busy\n"
    ) in said
    assert f"Its state: {stub.url}/runs/run-1?env=dev" in said
    assert "mlsys predict --env dev --input-table p.d.in" in said


def test_a_permanently_deferred_dry_run_ends_with_the_command_to_repeat(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.more["Retry-After"] = "0"
    stub.answer = lambda *_: problem(503, "The table cannot be read yet")
    assert cli.main(words(ASKED, "--dry-run", "--check-ids")) == 1
    assert len(stub.requests) == patience.TRIES
    said = capsys.readouterr().err.splitlines()
    assert said[-2].endswith("The service says: The table cannot be read yet")
    assert said[-1].startswith("To repeat it: mlsys predict --env dev")
    assert said[-1].endswith("--check-ids --dry-run")


@pytest.mark.parametrize("what", ["rows_done", "shards_done"])
def test_a_run_is_retried_for_as_long_as_it_makes_progress(stub: Stub, what: str) -> None:
    stub.more["Retry-After"] = "0"

    def answer(path: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if path == "/predict" and "dry_run" not in query and len(stub.scored) < 25:
            return problem(503, "Out of time", progress={what: len(stub.scored) // 5})
        return fine(path, query)

    stub.answer = answer
    assert cli.main(words(ASKED)) == 0
    assert len(stub.scored) == 25


def test_earlier_progress_does_not_count_as_new(stub: Stub) -> None:
    """A new session counts its rows from 0: reopening one adds no progress."""
    stub.more["Retry-After"] = "0"

    def answer(path: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if path == "/predict" and "dry_run" not in query:
            rows = 10 * (len(stub.scored) % 3)
            return problem(503, "Out of time", progress={"rows_done": rows, "shards_done": 0})
        return fine(path, query)

    stub.answer = answer
    assert cli.main(words(ASKED)) == 1
    assert len(stub.scored) < 2 * patience.TRIES


def test_after_fifteen_minutes_without_progress_the_third_try_is_the_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(patience.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(patience.time, "sleep", lambda s: now.__setitem__(0, now[0] + s))
    limit = patience.Patience()
    for _ in range(2):
        now[0] += 1000
        limit.wait(TryAgain("Slow"))
    with pytest.raises(TryAgain, match="gave up after 3 tries in 3010 s .* says: Slow"):
        now[0] += 1000
        limit.wait(TryAgain("Slow"))
    assert capsys.readouterr().err == "Slow; trying again in 5 s\n" * 2


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 5),
        ("", 5),
        ("soon", 5),
        ("-3", 5),
        ("0", 0),
        ("7", 7),
        ("9" * 5000, service.MAX_WAIT),
        ("Fri, 01 Jan 1999 00:00:00 GMT", 0),
        ("Fri, 01 Jan 9999 00:00:00 GMT", service.MAX_WAIT),
        ("²", 5),
    ],
)
def test_retry_after_is_respected_up_to_ten_minutes(header: str | None, seconds: int) -> None:
    assert service._seconds(header, 5) == seconds


@pytest.mark.slow
def test_parameters_too_long_for_a_url_are_sent_by_post(
    lab: Lab, environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    attributes = {f"customer_attribute_{i:04d}": [0.5] * len(DATA) for i in range(250)}
    wide = pd.concat([DATA, pd.DataFrame(attributes)], axis=1)
    asked = lab.params(lab.put(wide), lab.upload(MODEL, DATA[["a"]]))
    ids = ",".join(["id", *wide.columns[2:]])
    where = "a < 3 OR a IN (" + ",".join("4" for _ in range(4_900)) + ")"
    assert cli.main(words(asked | {"id_columns": ids, "where": where})) == 0
    rows = int((DATA["a"].lt(3) | DATA["a"].eq(4)).sum())
    assert f"rows          {rows}\n" in capsys.readouterr().out


@pytest.mark.parametrize("status", [413, 414])
def test_a_proxy_that_refuses_long_requests_is_named(
    stub: Stub, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    stub.answer = lambda *_: (status, b"<html>too long</html>")
    assert cli.main(words(ASKED)) == 1
    said = capsys.readouterr().err
    assert "or a proxy refuses" in said and "is it the address" not in said


def test_a_broken_connection_is_opened_again(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(service.Unreachable, "retry_after", 0)
    broken: list[bool] = []

    def answer(path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path == "/predict" and "dry_run" not in query and not broken:
            broken.append(True)
            raise ConnectionAbortedError  # the handler ends without an answer
        return fine(path, query)

    stub.answer = answer
    stub.server.handle_error = lambda *_: None
    assert cli.main(words(ASKED)) == 0
    assert len(stub.scored) == 2
    assert (
        "hung up (is `make local` up, and MLSYS_URL its address?); trying again"
        in capsys.readouterr().err
    )


def test_an_address_without_a_server_is_reported_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:  # bound, but not listening
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert cli.main(words(ASKED, "--url", url)) == 1
    said = "cannot be reached, or hung up (is `make local` up, and MLSYS_URL its address?)"
    assert capsys.readouterr().err == f"mlsys: {url} {said}\n"


def running(rows: int, total: int | None = 100) -> tuple[int, dict[str, Any]]:
    return 200, {
        "run_id": "run-1",
        "state": "running",
        "rows_done": rows,
        "rows_total": total,
        "shards_done": 1,
        "shards_total": None,
    }


@pytest.mark.parametrize("total", [100, None])
@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_while_the_service_works(
    stub: Stub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
    total: int | None,
) -> None:
    for module, name, value in (
        (call, "POLL", 0.05),
        (call, "POLL_SHARE", 0),
        (progress, "LINE_EVERY", 0.1),
    ):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    looks: list[int] = []
    release = threading.Event()

    def answer(path: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if path.startswith("/runs/"):
            looks.append(1)
            if len(looks) > 8:
                release.set()
            return running(10 * min(len(looks), 9), total) if len(looks) > 2 else NONE
        if "dry_run" in query:
            return 200, VERDICT | {"rows": total}
        release.wait(30)
        return 200, RESULT

    stub.answer = answer
    assert cli.main(words(ASKED)) == 0
    said = capsys.readouterr().err
    if terminal:
        assert "90.0/100 [" in said if total else "90.0 rows [" in said
        assert "1 part" in said
    else:
        assert " of 100 rows, 1 part, " in said if total else " rows, 1 part" in said
        assert "\r" not in said


def test_a_result_whose_answer_was_lost_is_found_by_polling(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without polling, the client would wait an hour for a silently dropped connection."""
    monkeypatch.setattr(call, "POLL", 0.05)
    monkeypatch.setattr(call, "LOST_AFTER", 0.2)
    lost = threading.Event()
    done = (200, running(100)[1] | {"state": "succeeded", "result": RESULT})

    def answer(path: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if path.startswith("/runs/"):
            return done if stub.scored else NONE
        if "dry_run" not in query:
            lost.wait(30)
        return fine(path, query)

    stub.answer = answer
    assert cli.main(words(ASKED)) == 0
    assert "rows          100\n" in capsys.readouterr().out
    lost.set()


def cancelled(by: str = "by me@example.com") -> tuple[int, dict[str, Any]]:
    detail = f"run-1 was cancelled at noon {by} (too slow): nothing was published"
    about = {"state": "cancelled", "cancellation": {"detail": detail}}
    return 200, running(50)[1] | {"run_id": "run-1"} | about


def test_a_run_that_somebody_cancels_ends_the_command(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    detail = "run-1 was cancelled at noon: nothing was published. To score the rows, repeat it."
    refusal = problem(409, detail, type="urn:mlsys:problem:run-cancelled")
    stub.answer = lambda path, q: fine(path, q) if "dry_run" in q else refusal
    assert cli.main(words(ASKED, "--json")) == 1
    output = capsys.readouterr()
    assert json.loads(output.out)["type"] == "urn:mlsys:problem:run-cancelled"
    assert output.err.endswith(f"mlsys: {detail}\n")


def test_a_run_cancelled_between_two_requests_is_not_started_again(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a run_id the repeated request would be another run."""
    stub.more["Retry-After"] = "0"

    def answer(path: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if path.startswith("/runs/"):
            return cancelled() if stub.scored else NONE
        return fine(path, query) if "dry_run" in query else problem(503, "Busy")

    stub.answer = answer
    assert cli.main(words(ASKED)) == 1
    assert len(stub.scored) == 1
    assert "was cancelled at noon by me@example.com (too slow)" in capsys.readouterr().err


def undone() -> tuple[int, dict[str, Any]]:
    about = {"run_id": "run-1", "state": "undone", "result": RESULT}
    return 200, running(100)[1] | about


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        pytest.param(cancelled(), "nothing was published", id="cancelled"),
        pytest.param(undone(), "run-1 was undone: its rows were removed", id="undone"),
    ],
)
def test_a_run_without_rows_whose_answer_was_lost_is_found_by_polling(
    stub: Stub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    status: tuple[int, dict[str, Any]],
    reason: str,
) -> None:
    monkeypatch.setattr(call, "POLL", 0.05)
    monkeypatch.setattr(call, "LOST_AFTER", 0.2)
    lost = threading.Event()

    def answer(path: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if path.startswith("/runs/"):
            return status if stub.scored else NONE
        if "dry_run" not in query:
            lost.wait(30)
        return fine(path, query)

    stub.answer = answer
    assert cli.main(words(ASKED)) == 1
    assert reason in capsys.readouterr().err
    lost.set()


def test_ctrl_c_stops_the_client_and_prints_how_to_continue(stub: Stub) -> None:
    asked = threading.Event()
    release = threading.Event()

    def answer(path: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if path == "/predict" and "dry_run" not in query:
            asked.set()
            release.wait(30)
        return fine(path, query)

    stub.answer = answer
    # A shell that runs the tests in the background has SIGINT ignored, and children inherit that. A
    # preexec_fn must not reset it: that may deadlock in a process with threads.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from mlsys.cli import main; raise SystemExit(main())"
    )
    command = [sys.executable, "-c", code, *words(ASKED | {"run_id": "run-1"})]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as process:
        assert asked.wait(30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    release.set()
    assert process.returncode == 130
    assert out == ""
    assert f"Its state: {stub.url}/runs/run-1?env=dev\n" in err
    assert "mlsys predict --env dev" in err and "--run-id run-1" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "refuses your identity token"),
        (403, "roles/run.invoker"),
        (404, "is it the address of mlsys?"),
        (302, "is it the address of mlsys?"),
        (200, "is it the address of mlsys?"),
    ],
)
def test_an_answer_that_is_not_from_the_service_is_reported(
    stub: Stub, capsys: pytest.CaptureFixture[str], status: int, says: str
) -> None:
    stub.answer = lambda *_: (status, b"<html>something</html>")
    assert cli.main(words(ASKED)) == 1
    assert says in capsys.readouterr().err


FOREIGN = [{}, {"status": "ok"}, {"run_id": 7, "ok": True}, VERDICT | {"problems": None}, []]


@pytest.mark.parametrize("body", [*FOREIGN, b"", b"null", b"[" * 100_000, b"9" * 5_000])
@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--dry-run", "--json"]])
def test_another_services_answer_is_reported(
    stub: Stub, capsys: pytest.CaptureFixture[str], body: Any, options: list[str]
) -> None:
    stub.answer = lambda *_: (200, json.dumps(body).encode() if body == [] else body)
    assert cli.main(words(ASKED, *options)) == 1
    said = capsys.readouterr().err
    assert "is it the address of mlsys" in said and said.count("\n") == 1


@pytest.mark.parametrize("options", [[], ["--no-wait"], ["--json"]])
def test_an_answer_that_is_not_a_result_is_reported(
    stub: Stub, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    stub.answer = lambda path, q: (200, VERDICT if "dry_run" in q else {"rows": "many"})
    assert cli.main(words(ASKED, *options)) == 1
    assert "answered JSON that lacks run_id" in capsys.readouterr().err


@pytest.mark.parametrize("status", [400, 404, 422, 429, 500, 503])
@pytest.mark.parametrize(
    "more", [{}, {"detail": None}, {"detail": ["a", 1]}, {"detail": "", "title": "No way"},
             {"detail": "no", "progress": "half", "columns": [None, 7, {}], "more": "x"}]
)  # fmt: skip
def test_a_problem_without_some_members_is_reported(
    stub: Stub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    status: int,
    more: dict[str, Any],
) -> None:
    monkeypatch.setattr(patience, "TRIES", 2)
    stub.more["Retry-After"] = "0"
    stub.answer = lambda *_: (status, {"type": "urn:mlsys:problem:x", "status": status} | more)
    assert cli.main(words(ASKED)) == 1
    said = capsys.readouterr().err
    assert "mlsys: " in said and "does not know" not in said


def test_malformed_problems_of_a_verdict_are_printed(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = VERDICT | {"ok": False, "problems": ["no", {}, {"detail": "a", "columns": [{}]}, 7]}
    stub.answer = lambda *_: (200, verdict)
    assert cli.main(words(ASKED)) == 1
    assert capsys.readouterr().err.count("mlsys: ") == 4


def test_a_missing_certificates_file_is_named(
    monkeypatch: pytest.MonkeyPatch, nobody: Path, signer: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file")
    gcloud(nobody, f"echo {signer.token('x')}")
    assert cli.main(words(ASKED, "--url", "https://127.0.0.1.example")) == 1
    assert "/no/such/file" in capsys.readouterr().err


# The address, and the token


def test_the_address_comes_from_option_then_environment_then_nearest_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MLSYS_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"--url, in a notebook url=\), or set MLSYS_URL"):
        service.service_url()
    (tmp_path / ".env").write_text("MLSYS_URL=https://from-file.example\n")
    assert service.service_url() == "https://from-file.example"
    monkeypatch.setenv("MLSYS_URL", "https://from-environment.example/")
    assert service.service_url() == "https://from-environment.example"
    assert service.service_url("http://localhost:8080") == "http://localhost:8080"


@pytest.mark.parametrize(
    "url", ["http://mlsys.example", "http://127.0.0.1.example", "http://[::2]"]
)
def test_a_token_is_never_sent_unencrypted(url: str) -> None:
    with pytest.raises(SettingsError, match="unencrypted: pass https://"):
        service.service_url(url)


@pytest.mark.parametrize("url", ["mlsys.example", "ftp://mlsys.example", "https://"])
def test_a_malformed_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="is not the address"):
        service.service_url(url)


class Signer:
    """A service account's key, which also signs the tokens issued for the account."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.pem = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    def token(self, audience: str, seconds: float = 3600.0) -> str:
        claims = {"aud": audience, "exp": int(time.time() + seconds)}
        return jwt.encode(crypt.RSASigner.from_string(self.pem), claims).decode()

    def certificate(self, host: str, folder: Path) -> Path:
        """Write a self-signed certificate for `host` with its key, and return the path."""
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        now = dt.datetime.now(dt.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(1)
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        path = folder / "certificate.pem"
        path.write_text(made.public_bytes(serialization.Encoding.PEM).decode() + self.pem)
        return path


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a folder that is the PATH of a machine without a service account."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "MLSYS_ID_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(identity_token, "_on_google_cloud", lambda: False)
    monkeypatch.setattr("google.auth.compute_engine._metadata.ping", lambda *_, **__: False)
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def gcloud(folder: Path, script: str) -> None:
    program = folder / "gcloud"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_a_private_service_gets_gclouds_token_over_tls(
    stub: Stub,
    signer: Signer,
    nobody: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    host = "mlsys-dev-abc123-uc.a.run.app"
    certificate = signer.certificate(host, tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    stub.server.socket = context.wrap_socket(stub.server.socket, server_side=True)
    real = socket.getaddrinfo
    there = ipaddress.ip_address("127.0.0.1")
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda h, *a, **k: real(str(there) if h == host else h, *a, **k)
    )
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    token = signer.token("gcloud's own")
    gcloud(
        nobody, f'[ "$*" = "auth print-identity-token" ] && echo {token} && echo >> {tmp_path}/n'
    )
    assert cli.main(words(ASKED, "--url", f"https://{host}:{stub.server.server_port}")) == 0
    assert stub.requests and stub.scored
    assert {h.get("Authorization") for h in stub.headers} == {f"Bearer {token}"}
    assert (tmp_path / "n").read_text() == "\n"  # gcloud was called once for all requests


def test_a_service_accounts_token_has_the_services_address_as_audience(
    stub: Stub, signer: Signer, nobody: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    audience = "https://mlsys-dev-abc123-uc.a.run.app"
    stub.answer = lambda *_: (200, {"id_token": signer.token(audience)})
    key = {
        "type": "service_account",
        "client_email": "me@my-project.iam.gserviceaccount.com",
        "private_key_id": "1",
        "private_key": signer.pem,
        "token_uri": f"{stub.url}/token",
    }
    (tmp_path / "key.json").write_text(json.dumps(key))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    token = identity_token.identity_token(audience)
    assert jwt.decode(token, verify=False)["aud"] == audience
    form = dict(parse_qsl(stub.bodies[-1].decode()))
    assert jwt.decode(form["assertion"], verify=False)["target_audience"] == audience


def test_a_token_that_a_job_got_is_used_until_it_expires(
    nobody: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = signer.token("https://x.example", 60)
    monkeypatch.setenv("MLSYS_ID_TOKEN", given)
    token = identity_token.IdentityToken("https://x.example")
    assert (token.get(), token.get()) == (given, given)
    for bad, says in ((signer.token("x", -1), "has expired"), ("nonsense", "invalid")):
        monkeypatch.setenv("MLSYS_ID_TOKEN", bad)
        with pytest.raises(CredentialsMissing, match=f"MLSYS_ID_TOKEN.* {says}"):
            identity_token.IdentityToken("https://x.example").get()


def test_a_token_is_renewed_before_it_expires(nobody: Path, signer: Signer, tmp_path: Path) -> None:
    gcloud(
        nobody, f"echo >> {tmp_path}/n; echo {signer.token('x', identity_token.TOKEN_MARGIN - 1)}"
    )
    token = identity_token.IdentityToken("https://x.example")
    token.get()
    token.get()
    assert (tmp_path / "n").read_text() == "\n\n"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (None, "gcloud is not installed"),
        ("echo ERROR: no active account >&2; exit 1", "no active account"),
        ("echo nonsense", "invalid identity token"),
    ],
)
def test_a_user_without_a_login_is_asked_to_sign_in(
    nobody: Path, script: str | None, says: str
) -> None:
    if script:
        gcloud(nobody, script)
    with pytest.raises(CredentialsMissing, match=says) as caught:
        identity_token.IdentityToken("https://x.example").get()
    assert "gcloud auth login" in str(caught.value)


def test_every_parameter_of_the_route_has_an_option() -> None:
    options = vars(cli._parser().parse_args(words(ASKED)))
    assert set(PredictQuery.model_fields) - {"wait"} <= set(options)
    assert "no_wait" in options


def test_the_readmes_command_is_parsed() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    commands = re.findall(r"^\$ mlsys (predict .*)$", readme, re.MULTILINE)
    assert commands
    for command in commands:
        assert cli._parser().parse_args(shlex.split(command)).run is predict.run


def test_help_imports_no_heavy_module() -> None:
    heavy = ("requests", "tqdm", "pandas", "google.auth")
    code = f"import sys, mlsys.cli; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_challenger_is_summed_up_in_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    result = {"rows": 4, "output_table": "p.d.t", "run_id": "run", "seconds": 1.0}
    numbers = {
        "column": "price",
        "shadow_column": "guess",
        "kind": "numbers",
        "mean": 0.25,
        "max_absolute": 2.0,
        "quantiles": {"0.5": 0.125},
    }
    report = {"rows": 4, "equal": 3, "agreement": 0.75, "columns": [numbers]}
    shadow = {"model_version": "v2", "output_table": "p.d.t_shadow", "report": report}
    predict._print_result(result | {"shadow": shadow})
    predict._print_result(
        result | {"shadow": {"requested": "v3", "report": None, "reason": "it is missing"}}
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("shadow")]
    assert lines == [
        "shadow        v2 in p.d.t_shadow: 3 of 4 rows are equal (75.00%)",
        "shadow        guess less price: mean 0.25, median 0.125, at most 2 apart",
        "shadow        v3 has no report: it is missing",
    ]


@pytest.mark.parametrize(("by", "lines"), [("updated", ["watermark     updated = 7"]), ("ids", [])])
def test_a_watermark_is_printed_with_its_column(
    by: str, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    predict._print_result(RESULT | {"incremental": by, "watermark": "7"})
    out = capsys.readouterr().out.splitlines()
    assert [line for line in out if line.startswith("watermark")] == lines
