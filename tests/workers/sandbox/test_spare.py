"""The sandbox that is started ahead: who gets it, when the next one comes, and how all end."""

import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from mlsys.errors import TryAgain
from workers.sandbox.process import Sandbox
from workers.sandbox.spare import Spare


class Fake:
    """A sandbox without a process."""

    def __init__(self) -> None:
        self.alive = True
        self.closed = False

    def close(self) -> None:
        self.alive, self.closed = False, True


class Started:
    """Starts fakes, and remembers them."""

    def __init__(self) -> None:
        self.all: list[Fake] = []

    def __call__(self) -> Sandbox:
        self.all.append(Fake())
        return cast(Any, self.all[-1])


def soon(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def spare_of(start: Callable[[], Sandbox], pause: float = 0.0) -> Spare:
    return Spare(start, pause)


def test_none_is_started_before_one_is_to_be_kept() -> None:
    started = Started()
    spare = spare_of(started)
    assert spare.take() is None
    time.sleep(0.02)
    assert not started.all


def test_each_is_taken_once_and_another_one_follows() -> None:
    started = Started()
    spare = spare_of(started)
    spare.keep()
    taken: list[Any] = []
    while len(taken) < 3:
        if (sandbox := spare.take()) is not None:
            taken.append(sandbox)
        time.sleep(0.005)
    assert len(set(map(id, taken))) == 3
    assert not any(sandbox.closed for sandbox in taken)
    spare.end()
    assert all(sandbox.closed for sandbox in started.all if sandbox not in taken)


def test_one_that_died_is_not_given() -> None:
    started = Started()
    spare = spare_of(started, pause=60)
    spare.keep()
    soon(lambda: spare._sandbox)
    started.all[0].alive = False
    assert spare.take() is None
    assert started.all[0].closed
    spare.end()


def test_the_next_one_leaves_the_cores_to_the_run_for_a_moment() -> None:
    started = Started()
    spare = spare_of(started, pause=60)
    spare.keep()
    soon(lambda: spare._sandbox)
    assert spare.take() is not None
    assert spare.take() is None
    time.sleep(0.02)
    assert len(started.all) == 1
    spare.end()


def test_one_that_does_not_start_is_logged_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    started, fails = Started(), [True]

    def start() -> Sandbox:
        if fails.pop():
            raise TryAgain("no memory")
        return started()

    spare = spare_of(start)
    spare.keep()
    soon(lambda: "no memory" in caplog.text)
    fails.append(False)
    soon(lambda: not spare._coming)
    assert spare.take() is None
    soon(lambda: spare._sandbox)
    spare.end()
    assert started.all[0].closed


def test_one_that_comes_up_while_it_ends_is_closed() -> None:
    started, may, begun = Started(), threading.Event(), threading.Event()

    def start() -> Sandbox:
        begun.set()
        assert may.wait(10)
        return started()

    spare = spare_of(start)
    spare.keep()
    assert begun.wait(10)
    ending = threading.Thread(target=spare.end)
    ending.start()
    may.set()
    ending.join(10)
    assert started.all[0].closed
    assert spare.take() is None
