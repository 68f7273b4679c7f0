"""BigQuery in memory: tables, statements as jobs, and what concurrent ones do to each other.

- A statement works on a snapshot taken at its start, and its changes become visible at once, at
  its end. It ends whether its caller waits or not, and its answer can be lost.
- Two statements that change rows of one partition conflict if they overlap; the later one fails. A
  MERGE that only inserts conflicts with none. Two of them run at a time and 20 wait
  (https://cloud.google.com/bigquery/docs/data-manipulation-language#dml-limitations).
- The texts are those of https://cloud.google.com/bigquery/docs/error-messages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

from google.api_core.exceptions import BadRequest, Conflict, NotFound

from simulator import run_statements, statements
from simulator.choices import KINDS, REPEATED
from simulator.kernel import Actor, Simulation, call, current
from simulator.statements import Replace, Values, names
from simulator.storage import PLAIN

FUNCTIONS = statements.FUNCTIONS | run_statements.FUNCTIONS
RUNNING, QUEUED = 2, 20
SECONDS = (1.0, 0.5, 2.0, 4.0, 30.0)  # that a statement takes
OFTEN = (10, 10, 8, 4, 1)
CONFLICT = "Could not serialize access to table {} due to concurrent update; reason: invalidQuery"
TOO_MANY = "Too many DML statements outstanding against table {}, limit is 20."
# The client repeats the start of a query by the id that it gave it: the answer is found again.
STARTS = tuple(kind for kind in KINDS if kind != REPEATED)


class UnknownStatement(AssertionError):
    """The code under test ran SQL that has no function in `statements`."""


@dataclass(eq=False)
class Row:
    """A row of a table, with the day that is its partition."""

    values: Values
    day: int
    by: Merge | None = None


@dataclass(eq=False)
class Merge:
    """A statement that replaces rows."""

    name: str
    change: Replace
    owner: Actor | None
    table: Table
    asked: float = 0.0  # when its caller started it
    ended: float | None = None
    state: str = "queued"  # running, done, failed
    deletes: list[Row] = field(default_factory=list)  # by its snapshot
    changed: set[int] = field(default_factory=set)  # partitions that others changed meanwhile
    waiting: list[Actor] = field(default_factory=list)


@dataclass(eq=False)
class Table:
    """Rows, and the statements on them that have not ended."""

    name: str
    simulation: Simulation
    rows: list[Row] = field(default_factory=list)
    merges: list[Merge] = field(default_factory=list)
    ended: list[Merge] = field(default_factory=list)
    changed: Callable[[Merge, list[Values]], None] = lambda merge, before: None

    def values(self) -> list[Values]:
        """Return the rows that everybody sees now."""
        return [row.values for row in self.rows]

    def begin(self, merge: Merge) -> None:
        """Accept a statement: it runs, or it waits."""
        if len(self.merges) >= RUNNING + QUEUED:
            raise BadRequest(TOO_MANY.format(self.name))
        self.merges.append(merge)
        self._start()

    def _start(self) -> None:
        for merge in self.merges[:RUNNING]:
            if merge.state == "queued":
                merge.state = "running"
                merge.deletes = [row for row in self.rows if merge.change.deletes(row.values)]
                seconds = SECONDS[self.simulation.choices.pick(len(SECONDS), OFTEN)]
                self.simulation.schedule(seconds, lambda merge=merge: self._end(merge))

    def _end(self, merge: Merge) -> None:
        self.merges.remove(merge)
        self.ended.append(merge)
        merge.ended = self.simulation.now
        days = {row.day for row in merge.deletes}
        merge.state = "failed" if days & merge.changed else "done"
        before = self.values()
        if merge.state == "done":
            self.rows = [row for row in self.rows if row not in merge.deletes]
            today = int(self.simulation.now // 86_400)
            self.rows += [Row(values, today, merge) for values in merge.change.rows]
            for other in self.merges:
                if other.state == "running":
                    other.changed |= days
        owner = merge.owner.name if merge.owner is not None else "somebody"
        removed, added = len(merge.deletes), len(merge.change.rows)
        what = f"-{removed} +{added} rows" if merge.state == "done" else "conflict"
        self.simulation.note(f"{merge.name} of {owner} ends", what)
        self.changed(merge, before)
        for actor in merge.waiting:
            self.simulation.schedule(0.0, actor)
        self._start()


class Looked(NamedTuple):
    """A query that an actor compared the bucket with."""

    statement: str
    given: dict[str, Any]
    actor: Actor
    at: float


class QueryJob:
    """The client's class: a query that was started, and is not charged for."""

    job_id = total_bytes_billed = None

    def __init__(self, result: Callable[[], list[Values]], merge: Merge | None = None) -> None:
        self._result, self._merge = result, merge

    def result(self, **_: Any) -> list[Values]:
        return self._result()

    @property
    def state(self) -> str:
        over = self._merge is None or self._merge.ended is not None
        return "DONE" if over else "RUNNING"

    @property
    def error_result(self) -> dict[str, str] | None:
        failed = self._merge is not None and self._merge.state == "failed"
        return {"reason": "invalidQuery"} if failed else None


class BigQueryClient:
    """The client of all tables of one dataset."""

    def __init__(self, simulation: Simulation, *tables: str) -> None:
        self.tables = {name: Table(name, simulation) for name in tables}
        self.looks: list[Looked] = []
        self.jobs: dict[str, Any] = {}  # those whose callers named them

    def get_dataset(self, name: str, **_: Any) -> Any:
        dataset = SimpleNamespace(location="US", max_time_travel_hours="48")
        return call("get_dataset", lambda: dataset, about=name, kinds=PLAIN)

    def get_job(self, job_id: str, **_: Any) -> Any:
        def get() -> Any:
            if job_id not in self.jobs:
                raise NotFound(job_id)
            return self.jobs[job_id]

        return call(
            *("get_job", get),
            about=job_id[-12:],
            what="load",
            kinds=PLAIN,
            answer=lambda job: job.state,
        )

    def query(self, sql: str, job_config: Any, job_id: str = "", **_: Any) -> QueryJob:
        name = names().get(sql)
        if name is None or name not in FUNCTIONS:
            raise UnknownStatement(name or sql)
        given = {
            p.name: p.values if hasattr(p, "values") else p.value
            for p in job_config.query_parameters
        }

        def start() -> Any:
            if job_id in self.jobs:
                raise already_exists(job_id)
            made = FUNCTIONS[name](
                {table.name: table.values() for table in self.tables.values()}, given
            )
            simulation = current()
            owner = simulation.actor() if simulation is not None else None
            if not isinstance(made, Replace):
                if owner is not None:
                    self.looks.append(Looked(name, given, owner, owner.simulation.now))
                return made
            table = self.tables[made.table]
            merge = Merge(name, made, owner, table, table.simulation.now)
            table.begin(merge)
            if job_id:
                self.jobs[job_id] = QueryJob(lambda: self._wait(merge), merge)
            return merge

        def refusal() -> Exception:
            return already_exists(job_id) if job_id else BadRequest(TOO_MANY.format(name))

        changes = name.startswith(("replace_", "remove_", "insert_"))
        started = call(
            *("query", start),
            about=name,
            kinds=KINDS if job_id else STARTS,
            answer=_started,
            refusal=refusal if changes else None,
        )
        if isinstance(started, Merge):
            return QueryJob(lambda: self._wait(started), started)
        return QueryJob(lambda: started)

    def _wait(self, merge: Merge) -> list[Values]:
        simulation = current()
        if simulation is not None and merge.state in ("queued", "running"):
            simulation.wait(merge.waiting)

        def answer() -> list[Values]:
            if merge.state == "failed":
                raise BadRequest(CONFLICT.format(merge.table.name))
            return []

        return call("result", answer, about=merge.name, kinds=STARTS)


def already_exists(job_id: str) -> Conflict:
    """Return BigQuery's refusal of a job id that it has taken before."""
    return Conflict(f"Already Exists: Job {job_id}")


def _started(made: Any) -> str:
    return "a job" if isinstance(made, Merge) else f"{len(made)} rows"
