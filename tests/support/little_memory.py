"""Several callers of a service that has little memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.limits import MemoryGroup
from scoring_cases import Answer, Lab

PATIENCE = 600.0  # seconds


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[MemoryGroup]:
    """Yield a control group of `limit` bytes, or skip the test where there are none."""
    try:
        group = MemoryGroup(limit)
    except OSError as exc:
        pytest.skip(f"memory cannot be limited here: {exc}")
    try:
        yield group
    finally:
        for _ in range(50):  # the kernel takes a moment to forget processes that have ended
            try:
                group.remove()
            except OSError:
                time.sleep(0.1)
            else:
                break


def call_at_once(
    lab: Lab, params: Callable[[], Mapping[str, str]], callers: int, pause: float
) -> list[Answer]:
    """Let callers score a table each, and repeat refused requests; return the refusals.

    Each one's rows must be scored in the end, by a run of its own. `pause` is in seconds.
    """
    refused: list[Answer] = []

    def call(_: int) -> Answer:
        request = params()
        deadline = time.monotonic() + PATIENCE
        while (answer := lab.http(request)).status == 503 and time.monotonic() < deadline:
            refused.append(answer)
            time.sleep(pause)  # Retry-After says ten
        return answer

    with ThreadPoolExecutor(callers) as pool:
        answers = list(pool.map(call, range(callers)))
    assert [answer.done()["rows"] for answer in answers] == [100] * callers
    assert len({answer.json["run_id"] for answer in answers}) == callers
    return refused
