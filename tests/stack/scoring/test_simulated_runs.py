"""The simulator's statements about runs do what those of `workers/sql` do."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from typing import Any

from google.cloud import bigquery

from mlsys.local.stack import LocalStack
from simulator.run_statements import FUNCTIONS
from simulator.statements import Replace
from workers.query import run
from workers.sql import statement

AT = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
TEXTS = sorted(set(re.findall(r"@(\w+)", statement("replace_run"))) - {"since"})


def parameters(given: dict[str, Any]) -> list[Any]:
    def parameter(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return bigquery.ArrayQueryParameter(name, "STRING", value)
        kind = "TIMESTAMP" if isinstance(value, dt.datetime) else "STRING"
        return bigquery.ScalarQueryParameter(name, kind, value)

    return [parameter(name, value) for name, value in given.items()]


def test_the_statements_about_runs_agree_with_the_local_bigquery(stack: LocalStack) -> None:
    run_id = f"sim-{uuid.uuid4().hex[:8]}"
    tables: dict[str, list[dict[str, Any]]] = {"prediction_runs": [], "prediction_profiles": []}

    def change(name: str, given: dict[str, Any]) -> None:
        made = FUNCTIONS[name](tables, given)
        assert isinstance(made, Replace)
        tables[made.table] = [
            *(row for row in tables[made.table] if not made.deletes(row)),
            *made.rows,
        ]
        run(stack.clients, "dev", statement(name), *parameters(given))

    def compare(name: str, given: dict[str, Any]) -> None:
        theirs = [
            dict(row.items())
            for row in run(stack.clients, "dev", statement(name), *parameters(given))
        ]
        assert FUNCTIONS[name](tables, given) == theirs

    for state in ("failed", "succeeded"):
        row: dict[str, Any] = dict.fromkeys(TEXTS) | {
            "run_id": run_id,
            "state": state,
            "model_name": "m",
            "model_generation": "7",
            "output_table": f"p.d.{run_id}$20",
            "snapshot_at": AT.isoformat(),
            "finished_at": AT.isoformat(),
            "request": "{}",
            "rows_read": "3",
        }
        change("replace_run", {"since": AT - dt.timedelta(days=1)} | row)
        compare("recorded_run", {"run_id": run_id, "since": AT})
        compare("recorded_run", {"run_id": run_id, "since": AT + dt.timedelta(seconds=1)})
        compare("runs_of_partitions", {"tables": [f"p.d.{run_id}$20", f"p.d.{run_id}$30"]})
    key = {"run_id": run_id, "predicted_at": AT}
    columns = [{"role": "feature", "column_name": name, "row_count": 3} for name in "xy"]
    sql = (
        "SELECT role, column_name, row_count FROM prediction_profiles "
        f"WHERE run_id = '{run_id}' ORDER BY column_name"
    )
    for name, more in (("insert_profile", {"rows": json.dumps(columns)}), ("remove_profile", {})):
        change(name, key | more)
        theirs = [dict(row.items()) for row in run(stack.clients, "dev", sql)]
        ours = tables["prediction_profiles"]
        assert theirs == [{each: row[each] for each in columns[0]} for row in ours]
