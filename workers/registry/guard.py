"""May an alias be moved to a version? Asked after it was read, before anything is written.

Without a guard the version must be ready, which `force` with a reason overrides. A guard of the
settings has more clauses, and `force` overrides none of them (docs/decisions/0098).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlsys.artifact.refs import AliasRef, ModelRef
from mlsys.cloud.clients import Clients
from mlsys.errors import GuardRefused, InvalidRequest, ModelNotFound, ModelUnusable
from mlsys.settings.guards import AliasGuard
from workers.registry import clauses
from workers.registry.alias_history import AliasRow
from workers.registry.clauses import Clause
from workers.registry.evidence import (
    MAX_METRICS,
    agreement_with,
    find_version,
    last_moved,
    measured_metrics,
    metrics_of,
    recorded_metrics,
    runs_by_ledger,
    status_of,
)
from workers.registry.rows import ModelRow
from workers.registry.verify import judge

log = logging.getLogger(__name__)

Evidence = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Move:
    """A move that somebody asks for."""

    ref: AliasRef
    version: str | None  # None: the alias is to be removed
    who: str  # a verified identity
    why: str | None
    force: bool
    dry_run: bool = False


def check(clients: Clients, env: str, move: Move) -> Evidence:
    """Return what speaks for a move: the evidence goes into its record and into the log.

    `registry` has the generation of the version's model.pkl that all of it is about.

    Raises:
        InvalidRequest: it is forced without a reason.
        ModelNotFound: the version does not exist.
        ModelUnusable: the version is not ready, and the move of an unguarded alias is not forced.
        GuardRefused: a clause of the alias's guard does not hold.
    """
    if move.force and not (move.why or "").strip():
        raise InvalidRequest(("why", "is missing: pass the reason for force=true"))
    guard = clients.settings.alias_guard(env, move.ref.model, move.ref.alias)
    evidence: Evidence = {}
    about = [] if guard is None else list(_about_the_request(guard, move))
    if move.version is not None:
        model = find_version(clients, env, ModelRef(move.ref.model, move.version))
        metrics = metrics_of(model)
        if guard is not None and guard.labels:
            ref = ModelRef(model.model_name, model.model_version)
            metrics |= measured_metrics(clients, env, ref, model.generation, guard.labels)
        evidence = _of(model, metrics, guard) | {"registry": status_of(clients, env, model)}
        if guard is None:
            _check_ready(env, move, evidence["registry"])
        else:
            about += _about_the_version(clients, env, guard, move.ref, model, metrics, evidence)
    if guard is not None:
        _refuse(env, move, about)
        evidence["guard"] = [clause.to_dict() for clause in about]
    return evidence


def _of(model: ModelRow, known: Mapping[str, float], guard: AliasGuard | None) -> Evidence:
    """Return what is known of the version: its metrics, and where it was promoted from."""
    named = [bounds.name for bounds in guard.metrics] if guard else []
    first = [name for name in dict.fromkeys([*named, *known]) if name in known][:MAX_METRICS]
    metrics = {name: known[name] for name in first}
    promoted = {"from": model.promoted_from, "by": model.promoted_by, "at": model.promoted_at}
    evidence: Evidence = {"crc32c": model.crc32c}
    evidence |= {"metrics": metrics} if metrics else {}
    return evidence | ({"promoted": promoted} if model.promoted_from else {})


def _check_ready(env: str, move: Move, verdict: dict[str, Any]) -> None:
    if verdict["status"] == "ready" or move.force:
        return
    reason = f": {verdict['reason']}" if verdict["reason"] else ""
    raise ModelUnusable(
        f"{move.ref.model}/{move.version} is {verdict['status']} in {env}{reason}. Move "
        f"{move.ref.alias} to a version that is ready, or pass force=true with the reason as why"
    )


def _about_the_request(guard: AliasGuard, move: Move) -> Iterator[Clause]:
    if guard.movers is not None:
        yield clauses.movers(guard, move.who)
    if guard.why:
        yield clauses.reason(move.why)


def _about_the_version(
    clients: Clients,
    env: str,
    guard: AliasGuard,
    ref: AliasRef,
    model: ModelRow,
    metrics: Mapping[str, float],
    evidence: Evidence,
) -> Iterator[Clause]:
    version = model.model_version
    yield clauses.ready(evidence["registry"])
    if guard.golden_rows:
        yield _golden_rows(clients, model)
    if guard.runs:
        counts = runs_by_ledger(clients, env, model, guard.ledgers)
        yield clauses.runs(guard, version, counts)
    compares = guard.agreement is not None or any(m.worse_by is not None for m in guard.metrics)
    before = last_moved(clients, env, ref) if compares else None
    if before is not None and _is(before, model):
        before = None
    champion = before.version if before is not None else None
    of_champion = {} if before is None else _of_champion(clients, env, guard, before)
    for bounds in guard.metrics:
        yield from clauses.metric(bounds, version, metrics, champion, of_champion)
    if guard.agreement is not None:
        compared = agreement_with(clients, env, model, champion) if champion else (0, 0, 0)
        yield clauses.shadow(guard, version, champion, *compared)


def _of_champion(clients: Clients, env: str, guard: AliasGuard, row: AliasRow) -> dict[str, float]:
    """Return the metrics of the version that the alias named: as recorded then, or measured since.

    Labels may have arrived after it was moved. They are those of the file that was judged.
    """
    known = recorded_metrics(row)
    registry = row.evidence.get("registry") if isinstance(row.evidence, Mapping) else None
    if guard.labels and row.version is not None and isinstance(registry, Mapping):
        ref = ModelRef(row.model_name, row.version)
        generation = int(registry["generation"])
        known |= measured_metrics(clients, env, ref, generation, guard.labels)
    return known


def _is(row: AliasRow, model: ModelRow) -> bool:
    """Return whether the alias named these bytes: they need no comparison with themselves."""
    evidence = row.evidence if isinstance(row.evidence, Mapping) else {}
    return (row.version, evidence.get("crc32c")) == (model.model_version, model.crc32c)


def _golden_rows(clients: Clients, model: ModelRow) -> Clause:
    try:
        verdict = judge(clients, model, again=True)
    except ModelNotFound as exc:
        return clauses.golden_rows("rejected", str(exc), 0)
    return clauses.golden_rows(verdict.status, verdict.reason, verdict.golden_rows)


def _refuse(env: str, move: Move, about: list[Clause]) -> None:
    """Raise, and log, if a clause does not hold."""
    failed = [clause for clause in about if not clause.ok]
    if not failed:
        return
    what = f"{move.version}" if move.version else "the removal"
    passed = ", ".join(clause.name for clause in about if clause.ok)
    error = GuardRefused(
        f"The guard of {move.ref.alias} of {move.ref.model} in {env} refuses {what}. "
        + "; ".join(f"{clause.name}: {clause.problem}" for clause in failed)
        + (f". Satisfied: {passed}" if passed else ""),
        [clause.to_dict() for clause in about],
    )
    fields: dict[str, Any] = {"alias": str(move.ref), "version": move.version, "who": move.who}
    log.warning(
        "%s (asked by %s%s)",
        *(error, move.who, ", dry run" if move.dry_run else ""),
        extra=fields | {"event": "alias.refused", "clauses": error.clauses},
    )
    raise error
