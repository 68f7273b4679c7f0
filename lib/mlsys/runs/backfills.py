"""`backfill`: score a table partition by partition from a notebook."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlsys.arguments import check_choice
from mlsys.artifact.refs import ModelRef
from mlsys.errors import InvalidRequest
from mlsys.remote.backfill import STATES, Backfill, check_parallel, read_only, selected
from mlsys.remote.frames import frame_of
from mlsys.remote.progress import say
from mlsys.remote.service import Service, service_url
from mlsys.remote.texts import switch, texts
from mlsys.remote.verdict import in_full
from mlsys.runs.calls import named
from mlsys.settings import ENVS

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "partition": "STRING",
    "label": "STRING",
    "state": "STRING",
    "reason": "STRING",
    "model_version": "STRING",
    "model_alias": "STRING",
    "rows": "INT64",
    "finished_at": "TIMESTAMP",
    "run_id": "STRING",
    "input_rows": "INT64",
}


def backfill(
    input_table: str,
    output_table: str,
    model: str | ModelRef,
    version: str | None = None,
    *,
    first: Any,
    last: Any,
    only: str | Sequence[str] = STATES,
    parallel: int = 4,
    status: bool = False,
    env: str = "dev",
    id_columns: str | Sequence[str] | None = None,
    outputs: str | Sequence[str] | None = None,
    prediction_column: str | Sequence[str] | None = None,
    class_columns: str | Mapping[Any, str] | Sequence[str] | None = None,
    where: str | None = None,
    incremental: str | None = None,
    max_rejects: int | float | str | None = None,
    max_drift: float | str | None = None,
    profile: bool = True,
    allow_rejected: bool = False,
    allow_version_mismatch: bool = False,
    engine: str | None = None,
    shadow: str | None = None,
    contract: str | None = None,
    max_bytes: int | str | None = None,
    max_cost: float | str | None = None,
    url: str | None = None,
) -> pd.DataFrame:
    """Score the partitions of a table that are not done, and return the state of each.

    Each partition from `first` to `last` (dates, or texts such as `2026-10`, `today`, and numbers
    for integer ranges) is a run of its own into the same partition of the output table, whose rows
    it replaces, or with `incremental` adds to; `parallel` run at a time. Only those in a state of
    `only` are scored, so the same call goes on after an interruption. A partition that fails does
    not stop the others. With `status` nothing is scored. The other parameters are those of
    `predict`.

    The frame has a row for each partition: its `state` (done, stale, failed, running, missing or
    empty), the `reason`, and the run. Its `attrs` has the totals.

    Raises:
        RefusedByService: the service refuses the request as a whole.
        InvalidRequest, SettingsError, CredentialsMissing, TryAgain: as `predict`.
    """
    states = read_only(only)
    check_parallel(parallel)
    params = named(model, version) | texts(
        {
            "env": check_choice(env, ENVS, "env"),
            "input_table": input_table,
            "output_table": output_table,
            "id_columns": id_columns,
            "outputs": outputs,
            "prediction_column": prediction_column,
            "class_columns": class_columns,
            "where": where,
            "incremental": incremental,
            "max_rejects": max_rejects,
            "max_drift": max_drift,
            "profile": switch(profile),
            "allow_rejected": allow_rejected,
            "allow_version_mismatch": allow_version_mismatch,
            "engine": engine,
            "shadow": shadow,
            "contract": contract,
            "max_bytes": max_bytes,
            "max_cost": max_cost,
        }
    )
    work = Backfill(Service(service_url(url)), params, _text("first", first), _text("last", last))
    with in_full():
        board = work.board()
        todo = [] if status else selected(board, states)
        for number, outcome in enumerate(work.score(todo, parallel), 1):
            say(f"{number:,} of {len(todo):,}  {outcome.label}  {outcome}")
        board = work.board() if todo else board
    frame = frame_of(board["partitions"], COLUMNS.items())
    frame.attrs = {name: value for name, value in board.items() if name != "partitions"}
    return frame


def _text(name: str, bound: Any) -> str:
    """Return a bound of the range as the route takes it.

    Raises:
        InvalidRequest: it is a time in another zone than UTC.
    """
    if isinstance(bound, dt.datetime) and bound == bound:  # also pandas' Timestamp, not its NaT
        if bound.utcoffset():
            raise InvalidRequest((name, f"{bound}: pass it in UTC, as BigQuery's partitions are"))
        return f"{bound:%Y-%m-%dT%H}"
    return bound.isoformat() if isinstance(bound, dt.date) else str(bound)
