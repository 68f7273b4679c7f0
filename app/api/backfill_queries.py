"""The queries of `/backfill`: a scoring request of a whole table, and a range of its partitions."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from app.api.due import due_at
from app.api.parameters import Table
from app.api.predict_queries import ScoringQuery
from mlsys.cloud.partitions import concrete_day
from mlsys.settings import Settings
from workers.scoring.backfill.request import FAILED, MISSING, RUNNING, STALE, Backfill

# Those that a repeat can change
SELECTABLE = (FAILED, MISSING, STALE, RUNNING)
NOT_DONE = ",".join((FAILED, MISSING, STALE))


def _states(value: Any) -> tuple[str, ...]:
    names = tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else ("",)
    if not set(names) <= set(SELECTABLE):
        raise ValueError(f"{str(value)[:80]!r}: pass any of {', '.join(SELECTABLE)}")
    return names


def _bound(which: str, alias: str) -> Any:
    return Field(
        alias=alias,
        min_length=1,
        max_length=40,
        description=f"The {which} partition: 2026-10-01, 2026-10, 2026, 2026-10-01T05, today or "
        "yesterday; of integer ranges, the first number of one",
        json_schema_extra={"example": "2026-10-01"},
    )


class BackfillQuery(ScoringQuery):
    """A scoring request of each partition from one to another."""

    input_table: Table
    output_table: Table
    first: Annotated[str, _bound("first", "from")]
    last: Annotated[str, _bound("last", "to")]

    def to_backfill(self, settings: Settings) -> Backfill:
        """Return the backfill as the workers take it.

        Raises:
            InvalidRequest, NotAllowed: as `ScoringQuery.to_request`.
        """
        disposition = "WRITE_APPEND" if self.incremental else "WRITE_TRUNCATE"
        request = replace(self.to_request(settings), write_disposition=disposition)
        at = due_at()
        return Backfill(request, concrete_day(self.first, at), concrete_day(self.last, at))


class StartQuery(BackfillQuery):
    """A backfill, and whether the runs of its partitions are started."""

    start: Annotated[
        bool, Field(description="Start a run of each partition in a state of `only`")
    ] = False
    only: Annotated[
        str,
        BeforeValidator(lambda value: ",".join(_states(value))),
        Field(
            description="With start: score the partitions in these states, any of "
            + ", ".join(SELECTABLE)
        ),
    ] = NOT_DONE
