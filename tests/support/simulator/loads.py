"""BigQuery's load jobs in memory: atomic as they end, under ids that are taken once."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
from google.api_core.exceptions import BadRequest, InternalServerError, NotFound
from google.cloud import bigquery

from simulator import inputs, removals
from simulator.choices import KINDS
from simulator.kernel import Simulation, call
from simulator.removals import Conflicting
from simulator.storage import PLAIN, Bucket, at
from simulator.tables import Loaded, Rows
from simulator.warehouse import BigQueryClient, QueryJob, already_exists

SECONDS = (2.0, 0.5, 6.0, 20.0, 400.0)  # that a load takes
OFTEN = (10, 10, 8, 4, 1)
# As the client's `_ERROR_REASON_TO_EXCEPTION` has them
ERRORS = {
    "backendError": InternalServerError,
    "notFound": NotFound,
    "invalid": BadRequest,
    "invalidQuery": BadRequest,
}
# By a word of their texts
STATEMENTS = {
    "\nDELETE FROM `": removals.delete,
    "MERGE `": removals.restore,
    ".undo_": removals.copy,
}
QUERIES = {
    "COUNTIF(written.run_id = @run_id": removals.count,
    "AND run_id != @run_id GROUP BY run_id": removals.others,
    "AND run_id IN UNNEST(@void) GROUP BY run_id": removals.undone,
    ".INFORMATION_SCHEMA.PARTITIONS": inputs.partitions,
}


@dataclass(eq=False)
class LoadJob:
    """The client's class, and the job: a load, or a query under an id of its own."""

    job_id: str
    table: str
    simulation: Simulation
    created: Any
    started: Any
    state: str = "RUNNING"
    error_result: dict[str, str] | None = None
    output_rows: int | None = None
    total_bytes_billed: int | None = None
    num_dml_affected_rows: int = 0
    dml_stats: Any = None
    ended: Any = None
    disposition: str = ""  # of a load job that has succeeded
    rows: Rows = field(default_factory=list)  # that it loaded

    def done(self, **_: Any) -> bool:
        def look() -> bool:
            return self.state == "DONE"

        return call("job.done", look, about=self.job_id[-12:], what="load", kinds=PLAIN, answer=str)

    def result(self, **_: Any) -> LoadJob:
        def answer() -> LoadJob:
            if self.error_result is not None:
                error = ERRORS[self.error_result["reason"]]
                raise error(self.error_result.get("message", self.job_id))
            return self

        return call("job.result", answer, about=self.job_id[-12:], what="load", kinds=PLAIN)


class LoadingClient(BigQueryClient):
    """The client of tables, jobs and statements."""

    def __init__(self, simulation: Simulation, runs: Bucket, *statements: str) -> None:
        super().__init__(simulation, *statements)
        self._simulation, self._runs = simulation, runs
        self.loaded: dict[str, Loaded] = {}
        self.ended_loads: list[LoadJob] = []  # that have succeeded, in their order

    def get_table(self, name: str, **_: Any) -> bigquery.Table:
        def get() -> bigquery.Table:
            table = self.loaded.get(name)
            if table is None:
                raise NotFound(name)
            return table.resource(name)

        about = name.rpartition(".")[2]
        copies = {"view_rows": "copy of a view", "undo_": "copy of an undo"}
        what = next((name for word, name in copies.items() if about.startswith(word)), about)
        return call("get_table", get, about=about, what=what, kinds=PLAIN)

    def delete_table(self, name: str, **_: Any) -> None:
        what = name.rpartition(".")[2].partition("_")[0]
        call("delete_table", lambda: self.loaded.pop(name, None), about=name, what=what)

    def load_table_from_uri(
        self, uris: list[str], table: str, job_id: str, job_config: Any, **_: Any
    ) -> LoadJob:
        def start() -> LoadJob:
            end = functools.partial(self._load, uris, table, job_config)
            return self._started(job_id, table, end)

        return call(
            *("load_table_from_uri", start),
            about=f"{len(uris)} files, {job_id[-12:]}",
            what="load",
            kinds=KINDS,
            refusal=lambda: already_exists(job_id),
        )

    def _started(self, job_id: str, table: str, end: Callable[[LoadJob, float], str]) -> LoadJob:
        """Start a job that takes effect at its end, and may fail then."""
        if job_id in self.jobs:
            raise already_exists(job_id)
        choices, now = self._simulation.choices, self._simulation.now
        job = LoadJob(job_id, table, self._simulation, created=at(now), started=at(now))
        self.jobs[job_id] = job

        def ended() -> None:
            job.state, job.ended = "DONE", at(self._simulation.now)
            what = "failed"
            if choices.happens(0.03):
                job.error_result = {"reason": "backendError"}
            else:
                try:
                    what = end(job, self._simulation.now)
                except Conflicting as exc:
                    job.error_result = {"reason": "invalidQuery", "message": str(exc)}
            self._simulation.note(f"the job {job_id[-12:]} ends", what)

        self._simulation.schedule(SECONDS[choices.pick(len(SECONDS), OFTEN)], ended)
        return job

    def _load(self, uris: list[str], table: str, config: Any, job: LoadJob, now: float) -> str:
        """Load the files at the end of a job."""
        rows: Rows = []
        for uri in uris:
            stored = self._runs.objects.get(uri.removeprefix(f"gs://{self._runs.name}/"))
            if stored is None:
                job.error_result = {"reason": "notFound"}
                return "a file is missing"
            rows += pq.read_table(io.BytesIO(stored.content)).to_pylist()
        name, _, partition = table.partition("$")
        into = self.loaded.get(name) or _created(config, now)
        if partition and any(into.part_of(row) != partition for row in rows):
            job.error_result = {"reason": "invalid"}
            return "rows of another partition"
        self.loaded[name] = into
        job.disposition = config.write_disposition.removesuffix("_DATA")
        kept = into.rows
        if job.disposition == "WRITE_TRUNCATE":
            kept = [row for row in kept if partition and into.part_of(row) != partition]
        into.put([*kept, *rows], now)
        job.output_rows, job.rows = len(rows), rows
        self.ended_loads.append(job)
        return f"+{len(rows)} rows"

    def now(self) -> float:
        """Return the time of the true clock."""
        return self._simulation.now

    def query(self, sql: str, job_config: Any, **options: Any) -> Any:
        if job_config.dry_run:
            described = call(
                *("query", lambda: inputs.described(sql, self.loaded, self.now())),
                about="dry run",
                kinds=PLAIN,
            )
            return SimpleNamespace(schema=described, total_bytes_processed=0)
        if sql.startswith("CREATE TABLE IF NOT EXISTS") and "view_rows_" in sql:
            return self._copy(sql, options["job_id"])
        if sql.startswith("SELECT CURRENT_TIMESTAMP() AS now"):
            moment = call(
                *("query", lambda: at(self._simulation.now)),
                about="select current_timestamp",
                kinds=PLAIN,
            )
            return QueryJob(lambda: [{"now": moment}])
        given = {p.name: getattr(p, "value", None) for p in job_config.query_parameters}
        given |= {p.name: p.values for p in job_config.query_parameters if hasattr(p, "values")}
        for word, function in STATEMENTS.items():
            if word in sql:
                return self._change(sql, options["job_id"], function, given)
        for word, query in QUERIES.items():
            if word in sql:
                counted_rows = call(
                    "query",
                    lambda query=query: query(sql, given, self.loaded, self.now()),
                    about=query.__name__,
                    kinds=PLAIN,
                )
                return QueryJob(lambda rows=counted_rows: rows)
        for start, select in (
            ("SELECT COUNT(*) AS n", lambda: inputs.numbers(sql, self.loaded, self.now())),
            ("SELECT 1 FROM", lambda: removals.any_of_run(sql, given, self.loaded)),
        ):
            if sql.startswith(start):
                rows = call("query", select, about=start.lower(), kinds=PLAIN)
                return QueryJob(lambda rows=rows: rows)
        return super().query(sql, job_config, **options)

    def _copy(self, sql: str, job_id: str) -> LoadJob:
        """Start the job that copies the rows of an input into a table."""
        target, query = sql.split("`")[1], sql.partition(" AS\n")[2]

        def start() -> LoadJob:
            rows = inputs.selected(query, self.loaded, self.now())

            def end(job: LoadJob, now: float) -> str:
                self.loaded.setdefault(target, inputs.copied(query, rows, self.loaded, now))
                return f"{len(rows)} rows"

            return self._started(job_id, target, end)

        return call(
            *("query", start),
            about=f"copy, {job_id[-12:]}",
            what="copy of a view",
            refusal=lambda: already_exists(job_id),
        )

    def _change(self, sql: str, job_id: str, function: Any, given: dict[str, Any]) -> LoadJob:
        """Start a statement of an undo."""

        def start() -> LoadJob:
            end = function(sql, given, self.loaded, self.now())
            return self._started(job_id, sql.split("`")[1], end)

        return call(
            *("query", start),
            about=f"{function.__name__}, {job_id[-12:]}",
            what=f"{function.__name__} of an undo",
            refusal=lambda: already_exists(job_id),
        )


def _created(config: Any, now: float) -> Loaded:
    """Return the table that a load job creates."""
    schema = [field.to_api_repr() for field in config.schema]
    if (by := config.range_partitioning) is not None:
        return Loaded(schema, created=now, by_range=by.field)
    return Loaded(schema, created=now, by_day=True)
