"""BigQuery's `prediction_profiles`: one row for each column that a run counted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlsys.cloud.clients import Clients
from mlsys.columns.bins import CATEGORY, NUMBER, Counts
from workers.monitoring.drift import MIN_ROWS, Verdict, bin_names, vector
from workers.monitoring.reference import Watched
from workers.query import run, run_once
from workers.sql import statement

# BigQuery takes 10 MB a request, parameters included: https://cloud.google.com/bigquery/quotas
BYTES_PER_STATEMENT = 3_000_000  # of JSON, which is escaped once more within the request


def row_of(watched: Watched, counts: Counts, verdict: Verdict) -> dict[str, Any]:
    """Return the column's part of a row, as JSON values."""
    before = watched.counts
    return {
        "role": watched.role,
        "column_name": watched.name,
        "kind": watched.bins.kind,
        "level": verdict.level,
        "distance": verdict.distance,
        "psi": verdict.psi,
        "null_share": verdict.null_share,
        "null_share_before": verdict.null_share_before,
        "unseen_share": verdict.unseen_share,
        "out_of_range_share": verdict.out_of_range_share,
        "mean_shift": verdict.mean_shift,
        "importance": watched.importance,
        "why": "; ".join(verdict.why) or None,
        "reference": watched.source if before is not None else None,
        "reference_rows": None if before is None else before.rows,
        "row_count": counts.rows,
        **{name: getattr(counts, name) for name in _COUNTS},
        "min_value": None if counts.minimum is None else str(counts.minimum),
        "max_value": None if counts.maximum is None else str(counts.maximum),
        "bins_id": watched.bins.id,
        "bins": _bins(watched, counts),
    }


_COUNTS = ("nulls", "nans", "below", "above", "other")
# What a column of each kind does not have; a plain one has only missing and other values.
_WITHOUT = {NUMBER: ("other",), CATEGORY: ("below", "above")}


def _bins(watched: Watched, counts: Counts) -> list[dict[str, Any]]:
    """Return the bins with the rows of the run and of the reference."""
    names = bin_names(watched.bins)
    rows = vector(watched.bins, counts)
    before = None if watched.counts is None else vector(watched.bins, watched.counts)
    pairs = [
        {"bin": name, "rows": now} | ({} if before is None else {"before": before[i]})
        for i, (name, now) in enumerate(zip(names, rows, strict=True))
    ]
    ends = (0, 1, len(names) - 2, len(names) - 1)  # a category may have the same name
    without = _WITHOUT.get(watched.bins.kind, ("below", "above"))
    places = [i for i, name in enumerate(names) if i not in ends or name not in without]
    return [{"place": place, **pairs[i]} for place, i in enumerate(places)]


def counts_of(row: Mapping[str, Any]) -> Counts:
    """Return the counts of a row of the table, without minimum and maximum."""
    rows = [item["rows"] for item in json.loads(row["bins"])]
    inner = {NUMBER: rows[2:-1], CATEGORY: rows[1:-1]}.get(row["kind"], [])
    sums = {name: row[name] for name in _COUNTS}
    return Counts(row["row_count"], **sums, bins=tuple(inner))


def last_counts(
    clients: Clients, env: str, model_name: str
) -> dict[tuple[str, str], tuple[str, Counts]]:
    """Return the counts of the predictions of a model's last run, with its id.

    They are by the column and the id of its bins. Runs of fewer than 30 rows do not count.

    Raises:
        TryAgain: the table does not exist.
    """
    from google.cloud import bigquery

    rows = run(
        clients,
        env,
        statement("last_profile"),
        bigquery.ScalarQueryParameter("model_name", "STRING", model_name),
        bigquery.ScalarQueryParameter("rows", "INT64", MIN_ROWS),
    )
    return {(row["column_name"], row["bins_id"]): (row["run_id"], counts_of(row)) for row in rows}


def insert_rows(
    clients: Clients,
    env: str,
    stem: str,
    run_id: str,
    predicted_at: str,
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Insert the rows of a run, by jobs whose ids begin with `stem`; a repetition inserts nothing.

    Raises:
        TryAgain: see `run_once`.
    """
    from google.cloud import bigquery

    for number, some in enumerate(_in_statements(rows)):
        run_once(
            clients,
            env,
            f"{stem}{number}_",
            statement("insert_profile"),
            bigquery.ScalarQueryParameter("run_id", "STRING", run_id),
            bigquery.ScalarQueryParameter("predicted_at", "TIMESTAMP", predicted_at),
            bigquery.ScalarQueryParameter("rows", "STRING", json.dumps(some)),
        )


def _in_statements(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    some: list[Mapping[str, Any]] = []
    size = 0
    for row in rows:
        length = len(json.dumps(row))
        if some and size + length > BYTES_PER_STATEMENT:
            yield some
            some, size = [], 0
        some.append(row)
        size += length
    if some:
        yield some
