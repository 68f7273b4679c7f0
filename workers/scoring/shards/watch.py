"""Watch a run by the parts that appear, whichever process or instance writes them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from workers.scoring.planning.plan import Plan
from workers.scoring.records import Counts
from workers.scoring.shards.chain import Chain
from workers.scoring.shards.part import Footer, readable_footers
from workers.scoring.shards.read_session import Session
from workers.scoring.store import RunStore

log = logging.getLogger(__name__)

EVERY = 10.0  # seconds between two looks


class Watch:
    """The parts of a session, looked up now and then by one try of the run."""

    def __init__(
        self, store: RunStore, plan: Plan, session: Session, chains: Iterable[Chain]
    ) -> None:
        """`chains` are those of the session, as the try begins."""
        self._store, self._plan, self._session = store, plan, session
        self._footers: dict[str, Footer] = {}
        for chain in chains:
            self._footers |= zip(chain.parts, chain.footers, strict=True)
        self._began = self._looked_at = time.monotonic()
        self._rows_before = self.counts.read

    @property
    def counts(self) -> Counts:
        """The rows of the parts that were seen."""
        return sum((footer.counts for footer in self._footers.values()), Counts())

    def look(self, *, last: bool = False) -> None:
        """Look the parts up if it is time to, or for the `last` time, and log what is new."""
        if not last and time.monotonic() - self._looked_at < EVERY:
            return
        before = len(self._footers)
        self._look_up()
        self._looked_at = time.monotonic()
        if len(self._footers) > before:
            self._log()

    def _look_up(self) -> None:
        parts = self._store.parts(self._session.number)
        for name in sorted(parts.keys() - self._footers.keys()):
            for footer in readable_footers([parts[name]]):
                self._footers[name] = footer

    def _log(self) -> None:
        rows, seconds = self.counts.read, self._looked_at - self._began
        known = self._plan.where is None and self._session.rows
        log.info(
            "%s: %s%s rows are done, in %s parts, %.0f rows a second",
            self._plan.run_id,
            rows,
            f" of {known}" if known else "",
            len(self._footers),
            (rows - self._rows_before) / max(seconds, 0.001),
            extra={"run_id": self._plan.run_id},
        )
