"""Tables of every kind that BigQuery has, and what a plan warns about them.

A table, or the clone of one, is read by the Storage Read API and written by load jobs. Views,
materialized views, external tables and table snapshots are read by a query, which copies the rows
first (https://cloud.google.com/bigquery/docs/reference/storage#limitations); none of them can be
written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.scoring.planning.partition_filter import partition_column, requires_filter

if TYPE_CHECKING:
    from google.cloud.bigquery import Table

    from mlsys.cloud.tables import TableRef

# `type` of https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#Table
_KINDS = {
    "EXTERNAL": "an EXTERNAL table",
    "MATERIALIZED_VIEW": "a MATERIALIZED VIEW",
    "SNAPSHOT": "a table SNAPSHOT",
}


def kind_of(table: Table) -> str:
    """Return the kind of a table with its article, such as `a VIEW`."""
    return _KINDS.get(table.table_type, f"a {table.table_type}")


def is_query(table: Table) -> bool:
    """Tell whether a query makes the table's rows: a view, an external table, ...

    The Storage Read API reads only tables.
    """
    return table.table_type != "TABLE"


def input_warnings(name: TableRef, table: Table, aliased: bool) -> list[str]:
    """Return warnings about the input; `aliased` as `Plan.aliased`."""
    if is_query(table):
        return [
            f"{name} is {kind_of(table)}: mlsys cannot detect whether its rows changed. Pass this "
            "run's run_id to resume or reuse it; without it every request is a new run."
        ]
    warnings = []
    if (buffer := table.streaming_buffer) is not None:
        warnings.append(
            f"rows are being streamed into {name}, and about {int(buffer.estimated_rows or 0):,} "
            "are in its streaming buffer: those that arrive after the snapshot are not scored"
        )
    if aliased:
        warnings.append(
            f"{name} has column names beyond letters, digits and underscores: a query copies the "
            "columns first, which costs what a query costs"
        )
    return warnings


def output_warnings(name: TableRef, table: Table | None, write_disposition: str) -> list[str]:
    """Return warnings about an output table that exists already."""
    if table is None:
        return []
    warnings = []
    if requires_filter(table):
        warnings.append(
            f"{name} can be queried only with a condition on {partition_column(table)}, its "
            "partitioning column"
        )
    if table.streaming_buffer is not None and write_disposition == "WRITE_TRUNCATE":
        warnings.append(
            f"rows are being streamed into {name}: those that arrive after the run has replaced "
            "its rows stay in it"
        )
    return warnings
