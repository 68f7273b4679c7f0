"""Load jobs of the local BigQuery: atomic, and with columns matched by name.

It runs within bqemulator's process and replaces its load jobs, which delete the rows of
WRITE_TRUNCATE before they read the files, keep the columns of a truncated table, and fill columns
by position. As BigQuery does it:

- "Creation, truncation and append actions occur as one atomic update upon job completion"
  (https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad).
- WRITE_TRUNCATE takes the job's schema, and the table stays the same one: its partitioning,
  clustering, description and labels remain. Tried on BigQuery by the authors of
  https://github.com/dlt-hub/dlt/pull/4130.
- WRITE_TRUNCATE_DATA replaces the rows, and keeps the table's schema and constraints; the job's
  schema has to fit, as that of an append has to (`writeDisposition` and `schemaUpdateOptions` of
  the same page).
- An append whose schema gives a column another mode is refused ("has changed mode").
- A column that the files lack gets its DEFAULT, or NULL.
"""

from __future__ import annotations

import dataclasses
import importlib
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlsys.columns.names import fold

Key = tuple[str, str, str]


def replace_parquet(executor: Any) -> None:
    """Make bqemulator match the columns of Parquet files by name."""

    def by_name(path: str, target: str, ctx: Any) -> None:
        files = "read_parquet(?, hive_partitioning = false)"
        ctx.engine.execute(f"INSERT INTO {target} BY NAME SELECT * FROM {files}", [path])

    executor._LOAD_FORMAT_HANDLERS["PARQUET"] = by_name


def whole_tables(executor: Any) -> Any:
    """Return a load job for tables without a partition decorator."""
    create = executor.execute_load_job

    async def execute_load_job(
        project_id: str, job_id: str, config: dict[str, Any], ctx: Any
    ) -> Any:
        job = executor._parse_load_job_config(project_id, config)
        key = (job.project_id, job.dataset_id, job.table_id)
        table = ctx.catalog.get_table(*key)
        if table is None:
            try:
                return await create(project_id, job_id, config, ctx)
            except BaseException:
                if ctx.catalog.get_table(*key) is not None:
                    ctx.engine.execute(f"DROP TABLE IF EXISTS {job.target_ref}")
                    ctx.catalog.delete_table(*key)
                raise
        began = ctx.clock.now()
        async with ctx.engine.write_lock():
            before = 0 if truncates(job) else _count(ctx, job.target_ref)
            schema = _load(executor, ctx, job, table)
            after = _count(ctx, job.target_ref)
        now = ctx.clock.now()
        changes = {"num_rows": after, "last_modified_time": now}
        ctx.catalog.update_table(table.model_copy(update=changes | schema))
        async with ctx.engine.write_lock():
            ctx.snapshots.record_change(*key)
        return done(executor, ctx, project_id, job_id, config, began, after - before)

    return execute_load_job


def done(
    executor: Any,
    ctx: Any,
    project_id: str,
    job_id: str,
    config: dict[str, Any],
    began: Any,
    rows: int,
) -> Any:
    """Return bqemulator's record of a load job that has succeeded."""
    return executor.JobMeta(
        project_id=project_id,
        job_id=job_id,
        job_type="LOAD",
        state="DONE",
        configuration=config,
        statistics={"load": {"outputRows": str(rows)}},
        creation_time=began,
        start_time=began,
        end_time=ctx.clock.now(),
        etag=executor.generate_etag(project_id, job_id, str(began)),
    )


def truncates(job: Any) -> bool:
    """Return whether a load job replaces the rows of its table or partition."""
    return job.write_disposition in ("WRITE_TRUNCATE", "WRITE_TRUNCATE_DATA")


@contextmanager
def transaction(ctx: Any) -> Iterator[None]:
    """Undo what was executed if the block raises."""
    ctx.engine.execute("BEGIN TRANSACTION")
    try:
        yield
    except BaseException:
        ctx.engine.execute("ROLLBACK")
        raise
    ctx.engine.execute("COMMIT")


def _load(executor: Any, ctx: Any, job: Any, table: Any) -> dict[str, Any]:
    """Write the files into an existing table; return the changes of its catalog entry."""
    fields = (job.raw_config.get("schema") or {}).get("fields") or []
    paths = [executor._resolve_uri(uri, ctx) for uri in job.source_uris]
    for path in paths:
        executor._validate_local_path(path)
    if job.write_disposition == "WRITE_TRUNCATE" and fields:
        _check_layout(table, fields)
        if _columns(fields) != _columns_of(table):
            return _replace(executor, ctx, job, table, paths, fields)
        routes = importlib.import_module("bqemulator.api.routes.tables")
        models = importlib.import_module("bqemulator.catalog.models")
        schema = {"schema_": models.TableSchema(fields=routes._parse_schema_fields(fields))}
    else:
        _check_modes(table, fields)
        schema = {}
    if truncates(job):
        job = dataclasses.replace(job, write_disposition="WRITE_TRUNCATE")  # bqemulator's only one
    with transaction(ctx):
        executor._apply_load_write_disposition(job, ctx)
        for path in paths:
            executor._load_path_into_target(path, job, ctx)
    return schema


def _replace(
    executor: Any, ctx: Any, job: Any, table: Any, paths: Sequence[str], fields: list[Any]
) -> dict[str, Any]:
    """Replace a table by one with other columns; return the new schema."""
    names = (table.project_id, table.dataset_id)
    staged = executor.quoted_table_ref(*names, f"staged_{uuid.uuid4().hex}")
    with transaction(ctx):
        schema = executor._build_explicit_schema(ctx, staged, fields)
        for path in paths:
            into = dataclasses.replace(job, target_ref=staged)
            executor._load_path_into_target(path, into, ctx)
        ctx.engine.execute(f"DROP TABLE {job.target_ref}")
        name = table.table_id.replace('"', '""')
        ctx.engine.execute(f'ALTER TABLE {staged} RENAME TO "{name}"')
    return {"schema_": schema}


def _check_layout(table: Any, fields: Sequence[Any]) -> None:
    """Check that the schema has the columns that the table is partitioned or clustered by."""
    names = {fold(str(field["name"])) for field in fields}
    specs = (table.time_partitioning, table.range_partitioning)
    for name in [spec.field for spec in specs if spec is not None and spec.field is not None]:
        if fold(name) not in names:
            raise ValueError(f"The field specified for partitioning is not in the schema: {name}")
    for name in table.clustering.fields if table.clustering else ():
        if fold(name) not in names:
            raise ValueError(f"The field specified for clustering is not in the schema: {name}")


def _check_modes(table: Any, fields: Sequence[Any]) -> None:
    """Check that an append changes no column's mode, and adds no column."""
    modes = {fold(field.name): field.mode for field in table.schema_.fields}
    for field in fields:
        name, mode = str(field["name"]), field.get("mode") or "NULLABLE"
        known = modes.get(fold(name))
        problem = (
            f"Cannot add fields (field: {name})"
            if known is None
            else f"Field {name} has changed mode from {known} to {mode}"
        )
        if known != mode:
            place = f"{table.project_id}:{table.dataset_id}.{table.table_id}"
            text = f"Provided Schema does not match Table {place}. {problem}"
            raise ValueError(text)  # a job that failed, not a request that is refused


def _columns(fields: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the names and DuckDB types of columns as the API describes them."""
    types = importlib.import_module("bqemulator.storage.type_map")
    return [(fold(name), kind) for name, kind in types.bq_schema_to_duckdb_columns(list(fields))]


def _columns_of(table: Any) -> list[tuple[str, str]]:
    routes = importlib.import_module("bqemulator.api.routes.tables")
    return _columns([routes._field_to_rest(field) for field in table.schema_.fields])


def _count(ctx: Any, target: str) -> int:
    return int(ctx.engine.execute(f"SELECT COUNT(*) FROM {target}").fetchone()[0])
