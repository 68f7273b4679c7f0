"""The state of a partition follows from its runs, the model that is wanted, and the input."""

import datetime as dt
from typing import Any

import pytest

from workers.scoring.backfill.request import STATES
from workers.scoring.backfill.states import Entry, Runs, Wanted, judge, totals
from workers.scoring.planning.model_pin import ModelPin
from workers.scoring.planning.partition_state import PartitionState

NOON = dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
PIN = ModelPin("models", "churn/v3/model.pkl", 30, "AAAA==", "churn", "v3", 10, alias="champion")
IDENTITY = {
    "env": "dev",
    "input_table": "p.d.t$20261127",
    "output_table": "p.d.o$20261127",
    "model_name": "churn",
    "model_version": "champion",
    "write_disposition": "WRITE_TRUNCATE",
}
GOOD = {
    "run_id": "churn-v3-1",
    "state": "succeeded",
    "model_name": "churn",
    "model_version": "v3",
    "model_generation": 30,
    "model_alias": "champion",
    "request": IDENTITY | {"model_version": "v3", "max_rejects": "1%", "shadow": "v2"},
    "snapshot_at": NOON,
    "rows_read": 9,
    "rows_scored": 7,
    "finished_at": NOON + HOUR,
    "failure": None,
}
FILTERED = GOOD | {"request": IDENTITY | {"where": "a > 1"}}
BAD = GOOD | {"run_id": "churn-v3-2", "state": "failed", "rows_scored": None, "failure": "Why."}
LATER = BAD | {"finished_at": NOON + 2 * HOUR}
OLDER = GOOD | {"model_version": "v2", "model_generation": 20}


def judged(
    good: Any = None,
    bad: Any = None,
    open_run: str | None = None,
    state: PartitionState | None = None,
    created: dt.datetime | None = NOON - HOUR,
    requested: str = "champion",
    written: PartitionState | None = None,
    **request: str,
) -> Entry:
    wanted = Wanted(PIN, requested, created)
    return judge(
        wanted,
        "20261127",
        "2026-11-27",
        IDENTITY | request,
        Runs(good, bad, open_run),
        state,
        written,
    )


FULL = PartitionState(9, NOON - HOUR)
NOTHING_NEW = GOOD | {"rows_read": 0, "rows_scored": 0}
NOTHING_NEW |= {"request": IDENTITY | {"model_version": "v3", "incremental": "ids"}}
EMPTIED = {"state": FULL, "written": PartitionState(), "incremental": "ids"}


@pytest.mark.parametrize(
    ("known", "state", "words"),
    [
        ({}, "missing", "not scored yet"),
        ({"good": GOOD}, "done", None),
        ({"good": GOOD, "state": FULL}, "done", None),
        ({"good": GOOD, "bad": LATER, "open_run": "churn-v3-9"}, "done", None),
        ({"good": GOOD, "state": PartitionState()}, "done", "no rows in it any more"),
        (
            {"good": GOOD | {"rows_read": 0, "rows_scored": 0}, "state": PartitionState()},
            "done",
            None,
        ),
        ({"good": OLDER}, "stale", "scored by v2, and champion is now v3"),
        ({"good": OLDER, "requested": "v3"}, "stale", "scored by v2, not by v3"),
        ({"good": GOOD | {"model_name": "other"}}, "stale", "another model, other v3"),
        ({"good": GOOD | {"model_generation": 29}}, "stale", "an earlier upload of v3"),
        (
            {"good": GOOD | {"request": IDENTITY | {"where": "a > 1"}}},
            "stale",
            "another request, which differs in where",
        ),
        ({"good": GOOD, "state": PartitionState(9, NOON + HOUR)}, "stale", "was written since"),
        ({"good": GOOD, "state": PartitionState(8, NOON)}, "stale", "read 9 rows, and the input"),
        (
            {"good": FILTERED, "state": PartitionState(8, NOON), "where": "a > 1"},
            "done",
            None,
        ),
        ({"good": GOOD, "written": PartitionState(7, NOON)}, "done", None),
        (
            {"good": GOOD, "written": PartitionState(6, NOON)},
            "done",
            "7 rows, and the output has 6",
        ),
        ({"good": GOOD, "written": PartitionState(14, NOON)}, "done", "the output has 14 now"),
        ({"good": GOOD, "written": PartitionState()}, "missing", "its rows were deleted"),
        ({"good": GOOD | {"rows_scored": 0}, "written": PartitionState()}, "done", None),
        ({"good": NOTHING_NEW, **EMPTIED}, "missing", "its rows were deleted"),
        ({"good": NOTHING_NEW, "state": FULL, "incremental": "ids"}, "done", None),
        ({"good": NOTHING_NEW | {"rows_read": 9}, **EMPTIED}, "done", None),  # all were rejected
        ({"good": GOOD | {"rows_scored": 0, "rows_read": 0}, **EMPTIED}, "stale", "incremental"),
        ({"good": OLDER, "state": PartitionState()}, "empty", "no rows"),
        ({"state": PartitionState()}, "empty", "no rows"),
        ({"good": OLDER, "bad": LATER}, "failed", "Why."),
        ({"good": OLDER, "bad": BAD | {"finished_at": NOON}}, "stale", "scored by v2"),
        ({"bad": LATER}, "failed", "Why."),
        ({"bad": LATER | {"state": "cancelled", "failure": None}}, "failed", "cancelled"),
        ({"bad": LATER | {"model_version": "v2"}}, "missing", "not scored yet"),
        ({"bad": LATER, "open_run": "churn-v3-9"}, "running", "a repeated request resumes it"),
        (
            {"good": GOOD, "bad": BAD | {"finished_at": NOON}, "written": PartitionState()},
            "missing",
            "its rows were deleted",
        ),
        ({"good": GOOD, "created": None}, "missing", "the output table was deleted"),
        ({"good": GOOD, "created": NOON + 2 * HOUR}, "missing", "created again"),
    ],
)
def test_the_state_of_a_partition(known: dict[str, Any], state: str, words: str | None) -> None:
    entry = judged(**known)
    assert entry.state == state
    assert (entry.reason is None) if words is None else (words in (entry.reason or ""))
    expected = {"done": GOOD["run_id"], "running": "churn-v3-9", "failed": BAD["run_id"]}
    assert state not in expected or entry.run_id == expected[state]


def test_a_partition_that_is_done_tells_its_run() -> None:
    assert judged(GOOD, state=FULL).to_dict() == {
        "partition": "20261127",
        "label": "2026-11-27",
        "state": "done",
        "reason": None,
        "run_id": "churn-v3-1",
        "model_name": "churn",
        "model_version": "v3",
        "model_alias": "champion",
        "rows": 7,
        "finished_at": "2026-11-28T13:00:00+00:00",
        "input_rows": 9,
    }


def test_the_totals_count_every_state_and_the_rows_that_are_done() -> None:
    entries = [judged(GOOD), judged(OLDER), judged()]
    counts = dict.fromkeys(STATES, 0) | {"done": 1, "stale": 1, "missing": 1}
    assert totals(entries) == {"partitions": 3, "rows": 7} | counts
