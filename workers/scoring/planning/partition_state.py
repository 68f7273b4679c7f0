"""The state of single partitions of tables, as BigQuery's `INFORMATION_SCHEMA.PARTITIONS` has it.

https://cloud.google.com/bigquery/docs/information-schema-partitions: the time of the last write,
which deletions may leave as it is, and the number of rows, which they change. A view is of one
dataset, and a query can join those of several datasets in one location
(https://cloud.google.com/bigquery/docs/information-schema-intro).
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from mlsys.cloud.clients import Clients
from mlsys.cloud.quotas import is_quota
from mlsys.cloud.tables import TableRef
from workers.query import select

if TYPE_CHECKING:
    from google.cloud.bigquery import Table

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PartitionState:
    """The rows of a partition, and when it was last written; without a time it does not exist."""

    rows: int = 0
    modified: dt.datetime | None = None


States = dict[str, PartitionState] | None  # by partition; None: not known


def partition_states(
    clients: Clients, name: TableRef, table: Table, partition: str | None = None
) -> States:
    """Return the state of each partition of a table, or only of one; None if it is not known.

    It is not while rows are being streamed into the table: those in the buffer belong to any
    partition. Nor without the permission to list the dataset's tables.
    """
    [states] = states_of_tables(clients, [(name, table)], partition)
    return states


def has_rows(clients: Clients, name: TableRef, table: Table | None) -> bool:
    """Return whether a table has rows, or the partition that it is named with."""
    if table is None or not table.num_rows:
        return False
    if name.partition is None:
        return True
    states = partition_states(clients, name, table, name.partition)
    return states is None or states.get(name.partition, PartitionState()).rows > 0


def states_of_tables(
    clients: Clients, tables: Sequence[tuple[TableRef, Table]], partition: str | None = None
) -> list[States]:
    """Return for each table what `partition_states` does, by one query for those of a location."""
    states: list[States] = [None] * len(tables)
    known = [place for place, (_, table) in enumerate(tables) if table.streaming_buffer is None]

    def location(place: int) -> str:
        return tables[place][1].location or ""  # the local BigQuery has no table's location

    for _, group in groupby(sorted(known, key=location), location):
        places = list(group)
        names = [tables[place][0] for place in places]
        for place, state in zip(places, _states(clients, names, partition), strict=True):
            states[place] = state
    return states


def _states(clients: Clients, names: Sequence[TableRef], partition: str | None) -> list[States]:
    """Return the states of the partitions of tables in one location."""
    from google.api_core.exceptions import Forbidden
    from google.cloud import bigquery

    sql = "\nUNION ALL\n".join(
        f"SELECT {place} AS place, partition_id, SUM(total_rows) AS total_rows, "
        "MAX(last_modified_time) AS modified "
        f"FROM `{name.project}`.`{name.dataset}`.INFORMATION_SCHEMA.PARTITIONS "
        f"WHERE table_name = @name{place} AND (@partition IN ('', partition_id)) "
        "GROUP BY partition_id"
        for place, name in enumerate(names)
    )
    parameters = [
        bigquery.ScalarQueryParameter(f"name{place}", "STRING", name.table)
        for place, name in enumerate(names)
    ]
    one = bigquery.ScalarQueryParameter("partition", "STRING", partition or "")
    try:
        rows = list(select(clients, sql, *parameters, one))
    except Forbidden as exc:
        if is_quota(exc):
            raise
        if len(names) > 1:  # one of the datasets may be listed
            return [each for name in names for each in _states(clients, [name], partition)]
        log.info("The partitions of %s are not known: %s", names[0].base, exc)
        return [None]
    states: list[dict[str, PartitionState]] = [{} for _ in names]
    for row in rows:
        if row["partition_id"] is not None:
            state = PartitionState(int(row["total_rows"]), row["modified"])
            states[row["place"]][row["partition_id"]] = state
    return [*states]
