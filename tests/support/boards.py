"""The board of a backfill, costs of runs and an undo, as the API's functions return them."""

from __future__ import annotations

import datetime as dt
from typing import Any

from console_cloud import NOW, moment
from workers.scoring.journal.undone import Removal, Undo

TABLE = "my-project.titanic.scored"
STATES = ("done", "done", "stale", "failed", "missing", "running", "empty")


def board(by: str = "DAY") -> dict[str, Any]:
    """Return a board of a week, as `GET /backfill` answers."""
    partitions = []
    for i, state in enumerate(STATES):
        day = dt.date(2026, 11, 20) + dt.timedelta(i)
        ran = state not in ("missing", "empty")
        partitions.append(
            {
                **{"partition": f"{day:%Y%m%d}", "label": day.isoformat(), "state": state},
                **{"reason": None if state == "done" else f"why it is {state}"},
                **{"run_id": f"run-{i}" if ran else None, "model_name": "titanic-survival"},
                **{"model_version": "v2" if ran else None, "model_alias": None, "rows": 10},
                **{"finished_at": moment(60 * i).isoformat() if ran else None, "input_rows": 10},
            }
        )
    totals = {state: STATES.count(state) for state in STATES}
    return {
        **{"env": "dev", "model_name": "titanic-survival", "model_version": "v2"},
        **{"model_generation": 7, "model_alias": "champion", "input_table": "p.d.input"},
        **{"output_table": TABLE, "by": by, "column": "day", "first": "20261120"},
        **{"last": "20261126", "totals": totals | {"partitions": 7, "rows": 20}},
        **{"partitions": partitions, "published": []},
    }


def cost(month: str, model: str, **values: Any) -> dict[str, Any]:
    known = {"runs": 2, "rows_scored": 1_000, "bytes_billed": 2**30, "estimated_cost": 1.25}
    return {"month": month, "model_name": model, "vcpu_seconds": 90.0} | known | values


TABLES = (
    Removal("my-project.titanic.scored", "output", "restore", 990, 1_000),
    Removal("my-project.titanic.scored_rejects", "rejects", "delete", 1),
)
DECISION = Undo("0123456789abcdef", "a-run", NOW.isoformat(), "ada@example.com", "wrong", TABLES)
