"""The steps of a run, by when its objects were written."""

from __future__ import annotations

import datetime as dt
from typing import Any

from console_cloud import moment, plan_of
from workers.scoring.answers.timeline import timeline
from workers.scoring.journal.attempts import Attempt

PLAN = plan_of()
FIRST = "attempts/20261128T194100000000.json"


def steps(
    written: dict[str, dt.datetime],
    *attempts: Attempt,
    result: dict[str, Any] | None = None,
    cancelled: bool = False,
) -> list[tuple[str, float, float]]:
    """Return each step with its start and its end, in minutes since the run was planned."""
    out = []
    for span in timeline(PLAN, written, attempts, result, cancelled=cancelled):
        ends = span.end and (span.end - moment(20)).total_seconds() / 60
        out.append((span.name, (span.start - moment(20)).total_seconds() / 60, ends))
    return out


def test_the_steps_follow_each_other() -> None:
    written = {
        "plan.json": moment(19),
        FIRST: moment(10),
        "session-0.json": moment(15),
        "parts/0/00000-000000000000.parquet": moment(14),
        "parts/0/00000-000000262144.parquet": moment(12),
        "parts/0/00001-000000000000.parquet": moment(13),
        "publish.json": moment(11),
        "result.json": moment(10),
    }
    attempt = Attempt(FIRST, moment(17).isoformat(), end="suspended")
    assert steps(written, attempt) == [
        ("plan", 0, 1),
        ("wait for work to begin", 1, 3),
        ("open read session 0", 3, 5),
        ("stream 0", 5, 8),
        ("stream 1", 5, 7),
        ("count the parts and decide", 8, 9),
        ("load job", 9, 10),
    ]
    [stream] = [s for s in timeline(PLAN, written) if s.name == "stream 0"]
    assert stream.parts == ((moment(14), 0), (moment(12), 262_144))


def test_a_step_that_lasts_has_no_end() -> None:
    written = {"plan.json": moment(19), "publish.json": moment(18)}
    assert steps(written)[-1] == ("load job", 2, None)
    assert steps({}) == []
    written = {"plan.json": moment(19), "session-0.json": moment(15)}
    assert steps(written)[-1] == ("read and score rows", 5, None)
    assert steps(written | {"failure.json": moment(14)})[-1] == ("read and score rows", 5, 6)
    assert steps(written | {"failure.json": moment(18)})[-1][0] == "open read session 0"


def test_a_run_that_was_cancelled_has_no_load_job() -> None:
    written = {"plan.json": moment(19), "session-0.json": moment(15), "publish.json": moment(12)}
    assert steps(written, cancelled=True)[-1] == ("read and score rows", 5, 8)
    failed = written | {"failure.json": moment(13)}  # and then it was cancelled
    assert steps(failed, cancelled=True)[-1] == ("read and score rows", 5, 7)
    del written["session-0.json"]
    assert [name for name, *_ in steps(written, cancelled=True)] == ["plan"]


def load(step: str, *minutes: float) -> dict[str, Any]:
    """Return when a load job was taken, begun and ended, those minutes before now."""
    names = ("created_at", "started_at", "ended_at")
    return {"step": step} | dict(zip(names, (moment(m).isoformat() for m in minutes), strict=True))


def test_each_load_job_and_the_ledger_are_steps_of_their_own() -> None:
    written = {"plan.json": moment(19), "publish.json": moment(11), "result.json": moment(4)}
    done = Attempt(FIRST, moment(17).isoformat(), end="done")
    result = {
        "loads": [load("output", 11, 9, 8), load("rejects", 8, 8, 7)],
        "shadow": {"load": load("challenger", 7, 7, 6)},
    }
    assert steps(written | {FIRST: moment(3)}, done, result=result)[-7:] == [
        ("count the parts and decide", 3, 9),
        ("load job: BigQuery's queue", 9, 11),
        ("load job", 11, 12),
        ("load rows set aside", 12, 13),
        ("load challenger's rows", 13, 14),
        ("profile and result", 14, 16),
        ("record in the ledger", 16, 17),
    ]


def test_a_result_without_usable_times_has_one_step_of_loading() -> None:
    written = {"plan.json": moment(19), "publish.json": moment(11), "result.json": moment(4)}
    unknown = dict.fromkeys(("created_at", "started_at", "ended_at")) | {"step": "output"}
    for result in ({}, {"loads": [unknown], "shadow": None}, {"shadow": {"load": None}}):
        assert steps(written, result=result)[-1] == ("load job", 9, 16)


def test_several_attempts_are_steps_of_their_own() -> None:
    names = [f"attempts/2026112{i}.json" for i in range(3)]
    written = {"plan.json": moment(19)} | dict.fromkeys(names, moment(2))
    tries = [
        Attempt(names[2], moment(3).isoformat()),
        Attempt(names[1], moment(9).isoformat(), end="suspended"),
        Attempt(names[0], "damaged"),
    ]
    assert steps(written, *tries)[-2:] == [
        ("attempt 1: suspended", 11, 18),
        ("attempt 2", 17, None),
    ]


def test_a_run_of_many_parts_has_a_timeline_of_bounded_size() -> None:
    written = {"plan.json": moment(20), "session-0.json": moment(19)}
    for stream in range(100):
        for part in range(110):
            written[f"parts/0/{stream:05}-{part:012}.parquet"] = moment(18 - stream / 100)
    spans = timeline(PLAN, written)
    assert len(spans) == 43 and all(len(span.parts) <= 100 for span in spans)
    assert spans[-2].name == "stream 99"  # the last ones to end
