"""Kill the processes of a run: those that hold its model, those that fork them, the scoring ones.

The tree below a caller: its nursery with sandboxes, and with a pool the fork server, whose children
are the scoring processes, each with a nursery of its own.
"""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator

import psutil

from kill_cases import SCORED, Bench
from zygote import Caller

KINDS = ("sandbox", "nursery", "scoring process")
SECONDS = 10.0  # for processes to end
PATIENCE = 60.0  # seconds for a process of a kind to be started


def children(pid: int) -> list[psutil.Process]:
    """Return the children of a process, none if it has ended."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).children()
    return []


def tree(pid: int) -> Iterator[tuple[str, psutil.Process]]:
    """Yield the processes that a caller has started, with their kinds."""
    for child in children(pid):
        try:
            words = " ".join(child.cmdline())
        except psutil.Error:
            continue
        if "resource_tracker" in words:
            continue
        if "forkserver" not in words:
            yield from with_sandboxes(child)
            continue
        for process in children(child.pid):
            yield "scoring process", process
            for nursery in children(process.pid):
                yield from with_sandboxes(nursery)


def with_sandboxes(nursery: psutil.Process) -> Iterator[tuple[str, psutil.Process]]:
    """Yield a nursery and its sandboxes."""
    yield "nursery", nursery
    for child in children(nursery.pid):
        yield "sandbox", child


def kill_one(caller: Caller, kind: str, rng: random.Random, delay: float) -> bool:
    """Kill a random process of the kind, up to `delay` seconds after there is one.

    Return whether one was killed before the caller ended.
    """
    deadline, waited = time.monotonic() + PATIENCE, False
    while time.monotonic() < deadline and is_running(caller.pid):
        if some := [process for known, process in tree(caller.pid) if known == kind]:
            if not waited:
                time.sleep(rng.uniform(0, delay))
                waited = True
                continue
            with contextlib.suppress(psutil.NoSuchProcess):
                rng.choice(some).send_signal(signal.SIGKILL)
                return True
        time.sleep(0.005)
    return False


def is_running(pid: int) -> bool:
    """Return whether a process runs: it exists, and has not ended."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def wait_until_gone(processes: set[psutil.Process]) -> None:
    """Wait until all of the processes have ended."""
    deadline = time.monotonic() + SECONDS
    while left := [p for p in processes if p.is_running()]:
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.02)


def run_with_killed_processes(bench: Bench, seed: int, kills: int = 3) -> Counter[str]:
    """Score a table while processes of the run are killed at random moments.

    Each caller loses one. Return the kills by kind.
    """
    rng = random.Random(seed)
    output = bench.output()
    killed: Counter[str] = Counter()
    for number in range(kills):
        kind = KINDS[(seed + number) % len(KINDS)]
        pool = kind == "scoring process" or rng.random() < 0.25
        caller = bench.start(output, pool=pool)
        started: set[psutil.Process] = set()
        try:
            done = kill_one(caller, kind, rng, delay=0.5 * bench.seconds)
            started.update(process for _, process in tree(caller.pid))
        finally:
            outcome = caller.end()
        killed[kind] += done
        assert outcome.kind in ("result", "again"), f"seed {seed}, {kind}: {outcome.value}"
        wait_until_gone(started)
        if outcome.kind == "result":
            output, before = bench.output(), output
            _check(bench, before, outcome.value["rows"], seed)
    _check(bench, output, bench.finish(output)["rows"], seed)
    return killed


def _check(bench: Bench, output: str, rows: int, seed: int) -> None:
    assert rows == SCORED, f"seed {seed}"
    problems = bench.problems(output)
    assert problems == [], f"seed {seed}: {problems}"
    bench.forget(output)
