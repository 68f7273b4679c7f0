"""The turns of incremental runs: two of them never publish the same rows (docs/decisions/0136).

A run reads its rows after the runs that it builds on are done, and claims the next number of the
chain just before it decides what it publishes. If another run of the same rows was first, it gives
way: it is cancelled, and the repeated request is a new run, which goes on from the other's rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from mlsys.cloud.clients import Clients, is_passing
from mlsys.errors import Conflict, MlsysError, RunPublished, RunWaiting, TryAgain
from workers.scoring.journal.at_work import is_marked
from workers.scoring.journal.decisions import Counts
from workers.scoring.journal.store import UNREADABLE, RunStore
from workers.scoring.planning.claims import (
    Claim,
    Claims,
    Status,
    builds_on_rows,
    claim_of,
    claims_of,
    is_abandoned,
    numbered,
)
from workers.scoring.planning.plan import Plan
from workers.scoring.publishing.cancellation import cancel, cancel_unread

log = logging.getLogger(__name__)


def wait_for_others(
    clients: Clients, store: RunStore, plan: Plan, finish: Callable[[str], object]
) -> None:
    """Have the runs that an incremental run builds on done, before it reads a row.

    `finish` takes a run by its id to its end: what it publishes is decided.

    Raises:
        RunCancelled: another run has published rows of this one.
        RunWaiting: another run decides just now what it publishes.
        Conflict: a run that this one builds on cannot be finished.
    """
    if plan.incremental is None:
        return
    turn = _Turn(clients, store, plan)
    for number in plan.incremental.after:
        claim = turn.claims.read(number)
        if claim is None:
            raise turn.give_way(f"the claim {number} that it builds on was deleted")
        turn.have_done(claim, finish)
    turn.find_number(create=False)


def claim_turn(clients: Clients, store: RunStore, plan: Plan, counts: Counts) -> None:
    """Claim the run's turn, once its rows are scored; a repeat finds the claim of an earlier try.

    A run that read no row publishes nothing, and claims nothing.

    Raises:
        RunCancelled, RunWaiting: as for `wait_for_others`.
    """
    if plan.incremental is None or not (counts.read or plan.incremental.moves):
        return
    turn = _Turn(clients, store, plan)
    if (base := plan.incremental.base) is not None:
        if not builds_on_rows(turn.claims, base):
            raise turn.give_way("the run that it builds on was undone")
    number = turn.find_number(create=True)
    log.info("%s: its turn is %s", plan.run_id, number, extra={"run_id": plan.run_id})


class _Turn:
    """One try of a run to get its turn."""

    def __init__(self, clients: Clients, store: RunStore, plan: Plan) -> None:
        self.claims: Claims = claims_of(clients, store.env, plan)
        self._clients, self._store, self._plan = clients, store, plan
        self._mine = claim_of(plan)

    def find_number(self, *, create: bool) -> int:
        """Return the first number that the run can have, and claim it if `create` is true."""
        number, before = self._mine.number, None
        if number:
            before = self.claims.read(number - 1)
        while True:
            if create and self.claims.create(numbered(self._mine, number, before)):
                return number
            other = self.claims.read(number)
            if other is None and not create:
                return number
            if other is None:
                raise TryAgain(f"The claim {number} of {self._plan.run_id} was deleted just now")
            if (other.run_id, other.token) == (self._plan.run_id, self._plan.token):
                return number
            if not self._mine.is_apart(other):
                self._pass(other)
            number, before = number + 1, other

    def have_done(self, claim: Claim, finish: Callable[[str], object]) -> None:
        """Have the run of a claim that this one builds on done."""
        status = self.claims.status(claim)
        if status is Status.OPEN:
            self._settle(claim)
            status = self.claims.status(claim)
        if status is Status.DECIDED or (status is Status.DONE and self._is_unrecorded(claim)):
            try:
                finish(claim.run_id)
            except MlsysError as exc:
                if isinstance(exc, TryAgain) or is_passing(exc):
                    raise
                raise Conflict(
                    f"{self._plan.run_id} goes on from the rows of {claim.run_id}, which has "
                    f"decided what it publishes and cannot be finished: {exc}"
                ) from exc
        elif not status.counts and claim.number == self._base:
            raise self.give_way(f"{claim.run_id}, which it builds on, has no rows any more")

    def _is_unrecorded(self, claim: Claim) -> bool:
        """Return whether the process that ended the claim's run died before the ledger's row.

        Nobody asks for that run again: its input has changed.
        """
        return is_marked(RunStore(self._clients, self._store.env, claim.run_id))

    def give_way(self, why: str) -> Exception:
        """Cancel the run, and return the error for its caller."""
        run_id = self._plan.run_id
        try:
            cancellation, _ = cancel(self._clients, self._store.env, run_id, why=why)
        except RunPublished:  # another try of the run was first
            return TryAgain(f"{run_id} is published by another try: repeat the request")
        return cancellation.error()

    @property
    def _base(self) -> int | None:
        assert self._plan.incremental is not None
        return self._plan.incremental.base

    def _pass(self, other: Claim) -> None:
        """Let the run go past another's claim, if nothing is or will be published by it."""
        status = self.claims.status(other)
        if status is Status.OPEN:
            self._settle(other)
            status = self.claims.status(other)
        if status.counts:
            raise self.give_way(f"{other.run_id} publishes rows of the same input before it")

    def _settle(self, claim: Claim) -> None:
        """Decide for a run that claimed its turn and died: it publishes nothing.

        Either this or the run's own decision is first.
        """
        if not is_abandoned(claim):
            raise RunWaiting(f"{claim.run_id} publishes rows of the same input now")
        why = f"it claimed its turn at {claim.at} and did not go on"
        try:
            cancel(self._clients, self._store.env, claim.run_id, why=why)
        except RunPublished:
            pass
        except UNREADABLE:
            cancel_unread(self._clients, self._store.env, claim.run_id, claim.token, why)
