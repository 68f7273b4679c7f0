"""`mlsys backfill` and `mlsys.runs.backfill` score what is not done, and say how to go on."""

import datetime as dt
import json
import os
import shlex
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas as pd
import pytest

from mlsys.cli import parser as cli
from mlsys.errors import InvalidRequest, TryAgain
from mlsys.remote import backfill as remote
from mlsys.remote import patience
from mlsys.remote.backfill import MAX_PARALLEL, Backfill, check_parallel, read_only
from mlsys.remote.service import RefusedByService, Service
from mlsys.runs import backfill

DAYS = [f"2026100{n}" for n in range(1, 7)]
TABLES = {"input_table": "my-project.d.rows", "output_table": "my-project.d.scored"}


class World(ThreadingHTTPServer):
    """A service with a board of partitions, whose runs end as they are told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.states = dict.fromkeys(DAYS, "missing")
        self.scored: Counter[str] = Counter()
        self.requests: list[dict[str, str]] = []
        self.boards: list[dict[str, str]] = []
        self.refused: set[str] = set()
        self.postponed: set[str] = set()
        self.at_work = self.most_at_work = 0
        self.guard = threading.Lock()
        self.seconds = 0.05  # of a run
        self.reached, self.ended = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def board(self) -> dict[str, Any]:
        entries = [
            {
                "partition": day,
                "label": f"2026-10-{day[-2:]}",
                "state": state,
                "reason": None if state == "done" else f"it is {state}",
                "model_version": "v3" if state == "done" else None,
                "rows": 10 if state == "done" else None,
                "finished_at": "2026-11-28T01:00:00+00:00" if state == "done" else None,
                "run_id": f"run-{day}" if state == "done" else None,
                "input_rows": 10,
            }
            for day, state in self.states.items()
        ]
        totals = Counter(self.states.values())
        about = {"model_name": "churn", "model_version": "v3", "model_alias": "champion"}
        totals |= {"partitions": len(entries), "rows": 10 * totals["done"]}
        return about | {"totals": dict(totals), "partitions": entries, "published": []}

    def predict(self, params: dict[str, str]) -> tuple[int, dict[str, Any]]:
        day = params["input_table"].partition("$")[2]
        if params.get("dry_run"):
            about = {"model_name": "churn", "model_version": "v3", "rows": 10, "problems": []}
            return 200, about | {"run_id": f"run-{day}", "ok": True}
        with self.guard:
            self.requests.append(params)
            self.at_work += 1
            self.most_at_work = max(self.most_at_work, self.at_work)
        self.reached.set()
        self.ended.wait(self.seconds)
        with self.guard:
            self.at_work -= 1
            problem = {"type": "urn:mlsys:problem:x", "detail": f"{day} is not right."}
            if day in self.refused:
                return 422, problem
            if day in self.postponed:
                self.postponed.remove(day)
                return 503, problem
            self.scored[day] += 1
            self.states[day] = "done"
        output = params["output_table"]
        return 200, {"run_id": f"run-{day}", "rows": 10, "output_table": output, "reused": False}


class Handler(BaseHTTPRequestHandler):
    server: World

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        url = urlsplit(self.path)
        params = dict(parse_qsl(url.query) + parse_qsl(body))
        status, answer = 404, {"type": "urn:mlsys:problem:run-not-found", "detail": "No run."}
        if url.path == "/backfill":
            self.server.boards.append(params)
            if self.command == "POST" and url.query:
                status, answer = 400, {"type": "urn:mlsys:problem:x", "detail": "In the URL."}
            elif params["input_table"].endswith("gone"):
                status, answer = 422, {"type": "urn:mlsys:problem:x", "detail": "Not partitioned."}
            else:
                status, answer = 200, self.server.board()
                if params.get("start") == "true":
                    answer["published"] = [
                        p["partition"]
                        for p in answer["partitions"]
                        if p["state"] in params["only"].split(",")
                    ]
        elif url.path == "/predict":
            status, answer = self.server.predict(params)
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("MLSYS_URL", made.url)
    yield made
    made.shutdown()
    made.server_close()
    thread.join(10)


def words(*more: str) -> list[str]:
    """Return the command line."""
    tables = [w for k, v in TABLES.items() for w in (f"--{k.replace('_', '-')}", v)]
    known = ["churn", "--env", "dev", "--from", "2026-10-01", "--to", "today"]
    return ["backfill", *known, *tables, *more]


def test_each_partition_that_is_not_done_is_scored_once(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.states |= {DAYS[0]: "done", DAYS[1]: "empty", DAYS[2]: "stale", DAYS[3]: "running"}
    world.postponed = {DAYS[4]}
    assert cli.main(words("--parallel", "2", "--where", "a > 1")) == 0
    said = capsys.readouterr()
    assert world.scored == Counter(DAYS[2:])
    assert world.most_at_work == 2
    assert "churn v3 (champion): 4 of 6 partitions to be scored\n" in said.err
    assert said.err.count("10 rows, ") == 4
    assert "4 of 4  2026-10-0" in said.err
    assert "2026-10-05: 20261005 is not right.; trying again in 0 s" in said.err
    assert said.out == "churn v3 (champion): 6 partitions: 5 done, 1 empty\n"
    [request, *_] = world.requests
    day = request["input_table"].partition("$")[2]
    assert request == {
        "env": "dev",
        "input_table": f"my-project.d.rows${day}",
        "output_table": f"my-project.d.scored${day}",
        "model_name": "churn",
        "model_version": "champion",
        "where": "a > 1",
        "write_disposition": "WRITE_TRUNCATE",
    }
    assert cli.main(words("--where", "a > 1")) == 0
    assert world.scored == Counter(DAYS[2:])


def test_a_partition_that_fails_stops_no_other_and_is_listed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.refused = {DAYS[1], DAYS[4]}
    assert cli.main(words("--json")) == 1
    said = capsys.readouterr()
    assert world.scored == Counter(set(DAYS) - world.refused)
    assert "2026-10-02  failed: 20261002 is not right.\n" in said.err
    [last] = [line for line in said.err.splitlines() if " not scored: " in line]
    assert last.startswith("mlsys: 2 partitions not scored: 2026-10-0")
    assert {p["state"] for p in json.loads(said.out)["partitions"]} == {"done", "missing"}
    [again] = [line for line in said.err.splitlines() if line.startswith("To go on")]
    world.refused = set()
    assert cli.main(shlex.split(again.partition(": ")[2])[1:]) == 0
    assert world.scored == Counter(DAYS)


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        (dt.date(2026, 10, 1), "2026-10-01"),
        (dt.datetime(2026, 10, 1, 5), "2026-10-01T05"),
        (pd.Timestamp("2026-10-01T05:30", tz="UTC"), "2026-10-01T05"),
        (np.datetime64("2026-10-01"), "2026-10-01"),
        (pd.NaT, "NaT"),  # which the service refuses
        (20, "20"),
    ],
)
def test_a_notebook_names_the_range_by_dates_times_and_numbers(
    world: World, bound: Any, text: str
) -> None:
    backfill(*TABLES.values(), "churn", first=bound, last=bound, status=True)
    assert [world.boards[-1][name] for name in ("from", "to")] == [text, text]


def test_a_time_of_another_zone_is_refused(world: World) -> None:
    midnight = pd.Timestamp("2026-10-01", tz="Europe/Berlin")
    with pytest.raises(InvalidRequest, match="first: 2026-10-01 .*: pass it in UTC"):
        backfill(*TABLES.values(), "churn", first=midnight, last="today")


@pytest.mark.parametrize(
    ("value", "sent"), [(True, None), (None, None), (False, "false"), ("false", "false")]
)
def test_a_notebook_turns_the_counting_off(world: World, value: Any, sent: str | None) -> None:
    backfill(*TABLES.values(), "churn", first=1, last=2, status=True, profile=value)
    assert world.boards[-1].get("profile") == sent


def test_only_some_states_are_scored_or_requested(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.states |= {DAYS[0]: "failed", DAYS[1]: "stale"}
    assert cli.main(words("--only", "failed", "--dry-run")) == 0
    assert "To be scored: 1 partition. The first one:\n" in capsys.readouterr().out
    assert world.scored == Counter()
    assert cli.main(words("--only", "stale,failed", "--no-wait")) == 0
    said = capsys.readouterr()
    assert "Requested: 2 partitions.\n" in said.err
    assert "2026-10-03  missing" in said.out
    world.requests.clear()
    assert cli.main(words("--only", "failed")) == 0
    assert world.scored == Counter(DAYS[:1])


@pytest.mark.parametrize("other", ["--status", "--dry-run"])
def test_runs_are_not_requested_by_what_only_looks(
    world: World, capsys: pytest.CaptureFixture[str], other: str
) -> None:
    with pytest.raises(SystemExit):
        cli.main(words("--no-wait", other))
    assert "not allowed with argument" in capsys.readouterr().err
    assert world.boards == []


def test_the_status_shows_each_partition_and_scores_none(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.states[DAYS[0]] = "done"
    assert cli.main(words("--status")) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["PARTITION", "STATE", "VERSION", "ROWS", "FINISHED", "(UTC)", "WHY"]
    assert said[1].split() == ["2026-10-01", "done", "v3", "10", "2026-11-28", "01:00:00"]
    assert said[2].split() == ["2026-10-02", "missing", "it", "is", "missing"]
    assert said[-1] == "churn v3 (champion): 6 partitions: 1 done, 5 missing"
    assert world.requests == []


def test_a_refused_range_or_option_starts_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = [w.replace("d.rows", "d.gone") for w in words()]
    assert cli.main(gone) == 1
    assert capsys.readouterr().err == "mlsys: Not partitioned.\n"
    for wrong in (["--only", "done"], ["--parallel", "0"], ["--parallel", "1000"]):
        assert cli.main(words(*wrong)) == 1
        assert "pass " in capsys.readouterr().err
    assert world.requests == []
    for value in (True, 1.5, "4", 0, MAX_PARALLEL + 1):
        with pytest.raises(InvalidRequest):
            check_parallel(value)
    for states in ("", "done", [], ["failed", "new"], [1]):
        with pytest.raises(InvalidRequest):
            read_only(states)  # type: ignore[arg-type]


def test_a_service_that_is_gone_ends_the_backfill(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(patience, "TRIES", 2)
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: None)
    work = Backfill(Service("http://127.0.0.1:9"), TABLES | {"env": "dev"}, "a", "b")
    with pytest.raises(TryAgain):
        work.board()
    entries = [{"partition": day, "label": day, "state": "missing"} for day in DAYS]
    problems = [outcome.problem or "" for outcome in work.score(entries, 1)]
    assert "cannot be reached" in problems[0]
    assert set(problems[1:]) == {"not tried: the service cannot be reached"}
    assert len(problems) == len(DAYS)


def test_ctrl_c_ends_the_waiting_and_says_how_to_go_on(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.seconds = 30.0

    def press() -> None:
        assert world.reached.wait(20)
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    assert cli.main(words("--parallel", "2")) == 130
    pressing.join(10)
    world.ended.set()
    said = capsys.readouterr().err
    assert "No longer waiting; runs that have begun go on.\n" in said
    [again] = [line for line in said.splitlines() if line.startswith("To go on")]
    assert shlex.split(again.partition(": ")[2])[1:4] == ["backfill", "churn", "--env"]


def test_a_notebook_gets_a_row_for_each_partition(world: World) -> None:
    world.states |= {DAYS[0]: "done"}
    world.refused = {DAYS[5]}
    before = backfill(*TABLES.values(), "churn", first="2026-10-01", last="today", status=True)
    assert before["state"].tolist() == ["done", *["missing"] * 5]
    frame = backfill(*TABLES.values(), "churn", first="2026-10-01", last="today", parallel=3)
    assert frame["state"].tolist() == [*["done"] * 5, "missing"]
    assert frame["rows"].sum() == 50
    assert frame.attrs["totals"]["done"] == 5
    assert world.scored == Counter(DAYS[1:5])
    with pytest.raises(RefusedByService, match="Not partitioned"):
        backfill("my-project.d.gone", TABLES["output_table"], "churn", first="a", last="b")


def test_a_partition_says_nothing_once_the_backfill_has_stopped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stopped = threading.Event()
    lines = remote._Lines("2026-10-01", stopped)
    lines.note("trying again")
    stopped.set()
    lines.note("trying again")
    assert capsys.readouterr().err == "2026-10-01: trying again\n"
