"""Score the rows of a run that have no part yet, or those of a task's share."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from mlsys.cloud.clients import Clients
from mlsys.errors import OthersAtWork, SessionOver
from workers import machine
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.find_run import Prepared
from workers.scoring.shards.agreement import Agreements
from workers.scoring.shards.chain import WHOLE, Share, all_complete, read_chains
from workers.scoring.shards.part import PartDamaged
from workers.scoring.shards.pool import Scoring, score_shards
from workers.scoring.shards.read_session import MARGIN, Session, current_session, give_up
from workers.scoring.shards.watch import Watch


def score_unscored(
    clients: Clients,
    prepared: Prepared,
    share: Share,
    stop: Callable[[], bool],
    *,
    deadline: float | None,
    pace: Callable[[float, int], None],
) -> tuple[Session, Agreements]:
    """Score the rows that have no part yet, and return the session that all parts belong to.

    And how far the model and its challenger agree on the parts of this try.

    Raises:
        OthersAtWork: rows of other shares have no part yet.
    """
    store, plan = prepared.store, prepared.plan
    cores = None if share == WHOLE else share.count * machine.cores()
    session = current_session(clients, store, plan, stop, deadline, cores)
    agreements = Agreements()
    try:
        chains = read_chains(store, session, share.parts(store.parts(session.number)))
        if todo := [chain for chain in chains if share.has(chain.shard) and not chain.complete]:
            scoring = Scoring(clients.settings, store.env, plan, session, prepared.max_rejects)
            watch = Watch(store, plan, session, chains, pace)
            # One task watches for all: each look reads the new parts of every task.
            look = watch.look if share.index == 0 else _look_nowhere
            agreements = score_shards(
                *(clients, scoring, prepared.model, todo),
                stop=stop,
                look=look,
                challenger=prepared.challenger,
            )
        if share != WHOLE and not all_complete(store, session):
            raise OthersAtWork(f"Task {share.index} of {store.run_id} has scored its rows")
    except (PartDamaged, SessionOver) as exc:
        give_up_for(exc, store, session)
        raise
    return session, agreements


def give_up_for(exc: PartDamaged | SessionOver, store: RunStore, session: Session) -> None:
    """Give up a session that no try can continue with: the next one opens another."""
    if isinstance(exc, PartDamaged):
        give_up(store, session, str(exc), "damaged")
    elif not session.expired(dt.datetime.now(dt.UTC) + MARGIN):  # else the next try judges it
        give_up(store, session, str(exc), "ended")


def _look_nowhere() -> None:
    pass
