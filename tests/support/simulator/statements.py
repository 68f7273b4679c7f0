"""The statements of `workers/sql` as Python functions, by their names.

`tests/stack/registry/test_simulated_statements.py` compares them with the local BigQuery. A
statement without a function here ends the history.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import workers.sql
from workers.registry.rows import IDENTITY
from workers.sql import statement

Values = dict[str, Any]
Parameters = Mapping[str, Any]
Tables = Mapping[str, list[Values]]

ALIAS_COLUMNS = (
    *("model_name", "alias", "environment", "version", "previous_version", "who", "why", "forced"),
    *("evidence", "moved_at", "generation", "previous_generation", "deleted", "source", "move_id"),
    *("problem", "learnt_by", "guarded"),
)


@dataclass(frozen=True)
class Replace:
    """A MERGE that deletes the rows of a table that `deletes` selects, and inserts `rows`."""

    table: str
    deletes: Callable[[Values], bool]
    rows: list[Values]


def model_key(row: Values) -> str:
    """Return the key of a row of the registry."""
    return f"{row['model_name']}/{row['model_version']}"


def alias_key(row: Values) -> str:
    """Return the key of a row of the log of aliases."""
    end = "#deleted" if row["deleted"] else ""
    return f"{row['model_name']}/{row['alias']}#{row['generation']}{end}"


def recorded_models(tables: Tables, given: Parameters) -> list[Values]:
    return [
        {"key": model_key(row)} | {name: row.get(name) for name in IDENTITY}
        for row in tables["model_registry"]
        if given["key"] in ("", model_key(row))
    ]


def replace_models(tables: Tables, given: Parameters) -> Replace:
    keys = set(given["keys"])
    return Replace("model_registry", lambda row: model_key(row) in keys, json.loads(given["rows"]))


def version_status(tables: Tables, given: Parameters) -> list[Values]:
    return [
        {name: row.get(name) for name in ("generation", "status", "status_reason")}
        for row in tables["model_registry"]
        if model_key(row) == f"{given['model']}/{given['version']}"
    ]


def recorded_aliases(tables: Tables, given: Parameters) -> list[Values]:
    def selected(row: Values) -> Values:
        values = {name: row.get(name) for name in ALIAS_COLUMNS}
        evidence = values["evidence"]
        return values | {"evidence": None if evidence is None else json.dumps(evidence)}

    return [
        selected(row)
        for row in tables["model_aliases"]
        if given["model"] in ("", row["model_name"]) and given["alias"] in ("", row["alias"])
    ]


def replace_aliases(tables: Tables, given: Parameters) -> Replace:
    keys = set(given["keys"])
    rows = [
        row | {"moved_at": dt.datetime.fromisoformat(row["moved_at"])}
        for row in json.loads(given["rows"])
    ]
    return Replace("model_aliases", lambda row: alias_key(row) in keys, rows)


FUNCTIONS: dict[str, Callable[[Tables, Parameters], Any]] = {
    function.__name__: function
    for function in (
        *(recorded_models, replace_models, version_status),
        *(recorded_aliases, replace_aliases),
    )
}


@functools.cache
def names() -> dict[str, str]:
    """Return the names of the statements by their texts."""
    folder = Path(workers.sql.__file__).parent
    return {statement(path.stem): path.stem for path in sorted(folder.glob("*.sql"))}
