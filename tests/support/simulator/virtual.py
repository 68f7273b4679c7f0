"""The clock and the randomness of the modules under test: virtual for actors, real for others."""

from __future__ import annotations

import concurrent.futures as cf
import datetime as dt
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from simulator.kernel import Simulation, current

PACKAGES = ("workers", "mlsys", "app")


class _Time:
    """The module `time`, for an actor by its simulation's clock."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic(self) -> float:
        simulation = current()
        return time.monotonic() if simulation is None else simulation.now

    perf_counter = monotonic

    def time(self) -> float:
        simulation = current()
        return time.time() if simulation is None else _wall(simulation).timestamp()

    def sleep(self, seconds: float) -> None:
        simulation = current()
        if simulation is None:
            time.sleep(seconds)
        else:
            simulation.sleep(seconds)


def _wall(simulation: Simulation) -> dt.datetime:
    return simulation.wall(simulation.actor())


class _IsDatetime(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, dt.datetime)


class _Datetime(dt.datetime, metaclass=_IsDatetime):
    """The class `datetime`, whose `now` is the actor's."""

    @classmethod
    def now(cls, tz: Any = None) -> dt.datetime:  # type: ignore[override]
        simulation = current()
        return dt.datetime.now(tz) if simulation is None else _wall(simulation)

    @classmethod
    def fromisoformat(cls, text: str) -> dt.datetime:  # type: ignore[override]
        return dt.datetime.fromisoformat(text)

    @classmethod
    def fromtimestamp(cls, at: float, tz: Any = None) -> dt.datetime:  # type: ignore[override]
        return dt.datetime.fromtimestamp(at, tz)


class _Module:
    """A module with some names replaced."""

    def __init__(self, real: ModuleType, **instead: Any) -> None:
        self.__dict__.update(instead)
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def _uuid4() -> uuid.UUID:
    simulation = current()
    if simulation is None:
        return uuid.uuid4()
    return uuid.UUID(int=simulation.random.getrandbits(128), version=4)


def _token_hex(size: int) -> str:
    simulation = current()
    assert simulation is not None
    return f"{simulation.random.getrandbits(8 * size):0{2 * size}x}"


def _uniform(least: float, most: float) -> float:
    simulation = current()
    assert simulation is not None
    return least + simulation.random.random() * (most - least)


class Inline:
    """A `ThreadPoolExecutor` whose work is done at once by the caller."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work: Callable[..., Any], *args: Any, **options: Any) -> cf.Future[Any]:
        future: cf.Future[Any] = cf.Future()
        try:
            future.set_result(work(*args, **options))
        except Exception as exc:  # a crash ends the caller itself
            future.set_exception(exc)
        return future

    def map(self, work: Callable[..., Any], *items: Any) -> Iterator[Any]:
        return map(work, *items)

    def shutdown(self, **_: Any) -> None:
        pass


@contextmanager
def virtual_time() -> Iterator[pytest.MonkeyPatch]:
    """Give the modules under test, as far as they are imported, the simulation's clock."""
    import secrets

    import tenacity

    clock = _Time()
    instead: dict[int, Any] = {
        id(time): clock,
        id(dt): _Module(dt, datetime=_Datetime),
        id(uuid): _Module(uuid, uuid4=_uuid4),
        id(secrets): _Module(secrets, token_hex=_token_hex),
        id(cf.ThreadPoolExecutor): Inline,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in PACKAGES and module is not None:
                for key, value in list(vars(module).items()):
                    if id(value) in instead:
                        patch.setattr(module, key, instead[id(value)])
        patch.setattr(tenacity.nap, "time", clock)
        patch.setattr(tenacity.wait, "random", SimpleNamespace(uniform=_uniform))
        yield patch
