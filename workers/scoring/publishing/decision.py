"""Decide what a run publishes, from the parts of its session."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence

from mlsys.cloud.clients import Clients
from mlsys.errors import Conflict
from mlsys.plural import does, plural
from workers.monitoring.contract import (
    ENFORCE,
    Broken,
    ContractCounts,
    contract_summary,
    judge,
    stop_error,
    stopped_by,
    warnings_of,
)
from workers.scoring.journal.decisions import Counts, Decision
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.destination import rejects_destination
from workers.scoring.planning.plan import Plan
from workers.scoring.publishing.profile import (
    add_up,
    check_drift,
    judge_all,
    rows_of,
    summary,
    unchecked,
)
from workers.scoring.publishing.row_count import check_row_count
from workers.scoring.publishing.shadow import decide_shadow
from workers.scoring.request.parsed import MaxRejects
from workers.scoring.shards.chain import Chain, read_chains
from workers.scoring.shards.part import Footer, PartDamaged, PartGone
from workers.scoring.shards.rejects import read_rejects, too_many
from workers.scoring.shards.session import Session, give_up, given_up

log = logging.getLogger(__name__)


def decide(
    clients: Clients,
    store: RunStore,
    plan: Plan,
    session: Session,
    max_rejects: MaxRejects,
    max_drift: float | None = None,
    contract: str = ENFORCE,
) -> Decision:
    """Return what is to be published, once every stream of the session has all its parts.

    Raises:
        PredictionFailed: more rows than `max_rejects` cannot be scored.
        InputDrifted: a column is further from the training data than `max_drift`.
        ContractBroken: the rows break a clause with `stop`, and `contract` enforces it.
        SchemaMismatch: the table of rejects has other columns.
        Conflict: rows were read and neither scored nor rejected.
        TryAgain: a part was deleted or is damaged, or BigQuery did not send every row: the next
            try scores it again.
    """
    chains = _complete_chains(store, session)
    total = sum((chain.counts for chain in chains), Counts())
    parts = sum(len(chain.parts) for chain in chains)
    log.info(
        "%s: all %s rows are done, in %s parts",
        *(plan.run_id, total.read, parts),
        extra={"run_id": plan.run_id},
    )
    check_row_count(clients, store, plan, session, total.read)
    if total.read != total.scored + total.rejected:
        raise Conflict(  # a part never changes, so no other try could do better
            f"{plan.run_id}: {plural(total.read, 'row')} {does(total.read, 'was')} read, "
            f"{total.scored} scored and "
            f"{total.rejected} rejected: pass a run_id of your own to start another run"
        )
    footers = [footer for chain in chains for footer in chain.footers]
    rejects = [footer.rejects for footer in footers if footer.rejects]
    if total.rejected > max_rejects.limit(total.read):
        examples = read_rejects(store, rejects)
        raise too_many(plan, examples, max_rejects, total.rejected, total.read)
    judged = judge_all(plan, add_up(plan, footers))
    check_drift(plan, judged, max_drift)
    broken = _broken(plan, footers, total.read)
    if stops := stopped_by(broken, contract):
        raise stop_error(
            stops,
            "To publish nevertheless, repeat the request with contract=warn: no row is scored "
            "again. To check the rows by an edited contract, pass a run_id of your own.",
        )
    if rejects:  # publish nothing if the rejects do not fit their table
        rejects_destination(clients, plan.output.table)
    return Decision(
        token=plan.token,
        parts=tuple(name for chain in chains for name in chain.parts),
        rejects=tuple(rejects),
        counts=total,
        max_rejects=str(max_rejects),
        path="; ".join(sorted({footer.path for footer in footers if footer.path})),
        streams=len(session.streams),
        streams_requested=session.requested[1],
        warnings=(
            *(
                f"the read session {over.number} was given up ({over.why}): "
                f"{plural(over.rows, 'row')} {does(over.rows, 'was')} read again"
                for over in given_up(store, session.number)
                if over.rows
            ),
            *unchecked(judged, max_drift),
            *warnings_of(broken),
        ),
        shadow=decide_shadow(store, plan, footers, total.read, max_rejects),
        profile=rows_of(plan, judged),
        drift=summary(judged),
        contract=contract_summary(plan.contract, broken, contract),
    )


def _broken(plan: Plan, footers: Sequence[Footer], rows: int) -> list[Broken]:
    """Return the clauses of the plan's contract that the rows of all parts break."""
    if plan.contract is None:
        return []
    counts = (footer.contract or ContractCounts() for footer in footers)
    at = dt.datetime.fromisoformat(plan.snapshot_at)
    return judge(plan.contract, sum(counts, ContractCounts()), rows, at)


def _complete_chains(store: RunStore, session: Session) -> list[Chain]:
    """Return the chains of the session's streams, each checked to be whole."""
    try:
        chains = read_chains(store, session, store.parts(session.number))
    except PartDamaged as exc:
        give_up(store, session, str(exc), "damaged")
        raise
    for chain in chains:
        if not chain.complete:
            name = store.part_name(session.number, chain.shard, chain.end)
            raise PartGone(f"{store.uri(name)} was deleted. Repeat the request to score it again.")
    return chains
