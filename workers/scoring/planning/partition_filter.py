"""Tables that BigQuery queries only with a filter on their partitions.

Such a table refuses a query, and a read session, without a condition that refers only to its
partitioning column
(https://cloud.google.com/bigquery/docs/querying-partitioned-tables#require_a_partition_filter_in_queries).
Its owner wants no full scans, so a run needs a filter of the caller's. Queries of ours that look
for single rows meet the requirement by a condition that every row meets, as dbt does it in
production (`predicate_for_avoid_require_partition_filter` of
https://github.com/dbt-labs/dbt-adapters).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.cloud.bigquery import Table


def all_of(*conditions: str | None) -> str | None:
    """Return the SQL conditions that are given, joined by AND; None if none is.

    >>> all_of("age > 30", None), all_of(None)
    ('age > 30', None)
    """
    given = [condition for condition in conditions if condition]
    if len(given) < 2:
        return given[0] if given else None
    return " AND ".join(f"(\n{condition}\n)" for condition in given)


def requires_filter(table: Table) -> bool:
    """Return whether the table can be queried only with a filter on its partitions.

    Older tables have the setting in their time partitioning:
    https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TimePartitioning
    """
    by_time = table.time_partitioning
    within = by_time.to_api_repr().get("requirePartitionFilter") if by_time is not None else None
    return bool(table.require_partition_filter or within)


def partition_column(table: Table) -> str:
    """Return the column that partitions the table: a pseudo-column if it is the time of arrival."""
    partitioning = table.range_partitioning or table.time_partitioning
    return getattr(partitioning, "field", None) or "_PARTITIONTIME"


def any_partition(table: Table) -> str:
    """Return a condition on the partitioning column that every row of the table meets."""
    column = partition_column(table)
    return f"(`{column}` IS NULL OR `{column}` IS NOT NULL)"
