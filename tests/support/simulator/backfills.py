"""A table whose partitions are scored by backfills, while its rows and the alias change."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pyarrow as pa

from mlsys.cloud.tables import TableRef
from simulator.gaps import Gap, Mismatch, check
from simulator.kernel import Actor
from simulator.model import answer
from simulator.runs_audit import Audit
from simulator.scoring import TRIES, Scoring
from simulator.setups import INPUT, OUTPUT, Setup
from simulator.tables import Loaded, Rows
from simulator.topics import may_pass
from workers.scoring.backfill import board as backfill
from workers.scoring.backfill.request import Backfill
from workers.scoring.request.parsed import ScoringRequest

SCHEMA = pa.schema({"id": pa.int64(), "n": pa.int64(), "x": pa.float64()})
COLUMNS = {"id": "INT64", "n": "INT64", "x": "FLOAT64"}
PARTITIONS = ("0", "10", "20")
NOT_DONE = ("failed", "missing", "stale")
ONLY = ((*NOT_DONE, "running"), NOT_DONE, ("missing",))
ALIAS = "m/aliases/champion.json"


@dataclasses.dataclass
class Backfills(Scoring):
    """The scenario: commands that score what is not done, each partition by a call of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.count = 0
        columns = [{"name": name, "type": kind} for name, kind in COLUMNS.items()]
        rows = [row for part in PARTITIONS for row in self._new_rows(int(part), 2)]
        times = {"created": -1000.0, "modified": -500.0}
        arrow = SCHEMA.empty_table()
        self.bigquery.loaded[INPUT] = Loaded(columns, rows, **times, by_range="n", arrow=arrow)
        self.version = "v1"
        self._name_version("v1")
        self.request = ScoringRequest(
            "dev",
            TableRef.parse(INPUT),
            TableRef.parse(OUTPUT),
            "m",
            "champion",
            id_columns=("id", "n"),
            write_disposition="WRITE_TRUNCATE",
        )
        self.backfill = Backfill(self.request, PARTITIONS[0], PARTITIONS[-1])
        self.audit = BackfillAudit(self.setup, self.runs, self.bigquery)

    def draw_setup(self) -> Setup:
        return Setup()

    def _new_rows(self, first: int, least: int) -> list[dict[str, Any]]:
        number = least + self.simulation.choices.pick(4)
        ids = range(self.count + 1, self.count + 1 + number)
        self.count += number
        return [{"id": n, "n": first + n % 10, "x": float(n)} for n in ids]

    def _name_version(self, version: str) -> None:
        self.models.put(ALIAS, json.dumps({"version": version}).encode())
        self.version = version

    # The actors

    def run(self) -> None:
        """Let everybody work until all is quiet, repeat the command, and check what is there."""
        choices = self.simulation.choices
        for number in range(1 + choices.pick(3)):
            after = (0.0, 2.0, 30.0, 120.0)[choices.pick(4)]
            self._command(f"command {number + 1}", after, ONLY[choices.pick(3)])
        if choices.happens(0.4):
            self._later("operator", self._move)
        if choices.happens(0.4):
            self._later("writer", self._write)
        self.simulation.run()
        self._record()
        for number in range(2):  # the first one finds what a run that ended late has left
            self._command(f"last command {number + 1}", 1.0, ONLY[0])
            self.simulation.run()
        planned = self.audit.run_ids()
        self._command("one more", 1.0, ONLY[0])
        self.simulation.run()
        if more := sorted(set(self.audit.run_ids()) - set(planned)):
            raise Mismatch(f"all was done, and a repeat made {more}")
        self._record()
        self.audit.check_board(self._board(), self.version)
        if excused := check(self.bigquery, self.audit.wrongs(self.simulation.faults > 0)):
            raise Gap(excused)

    def _later(self, name: str, work: Any) -> None:
        after = (20.0, 3.0, 60.0, 200.0)[self.simulation.choices.pick(4)]
        self.simulation.start(name, work, after=after, faulty=False)

    def _move(self) -> None:
        self._name_version("v2")
        self.simulation.note("move the alias", "v2")

    def _write(self) -> None:
        rows = self._new_rows(int(PARTITIONS[self.simulation.choices.pick(3)]), 1)
        self.bigquery.loaded[INPUT].append(rows, self.simulation.now)
        self.simulation.note("append rows", f"n = {[row['n'] for row in rows]}")

    def _command(self, name: str, after: float, only: tuple[str, ...], tries: int = TRIES) -> None:
        """Let a command look at the board, and score the partitions in some states."""

        def work() -> backfill.Board:
            return backfill.board(self.clients, self.backfill)

        def ended(actor: Actor) -> None:
            if actor.crashed or (actor.error is not None and may_pass(actor.error)):
                if not tries:
                    raise Mismatch(f"{name} has no board: {actor.error!r}")
                self._command(name, 10.0 if tries > TRIES // 2 else 600.0, only, tries - 1)
            elif actor.error is not None:
                raise Mismatch(f"{name} is answered with {actor.error!r}") from actor.error
            else:
                self._score(name, actor.answer, only)

        self.simulation.start(f"{name}.{TRIES + 1 - tries}", work, after=after, ended=ended)

    def _score(self, name: str, board: backfill.Board, only: tuple[str, ...]) -> None:
        choices = self.simulation.choices
        for entry in board.entries:
            if entry.state in only:
                request = self.backfill.of(entry.partition)
                lasts = (3540.0, 20.0)[choices.pick(2, (4, 1))]
                who = f"{name} for {entry.partition}"
                if name.startswith("command") and choices.happens(0.2):
                    self._call_once(who, request, lasts)
                else:
                    self._call(who, request, 0.1, lasts)

    def _call_once(self, name: str, request: ScoringRequest, lasts: float) -> None:
        """Let a command ask for a partition that is killed before it hears the answer."""

        def ended(actor: Actor) -> None:
            if actor.error is not None and not self.repeats(actor.error):
                self._check_failure(name, request, actor.error)

        self.simulation.start(
            f"{name}.1", lambda: self._work(request, lasts), after=0.1, ended=ended
        )

    def _check_failure(self, name: str, request: ScoringRequest, error: Exception) -> None:
        raise Mismatch(f"{name} is answered with {error!r}") from error

    def _board(self) -> backfill.Board:
        actor = self.simulation.start(
            "reader", lambda: backfill.board(self.clients, self.backfill), after=1.0
        )
        self.simulation.run()
        if actor.error is not None:
            raise Mismatch(f"the board is answered with {actor.error!r}") from actor.error
        board: backfill.Board = actor.answer
        return board


class BackfillAudit(Audit):
    """The auditor: each partition has the predictions of its rows, by one run of the version."""

    def check_board(self, board: backfill.Board, version: str) -> None:
        """Check the output, and that the board says so.

        Raises:
            Mismatch: a partition is not done, has other rows than its run has written, or the
                board names another run.
        """
        self._check_once()
        source, output = self.bigquery.loaded[INPUT], self.bigquery.loaded[OUTPUT]
        inputs, outputs = source.parts(source.rows), output.parts(output.rows)
        for entry in board.entries:
            rows = outputs.get(entry.partition, [])
            runs = {row["run_id"] for row in rows}
            if entry.state != "done" or entry.model_version != version or entry.rows != len(rows):
                raise Mismatch(f"the board has {entry}, and {entry.partition} is by {runs}")
            if runs != {entry.run_id} or self.state(entry.run_id or "") != "succeeded":
                raise Mismatch(f"the board has {entry}, and {entry.partition} is by {runs}")
            wanted = {row["id"]: answer(row["x"], version) for row in inputs[entry.partition]}
            if _told(rows) != sorted(wanted.items()):
                raise Mismatch(f"{entry.partition} has {rows}, and not {wanted}")

    def _check_once(self) -> None:
        """Check that no run has replaced the same rows of another one, with nothing in between."""
        last: dict[str, Any] = {}
        for job in self.bigquery.ended_loads:
            if job.table.partition("$")[0] == OUTPUT:
                if _told(job.rows) == last.get(job.table):
                    raise Mismatch(f"the rows of {job.table} were scored twice: {job.job_id}")
                last[job.table] = _told(job.rows)


def _told(rows: Rows) -> list[tuple[int, float]]:
    return sorted((row["id"], row["y"]) for row in rows)
