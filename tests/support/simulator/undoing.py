"""A table that runs append to and replace, while people undo some of them, by the real code."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from mlsys.cloud.tables import TableRef
from mlsys.errors import Conflict, RunUndone
from simulator.gaps import Gap, Mismatch, check
from simulator.kernel import Actor
from simulator.loads import LoadJob
from simulator.runs_audit import Audit
from simulator.scoring import Scoring
from simulator.setups import EARLIER, OUTPUT, TODAY, Setup
from simulator.tables import Rows, day_of
from simulator.topics import may_pass
from workers.scoring.publishing import undo
from workers.scoring.request.parsed import ScoringRequest

UNDOERS = 20  # tries of one


@dataclasses.dataclass
class Undoing(Scoring):
    """The scenario: runs of several requests into one table or its partition, and their undoing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.by_partition = self.simulation.choices.happens(0.4)
        self.audit = UndoingAudit(self.setup, self.runs, self.bigquery)

    def draw_setup(self) -> Setup:
        return Setup(filled=self.simulation.choices.happens(0.5))

    # The actors

    def run(self) -> None:
        """Let everybody work until all is quiet, and check what they left."""
        choices = self.simulation.choices
        apart = (300.0, 0.0, 1500.0)[choices.pick(3)]
        number = 2 + choices.pick(4)
        requests = {f"r{k + 1}": self._draw_request() for k in range(number)}
        for k, (run_id, request) in enumerate(requests.items()):
            after = k * apart + (0.0, 2.0, 20.0, 90.0)[choices.pick(4)]
            self._call(f"caller of {run_id}", request, after, 3540.0, run_id=run_id)
        for k in range(1 + choices.pick(4)):
            after = (number * apart) * (1.0, 0.5, 0.8)[choices.pick(3)] + k * 30.0
            self._undo(f"undoer {k + 1}", after + (60.0, 20.0, 250.0)[choices.pick(3)])
        if choices.happens(0.15):
            self._rescan((7200.0, 4000.0)[choices.pick(2)])
        self.simulation.run()
        self._record()
        self._ask_again(requests)
        self.audit.check_rows()
        if excused := check(self.bigquery, self.audit.wrongs(self.simulation.faults > 0)):
            raise Gap(excused)

    def _draw_request(self) -> ScoringRequest:
        choices = self.simulation.choices
        partition = self.by_partition and choices.happens(0.7)
        into = f"{OUTPUT}${TODAY}" if partition else OUTPUT
        return dataclasses.replace(
            self.request,
            output_table=TableRef.parse(into, partition=True),
            write_disposition=("WRITE_TRUNCATE", "WRITE_APPEND")[choices.pick(2)],
        )

    def _undo(self, name: str, after: float, run_id: str = "", tries: int = UNDOERS) -> None:
        """Let somebody undo a run that is done, until that is answered."""
        chosen = [run_id]

        def work() -> None:
            chosen[0] = chosen[0] or self._draw_run()
            if chosen[0]:
                undo.undo(self.clients, "dev", chosen[0], by="o@example.com", why="wrong")

        def ended(actor: Actor) -> None:
            if actor.crashed or (actor.error is not None and may_pass(actor.error)):
                if not tries:
                    raise Mismatch(f"the undo is not answered: {actor.error!r}")
                pause = 10.0 if tries > UNDOERS // 2 else 600.0
                self._undo(name, pause, chosen[0], tries - 1)
            elif isinstance(actor.error, Conflict):
                self.audit.check_refusal(chosen[0], actor.error)
            elif actor.error is not None:
                raise Mismatch(f"the undo is answered with {actor.error!r}") from actor.error

        self.simulation.start(f"{name}.{UNDOERS + 1 - tries}", work, after=after, ended=ended)

    def _ask_again(self, requests: dict[str, ScoringRequest]) -> None:
        """Repeat the requests of runs that were undone: nobody gets their rows."""
        self.answers.clear()
        undone = [run_id for run_id in requests if self.audit.state(run_id) == "undone"]
        for run_id in undone:
            self._call(f"caller of {run_id} again", requests[run_id], 1.0, 3540.0, run_id=run_id)
        self.simulation.run()
        if self.answers:
            raise Mismatch(f"{[answer.run_id for answer in self.answers]} are undone, and answered")

    def _draw_run(self) -> str:
        """Return a run that is done, the newest one most often; "" without any."""
        done = [r for r in self.audit.run_ids() if self.audit.state(r) == "succeeded"]
        done.sort(key=lambda r: self.runs.objects[f"{r}/result.json"].created)
        if not done:
            return ""
        back = self.simulation.choices.pick(3, (4, 2, 1))
        return done[max(0, len(done) - 1 - back)]

    def _check_failure(self, name: str, request: ScoringRequest, error: Exception) -> None:
        if not isinstance(error, RunUndone):
            raise Mismatch(f"{name} is answered with {error!r}") from error


class UndoingAudit(Audit):
    """The auditor: the table is as if the runs that were undone had never been."""

    def check_rows(self) -> None:
        rows = list(EARLIER) if self.setup.filled else []
        for job in self.bigquery.ended_loads:
            if job.table.partition("$")[0] == OUTPUT and self.state(_run_of(job)) != "undone":
                rows = after(job, rows)
        for run_id in self.run_ids():
            self._check_run(run_id)
        loaded = self.bigquery.loaded.get(OUTPUT)
        has, wanted = Counter(map(_key, loaded.rows if loaded else [])), Counter(map(_key, rows))
        if has - wanted or (wanted - has) - self._kept():
            raise Mismatch(f"the table lacks {_told(wanted - has)} and has {_told(has - wanted)}")

    def _kept(self) -> Counter[tuple[str, int, float]]:
        """Return the rows that did not return, because others had replaced those of their run."""
        kept: Counter[tuple[str, int, float]] = Counter()
        for run_id in self.run_ids():
            for removal in (self.document(run_id, "undone.json") or {"tables": []})["tables"]:
                if (copy := removal["copy"]) is None:
                    continue
                if "WRITE_TRUNCATE" not in [job.disposition for job in self._after(run_id)]:
                    raise Mismatch(f"the rows before {run_id} did not return, without a reason")
                kept |= Counter(map(_key, self.bigquery.loaded[copy].rows))
        return kept

    def _after(self, run_id: str) -> list[LoadJob]:
        """Return the load jobs that came after the run's."""
        later: list[LoadJob] = []
        for job in self.bigquery.ended_loads:
            if job.table.partition("$")[0] == OUTPUT:
                later = [] if _run_of(job) == run_id else [*later, job]
        return later

    def _check_run(self, run_id: str) -> None:
        state = self.state(run_id)
        if state not in ("succeeded", "undone"):
            raise Mismatch(f"{run_id} has not ended: {state}")
        if state == "succeeded" and self.document(run_id, "undo.json") is not None:
            raise Mismatch(f"{run_id} was to be undone, and nobody has done it")
        rejects = len(self.rows(f"{OUTPUT}_rejects", run_id))
        if rejects != (0 if state == "undone" else len(self.setup.rejected)):
            raise Mismatch(f"{run_id} is {state}, and has {rejects} rejects")
        loads = [job for job in self.bigquery.ended_loads if _run_of(job) == run_id]
        if len([job for job in loads if job.table.partition("$")[0] == OUTPUT]) != 1:
            raise Mismatch(f"{run_id} was loaded {len(loads)} times")

    def check_refusal(self, run_id: str, error: Exception) -> None:
        """Check that an undo may be refused: others have written since."""
        if not self._after(run_id) and "while that run was being undone" not in str(error):
            raise Mismatch(f"the undo of {run_id} is refused: {error}")


def after(job: LoadJob, rows: Rows) -> Rows:
    """Return the rows of the table after a load job."""
    partition = job.table.partition("$")[2]
    if job.disposition == "WRITE_TRUNCATE":
        rows = [row for row in rows if partition and day_of(row) != partition]
    return [*rows, *job.rows]


def _run_of(job: LoadJob) -> str:
    return str(job.rows[0]["run_id"]) if job.rows else ""


def _key(row: dict[str, Any]) -> tuple[str, int, float]:
    return row["run_id"], row["id"], row["y"]


def _told(rows: Counter[tuple[str, int, float]]) -> dict[str, int]:
    """Return how many rows of each run there are."""
    runs: Counter[str] = Counter()
    for (run_id, *_), number in rows.items():
        runs[run_id] += number
    return dict(runs)
