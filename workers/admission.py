"""How many runs this process works on at the same time: those whose models fit into its memory.

Every run loads its model in a sandbox, and each process of the scoring pool in one more. On Cloud
Run an instance that exceeds its memory is killed with all its requests, so a run that does not fit
is refused before its model is downloaded. It is never refused if no other one is at work.

```
with admitted(settings.max_runs):    # around a request that may load a model
    hold(generation, size)           # before its model is downloaded
    measured(generation, size, pid)  # once it is loaded
```
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlsys.errors import ModelUnusable, TooManyRuns
from mlsys.plural import plural
from workers import machine

REMEMBERED = 1000  # models whose memory is known
POLL = 0.5  # seconds


@dataclass(eq=False, slots=True)
class Place:
    """A share of the memory, in bytes: 0 before a model is loaded."""

    most: int | None = None  # runs at the same time, as the settings say
    waits: float = 0.0  # seconds that it may wait for memory
    is_run: bool = True  # it counts among them
    held: int = 0
    beside: int = 0  # of `held`'s second model

    @property
    def total(self) -> int:
        """The bytes of both models."""
        return self.held + self.beside


_places: set[Place] = set()
_current: ContextVar[Place | None] = ContextVar("place", default=None)
_model: ContextVar[Literal["held", "beside"]] = ContextVar("model", default="held")
_changed = threading.Condition()
_needs: OrderedDict[Hashable, int] = OrderedDict()  # bytes that models were seen to need
_reclaims: list[Callable[[], None]] = []


@contextmanager
def admitted(most: int | None, *, waits: float = 0.0, is_run: bool = True) -> Iterator[None]:
    """Give the block a place, which has no memory yet.

    At most `most` runs may hold some. `waits` is how many seconds `hold` may wait for it.
    """
    place = Place(most, waits, is_run)
    token = _current.set(place)
    with _changed:
        _places.add(place)
    try:
        yield
    finally:
        _current.reset(token)
        with _changed:
            _places.discard(place)
            _changed.notify_all()


@contextmanager
def second_model() -> Iterator[None]:
    """Let the block's model count beside the one that the caller's place holds already."""
    token = _model.set("beside")
    try:
        yield
    finally:
        _model.reset(token)


def hold(key: Hashable, size: int) -> None:
    """Reserve memory for the model `key`, whose file has `size` bytes, in the caller's place.

    A place that has enough keeps it. Nothing is reserved without a place: the memory of the scoring
    pool's processes is reserved by `fit`.

    Raises:
        TooManyRuns: others hold it.
        ModelUnusable: it is a second model, and both do not fit, even without others.
    """
    if (place := _current.get()) is None:
        return
    until = time.monotonic() + place.waits
    while True:
        for reclaim in (lambda: None, *_reclaims):
            reclaim()
            with _changed:
                need = max(machine.model_memory(size), _needs.get(key, 0))
                enough = getattr(place, _model.get()) >= need
                refusal = None if enough else _refusal(place, need)
                if refusal is None:
                    _raise_to(place, need)
                    return
        with _changed:
            if refusal is not None and time.monotonic() >= until:
                raise refusal
            _changed.wait(POLL)


def measured(key: Hashable, size: int, pid: int) -> None:
    """Correct what the caller's place holds by what the model's sandbox, `pid`, has needed.

    A compressed file needs several times what its size says.
    """
    if (place := _current.get()) is None or (peak := _peak(pid)) is None:
        return
    with _changed:
        _needs[key] = need = max(size + peak, _needs.pop(key, 0))
        while len(_needs) > REMEMBERED:
            _needs.popitem(last=False)
        _raise_to(place, need)


def let_go() -> None:
    """Give back what the caller's place holds: its models are closed, and the block goes on.

    In a block of `second_model`, only the second model's memory is given back.
    """
    if (place := _current.get()) is not None:
        with _changed:
            place.beside = 0
            if _model.get() == "held":
                place.held = 0
            _changed.notify_all()


def check_both_fit(first: int, second: int) -> None:
    """Check that two models that need this many bytes fit into this process's memory together.

    Raises:
        ModelUnusable: they do not.
    """
    if first + second > machine.room_for_models():
        needed, room = ((n // 2**20) for n in (first + second, machine.room_for_models()))
        raise ModelUnusable(
            f"Both models need about {needed} MiB, and this instance has {room} MiB for models: "
            "give the service more memory"
        )


def fit(place: Place, sizes: Sequence[int], most: int) -> int:
    """Reserve memory in `place` for processes of the pool, each with models of `sizes` bytes.

    Return for how many: up to `most`, as many as fit beside the caller's run and all others. The
    place keeps the memory of at least two, else none.
    """
    each = machine.WORKER_BYTES + sum(map(machine.model_memory, sizes))
    with _changed:
        mine = _current.get()
        others = sum(p.total for p in _places if p is not place and p is not mine)
        room = machine.room_for_models() - others - machine.MODEL_BYTES * sum(sizes)
        count = max(0, min(most, room // each))
        place.held = count * each if count > 1 else 0
        _places.add(place)
        _changed.notify_all()
        return count


def release(place: Place) -> None:
    """Give back what `place` holds."""
    with _changed:
        place.held = 0
        _places.discard(place)
        _changed.notify_all()


def reclaim_by(free: Callable[[], None]) -> None:
    """Have `free` called where memory is missing: it may give back what no run uses."""
    if free not in _reclaims:
        _reclaims.append(free)


def _raise_to(place: Place, need: int) -> None:
    """Let the caller's model hold `need` bytes at least."""
    name = _model.get()
    setattr(place, name, max(getattr(place, name), need))


def _refusal(place: Place, need: int) -> TooManyRuns | None:
    """Return why the place cannot have `need` bytes beside the others, or None if it can.

    Raises:
        ModelUnusable: see `check_both_fit`.
    """
    second = _model.get() == "beside"
    if second:
        check_both_fit(place.held, need)
    others = [p for p in _places if p is not place and p.total]
    runs, held = sum(p.is_run for p in others), sum(p.total for p in others)
    held += place.held if second else place.beside
    if place.is_run and place.most is not None and runs >= place.most:
        return TooManyRuns(
            f"The service works on {plural(runs, 'run')}, as many as MLSYS_MAX_RUNS allows. "
            "Repeat the request later."
        )
    if not others or held + need <= machine.room_for_models():
        return None
    needed, used, room = (n // 2**20 for n in (need, held, machine.room_for_models()))
    return TooManyRuns(
        f"The model needs about {needed} MiB, and {used} of the {room} MiB that this instance has "
        "for models are in use. Repeat the request later, or give the service more memory."
    )


def _peak(pid: int) -> int | None:
    """Return the most memory that the process has had, in bytes; None where nobody knows it."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError):
        return None
