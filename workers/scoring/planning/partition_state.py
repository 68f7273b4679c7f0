"""The state of single partitions of a table, as BigQuery's `INFORMATION_SCHEMA.PARTITIONS` has it.

https://cloud.google.com/bigquery/docs/information-schema-partitions: the time of the last write,
which deletions may leave as it is, and the number of rows, which they change.
"""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass
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


def partition_states(
    clients: Clients, name: TableRef, table: Table, partition: str | None = None
) -> dict[str, PartitionState] | None:
    """Return the state of each partition of a table, or only of one; None if it is not known.

    It is not while rows are being streamed into the table: those in the buffer belong to any
    partition. Nor without the permission to list the dataset's tables.
    """
    from google.api_core.exceptions import Forbidden
    from google.cloud import bigquery

    if table.streaming_buffer is not None:
        return None
    sql = (
        "SELECT partition_id, SUM(total_rows) AS total_rows, MAX(last_modified_time) AS modified "
        f"FROM `{name.project}`.`{name.dataset}`.INFORMATION_SCHEMA.PARTITIONS "
        "WHERE table_name = @name AND (@partition IN ('', partition_id)) GROUP BY partition_id"
    )
    try:
        rows = select(
            clients,
            sql,
            bigquery.ScalarQueryParameter("name", "STRING", name.table),
            bigquery.ScalarQueryParameter("partition", "STRING", partition or ""),
        )
    except Forbidden as exc:
        if is_quota(exc):
            raise
        log.info("The partitions of %s are not known: %s", name.base, exc)
        return None
    return {
        row["partition_id"]: PartitionState(int(row["total_rows"]), row["modified"])
        for row in rows
        if row["partition_id"] is not None
    }
