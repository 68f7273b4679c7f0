"""BigQuery's load jobs in memory: atomic as they end, under ids that are taken once."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from google.api_core.exceptions import BadRequest, InternalServerError, NotFound
from google.cloud import bigquery

from simulator.choices import KINDS
from simulator.kernel import Simulation, call
from simulator.selections import (
    arrived,
    counted,
    lacking,
    renamed,
    snapshot,
    source_of,
    within,
)
from simulator.storage import PLAIN, START, Bucket, at
from simulator.warehouse import BigQueryClient, QueryJob, already_exists

SECONDS = (2.0, 0.5, 6.0, 20.0, 400.0)  # that a load takes
OFTEN = (10, 10, 8, 4, 1)
ALWAYS = -1e9  # since when rows are there that no history adds
COLUMNS = {
    "id": "INT64",
    "y": "FLOAT64",
    "predicted_at": "TIMESTAMP",
    "model_name": "STRING",
    "model_version": "STRING",
    "run_id": "STRING",
}  # of an output table
TYPES = {"int64": "INT64", "double": "FLOAT64"}
# As the client's `_ERROR_REASON_TO_EXCEPTION` has them
ERRORS = {"backendError": InternalServerError, "notFound": NotFound, "invalid": BadRequest}


@dataclass(eq=False)
class Loaded:
    """A table that runs read and write."""

    schema: list[dict[str, Any]]
    rows: list[dict[str, Any]] = field(default_factory=list)
    created: float = 0.0
    modified: float = 0.0
    kind: str = "TABLE"
    by_day: bool = False  # partitioned by predicted_at
    arrow: pa.Table | None = None  # has the schema, where sessions read the rows
    since: list[float] | None = None  # when each row came; None: all of them were always there

    def at(self, moment: float, now: float) -> list[dict[str, Any]]:
        """Return the rows at a moment.

        Raises:
            BadRequest: it lies in the future.
        """
        return arrived(self.rows, self.since or [ALWAYS] * len(self.rows), moment, now)

    def append(self, rows: list[dict[str, Any]], now: float) -> None:
        """Add rows that come now."""
        self.since = [*(self.since or [ALWAYS] * len(self.rows)), *(now for _ in rows)]
        self.rows, self.modified = [*self.rows, *rows], now


@dataclass(eq=False)
class LoadJob:
    """The client's class, and the job."""

    job_id: str
    uris: list[str]
    table: str
    config: Any
    simulation: Simulation
    state: str = "RUNNING"
    error_result: dict[str, str] | None = None
    output_rows: int | None = None
    total_bytes_billed: int | None = None
    num_dml_affected_rows: int = 0
    created: Any = None
    started: Any = None
    ended: Any = None

    def done(self, **_: Any) -> bool:
        def look() -> bool:
            return self.state == "DONE"

        return call("job.done", look, about=self.job_id[-12:], what="load", kinds=PLAIN, answer=str)

    def result(self, **_: Any) -> LoadJob:
        def answer() -> LoadJob:
            if self.error_result is not None:
                raise ERRORS[self.error_result["reason"]](self.job_id)
            return self

        return call("job.result", answer, about=self.job_id[-12:], what="load", kinds=PLAIN)


class LoadingClient(BigQueryClient):
    """The client of tables, jobs and statements."""

    def __init__(self, simulation: Simulation, runs: Bucket, *statements: str) -> None:
        super().__init__(simulation, *statements)
        self._simulation, self._runs = simulation, runs
        self.loaded: dict[str, Loaded] = {}

    def get_table(self, name: str, **_: Any) -> bigquery.Table:
        def get() -> bigquery.Table:
            table = self.loaded.get(name)
            if table is None:
                raise NotFound(name)
            return _resource(name, table)

        about = name.rpartition(".")[2]
        what = "copy of a view" if "view_rows" in about else about
        return call("get_table", get, about=about, what=what, kinds=PLAIN)

    def load_table_from_uri(
        self, uris: list[str], table: str, job_id: str, job_config: Any, **_: Any
    ) -> LoadJob:
        def start() -> LoadJob:
            if job_id in self.jobs:
                raise already_exists(job_id)
            job = LoadJob(job_id, uris, table, job_config, self._simulation)
            self.jobs[job_id] = job
            seconds = SECONDS[self._simulation.choices.pick(len(SECONDS), OFTEN)]
            self._simulation.schedule(seconds, lambda: self._end(job))
            return job

        return call(
            *("load_table_from_uri", start),
            about=f"{len(uris)} files, {job_id[-12:]}",
            what="load",
            kinds=KINDS,
            refusal=lambda: already_exists(job_id),
        )

    def _end(self, job: LoadJob) -> None:
        job.state, job.ended = "DONE", at(self._simulation.now)
        if self._simulation.choices.happens(0.03):
            job.error_result = {"reason": "backendError"}
            self._simulation.note(f"the load job {job.job_id[-12:]} ends", "failed")
            return
        rows: list[dict[str, Any]] = []
        for uri in job.uris:
            stored = self._runs.objects.get(uri.removeprefix(f"gs://{self._runs.name}/"))
            if stored is None:
                job.error_result = {"reason": "notFound"}
                return
            rows += pq.read_table(io.BytesIO(stored.content)).to_pylist()
        name, _, partition = job.table.partition("$")
        if partition and any(_day(row) != partition for row in rows):
            job.error_result = {"reason": "invalid"}
            return
        schema = [field.to_api_repr() for field in job.config.schema]
        new = Loaded(schema, created=self._simulation.now, by_day=True)
        table = self.loaded.setdefault(name, new)
        if job.config.write_disposition.startswith("WRITE_TRUNCATE"):
            table.rows = [row for row in table.rows if partition and _day(row) != partition]
        table.rows = [*table.rows, *rows]
        table.modified = self._simulation.now
        job.output_rows = len(rows)
        self._simulation.note(f"the load job {job.job_id[-12:]} ends", f"+{len(rows)} rows")

    def rows_of(self, name: str, moment: float | None, condition: str) -> pa.Table | None:
        """Return the rows that a session reads, at a moment of the history; None without the table.

        Raises:
            BadRequest: the moment lies in the future.
        """
        table = self.loaded.get(name)
        if table is None or table.arrow is None:
            return None
        rows = table.at(self.now() if moment is None else moment, self.now())
        return pa.Table.from_pylist(within(rows, condition), table.arrow.schema)

    def now(self) -> float:
        """Return the time of the true clock."""
        return self._simulation.now

    def query(self, sql: str, job_config: Any, **options: Any) -> Any:
        if job_config.dry_run:
            return self._dry_run(sql)
        if sql.startswith("CREATE TABLE IF NOT EXISTS"):
            return self._copy(sql, options["job_id"])
        if sql.startswith("SELECT CURRENT_TIMESTAMP() AS now"):
            moment = call(
                *("query", lambda: at(self._simulation.now)),
                about="select current_timestamp",
                kinds=PLAIN,
            )
            return QueryJob(lambda: [{"now": moment}])
        given = {p.name: getattr(p, "value", None) for p in job_config.query_parameters}
        if "\nDELETE FROM `" in sql:
            return self._delete(sql, given, options["job_id"])
        if "COUNTIF(written.run_id = @run_id" in sql:
            name = sql.partition("FROM `")[2].partition("`")[0]
            counted_rows = call(
                *("query", lambda: _count_of(self.loaded[name].rows, given)),
                about="count of a run's rows",
                kinds=PLAIN,
            )
            return QueryJob(lambda: [counted_rows])
        for start, select in (
            ("SELECT COUNT(*) AS n", lambda: [counted(sql, self._selected(sql))]),
            ("SELECT 1 FROM", lambda: _of_run(self.loaded[sql.split("`")[1]].rows, given)),
        ):
            if sql.startswith(start):
                rows = call("query", select, about=start.lower(), kinds=PLAIN)
                return QueryJob(lambda rows=rows: rows)
        return super().query(sql, job_config, **options)

    def _selected(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query of an input, or of a whole table."""
        if "` AS `" not in sql:
            return self.loaded[sql.split("`")[1]].rows
        now, condition = self.now(), sql.partition(" WHERE ")[2]
        rows = within(self.loaded[source_of(sql)].at(snapshot(sql, now), now), condition)
        return lacking(rows, condition, lambda name: self.loaded[name].rows)

    def _dry_run(self, sql: str) -> Any:
        """Return what `SELECT * FROM` a view would give, or a query of an input."""
        table = self.loaded[source_of(sql) if "` AS `" in sql else sql.split("`")[1]]

        def look() -> Any:
            if "` AS `" in sql:
                self._selected(sql)
            fields = [bigquery.SchemaField.from_api_repr(field) for field in table.schema]
            return SimpleNamespace(schema=fields, total_bytes_processed=0)

        return call("query", look, about="dry run", kinds=PLAIN)

    def _copy(self, sql: str, job_id: str) -> LoadJob:
        """Start the job that copies the rows of an input into a table."""
        target, query = sql.split("`")[1], sql.partition(" AS\n")[2]

        def end(job: LoadJob, rows: list[dict[str, Any]]) -> None:
            job.state, job.ended = "DONE", at(self._simulation.now)
            if self._simulation.choices.happens(0.03):
                job.error_result = {"reason": "backendError"}
                return
            self.loaded.setdefault(target, self._copied(query, rows))
            self._simulation.note(f"the query {job_id[-12:]} ends", f"{len(rows)} rows")

        def start() -> LoadJob:
            if job_id in self.jobs:
                raise already_exists(job_id)
            rows = self._selected(query)
            job = LoadJob(job_id, [], target, None, self._simulation)
            self.jobs[job_id] = job
            seconds = SECONDS[self._simulation.choices.pick(len(SECONDS), OFTEN)]
            self._simulation.schedule(seconds, lambda: end(job, rows))
            return job

        return call(
            *("query", start),
            about=f"copy, {job_id[-12:]}",
            what="copy of a view",
            refusal=lambda: already_exists(job_id),
        )

    def _delete(self, sql: str, given: dict[str, Any], job_id: str) -> LoadJob:
        """Start the statement that removes the rows of a run."""
        table = self.loaded[sql.partition("DELETE FROM `")[2].partition("`")[0]]

        def end(job: LoadJob) -> None:
            job.state, job.ended = "DONE", at(self._simulation.now)
            kept = [row for row in table.rows if row["run_id"] != given["run_id"]]
            job.num_dml_affected_rows = len(table.rows) - len(kept)
            if job.num_dml_affected_rows:
                table.rows, table.modified = kept, self._simulation.now
            self._simulation.note(f"{job_id[-12:]} ends", f"-{job.num_dml_affected_rows} rows")

        def start() -> LoadJob:
            if job_id in self.jobs:
                raise already_exists(job_id)
            job = LoadJob(job_id, [], "", None, self._simulation)
            self.jobs[job_id] = job
            seconds = SECONDS[self._simulation.choices.pick(len(SECONDS), OFTEN)]
            self._simulation.schedule(seconds, lambda: end(job))
            return job

        return call("query", start, about=f"delete, {job_id[-12:]}", what="deletion of a run")

    def _copied(self, sql: str, rows: list[dict[str, Any]]) -> Loaded:
        """Return the table that has the rows of a query, under the names that it gives them."""
        source, names = self.loaded[source_of(sql)], renamed(sql)
        assert source.arrow is not None
        arrow = pa.Table.from_pylist(rows, source.arrow.schema)
        if names:
            arrow = arrow.select(list(names)).rename_columns(list(names.values()))
        now = self._simulation.now
        copy = input_of(arrow, "TABLE")
        copy.created = copy.modified = now
        return copy


def _count_of(rows: list[dict[str, Any]], given: dict[str, Any]) -> dict[str, int]:
    own = sum(row["run_id"] == given["run_id"] for row in rows)
    return {"total": len(rows), "own": own, "content": 0}


def _of_run(rows: list[dict[str, Any]], given: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"f0_": 1} for row in rows if row["run_id"] == given["run_id"]][:1]


def _resource(name: str, table: Loaded) -> bigquery.Table:
    project, dataset, table_id = name.split(".")
    resource = {
        "tableReference": {"projectId": project, "datasetId": dataset, "tableId": table_id},
        "type": table.kind,
        "location": "US",
        "schema": {"fields": table.schema},
        "creationTime": _milliseconds(table.created),
        "lastModifiedTime": _milliseconds(table.modified),
    }
    if table.kind == "TABLE":
        resource["numRows"] = str(len(table.rows))
    if table.by_day:
        resource["timePartitioning"] = {"type": "DAY", "field": "predicted_at"}
    return bigquery.Table.from_api_repr(resource)


def _day(row: dict[str, Any]) -> str:
    return f"{row['predicted_at']:%Y%m%d}"


def _milliseconds(seconds: float) -> str:
    return str(int((START.timestamp() + seconds) * 1000))


def input_of(rows: pa.Table, kind: str) -> Loaded:
    """Return Arrow rows as a table, or as a view."""
    schema = [{"name": f.name, "type": TYPES[str(f.type)], "mode": "NULLABLE"} for f in rows.schema]
    times = {"created": -1000.0, "modified": -500.0}
    return Loaded(schema, rows.to_pylist(), **times, kind=kind, arrow=rows)


def filled_output(rows: Sequence[dict[str, Any]]) -> Loaded:
    """Return an output table that an earlier run has created."""
    schema = [{"name": name, "type": kind, "mode": "NULLABLE"} for name, kind in COLUMNS.items()]
    return Loaded(schema, list(rows), created=-900.0, modified=-800.0, by_day=True)
