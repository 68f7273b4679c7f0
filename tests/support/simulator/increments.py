"""A table that grows while incremental runs score what is new, by the real code."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from typing import Any

import pyarrow as pa

from mlsys.errors import Conflict, RunCancelled
from simulator.gaps import Gap, Mismatch, check
from simulator.kernel import Actor
from simulator.model import answer
from simulator.runs_audit import Audit
from simulator.scoring import Scoring
from simulator.setups import INPUT, OUTPUT, Setup
from simulator.tables import input_of
from workers.scoring.publishing import undo
from workers.scoring.request.parsed import IDS, ScoringRequest

SCHEMA = pa.schema({"id": pa.int64(), "n": pa.int64(), "x": pa.float64()})
BEGINS = 6  # rows of the table
LATE, LATE_N = 0.15, 5  # the share of new rows whose `n` lies below that of others, and their `n`


@dataclasses.dataclass
class Increments(Scoring):
    """The scenario: callers that ask for what is new, by a column or by ids, again and again."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = self.simulation.choices
        self.count, self.undone = 0, ""
        rows = pa.Table.from_pylist(self._new_rows(BEGINS), SCHEMA)
        self.bigquery.loaded[INPUT] = input_of(rows, "TABLE")
        # By the column, by ids, or by ids from some time on.
        self.ways = (("n",), (IDS,), ("n", IDS))[choices.pick(3, (3, 2, 1))]
        self.audit = IncrementsAudit(self.setup, self.runs, self.bigquery)

    def draw_setup(self) -> Setup:
        return Setup()

    def _new_rows(self, number: int) -> list[dict[str, Any]]:
        choices, rows = self.simulation.choices, []
        for _ in range(number):
            self.count += 1
            late = self.count > BEGINS and choices.happens(LATE)
            n = LATE_N if late else 10 * self.count
            rows.append({"id": self.count, "n": n, "x": float(self.count)})
        return rows

    # The actors

    def run(self) -> None:
        """Let everybody work until all is quiet, and check what they left."""
        choices = self.simulation.choices
        self.simulation.start("writer", self._write, faulty=False)
        for number in range(2 + choices.pick(3)):
            after = (0.0, 2.0, 30.0, 120.0)[choices.pick(4)]
            lasts = (3540.0, 20.0)[choices.pick(2, (4, 1))]
            way = self.ways[min(number, len(self.ways) - 1)]
            request = dataclasses.replace(self.request, incremental=way)
            self._call(f"caller {number + 1}", request, after, lasts)
        if choices.happens(0.25):
            self._cancel((6.0, 2.0, 15.0, 60.0)[choices.pick(4)])
        if choices.happens(0.3):
            self._undo((60.0, 20.0, 200.0)[choices.pick(3)])
        self.simulation.run()
        self.request = dataclasses.replace(self.request, incremental=self.ways[-1])
        self.cancelled = ""
        self._finish()
        self._record()
        self.audit.check_rows()
        self.audit.check_new(self.undone, by_ids=IDS in self.ways)
        if excused := check(self.bigquery, self.audit.wrongs(self.simulation.faults > 0)):
            raise Gap(excused)

    def _write(self) -> None:
        choices = self.simulation.choices
        for _ in range(choices.pick(4)):
            self.simulation.sleep((20.0, 3.0, 70.0, 300.0)[choices.pick(4)])
            rows = self._new_rows(1 + choices.pick(4))
            self.bigquery.loaded[INPUT].append(rows, self.simulation.now)
            self.simulation.note("append rows", f"n = {[row['n'] for row in rows]}")

    def _undo(self, after: float, tries: int = 20) -> None:
        """Let somebody undo the newest run that is done, until that is answered."""

        def work() -> None:
            done = [n for n in self.runs.objects if n.endswith("/result.json")]
            newest = max(done, key=lambda n: self.runs.objects[n].created, default="")
            self.undone = self.undone or newest.partition("/")[0]
            if self.undone:
                undo.undo(self.clients, "dev", self.undone, by="o@example.com", why="wrong")

        def ended(actor: Actor) -> None:
            if actor.crashed or (actor.error is not None and super_repeats(actor.error)):
                if not tries:
                    raise Mismatch(f"the undo is not answered: {actor.error!r}")
                self._undo(10.0 if tries > 10 else 600.0, tries - 1)
            elif actor.error is not None:
                raise Mismatch(f"the undo is answered with {actor.error!r}") from actor.error

        super_repeats = super().repeats
        self.simulation.start(f"undoer.{21 - tries}", work, after=after, ended=ended)

    def repeats(self, error: Exception) -> bool:
        # Another run of the same rows was first.
        return isinstance(error, RunCancelled) or super().repeats(error)

    def _check_failure(self, name: str, request: ScoringRequest, error: Exception) -> None:
        # By the column, after a run by ids.
        if len(self.ways) == 1 or self.finishing or not isinstance(error, Conflict):
            raise Mismatch(f"{name} is answered with {error!r}") from error


class IncrementsAudit(Audit):
    """The auditor: each row of the input once in the output."""

    def check_rows(self) -> None:
        for run_id in self.run_ids():
            state, rows = self.state(run_id), self.rows(OUTPUT, run_id)
            result = self.document(run_id, "result.json")
            if state == "" and self._is_loading(run_id):
                raise Mismatch(f"{run_id} has decided what it publishes, and nobody published it")
            if (self.document(run_id, "undo.json") is None) != (state != "undone"):
                raise Mismatch(f"{run_id} was to be undone, and is {state}")
            if len(rows) != (result["rows"] if state == "succeeded" else 0):
                raise Mismatch(f"{run_id} is {state or 'not over'}, and has {len(rows)} rows")

    def _is_loading(self, run_id: str) -> bool:
        """Return whether somebody has to finish a decided run: its rows are claimed, or load."""
        decision = self.document(run_id, "publish.json")
        if decision is None:
            return False
        loads = re.compile(rf"_{re.escape(run_id)}_[0-9a-f]+_\d+$")  # not the job of a copy
        jobs = [job for name, job in self.bigquery.jobs.items() if loads.search(name)]
        return decision["counts"]["read"] > 0 or any(job.error_result is None for job in jobs)

    def check_new(self, undone: str, *, by_ids: bool) -> None:
        """Check that the output has the rows of the input once; `by_ids` the late ones too.

        By a column, rows of a run that was undone stay out if others went on from it.

        Raises:
            Mismatch: it has not.
        """
        written = self.bigquery.loaded[OUTPUT].rows
        times = Counter(row["id"] for row in written)
        if twice := sorted(key for key, count in times.items() if count > 1):
            raise Mismatch(f"the rows {twice} were scored twice")
        rows = self.bigquery.loaded[INPUT].rows
        wanted = [row["id"] for row in rows if by_ids or row["n"] != LATE_N]
        lost = sorted(set(wanted) - times.keys())
        if lost and (by_ids or not undone):
            raise Mismatch(f"the rows {lost} were never scored")
        if wrong := [row for row in written if row["y"] != answer(float(row["id"]))]:
            raise Mismatch(f"predicted {wrong}")

    def columns(self, run_id: str) -> list[tuple[Any, ...]]:
        result = self.document(run_id, "result.json")
        read, rows = result["rows_read"], result["rows"]
        return [("feature", "x", read, 0, read), ("prediction", "y", rows, 0, rows)]
