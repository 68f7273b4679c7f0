"""The challenger's rows beside one part of its run, compared with the run's own as they come.

What fails here ends the challenger alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from workers.scoring.journal.decisions import Counts
from workers.scoring.journal.store import RunStore
from workers.scoring.shards.agreement import Agreement, both_scored, ids_in_file
from workers.scoring.shards.challenger import Challenger
from workers.scoring.shards.cutter import Cutter
from workers.scoring.shards.part import Footer, PartWriter
from workers.scoring.shards.read_rows import batch_rows
from workers.scoring.shards.session import Session
from workers.scoring.shards.stopping import Stop

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

log = logging.getLogger(__name__)


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
        self._own = _Own()
        self._agreement: Agreement | None = None  # None: the report reads the two files

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

    def add(
        self,
        rows: pa.Table,
        scored: Sequence[pa.Table],
        rejected: Sequence[int],
        stop: Callable[[], bool],
    ) -> None:
        """Score rows that were read. The run's model gave `scored`, and not those at `rejected`."""
        stopping = Stop(stop)

        def work() -> None:
            assert self._cutter is not None
            self._aside[0].extend(self._added + place for place in rejected)
            self._added += rows.num_rows
            if self._agreement is not None:
                self._own.add(rows.num_rows, scored, rejected)
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
            if self._agreement is not None:
                self._challenger.agreements.keep(self._name, self._agreement)

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
        run = self._challenger.run
        assert run.shadow is not None
        self._agreement = Agreement(run.shadow.pairs, list(ids_in_file(run)))

    def _score(self, rows: pa.Table, stop: Callable[[], bool]) -> None:
        assert self._writer is not None
        scored, bad = self._challenger.score(rows, stop)
        self._aside[1].extend(self._scored + reject.place for reject in bad)
        self._scored += rows.num_rows
        for table in scored:
            self._writer.write(table)
        if self._agreement is None:
            return
        try:
            self._compare(self._agreement, scored, [reject.place for reject in bad], rows.num_rows)
        except Exception:  # whatever it is, it does not cost the challenger its rows
            log.exception("Rows of two models were not compared as they were scored")
            self._agreement = None

    def _compare(
        self, agreement: Agreement, scored: Sequence[pa.Table], rejected: Sequence[int], rows: int
    ) -> None:
        """Compare a batch with the rows of the run's model, or leave the part to the report."""
        import pyarrow as pa

        own, self._own = self._own, _Own()
        if own.rows != rows:  # the models take batches of different sizes
            self._agreement = None
        elif own.scored and scored:
            run, one = self._challenger.run, pa.concat_tables(own.scored)
            assert run.shadow is not None
            ids = ids_in_file(run)

            def ids_at(places: np.ndarray) -> pa.Table:
                return one.select(list(ids.values())).take(places).rename_columns(list(ids))

            two, aside = pa.concat_tables(scored), (own.rejected, rejected)
            agreement.add(both_scored(one, two, run.shadow.pairs, aside, rows, ids_at))

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


@dataclass(slots=True)
class _Own:
    """The rows that the run's model was given since the challenger's last batch, and its answer."""

    rows: int = 0
    scored: list[pa.Table] = field(default_factory=list)
    rejected: list[int] = field(default_factory=list)  # places in them

    def add(self, rows: int, scored: Sequence[pa.Table], rejected: Sequence[int]) -> None:
        """Add a batch."""
        self.rejected += [self.rows + place for place in rejected]
        self.rows += rows
        self.scored += scored
