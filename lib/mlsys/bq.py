"""BigQuery for notebooks: a query into a DataFrame, a DataFrame into a table.

>>> from mlsys.bq import bq_get, bq_put                                     # doctest: +SKIP
>>> df = bq_get("SELECT * FROM my-project.titanic.train")                   # doctest: +SKIP
>>> bq_put(df.head(), "my-project.titanic.sample", "WRITE_TRUNCATE")        # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlsys.arguments import check_choice, check_query
from mlsys.cloud.clients import TIMEOUT, bigquery_retry, default_clients
from mlsys.cloud.errors import cloud_errors
from mlsys.cloud.messages import Use, words_of
from mlsys.cloud.progress import Done, progress
from mlsys.cloud.query_parameters import query_parameters
from mlsys.cloud.tables import TableRef, find_table, load_rows
from mlsys.columns.arrow_types import sql_name
from mlsys.columns.fitting import fit as _fit
from mlsys.columns.fitting import new_fields, sent_fields
from mlsys.columns.frames import from_frame, to_frame
from mlsys.columns.names import fold
from mlsys.errors import Conflict, InvalidRequest, TableNotFound
from mlsys.plural import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    import pyarrow as pa
    from google.cloud.bigquery import SchemaField, Table

    from mlsys.cloud.clients import Clients

__all__ = ["TableRef", "bq_get", "bq_put"]

WRITE_DISPOSITIONS = ("WRITE_APPEND", "WRITE_TRUNCATE", "WRITE_EMPTY")


def bq_get(query: str, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Run `query` (GoogleSQL) and return its rows; `mlsys.columns.frames` documents the types.

    `params` are the values of the query's parameters, with the types that
    `mlsys.cloud.query_parameters` documents. They are never read as SQL:

    >>> bq_get(                                                             # doctest: +SKIP
    ...     "SELECT * FROM titanic.train WHERE Name = @name AND Pclass IN UNNEST(@classes)",
    ...     {"name": "O'Brien", "classes": [1, 2]},
    ... )

    Raises:
        InvalidRequest: BigQuery refuses the query, and the message quotes its reason; or a
            parameter has no value, no place in the query, or a value without a type of BigQuery.
        TableNotFound: the query names a table or dataset that does not exist.
        Conflict: the query creates something that already exists.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    from google.api_core.exceptions import BadRequest, NotFound
    from google.cloud import bigquery

    query = check_query(query)
    parameters = query_parameters(query, params)
    with cloud_errors(_QUERY):
        clients = default_clients()
        # The local BigQuery keeps query results out of the Storage Read API's reach.
        use_storage_api = not clients.settings.emulators.bigquery
        try:
            config = bigquery.QueryJobConfig(query_parameters=parameters) if parameters else None
            job = clients.bigquery.query(
                query, job_config=config, timeout=TIMEOUT, retry=bigquery_retry()
            )
            with progress("Waiting for the query's result"):
                rows = job.result(retry=bigquery_retry())  # as long as BigQuery lets a query run
            reader = clients.bigquery_read if use_storage_api else None
            total = rows.total_rows or 0
            with progress(f"Downloading {plural(total, 'row')}", total) as done:
                _count_batches(rows, done)
                table = rows.to_arrow(bqstorage_client=reader, create_bqstorage_client=False)
        except BadRequest as exc:
            raise InvalidRequest(("query", words_of(exc))) from exc
        except NotFound as exc:
            raise TableNotFound(words_of(exc)) from exc
    return to_frame(table)


def bq_put(df: pd.DataFrame, table_id: str, write_disposition: str = "WRITE_APPEND") -> None:
    """Write `df` into the table `project.dataset.table`, in one atomic load job.

    A missing table is created with the types of the frame's columns. `bq_get` returns the same
    values: a column with values of two types, or with a value that would change, is refused by
    name. NaN, NaT, NA and None are NULL. The index is left out if it is unnamed row numbers, and
    refused otherwise, because it holds data.

    `write_disposition` is WRITE_APPEND, WRITE_TRUNCATE (replace) or WRITE_EMPTY (refuse a table
    that has rows). Columns of the table that the frame lacks get their DEFAULT, or NULL.
    WRITE_TRUNCATE replaces the columns too, and keeps the table's partitioning, clustering,
    description and labels; a column that keeps its name and type keeps its description. If the
    frame has just the table's columns, its constraints and row access policies stay as well.

    Raises:
        InvalidRequest: a malformed table id, a view or another resource that is not a table, a
            column name that BigQuery does not accept (`mlsys.columns.names`), a named index, values
            that would change, or rows that do not fit the table.
        TableNotFound: the dataset does not exist.
        Conflict: WRITE_EMPTY, and the table has rows.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    from google.api_core.exceptions import BadRequest, NotFound
    from google.api_core.exceptions import Conflict as Duplicate
    from google.cloud import bigquery

    table = TableRef.parse(table_id)
    check_choice(write_disposition, WRITE_DISPOSITIONS, "write_disposition")
    rows = from_frame(df)
    if not rows.num_columns:
        raise InvalidRequest(("df", "has no columns: pass a frame with at least one column"))
    _check_index(df)
    with cloud_errors(_load_of(table)):
        clients = default_clients()
        existing = _table_before(clients, table, write_disposition)
        fields: Sequence[SchemaField]
        if existing is None:
            fields = [bigquery.SchemaField(f.name, sql_name(f.type)) for f in rows.schema]
        elif write_disposition == "WRITE_TRUNCATE":
            fields = new_fields(rows, existing.schema)
            _check_layout(existing, rows, table)
            if list(fields) == list(existing.schema):  # only the rows are replaced
                write_disposition = "WRITE_TRUNCATE_DATA"
        else:
            rows = _fit(rows, existing.schema, str(table))
            fields = sent_fields(rows, existing.schema)
        if clients.settings.emulators.bigquery:
            _check_local(rows)
        try:
            with progress(f"Writing {plural(rows.num_rows, 'row')} into {table}"):
                load_rows(clients, rows, table, fields, write_disposition, layout=existing)
        except Duplicate as exc:
            if write_disposition != "WRITE_EMPTY":
                raise
            raise _filled(table) from exc
        except BadRequest as exc:
            raise InvalidRequest(("df", words_of(exc))) from exc
        except NotFound as exc:
            raise _no_dataset(table) from exc


def _count_batches(rows: Any, done: Done) -> None:
    """Count the rows of each batch that `rows.to_arrow` takes from its own iterator."""
    batches = rows.to_arrow_iterable

    def counted(*args: Any, **options: Any) -> Iterator[Any]:
        for batch in batches(*args, **options):
            done.add(batch.num_rows)
            yield batch

    rows.to_arrow_iterable = counted


_QUERY = Use(
    "BigQuery",
    "the query",
    ("bigquery.jobs.create", "bigquery.tables.getData"),
    "query",
    TableNotFound,
)


def _load_of(table: TableRef) -> Use:
    needed = ("bigquery.jobs.create", "bigquery.tables.create", "bigquery.tables.updateData")
    return Use("BigQuery", str(table), needed, "df", TableNotFound)


def _check_index(df: pd.DataFrame) -> None:
    """Refuse an index that holds data: only columns are written, so it would be lost silently."""
    from pandas.api.types import is_integer_dtype

    index, names = df.index, list(df.index.names)
    if names == [None] and (is_integer_dtype(index.dtype) or not len(index)):
        return
    named = (
        f"named {names[0] if len(names) == 1 else names!r}"
        if names.count(None) < len(names)
        else "of data"
    )
    raise InvalidRequest(
        (
            "df",
            f"has an index {named}, and only columns are written: pass "
            "df.reset_index() to keep it as a column, or df.reset_index(drop=True) to leave it out",
        )
    )


def _table_before(clients: Clients, table: TableRef, write_disposition: str) -> Table | None:
    """Return the table's resource before rows are written, or None if it does not exist.

    Raises:
        InvalidRequest: it is a view, or another resource that a load job cannot write.
        TableNotFound: the dataset does not exist.
        Conflict: WRITE_EMPTY, and the table has rows.
    """
    from google.api_core.exceptions import NotFound

    existing = find_table(clients, table)
    if existing is None:
        dataset = f"{table.project}.{table.dataset}"
        try:
            clients.bigquery.get_dataset(dataset, timeout=TIMEOUT, retry=bigquery_retry())
        except NotFound as exc:
            raise _no_dataset(table) from exc
        return None
    if existing.table_type not in (None, "TABLE"):
        kind = existing.table_type.replace("_", " ")
        text = f"{table} is a {kind}, and only a table can be written: pass a table"
        raise InvalidRequest(("table_id", text))
    if write_disposition == "WRITE_EMPTY" and existing.num_rows:
        raise _filled(table)
    return existing


def _check_layout(existing: Table, rows: pa.Table, table: TableRef) -> None:
    """Refuse rows without the columns that the table is partitioned or clustered by."""
    named = {f"clustered by {name!r}": name for name in existing.clustering_fields or ()}
    for partitioning in (existing.time_partitioning, existing.range_partitioning):
        if partitioning is not None and partitioning.field is not None:
            named[f"partitioned by {partitioning.field!r}"] = partitioning.field
    have = set(map(fold, rows.schema.names))
    if missing := [how for how, name in named.items() if fold(name) not in have]:
        text = f"{table} is {' and '.join(missing)}, and WRITE_TRUNCATE keeps that: add the column"
        raise InvalidRequest(("df", f"{text}, or drop the table first"))


def _check_local(rows: pa.Table) -> None:
    """Refuse values that the local BigQuery would round: it has no BIGNUMERIC."""
    for field in rows.schema:
        if sql_name(field.type) == "BIGNUMERIC":
            text = "needs BIGNUMERIC, which the local BigQuery does not have"
            fix = "Round it to 9 decimal places, or write text"
            raise InvalidRequest(("df", f"column {field.name!r}: {text}. {fix}"))


def _filled(table: TableRef) -> Conflict:
    return Conflict(
        f"{table} has rows, and write_disposition is WRITE_EMPTY: pass another table, "
        "WRITE_APPEND or WRITE_TRUNCATE"
    )


def _no_dataset(table: TableRef) -> TableNotFound:
    return TableNotFound(
        f"The dataset {table.project}.{table.dataset} does not exist: create it first, for "
        f"instance with bq_get('CREATE SCHEMA `{table.project}.{table.dataset}`')"
    )
