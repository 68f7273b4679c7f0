"""What a backfill is asked for: a request of a table, a range of partitions, and their states."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workers.scoring.request.parsed import ScoringRequest

DONE, STALE, FAILED, RUNNING, MISSING, EMPTY = STATES = (
    *("done", "stale", "failed", "running", "missing", "empty"),
)


@dataclass(frozen=True, slots=True)
class Backfill:
    """A request of a table, and the partitions that it is made of: a run each."""

    request: ScoringRequest  # of the whole tables
    first: str  # as the caller names it, `ranges.partitions_between`
    last: str

    def of(self, partition: str) -> ScoringRequest:
        """Return the request of one partition."""
        return replace(
            self.request,
            input_table=replace(self.request.input_table, partition=partition),
            output_table=replace(self.request.output_table, partition=partition),
        )
