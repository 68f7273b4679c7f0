"""The queries of incremental runs, as texts."""

from __future__ import annotations

from collections.abc import Sequence

from mlsys.cloud.tables import TableRef
from workers.query import column_sql
from workers.scoring.planning.incremental import Watermark


def counts_sql(
    source: TableRef,
    conditions: Sequence[str],
    *,
    as_of: str = "",
    column: str | None = None,
    above: Watermark | None = None,
    ids: Sequence[str] = (),
) -> str:
    """Return the query that counts the input's rows, as a plan needs them.

    It gives `n`, all rows; of the `column` the NULLs, `up_to`, its maximum, and `below`, the rows
    at or below the watermark; and `repeated`, the rows with the `ids` of another row.
    """
    counts = ["COUNT(*) AS n"]
    if column is not None:
        sql = column_sql(source, column)
        counts += [f"COUNTIF({sql} IS NULL) AS nulls", f"MAX({sql}) AS up_to"]
        below = "0" if above is None else f"COUNTIF({sql} <= {above.sql})"
        counts += [f"{below} AS below"]
    if ids:
        counts += [f"COUNT(*) - COUNT(DISTINCT {key_sql(source, ids)}) AS repeated"]
    return f"SELECT {', '.join(counts)} {from_sql(source, conditions, as_of)}"


def new_rows_sql(
    source: TableRef, conditions: Sequence[str], lacking: str, *, as_of: str = ""
) -> str:
    """Return the query that counts the rows whose ids the output lacks."""
    return f"SELECT COUNT(*) AS n {from_sql(source, [*conditions, lacking], as_of)}"


def from_sql(source: TableRef, conditions: Sequence[str], as_of: str = "") -> str:
    """Return the clauses FROM and WHERE for rows of the input."""
    # The alias is the table's implicit one, which the local BigQuery loses at a snapshot.
    sql = f"FROM `{source}` AS `{source.table}`{as_of}"
    return sql + (f" WHERE {' AND '.join(conditions)}" if conditions else "")


def lacking_sql(
    source: TableRef,
    output: TableRef,
    ids: Sequence[str],
    model_name: str,
    model_version: str,
    also: str | None = None,
) -> str:
    """Return the condition for rows of the input whose ids the output lacks, for this version.

    The ids are compared as the text of one JSON object, which is never NULL: a NULL equals a NULL,
    and BigQuery can join by one equality. `also` is a condition on the output's rows, for a table
    that requires one.
    """
    more = f" AND {also}" if also else ""
    return (
        f"{key_sql(source, ids)} NOT IN (SELECT {key_sql(output, ids)} FROM `{output}` "
        f"WHERE model_name = '{model_name}' AND model_version = '{model_version}'{more})"
    )


def key_sql(table: TableRef, ids: Sequence[str]) -> str:
    """Return the ids of a row of the table as one text."""
    members = (f"{column_sql(table, name)} AS c{i}" for i, name in enumerate(ids))
    return f"TO_JSON_STRING(STRUCT({', '.join(members)}))"
