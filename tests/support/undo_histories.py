"""Random histories of runs into one table, of their undos, and of processes that are killed."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import requests

from growing_input import COLUMN
from scoring_cases import Answer
from turns import Killed
from undo_world import DAYS, UndoWorld
from workers.scoring.request.parsed import IDS

KINDS = (*("append", "replace", "partition", "hand"), *("new",) * 4, *("undo",) * 4)
CALLS_OF_RUN, CALLS_OF_UNDO = 100, 30  # to Google Cloud, about
Send = Callable[[Callable[[], Answer]], Answer]


class KilledAt:
    """Ends the work of a thread at the n-th request to Google Cloud, before or after it."""

    def __init__(self, patch: pytest.MonkeyPatch, number: int, *, after: bool) -> None:
        self.calls, own = 0, threading.get_ident()
        real = requests.adapters.HTTPAdapter.send

        def send(*args: Any, **options: Any) -> Any:
            if threading.get_ident() != own:  # a client's own thread
                return real(*args, **options)
            self.calls += 1
            if self.calls > number or (self.calls == number and not after):
                raise Killed
            answer = real(*args, **options)
            if self.calls == number:
                answer.close()  # the socket of a process ends with it
                raise Killed
            return answer

        patch.setattr(requests.adapters.HTTPAdapter, "send", send)


def one_history(world: UndoWorld, seed: int, steps: int = 9) -> Counter[str]:
    """Let runs write and be undone at random, checked after each step; return what happened."""
    choices, happened = random.Random(seed), Counter[str]()
    world.log.append(f"seed {seed}")
    for step in range(steps):
        kind = choices.choice(KINDS)
        happened[_take(world, kind, step, choices)] += 1
        world.check()
    happened["kills"] += world.kills
    return happened


def _take(world: UndoWorld, kind: str, step: int, choices: random.Random) -> str:
    """Take a step, and return what it was."""
    send = partial(_somehow, world, choices, CALLS_OF_RUN)
    if kind == "hand":
        world.add_by_hand(step)
    elif kind == "append":
        world.score(day=choices.choice((None, *DAYS)), send=send)
    elif kind == "replace":
        world.score(replace=True, send=send)
    elif kind == "partition":
        world.score(day=choices.choice(DAYS), replace=True, send=send)
    elif kind == "new":
        return _score_new(world, choices, send)
    elif world.runs:
        latest = choices.random() < 0.6
        run_id = world.runs[-1 if latest else choices.randrange(len(world.runs))].run_id
        return _undo(world, run_id, choices)
    return kind


def _score_new(world: UndoWorld, choices: random.Random, send: Send) -> str:
    """Score what is new, and return what happened.

    It is the last request of an incremental run once more, or another one of an input that may have
    grown.
    """
    asked = [(wrote.by, wrote.version) for wrote in world.runs if wrote.by is not None]
    by, version = choices.choice((COLUMN, COLUMN, IDS)), choices.choice(("v1", "v1", "v2"))
    if asked and choices.random() < 0.4:
        by, version = asked[-1]
    elif choices.random() < 0.7:
        world.growing.grow(choices, DAYS)
    known = len(world.runs)
    run_id = world.score_new(by, version, send=send)
    if run_id is None:
        return "no watermark"
    if choices.random() < 0.3:  # repeated, it is the same run
        world.check()
        assert world.score_new(by, version) == run_id, world.log
    if len(world.runs) == known or not (rows := world.runs[-1].rows):
        return f"nothing new by {by}"
    removed = {
        key[:2]
        for wrote in world.runs
        if wrote.run_id in world.undone and wrote.by is not None and wrote.version == version
        for key in wrote.rows
    }
    return f"{'again' if any(key[:2] in removed for key in rows) else 'new'} by {by}"


def _somehow(
    world: UndoWorld, choices: random.Random, calls: int, ask: Callable[[], Answer]
) -> Answer:
    """Send a request, perhaps once more after the process was killed that worked on it."""
    if choices.random() < 0.5:
        with pytest.MonkeyPatch.context() as patch:
            KilledAt(patch, 1 + choices.randrange(calls), after=choices.random() < 0.5)
            try:
                ask()
            except Killed:
                world.kills += 1
    return ask()


def _undo(world: UndoWorld, run_id: str, choices: random.Random) -> str:
    """Undo a run, perhaps by a process that is killed, and check the outcome."""
    allowed, before, kills = world.can_undo(run_id), run_id in world.undone, world.kills
    answer = _somehow(world, choices, CALLS_OF_UNDO, lambda: world.undo(run_id))
    if not allowed:
        assert answer.status == 409, (answer.text, world.log)
        assert "nothing was changed" in answer.json["detail"]
        return "refused"
    assert answer.status == 200, (answer.text, world.log)
    world.note_undone(run_id)
    assert answer.json["already"] or not before
    assert world.state(run_id)["state"] == "undone"
    return "undone after a kill" if world.kills > kills else "undone"
