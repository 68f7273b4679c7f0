"""Score the rows of a run by a second version of its model, whose failures end only itself.

The challenger gets every row that is read, also those that the run's model cannot score, in the
batches that a run of its own would cut: the last bits of a prediction can depend on the batch.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlsys.cloud.clients import Clients, is_passing
from mlsys.errors import ModelUnusable, RunInterrupted, TooManyRuns, TryAgain
from workers import admission
from workers.sandbox.client import SandboxedModel
from workers.scoring.planning.plan import Plan
from workers.scoring.planning.shadow import load_challenger, reason_of
from workers.scoring.records import Counts
from workers.scoring.request import MaxRejects
from workers.scoring.shards.part import Footer, PartWriter
from workers.scoring.shards.read_rows import BATCH_BYTES, batch_rows
from workers.scoring.shards.read_session import Session
from workers.scoring.shards.rejects import Reject, plain, score_rows
from workers.scoring.shards.scorer import Batch, Scorer
from workers.scoring.shards.stopping import Stop
from workers.scoring.store import RunStore

if TYPE_CHECKING:
    import pyarrow as pa

OVER = "shadow-over.json"


class Challenger:
    """The challenger of a run in one scoring process. A run without one has one that is over."""

    def __init__(
        self,
        clients: Clients,
        store: RunStore,
        plan: Plan,
        session: Session,
        max_rejects: MaxRejects,
        model: SandboxedModel | None = None,
    ) -> None:
        """`model` is the challenger's, if it is loaded already."""
        self._clients, self._store, self._session = clients, store, session
        self._max_rejects, self._model = max_rejects, model
        self._scorer: Scorer | None = None
        self._read = self._rejected = 0
        self.run = plan
        self.plan = plan.shadow.plan if plan.shadow is not None else None
        self.over = self.plan is None

    def look(self) -> None:
        """Learn whether another process of the run has given the challenger up."""
        if not self.over and over_because(self._store) is not None:
            self._end()

    def part(self, shard: int, offset: int) -> ShadowPart:
        """Return what writes the challenger's rows of the part that begins at `offset`."""
        return ShadowPart(self, self._store, self._session, shard, offset)

    def close(self) -> None:
        """End the sandbox."""
        for model in (self._scorer, self._model):
            if model is not None:
                model.close()
        self._scorer = self._model = None

    def scorer(self) -> Scorer:
        """Return what scores the rows; the first call loads the model."""
        if self._scorer is None:
            assert self.plan is not None
            model, self._model = self._model, None
            try:
                self._scorer = Scorer(self.plan, self._load, model)
            except TryAgain as exc:
                if isinstance(exc, TooManyRuns):
                    raise
                self._scorer = Scorer(self.plan, self._load)
        return self._scorer

    def score(
        self, rows: pa.Table, stop: Callable[[], bool]
    ) -> tuple[list[pa.Table], list[Reject]]:
        """Return the challenger's rows for `rows`, and those that it cannot score.

        Raises:
            ModelUnusable: they are more than the run may set aside.
        """
        self._read += rows.num_rows
        allowed = self._max_rejects.limit(max(self._session.rows, self._read))
        room = allowed - self._rejected
        try:
            scored, bad = score_rows(self.scorer(), Batch(rows), room, stop)
        except RunInterrupted:
            raise
        except TryAgain:  # its sandbox was ended from outside, or the machine lacked memory
            self.scorer().reopen()
            scored, bad = score_rows(self.scorer(), Batch(rows), room, stop)
        self._rejected += len(bad)
        if self._rejected > allowed:
            assert self.plan is not None
            raise too_many(self.plan, self._rejected, self._max_rejects, bad[0])
        return scored, bad

    def _load(self) -> SandboxedModel:
        return load_challenger(self._clients, self.run)

    def give_up(self, exc: Exception) -> None:
        """Let the run go on without its challenger, for all its processes.

        Raises:
            Exception: `exc` itself, if it is not about the challenger or may pass.
        """
        if isinstance(exc, TooManyRuns) or is_passing(exc):
            raise exc
        reason = reason_of(exc, self.run.run_id)
        now = dt.datetime.now(dt.UTC).isoformat()
        self._store.create(OVER, {"reason": reason, "at": now})
        self._end()

    def _end(self) -> None:
        self.over = True
        self.close()
        with admission.second_model():
            admission.let_go()


class ShadowPart:
    """The challenger's rows beside one part of its run, in a file that only the part names."""

    def __init__(
        self, challenger: Challenger, store: RunStore, session: Session, shard: int, offset: int
    ) -> None:
        self._challenger, self._store = challenger, store
        self._place = session.number, shard, offset
        self._name = ""
        self._footer = Footer(Counts(), None, "", session.stream(shard), offset)
        self._writing = ExitStack()
        self._writer: PartWriter | None = None
        self._cutter: Cutter | None = None
        self._aside: tuple[list[int], list[int]] = ([], [])
        self._added = self._scored = 0
        self._over = challenger.over  # or the part would lack the rows before

    def __enter__(self) -> ShadowPart:
        self._guarded(self._open)
        return self

    def __exit__(self, kind: type[BaseException] | None, *about: Any) -> None:
        if kind is not None:  # else it is finished, or over
            self._writing.__exit__(kind, *about)

    @property
    def is_at_cut(self) -> bool:
        """Whether every row that was added is scored: the part may end here."""
        return self._over or self._cutter is None or not self._cutter.rows

    def add(self, rows: pa.Table, rejected: Sequence[int], stop: Callable[[], bool]) -> None:
        """Score rows that were read. The run's model could not score those at `rejected`."""
        stopping = Stop(stop)

        def work() -> None:
            assert self._cutter is not None
            self._aside[0].extend(self._added + place for place in rejected)
            self._added += rows.num_rows
            for some in self._cutter.add(rows):
                self._score(some, stopping)

        self._guarded(work, stopping)

    @property
    def rejected(self) -> int:
        """How many rows the challenger could not score."""
        return len(self._aside[1])

    def finish(self, last: bool, stop: Callable[[], bool]) -> str | None:
        """Publish the rows, and return the file's name; None if the challenger was given up."""
        stopping = Stop(stop)

        def work() -> None:
            assert self._cutter is not None and self._writer is not None
            for some in self._cutter.rest():
                self._score(some, stopping)
            counts = Counts(self._scored, self._scored - self.rejected, self.rejected)
            aside = (tuple(self._aside[0]), tuple(self._aside[1]))
            self._writer.note(replace(self._footer, counts=counts, last=last, aside=aside))
            self._writing.close()

        self._guarded(work, stopping)
        return None if self._over else self._name

    def _open(self) -> None:
        scorer = self._challenger.scorer()
        most = batch_rows(scorer.plan, scorer.predictor.rows_at_once)
        self._cutter = Cutter(most)
        self._name = self._store.shadow_name(*self._place)
        self._writer = self._writing.enter_context(
            PartWriter(self._store.blob(self._name), scorer.schema)
        )

    def _score(self, rows: pa.Table, stop: Callable[[], bool]) -> None:
        assert self._writer is not None
        scored, bad = self._challenger.score(rows, stop)
        self._aside[1].extend(self._scored + reject.place for reject in bad)
        self._scored += rows.num_rows
        for table in scored:
            self._writer.write(table)

    def _guarded(self, work: Callable[[], None], stop: Stop | None = None) -> None:
        """Do `work` unless the challenger is over, and end only the challenger if it fails."""
        if self._over:
            return
        try:
            work()
        except Exception as exc:
            self._over = True
            # Left as by an exception, so that the file is not published.
            self._writing.__exit__(type(exc), exc, exc.__traceback__)
            if stop is not None and stop.caused(exc):
                raise
            self._challenger.give_up(exc)


class Cutter:
    """Cuts rows into batches of `most`, from where a part begins."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: list[pa.Table] = []
        self.rows = 0  # held back

    def add(self, table: pa.Table) -> Iterator[pa.Table]:
        """Yield the batches that are full with the rows of `table`."""
        start = 0
        while start < table.num_rows:
            some = table.slice(start, self._most - self.rows)
            start += some.num_rows
            self._held.append(some)
            self.rows += some.num_rows
            if self.rows >= self._most or sum(t.nbytes for t in self._held) >= BATCH_BYTES:
                yield from self.rest()

    def rest(self) -> Iterator[pa.Table]:
        """Yield the rows that are held back, if there are any."""
        import pyarrow as pa

        if self._held:
            held, self._held, self.rows = self._held, [], 0
            yield held[0] if len(held) == 1 else pa.concat_tables(held)


def over_because(store: RunStore) -> str | None:
    """Return why the challenger was given up, or None if it was not."""
    over = store.read(OVER)
    return None if over is None else str(over.get("reason", "it failed"))


def too_many(
    plan: Plan, bad: int, allowed: MaxRejects, example: Reject | None = None
) -> ModelUnusable:
    """Return the error of a challenger that cannot score `bad` rows, more than `allowed`."""
    first = ""
    if example is not None:
        ids = [f"{c.name}={plain(example.row[c.name])!r}" for c in plan.ids[:3]]
        where = f" has {', '.join(ids)}" if ids else ""
        first = f" The first one{where}: {example.reason}"
    return ModelUnusable(
        f"{plan.model.version} cannot score {bad} rows at least, and max_rejects is {allowed}."
        f"{first}"
    )
