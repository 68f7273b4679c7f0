"""Partitions of tables in the local BigQuery, which bqemulator lacks.

It runs within bqemulator's process and replaces functions of exactly the release that the extra
`local` pins. A load into `table$20261123` writes that one partition, as BigQuery does it:
https://cloud.google.com/bigquery/docs/managing-partitioned-table-data#load-data-partition.
A table keeps how it is partitioned, whether a load, the API or a statement created it. Partitions
by ingestion time are refused, because bqemulator does not record when a row arrived.
"""

from __future__ import annotations

import dataclasses
import importlib
import uuid
from collections.abc import Mapping
from typing import Any

from mlsys.local.loads import done, replace_parquet, transaction, truncates, whole_tables

FORMATS = {"HOUR": "%Y%m%d%H", "DAY": "%Y%m%d", "MONTH": "%Y%m", "YEAR": "%Y"}


def install() -> None:
    """Replace bqemulator's functions in this process."""
    modules: list[Any] = [
        importlib.import_module(f"bqemulator.{name}")
        for name in (
            "api.routes.jobs",
            "api.routes.tables",
            "api.routes.upload",
            "jobs.executor",
            "scripting.interpreter",
        )
    ]
    jobs, tables, upload, executor, interpreter = modules
    replace_parquet(executor)
    load = _loads(executor, whole_tables(executor))
    for module in (jobs, upload):
        module.execute_load_job = load
    sync = _statements(executor.sync_created_table)
    for module in (executor, interpreter):
        module.sync_created_table = sync
    to_rest, from_rest = tables._table_to_rest, tables._rest_to_table_meta

    def table_to_rest(table: Any) -> dict[str, Any]:
        body: dict[str, Any] = to_rest(table)
        if spec := table.range_partitioning:
            limits = {k: str(getattr(spec, k)) for k in ("start", "end", "interval")}
            body["rangePartitioning"] = {"field": spec.field, "range": limits}
        return body

    def rest_to_table(*args: Any) -> Any:
        body, existing = args[2], args[4] if len(args) > 4 else None
        kept = {"range_partitioning": existing.range_partitioning} if existing else {}
        return from_rest(*args).model_copy(update=kept | _partitioning(body))

    tables._table_to_rest, tables._rest_to_table_meta = table_to_rest, rest_to_table


def _loads(executor: Any, whole: Any) -> Any:
    """Return a load job that supports partitions; `whole` loads a table without a decorator."""

    async def execute_load_job(
        project_id: str, job_id: str, config: dict[str, Any], ctx: Any
    ) -> Any:
        began, load = ctx.clock.now(), config.get("load", {})
        into = load.get("destinationTable", {})
        name, decorated, partition = str(into.get("tableId", "")).partition("$")
        base = config | {"load": load | {"destinationTable": into | {"tableId": name}}}
        key = (into.get("projectId", project_id), into.get("datasetId", ""), name)
        if ctx.catalog.get_table(*key) is None:
            if not decorated:
                job = await whole(project_id, job_id, config, ctx)
                _keep(ctx, key, _partitioning(load))
                return job
            names = dict(zip(("dest_project", "dest_dataset", "dest_table_id"), key, strict=True))
            executor._maybe_create_load_destination(
                **names, load_config=load, now=ctx.clock.now(), ctx=ctx
            )
            _keep(ctx, key, _partitioning(load))
        table = ctx.catalog.get_table(*key)
        if not decorated or table is None:
            return await whole(project_id, job_id, base, ctx)
        async with ctx.engine.write_lock():
            rows = _load_partition(executor, ctx, table, partition, project_id, base)
        total = executor._refresh_load_row_count(
            executor._parse_load_job_config(project_id, base), ctx
        )
        ctx.catalog.update_table(table.model_copy(update={"num_rows": total}))
        async with ctx.engine.write_lock():
            ctx.snapshots.record_change(*key)
        return done(executor, ctx, project_id, job_id, config, began, rows)

    return execute_load_job


def _load_partition(
    executor: Any, ctx: Any, table: Any, partition: str, project_id: str, config: dict[str, Any]
) -> int:
    """Load the files into one partition and return their number of rows, atomically.

    Raises:
        ValueError: the table has no such partition, or rows belong to another one.
    """
    job = executor._parse_load_job_config(project_id, config)
    inside = _condition(table, partition)
    staged = executor.quoted_table_ref(
        table.project_id, table.dataset_id, f"staged_{uuid.uuid4().hex}"
    )
    target = job.target_ref

    def count(source: str, condition: str) -> int:
        row = ctx.engine.execute(f"SELECT COUNT(*) FROM {source} WHERE {condition}").fetchone()
        return int(row[0])

    ctx.engine.execute(f"CREATE TABLE {staged} AS SELECT * FROM {target} LIMIT 0")
    try:
        for uri in job.source_uris:
            path = executor._resolve_uri(uri, ctx)
            executor._validate_local_path(path)
            executor._load_path_into_target(path, dataclasses.replace(job, target_ref=staged), ctx)
        if count(staged, f"({inside}) IS NOT TRUE"):
            raise ValueError(
                "Some rows belong to different partitions rather than destination partition "
                f"{table.table_id}${partition}"
            )
        if job.write_disposition == "WRITE_EMPTY" and count(target, inside):
            raise executor.InvalidQueryError(f"{table.table_id}${partition} is not empty")
        rows = count(staged, "TRUE")
        with transaction(ctx):
            if truncates(job):
                ctx.engine.execute(f"DELETE FROM {target} WHERE {inside}")
            ctx.engine.execute(f"INSERT INTO {target} SELECT * FROM {staged}")
        return rows
    finally:
        ctx.engine.execute(f"DROP TABLE IF EXISTS {staged}")


def _condition(table: Any, partition: str) -> str:
    """Return DuckDB's condition for the rows of a partition."""
    if spec := table.range_partitioning:
        start, width = int(partition), spec.interval
        if not spec.start <= start < spec.end or (start - spec.start) % width:
            raise ValueError(f"{table.table_id} has no partition ${partition}")
        column = quoted(spec.field)
        return f"{column} >= {start} AND {column} < {min(start + width, spec.end)}"
    spec = table.time_partitioning
    if spec is None:
        raise ValueError(f"{table.table_id} is not partitioned")
    if spec.field is None:
        raise ValueError("The local BigQuery has no partitions by ingestion time")
    if not partition.isdecimal():
        raise ValueError(f"{table.table_id} has no partition ${partition}")
    return f"strftime({quoted(spec.field)}, '{FORMATS[spec.type]}') = '{partition}'"


def _statements(sync: Any) -> Any:
    """Return a `sync_created_table` that keeps every form of PARTITION BY."""

    def sync_created_table(sql: str, project_id: str, ctx: Any) -> None:
        sync(sql, project_id, ctx)
        ddl = importlib.import_module("bqemulator.catalog.ddl_sync")
        target = ddl._detect_plain_create_table(sql)
        if target is not None:
            key = ddl._split_target(target, project_id)
            _keep(ctx, key, _stated(sql))
            ctx.snapshots.record_change(*key)

    return sync_created_table


def _stated(sql: str) -> dict[str, Any]:
    """Return the partitions, clusters and labels of a CREATE TABLE."""
    import sqlglot
    from sqlglot import exp

    properties = sqlglot.parse_one(sql, read="bigquery").args.get("properties")
    stated: dict[str, Any] = {}
    for entry in properties.expressions if properties else ():
        if isinstance(entry, exp.PartitionedByProperty):
            stated |= _partitioned_by(entry.this)
        elif isinstance(entry, exp.ClusterProperty):
            stated |= _partitioning({"clustering": {"fields": [c.name for c in entry.expressions]}})
        elif entry.name.lower() == "labels":
            pairs = entry.args["value"].expressions
            stated["labels"] = {p.expressions[0].name: p.expressions[1].name for p in pairs}
    return stated


def _partitioned_by(form: Any) -> dict[str, Any]:
    """Return the partitioning of PARTITION BY, or {} for a bare column, which bqemulator reads."""
    from sqlglot import exp

    column = form.find(exp.Column)
    if column is None:
        return {}
    if isinstance(form, exp.RangeBucket):
        series = form.expression
        limits = {key: series.args[key].name for key in ("start", "end", "step")}
        limits["interval"] = limits.pop("step")
        return _partitioning({"rangePartitioning": {"field": column.name, "range": limits}})
    unit = form.args.get("unit")
    kind = unit.name.upper() if unit is not None else "DAY"
    return _partitioning({"timePartitioning": {"field": column.name, "type": kind}})


def _partitioning(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request's partitions and clusters as bqemulator's catalog keeps them."""
    models = importlib.import_module("bqemulator.catalog.models")
    if spec := body.get("clustering"):
        rest = {key: value for key, value in body.items() if key != "clustering"}
        clustering = models.Clustering(fields=tuple(spec["fields"]))
        return {"clustering": clustering} | _partitioning(rest)
    if spec := body.get("rangePartitioning"):
        limits = {k: int(spec["range"][k]) for k in ("start", "end", "interval")}
        return {"range_partitioning": models.RangePartitioning(field=spec["field"], **limits)}
    if spec := body.get("timePartitioning"):
        kind = {"type": spec.get("type", "DAY"), "field": spec.get("field")}
        needs = {"require_partition_filter": bool(spec.get("requirePartitionFilter"))}
        return {"time_partitioning": models.TimePartitioning(**kind, **needs)}
    return {}


def _keep(ctx: Any, key: tuple[str, str, str], partitioning: Mapping[str, Any]) -> None:
    table = ctx.catalog.get_table(*key)
    if table is not None and partitioning:
        ctx.catalog.update_table(table.model_copy(update=dict(partitioning)))


def quoted(column: str) -> str:
    """Return a column as DuckDB's SQL names it."""
    return '"' + column.replace('"', '""') + '"'
