"""The statements about runs of `workers/sql` as Python functions, as in `statements`."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

from simulator.statements import Parameters, Replace, Tables, Values

RUN_OF_PARTITION = (
    *("output_table", "run_id", "state", "model_name", "model_version", "model_generation"),
    *("model_alias", "request", "snapshot_at", "rows_read", "rows_scored", "finished_at"),
    "failure",
)


def recorded_run(tables: Tables, given: Parameters) -> list[Values]:
    return [
        {"state": row["state"], "finished_at": row["finished_at"]}
        for row in tables["prediction_runs"]
        if row["run_id"] == given["run_id"] and row["finished_at"] >= given["since"]
    ]


def replace_run(tables: Tables, given: Parameters) -> Replace:
    run_id, since = given["run_id"], given["since"]
    row: dict[str, Any] = {name: given[name] for name in given if name != "since"}
    for name in ("finished_at", "loaded_at"):
        row[name] = row[name] and dt.datetime.fromisoformat(row[name])
    for name in ("rows_read", "rows_scored", "rows_rejected", "attempts"):
        row[name] = None if row[name] is None else int(row[name])
    return Replace(
        "prediction_runs",
        lambda known: known["run_id"] == run_id and known["finished_at"] >= since,
        [row],
    )


def undone_runs(tables: Tables, given: Parameters) -> list[Values]:
    return [
        {"run_id": row["run_id"]}
        for row in tables["prediction_runs"]
        if row["state"] == "undone" and row["output_table"].partition("$")[0] == given["table"]
    ]


def runs_during(tables: Tables, given: Parameters) -> list[Values]:
    return [
        {"run_id": row["run_id"]}
        for row in tables["prediction_runs"]
        if row["output_table"].partition("$")[0] == given["table"]
        and row["run_id"] != given["run_id"]
        and row["state"] in ("succeeded", "undone")
        and dt.datetime.fromisoformat(row["started_at"]) <= given["until"]
        and (row["finished_at"] >= given["since"] or row["state"] == "undone")
    ]


def runs_of_partitions(tables: Tables, given: Parameters) -> list[Values]:
    last: dict[tuple[str, bool], Values] = {}
    rows = (
        r for r in tables["prediction_runs"] if r["state"] in ("succeeded", "failed", "cancelled")
    )
    for row in sorted(rows, key=lambda r: (r["loaded_at"] or r["finished_at"], r["run_id"])):
        if row["output_table"] in given["tables"]:
            last[row["output_table"], row["state"] == "succeeded"] = row
    times = ("snapshot_at",)
    return [
        {name: row[name] for name in RUN_OF_PARTITION}
        | {name: dt.datetime.fromisoformat(row[name]) for name in times}
        | {"model_generation": int(row["model_generation"])}
        for row in last.values()
    ]


def full_run_since(tables: Tables, given: Parameters) -> list[Values]:
    whole, partition = given["input_table"], given["partition"]

    def at(row: Values) -> dt.datetime:
        return row["loaded_at"] or row["finished_at"]

    runs = [
        row
        for row in tables["prediction_runs"]
        if row["state"] == "succeeded"
        and row["rows_scored"]
        and row["output_table"].partition("$")[0] == given["output_table"]
        and row["input_table"].partition("$")[0] == whole
        and (partition is None or row["input_table"] in (whole, f"{whole}${partition}"))
        and "incremental" not in json.loads(row["request"])
        and at(row) > given["since"]
    ]
    return [{"run_id": row["run_id"]} for row in sorted(runs, key=at)[-1:]]


def last_profile(tables: Tables, given: Parameters) -> list[Values]:
    rows = [
        row
        for row in tables["prediction_profiles"]
        if row["model_name"] == given["model_name"]
        and row["role"] == "prediction"
        and row["row_count"] >= given["rows"]
    ]
    assert not rows, "no history has 30 rows"
    return rows


def insert_profile(tables: Tables, given: Parameters) -> Replace:
    key = {"run_id": given["run_id"], "predicted_at": given["predicted_at"]}
    rows = [row | key for row in json.loads(given["rows"])]
    return Replace("prediction_profiles", lambda row: False, rows)


def remove_profile(tables: Tables, given: Parameters) -> Replace:
    return Replace("prediction_profiles", lambda row: _key(row) == _key(given), [])


def _key(values: Any) -> tuple[Any, Any]:
    return values["run_id"], values["predicted_at"]


FUNCTIONS: dict[str, Callable[[Tables, Parameters], Any]] = {
    function.__name__: function
    for function in (
        *(recorded_run, replace_run, undone_runs, runs_during, runs_of_partitions),
        full_run_since,
        *(last_profile, insert_profile, remove_profile),
    )
}
