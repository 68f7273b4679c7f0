"""Decide what a run publishes, from the parts of its session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlsys.cloud.clients import Clients
from mlsys.errors import Conflict
from workers.scoring.planning.destination import rejects_destination
from workers.scoring.planning.plan import Plan
from workers.scoring.records import Counts, Decision
from workers.scoring.request import MaxRejects
from workers.scoring.shards.part import Footer, PartDamaged, PartGone, read_footers
from workers.scoring.shards.read_session import Session, give_up
from workers.scoring.shards.rejects import read_rejects, too_many
from workers.scoring.store import RunStore

if TYPE_CHECKING:
    from google.cloud.storage import Blob


def decide(
    clients: Clients, store: RunStore, plan: Plan, session: Session, max_rejects: MaxRejects
) -> Decision:
    """Return what is to be published, once every shard of the session has its part.

    Raises:
        PredictionFailed: more rows than `max_rejects` cannot be scored.
        SchemaMismatch: the table of rejects has other columns.
        Conflict: rows were read and neither scored nor rejected.
        TryAgain: a part was deleted or is damaged: the next try scores it again.
    """
    names = [store.part_name(session.number, i) for i in range(session.parts)]
    footers = _footers(store, session, names, store.parts(session.number))
    total = sum((footer.counts for footer in footers), Counts())
    if total.read != total.scored + total.rejected:
        raise Conflict(  # a part never changes, so no other try could do better
            f"{plan.run_id}: {total.read} rows were read, {total.scored} scored and "
            f"{total.rejected} rejected: pass a run_id of your own to start another run"
        )
    rejects = [footer.rejects for footer in footers if footer.rejects]
    if total.rejected > max_rejects.limit(total.read):
        examples = read_rejects(store, rejects)
        raise too_many(plan, examples, max_rejects, total.rejected, total.read)
    if rejects:  # publish nothing if the rejects do not fit their table
        rejects_destination(clients, plan.output.table)
    return Decision(
        token=plan.token,
        parts=tuple(names),
        rejects=tuple(rejects),
        counts=total,
        max_rejects=str(max_rejects),
        path="; ".join(sorted({footer.path for footer in footers if footer.path})),
    )


def _footers(
    store: RunStore, session: Session, names: list[str], parts: Mapping[str, Blob]
) -> list[Footer]:
    """Return the footers of the session's parts, checked to be of the session's streams."""
    if gone := [name for name in names if name not in parts]:
        raise PartGone(f"{store.uri(gone[0])} was deleted. Repeat the request to score it again.")
    try:
        footers = read_footers(parts[name] for name in names)
        for name, stream, footer in zip(names, session.streams, footers, strict=False):
            if footer.stream and footer.stream != stream:  # the session's object was deleted
                raise PartDamaged(f"{store.uri(name)} is of another session. Repeat the request.")
    except PartDamaged:
        give_up(store, session)
        raise
    return footers
