"""The steps of a run, by when its objects were written."""

from __future__ import annotations

import datetime as dt

from console_cloud import moment, plan_of
from workers.scoring.attempts import Attempt
from workers.scoring.timeline import timeline

PLAN = plan_of()
FIRST = "attempts/20261128T194100000000.json"


def steps(written: dict[str, dt.datetime], *attempts: Attempt) -> list[tuple[str, float, float]]:
    """Return each step with its start and its end, in minutes since the run was planned."""
    out = []
    for span in timeline(PLAN, written, attempts):
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
        ("load job and ledger", 9, 10),
    ]
    [stream] = [s for s in timeline(PLAN, written) if s.name == "stream 0"]
    assert stream.parts == ((moment(14), 0), (moment(12), 262_144))


def test_a_step_that_lasts_has_no_end() -> None:
    written = {"plan.json": moment(19), "publish.json": moment(18)}
    assert steps(written)[-1] == ("load job and ledger", 2, None)
    assert steps({}) == []
    written = {"plan.json": moment(19), "session-0.json": moment(15)}
    assert steps(written)[-1] == ("read and score rows", 5, None)
    assert steps(written | {"failure.json": moment(14)})[-1] == ("read and score rows", 5, 6)
    assert steps(written | {"failure.json": moment(18)})[-1][0] == "open read session 0"


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
