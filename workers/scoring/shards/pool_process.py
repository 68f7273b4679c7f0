"""A process of the pool: it keeps its connections and its model from stream to stream."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import Counter
from dataclasses import replace

from mlsys.cloud.clients import Clients, clients_for
from workers import logs
from workers.sandbox import died, nursery, walls
from workers.scoring.planning.model_pin import load_pinned
from workers.scoring.planning.plan import Plan
from workers.scoring.shards.chain import Chain
from workers.scoring.shards.challenger import Challenger
from workers.scoring.shards.remote_error import RemoteError
from workers.scoring.shards.scorer import Scorer
from workers.scoring.shards.stream import Scoring, Shard, challenger_of, score_chain


def start_process(logs_json: bool) -> None:
    """Fork the nursery of sandboxes before this process has a client; exit with the parent."""
    logs.configure_child(logs_json)
    nursery.fork_own()
    walls.protect_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def score_in_process(scoring: Scoring, chain: Chain) -> Shard | RemoteError:
    """Score the rows that a stream's chain lacks, with the model that this process keeps.

    For one thread of a process at a time. What it raises is returned.
    """
    clients = clients_for(scoring.settings)
    before = Counter(died.deaths())
    try:
        scorer = _scorer(clients, scoring.plan)
        second = _second(clients, scoring)
        scored = score_chain(clients, scoring, chain, scorer, second, lambda: False, lambda _: None)
        return replace(scored, deaths=Counter(died.deaths()) - before)
    except Exception as exc:  # the parent handles it
        _forget()  # rows may lie in the sandbox's memory that nobody asks for any more
        return replace(RemoteError.of(exc), deaths=Counter(died.deaths()) - before)


_kept: list[Scorer] = []  # by a process of the pool: the scorer of its last run


def _scorer(clients: Clients, plan: Plan) -> Scorer:
    """Return the run's scorer. Runs of one model share its sandbox while they follow each other."""
    last = _kept[0] if _kept else None
    if last is not None and last.plan == plan:
        return last
    _forget_second()  # another run's
    if last is not None and last.plan.model != plan.model:
        _forget()  # so that there are not two models while one is loaded
    model = _kept.pop().model if _kept else None
    _kept[:] = [Scorer(plan, lambda: load_pinned(clients, plan.model), model)]
    return _kept[0]


_kept_second: list[tuple[Scoring, Challenger]] = []  # its challenger


def _second(clients: Clients, scoring: Scoring) -> Challenger:
    """Return the run's challenger, which is kept for its other streams."""
    if _kept_second and _kept_second[0][0] == scoring:
        return _kept_second[0][1]
    _forget_second()
    _kept_second[:] = [(scoring, challenger_of(clients, scoring))]
    return _kept_second[0][1]


def _forget_second() -> None:
    while _kept_second:
        _kept_second.pop()[1].close()


def _forget() -> None:
    _forget_second()
    while _kept:
        _kept.pop().close()
