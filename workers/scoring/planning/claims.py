"""Claims: the write-once turns of the incremental runs of one model into one output table.

```
gs://mlsys-runs-{env}/_incremental/{key}/{999999999 - number}.json
```

They are numbered 0, 1, 2, ... without gaps; a listing begins with the newest. A run creates the
next one just before its `publish.json`, so two runs that planned at the same place of the chain
cannot both publish. No run is named so: a run_id has no `_` at its start. What became of a claim is
told by the objects of its run (docs/decisions/0136).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any, Self

from mlsys.cloud.clients import Clients
from mlsys.cloud.tables import TableRef, find_table
from mlsys.errors import TryAgain
from workers.scoring.journal.decisions import Cancellation, read_decision
from workers.scoring.journal.outcomes import read_result
from workers.scoring.journal.store import UNREADABLE, RunStore
from workers.scoring.journal.undone import read_undo
from workers.scoring.planning.incremental import Watermark, outputs_of
from workers.scoring.planning.plan import Plan, read_plan
from workers.scoring.request.parsed import IDS

MOST = 999_999_999
SETTLE_AFTER = dt.timedelta(minutes=1)  # from a claim to its `publish.json`: two requests


@dataclass(frozen=True, slots=True)
class Claim:
    """A run's turn: it publishes rows of `source`, or has published them, or never will."""

    number: int
    run_id: str
    token: str  # of the run's plan
    at: str  # ISO time
    model_version: str
    by: str  # a column of the input, or IDS
    input_table: str
    where: str | None
    source: str
    watermark: Watermark | None  # of the source, once the run is done
    marks: Mapping[str, int]  # the newest claim of each source among those before this one

    def to_dict(self) -> dict[str, Any]:
        """Return the claim as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave."""
        mark = value["watermark"]
        return cls(**{**value, "watermark": None if mark is None else Watermark(**mark)})

    @property
    def newest(self) -> dict[str, int]:
        """The newest claim of each source, this one included."""
        return {**self.marks, self.source: self.number}

    def is_apart(self, other: Claim) -> bool:
        """Return whether the runs of both claims can publish in any order.

        Runs of one source take turns. Runs of two sources write different rows, as their callers
        say, but for one by ids, which counts on what is in the output.
        """
        if self.source == other.source:
            return False
        if self.by != IDS or self.model_version != other.model_version:
            return True
        return _other_partition(self.input_table, other.input_table)


class Status(Enum):
    """What became of a claim."""

    OPEN = "nothing is decided yet"
    DECIDED = "what its run publishes is decided"
    DONE = "its run's rows are in the output table"
    VOID = "its run publishes nothing, or was undone"
    GONE = "its run's rows were in a table of this name that was deleted since"

    @property
    def counts(self) -> bool:
        """Whether the run's rows are in the output table, or will be."""
        return self in (Status.DECIDED, Status.DONE)


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of one model into one output table."""

    clients: Clients
    env: str
    output: TableRef
    model_name: str

    def newest(self) -> Claim | None:
        """Return the claim with the highest number."""
        name = self._store.first()
        return None if name is None else self._parse(name)

    def read(self, number: int) -> Claim | None:
        """Return a claim by its number."""
        return self._parse(_name(number))

    def create(self, claim: Claim) -> bool:
        """Create the claim; return False if its number is taken."""
        return self._store.create(_name(claim.number), claim.to_dict())

    def status(self, claim: Claim) -> Status:
        """Return what became of the claim.

        The output table is looked up after the run's result: looked up before, it may lack what the
        run has written, or not exist yet.

        DONE is final as long as the table is the same and its run is not undone, VOID and GONE are
        in any case.
        """
        store = RunStore(self.clients, self.env, claim.run_id)
        decision = read_decision(store)
        if decision is None:
            try:
                plan = read_plan(store)  # without it nobody goes on with the run
            except UNREADABLE:  # but those who have read it
                return Status.OPEN
            return Status.OPEN if plan and plan.token == claim.token else Status.VOID
        if decision.token != claim.token or isinstance(decision, Cancellation):
            return Status.VOID
        if read_undo(store) is not None:
            return Status.VOID
        result = read_result(store)
        if result is None:
            return Status.DECIDED
        existing = find_table(self.clients, self.output.base)
        created = existing.created if existing is not None else None
        is_same = created is not None and created.isoformat() == result.output_created
        return Status.DONE if is_same else Status.GONE

    def base(self, source: str) -> tuple[Claim | None, Claim | None, int]:
        """Return the newest claim, the newest of the source that counts, and where to claim next.

        A claim whose run died before it decided anything does not count. The claim of this plan
        starts at it then, so that its run is cancelled before this plan's publishes anything.

        Raises:
            TryAgain: a run of the source has claimed its turn just now.
        """
        newest = self.newest()
        position = 0 if newest is None else newest.number + 1
        number = None if newest is None else newest.newest.get(source)
        while number is not None:
            claim = self.read(number)
            if claim is None:
                break  # the chain was deleted
            status = self.status(claim)
            if status is Status.OPEN:
                if not is_abandoned(claim):
                    raise TryAgain(
                        f"{claim.run_id} publishes rows of the same input now: try again"
                    )
                position = number
            elif status.counts:
                return newest, claim, position
            elif status is Status.GONE:
                break  # those before it were in that table, too
            number = claim.marks.get(source)
        return newest, None, position

    @property
    def _store(self) -> RunStore:
        key = outputs_of(self.env, str(self.output.base), self.model_name)
        return RunStore(self.clients, self.env, f"_incremental/{key}")

    def _parse(self, name: str) -> Claim | None:
        value = self._store.read(name)
        return None if value is None else self._store.parse(name, value, Claim.from_dict)


def claims_of(clients: Clients, env: str, plan: Plan) -> Claims:
    """Return the claims that the plan's run is one of."""
    return Claims(clients, env, plan.output.table, plan.model.name)


def builds_on_rows(claims: Claims, base: int | None) -> bool:
    """Return whether a run can go on from the claim `base`: its run's rows are not gone."""
    if base is None:
        return True
    claim = claims.read(base)
    return claim is not None and claims.status(claim).counts


def check_done(claims: Claims, numbers: Sequence[int]) -> None:
    """Check that the runs of the claims are over, so that a query sees the rows that they wrote.

    Raises:
        TryAgain: one of them is not.
    """
    for number in numbers:
        claim = claims.read(number)
        if claim and claims.status(claim) in (Status.OPEN, Status.DECIDED):
            raise TryAgain(f"{claim.run_id} has not published its rows yet: try again")


def claim_of(plan: Plan) -> Claim:
    """Return the plan's claim, without its number and marks."""
    assert plan.incremental is not None
    return Claim(
        number=plan.incremental.position,
        run_id=plan.run_id,
        token=plan.token,
        at=dt.datetime.now(dt.UTC).isoformat(),
        model_version=plan.model.version,
        by=plan.incremental.by,
        input_table=str(plan.input_table),
        where=plan.where,
        source=plan.incremental.source,
        watermark=plan.incremental.up_to,
        marks={},
    )


def numbered(claim: Claim, number: int, before: Claim | None) -> Claim:
    """Return the claim with a number and the marks that follow from the claim `before`."""
    return replace(claim, number=number, marks={} if before is None else before.newest)


def is_abandoned(claim: Claim) -> bool:
    """Return whether the run of an open claim had time enough to decide what it publishes."""
    return dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(claim.at) > SETTLE_AFTER


def _name(number: int) -> str:
    return f"{MOST - number:09d}.json"


def _other_partition(one: str, two: str) -> bool:
    a, b = (TableRef.parse(text, partition=True) for text in (one, two))
    return a.base == b.base and None not in (a.partition, b.partition) and a != b
