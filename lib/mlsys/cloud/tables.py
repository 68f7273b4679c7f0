"""BigQuery's tables: their names, their resources, and rows loaded into one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from mlsys.arguments import check_text
from mlsys.cloud.clients import TIMEOUT, bigquery_retry
from mlsys.cloud.partitions import WORDS
from mlsys.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from google.cloud.bigquery import SchemaField, Table

    from mlsys.cloud.clients import Clients

# Project, dataset and table ids as BigQuery documents them, less what needs quoting somewhere:
# https://cloud.google.com/resource-manager/docs/creating-managing-projects (a domain may stand
# before the project), https://cloud.google.com/bigquery/docs/datasets#dataset-naming,
# https://cloud.google.com/bigquery/docs/tables#table_naming
_TABLE_ID = re.compile(
    r"(?P<project>(?:[a-z0-9][a-z0-9.-]{0,61}[a-z0-9]:)?[a-z][a-z0-9-]{4,28}[a-z0-9])"
    r"\.(?P<dataset>[A-Za-z0-9_]{1,1024})"
    r"\.(?P<table>[\w-]{1,1024})"
    r"(?:\$(?P<partition>[0-9]{1,19}))?"
)


@dataclass(frozen=True, slots=True, order=True)
class TableRef:
    """A BigQuery table by its three names, or one partition of it."""

    project: str
    dataset: str
    table: str
    partition: str | None = None  # the part after the $ of a partition decorator

    @classmethod
    def parse(cls, text: str, parameter: str = "table_id", *, partition: bool = False) -> Self:
        """Parse `project.dataset.table`, with `partition` also `project.dataset.table$20261122`.

        >>> TableRef.parse("my-project.titanic.train").path
        'projects/my-project/datasets/titanic/tables/train'

        Raises:
            InvalidRequest: the text is anything else; the message names `parameter`.
        """
        text = check_text(text, parameter, "pass project.dataset.table")
        match = _TABLE_ID.fullmatch(text)
        if match is None:
            table, mark, name = text.partition("$")
            if mark and partition and _TABLE_ID.fullmatch(table):
                raise InvalidRequest(
                    (
                        parameter,
                        f"{name[:80]!r} names no partition: pass one by its time or number, such "
                        f"as {table[:200]}$20261122, or by one of the words {', '.join(WORDS)}",
                    )
                )
            raise InvalidRequest(
                (parameter, f"{text[:200]!r} is not a table id: pass project.dataset.table")
            )
        if match["partition"] is not None and not partition:
            raise InvalidRequest(
                (parameter, f"{text[:200]!r} is a partition: pass the table, without the $")
            )
        return cls(**match.groupdict())

    @property
    def base(self) -> TableRef:
        """The table without its partition."""
        return TableRef(self.project, self.dataset, self.table)

    @property
    def path(self) -> str:
        """The resource name that the Storage Read API takes."""
        return f"projects/{self.project}/datasets/{self.dataset}/tables/{self.table}"

    def __str__(self) -> str:
        decorator = "" if self.partition is None else f"${self.partition}"
        return f"{self.project}.{self.dataset}.{self.table}{decorator}"


def load_rows(
    clients: Clients,
    rows: pa.Table,
    table: TableRef,
    schema: Sequence[SchemaField],
    write_disposition: str,
    *,
    layout: Table | None = None,
) -> None:
    """Load Arrow rows into a table by one job and wait for it; errors are Google's own.

    `layout` is the table whose partitioning and clustering the job keeps, by naming them.
    """
    import io

    import pyarrow.parquet as pq
    from google.cloud import bigquery

    buffer = io.BytesIO()
    pq.write_table(rows, buffer, coerce_timestamps="us")
    buffer.seek(0)
    config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        write_disposition=write_disposition,
        schema=schema,
        column_name_character_map="STRICT",  # else a project's setting may rename columns
    )
    if layout is not None and write_disposition == "WRITE_TRUNCATE":
        config.time_partitioning = layout.time_partitioning
        config.range_partitioning = layout.range_partitioning
        config.clustering_fields = layout.clustering_fields
    # No size: the client then uploads in resumable chunks, which it retries on its own.
    job = clients.bigquery.load_table_from_file(buffer, str(table), job_config=config)
    job.result(timeout=600, retry=bigquery_retry())


def find_table(clients: Clients, table: TableRef) -> Table | None:
    """Return the table's current resource (never a partition's), or None if it does not exist."""
    from google.api_core.exceptions import NotFound

    try:
        return clients.bigquery.get_table(str(table.base), timeout=TIMEOUT, retry=bigquery_retry())
    except NotFound:
        return None
