"""What both the service and the caller check: columns of tables, and clocks."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from mlsys.cloud.clients import Clients
from mlsys.cloud.messages import Use
from mlsys.doctor.check import CALL, Check, Outcome, State, apply, failed, ok, retry, warning
from mlsys.errors import TableNotFound

TABLES = {
    "registry-table": "model_registry",
    "aliases-table": "model_aliases",
    "ledger-table": "prediction_runs",
    "evaluations-table": "prediction_evaluations",
    "profiles-table": "prediction_profiles",
}
SCHEMAS = Path(__file__).parents[1] / "schemas"
SLOW_CLOCK, WRONG_CLOCK = 5.0, 60.0  # seconds
_NAMES = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}


def table_checks(
    clients: Clients, env: str, needs: tuple[str, ...] = (), denied: State = "failed"
) -> list[Check]:
    """Return the checks of the tables' columns."""
    settings = clients.settings

    def check(id: str, table: str) -> Check:
        name = f"{settings.dataset(env)}.{table}"
        use = Use("BigQuery", name, ("bigquery.tables.get",), missing=TableNotFound)
        fix = apply(settings, env)
        return Check(id, lambda: columns(clients, env, table), use, fix, needs, denied)

    return [check(id, table) for id, table in TABLES.items()]


def columns(clients: Clients, env: str, table: str) -> Outcome:
    """Check that a table of the service has the columns that this release writes."""
    name = f"{clients.settings.dataset(env)}.{table}"
    existing = clients.bigquery.get_table(name, timeout=CALL, retry=retry())
    fix = apply(clients.settings, env)
    wanted = json.loads((SCHEMAS / f"{table}.json").read_text(encoding="utf-8"))
    faults = column_faults(wanted, existing.schema)
    if faults:
        return failed(f"{name}: {'; '.join(faults)}.", fix)
    return ok(f"{name} has the {len(wanted)} columns of this release.")


def column_faults(wanted: list[dict[str, Any]], schema: Any) -> list[str]:
    """Return what a table's schema lacks to be written to with the columns `wanted`."""
    fields = {field.name.lower(): field for field in schema}
    faults = []
    for column in wanted:
        field = fields.pop(column["name"], None)
        if field is None:
            faults.append(f"{column['name']} is missing")
            continue
        seen = (_kind(field.field_type), field.mode == "REPEATED")
        if seen != (_kind(column["type"]), column["mode"] == "REPEATED"):
            faults.append(
                f"{column['name']} is {field.mode} {_kind(field.field_type)} instead of "
                f"{column['mode']} {_kind(column['type'])}"
            )
        elif field.mode == "REQUIRED" and column["mode"] == "NULLABLE":
            faults.append(f"{column['name']} is REQUIRED, and this release may write NULL")
    faults += [
        f"{field.name} is REQUIRED, and this release does not write it"
        for field in fields.values()
        if field.mode == "REQUIRED"
    ]
    return faults


class Clock:
    """BigQuery's clock and this machine's, by one query."""

    def __init__(self, clients: Clients, whose: str) -> None:
        self._clients = clients
        self._whose = whose  # this machine's, the service's
        self._away = 0.0  # seconds, less those that the query itself may explain

    def checks(self, fix: str, needs: tuple[str, ...] = ()) -> list[Check]:
        """Return the checks `queries`, which `fix` corrects, and `clock`."""
        project = self._clients.settings.project
        use = Use("BigQuery", f"queries in {project}", ("bigquery.jobs.create",))
        return [
            Check("queries", self._query, use, fix, needs=needs),
            Check("clock", self._compare, use, fix, needs=("queries",)),
        ]

    def _query(self) -> Outcome:
        began = dt.datetime.now(dt.UTC)
        job = self._clients.bigquery.query(
            "SELECT CURRENT_TIMESTAMP() AS now", timeout=CALL, retry=retry()
        )
        [row] = job.result(timeout=CALL, retry=retry())
        ended = dt.datetime.now(dt.UTC)
        # BigQuery looked at its clock at some moment between the two of ours.
        early, late = began - row["now"], row["now"] - ended
        self._away = max(early.total_seconds(), late.total_seconds(), 0.0)
        return ok(f"A query took {(ended - began).total_seconds():.1f} s.")

    def _compare(self) -> Outcome:
        seen = f"{self._whose} clock and BigQuery's differ by {self._away:.0f} s."
        fix = "sudo timedatectl set-ntp true  # or set the clock of the machine"
        if self._away > WRONG_CLOCK:
            return failed(seen, fix)
        if self._away > SLOW_CLOCK:
            return warning(seen, fix)
        return ok(f"{self._whose} clock and BigQuery's agree within {SLOW_CLOCK:.0f} s.")


def _kind(name: str) -> str:
    return _NAMES.get(name.upper(), name.upper())
