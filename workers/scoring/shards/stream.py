"""Score one stream of a run to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mlsys.cloud.clients import Clients
from mlsys.settings import Settings
from workers.monitoring.contract import ENFORCE
from workers.sandbox.client import SandboxedModel
from workers.sandbox.died import Cause
from workers.scoring.journal.decisions import Counts
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.plan import Plan
from workers.scoring.request.parsed import MaxRejects
from workers.scoring.shards.agreement import Agreements
from workers.scoring.shards.chain import Chain
from workers.scoring.shards.challenger import Challenger
from workers.scoring.shards.part import Footer
from workers.scoring.shards.scorer import Scorer
from workers.scoring.shards.session import Session
from workers.scoring.shards.shard import score_shard


@dataclass(frozen=True, slots=True)
class Scoring:
    """What every process that scores streams of a run needs to know. Can be pickled."""

    settings: Settings
    env: str
    plan: Plan
    session: Session
    max_rejects: MaxRejects
    max_drift: float | None = None  # both for the process that decides what is published
    contract: str = ENFORCE


@dataclass(frozen=True, slots=True)
class Shard:
    """A stream that was scored to its end: what became of its rows, and the seconds it took."""

    number: int
    counts: Counts
    seconds: float
    deaths: Mapping[Cause, int] = field(default_factory=dict)  # of the process's sandboxes
    agreements: Agreements = field(default_factory=Agreements)  # of its parts with a challenger


def challenger_of(
    clients: Clients, scoring: Scoring, model: SandboxedModel | None = None
) -> Challenger:
    """Return the challenger of the run's shadow; `model` is its model, if it is loaded already."""
    store = RunStore(clients, scoring.env, scoring.plan.run_id)
    return Challenger(clients, store, scoring.plan, scoring.session, scoring.max_rejects, model)


def score_chain(
    clients: Clients,
    scoring: Scoring,
    chain: Chain,
    scorer: Scorer,
    challenger: Challenger,
    stop: Callable[[], bool],
    on_part: Callable[[Footer], None],
) -> Shard:
    """Score the rows that a stream's chain lacks."""
    began = time.monotonic()
    store = RunStore(clients, scoring.env, scoring.plan.run_id)
    counts = score_shard(
        *(clients, store, scoring.session, chain, scorer, scoring.max_rejects, challenger),
        stop=stop,
        on_part=on_part,
    )
    seconds = time.monotonic() - began
    return Shard(chain.shard, counts, seconds, agreements=challenger.take_agreements())
