"""Run histories by their seeds, compare the code with its weaker designs, and shrink a failure."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from simulator.backfills import Backfills
from simulator.choices import NAMES, NONE
from simulator.gaps import Gap
from simulator.increments import Increments
from simulator.job_runs import JobRuns
from simulator.kernel import Simulation, Thread, simulation
from simulator.mutant import Mutant
from simulator.registry import Registry
from simulator.run_world import shrink_runs
from simulator.scoring import Scoring
from simulator.undoing import Undoing
from simulator.virtual import virtual_time
from workers import machine
from workers.inference.verdict import Verdict
from workers.registry import verify

SCENARIOS: dict[str, Callable[[Simulation], Any]] = {
    "registry": Registry,
    "scoring": Scoring,
    "jobs": JobRuns,
    "increments": Increments,
    "tables": Undoing,
    "backfills": Backfills,
}


class _AllReady:
    """A verifier that finds every model usable."""

    def verdict(self, *_: Any, **__: Any) -> Verdict:
        return Verdict("ready")


@contextmanager
def world() -> Iterator[pytest.MonkeyPatch]:
    """Replace clocks, randomness and sandboxes in the block."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with virtual_time() as patch:
            patch.setattr(verify, "verifier", _AllReady)
            patch.setattr(machine, "memory", lambda: 2**40)
            shrink_runs(patch)
            yield patch
    finally:
        logging.disable(level)
        Thread.end_idle()


@dataclass
class Ended:
    """How a history ended: `failure` is None if all was as it should be."""

    scenario: str
    choices: list[int]
    seed: int | None = None
    failure: BaseException | None = None
    gap: bool = False
    lines: list[str] = field(default_factory=list)
    reached: Counter[tuple[str, int]] = field(default_factory=Counter)
    expected: dict[tuple[str, int], float] = field(default_factory=dict)

    def text(self) -> str:
        """Return the history for a reader."""
        about = f"seed {self.seed} of {self.scenario}: " if self.seed is not None else ""
        return "\n".join([f"{about}{type(self.failure).__name__}: {self.failure}", *self.lines])


def play(
    scenario: str,
    seed: int | None = None,
    given: list[int] | None = None,
    *,
    lines: bool = False,
) -> Ended:
    """Play one history, within `world`; `lines` has it kept although nothing failed."""
    with simulation(seed, given) as running:
        ended = Ended(scenario, running.choices.made, seed)
        try:
            SCENARIOS[scenario](running).run()
        except Gap as exc:
            ended.gap, ended.failure = True, exc
        except Exception as exc:
            ended.failure = exc
        ended.reached, ended.expected = running.reached, running.expected
        if lines or ended.failure is not None:
            ended.lines = running.lines()
        return ended


def find(mutant: Mutant, seeds: range) -> Ended | None:
    """Return the first history that finds the mutant, or None."""
    with world() as patch:
        mutant.change(patch)
        for seed in seeds:
            ended = play(mutant.scenario, seed)
            if ended.failure is not None and not ended.gap:
                return ended
    return None


def shrink(ended: Ended, most: int = 600) -> Ended:
    """Return a shorter history that fails in the same way, within `world`.

    Blocks of choices are left out or made plain, 0: fewer actors, faults and calls.
    """
    kind = type(ended.failure)

    def fails(choices: list[int]) -> Ended | None:
        again = play(ended.scenario, ended.seed, choices)
        return again if type(again.failure) is kind else None

    def size(history: Ended) -> tuple[int, int]:
        return len(history.lines), sum(map(bool, history.choices))

    best = fails(list(ended.choices))
    if best is None:
        return ended
    block, tries, shorter = len(best.choices) // 2, 0, False
    while block and tries < most:
        place = 0
        while place < len(best.choices) and tries < most:
            before, after = best.choices[:place], best.choices[place + block :]
            for instead in ([], [0] * block):
                tries += 1
                tried = fails(before + instead + after)
                if tried is not None and size(tried) < size(best):
                    best, shorter = tried, True
                    break
            else:
                place += block
        if block == 1 and shorter:
            shorter = False
        else:
            block //= 2
    return best


@dataclass
class Total:
    """What many histories came to."""

    histories: int = 0
    calls: int = 0
    gaps: list[int] = field(default_factory=list)  # seeds
    reached: Counter[tuple[str, int]] = field(default_factory=Counter)
    expected: dict[tuple[str, int], float] = field(default_factory=lambda: defaultdict(float))
    digest: Any = field(default_factory=hashlib.sha256)

    def never_reached(self, least: float) -> list[str]:
        """Return the points that a fault never met, although it was expected `least` times."""
        return [
            f"{point}: {NAMES[kind]}, expected {times:.0f} times"
            for (point, kind), times in self.expected.items()
            if times >= least and not self.reached[point, kind]
        ]


def play_all(scenario: str, seeds: Iterable[int]) -> Total:
    """Play many histories.

    Raises:
        AssertionError: one failed; the message is the shortest history found.
    """
    total = Total()
    with world():
        for seed in seeds:
            ended = play(scenario, seed, lines=True)
            if ended.failure is not None and not ended.gap:
                raise AssertionError(shrink(ended).text()) from ended.failure
            total.histories += 1
            total.calls += sum(n for (_, fault), n in ended.reached.items() if fault == NONE)
            total.gaps += [seed] if ended.gap else []
            total.reached += ended.reached
            for meeting, times in ended.expected.items():
                total.expected[meeting] += times
            total.digest.update("\n".join(ended.lines).encode())
    return total
