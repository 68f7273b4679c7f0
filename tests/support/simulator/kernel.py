"""One baton: of all actors one runs at a time, and a list of choices decides which and how.

An actor is a thread that gives the baton away at every call of a client. Time is virtual: a call
takes a chosen latency, and the actor whose time is the earliest goes on. So the order of all calls
follows from the choices, and these from a seed; waiting costs nothing.
"""

from __future__ import annotations

import datetime as dt
import heapq
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from simulator.choices import (
    ALL,
    BUSY,
    CRASH,
    CRASH_AFTER,
    FAULTS_AT_MOST,
    JUMP,
    JUMPS,
    KINDS,
    LATENCIES,
    LIKELY,
    LOST,
    NAMES,
    NONE,
    REFUSED,
    REPEATED,
    SKEWS,
    STALL,
    STALLS,
    Choices,
)

START = dt.datetime(2026, 3, 2, 9, tzinfo=dt.UTC)
MOST_CALLS = 12_000  # of one history: more are a loop without an end

POINTS: dict[str, tuple[int, ...]] = {}  # where faults can happen, and which ones


class Crashed(BaseException):
    """The process of an actor was killed: nothing that it does from now on has an effect."""


class EndlessHistory(AssertionError):
    """The actors made too many calls without coming to an end."""


class Step(NamedTuple):
    """A line of a history."""

    at: float
    actor: str
    call: str
    fault: str
    answer: str


class Thread:
    """A thread that runs one actor after the other, because starting one costs time."""

    idle: list[Thread] = []  # noqa: RUF012 - of all simulations

    def __init__(self) -> None:
        self.go = threading.Lock()
        self.go.acquire()
        self.actor: Actor | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @classmethod
    def end_idle(cls) -> None:
        """End the threads without an actor: an interpreter that ends before them may abort."""
        while cls.idle:
            thread = cls.idle.pop()
            thread.go.release()
            thread._thread.join()

    def _run(self) -> None:
        while True:
            self.go.acquire()
            if (actor := self.actor) is None:
                return
            _running.actor = actor
            actor.run()
            _running.actor = None
            self.actor = None
            Thread.idle.append(self)
            actor.simulation.next(None)


_running = threading.local()


@dataclass(eq=False)
class Actor:
    """One thread of work: a handler, a caller, an uploader."""

    simulation: Simulation
    name: str
    work: Callable[[], Any]
    instance: str
    faulty: bool
    ended: Callable[[Actor], None]
    thread: Thread | None = None
    crashed: bool = False
    done: bool = False
    error: Exception | None = None
    answer: Any = None
    gave_up: bool = False  # it has left its work to a later one, without an error
    began: float = 0.0

    @property
    def ended_well(self) -> bool:
        """Whether it has done its work."""
        return self.done and not (self.crashed or self.gave_up) and self.error is None

    def run(self) -> None:
        """Do the work, in the actor's thread."""
        self.began = self.simulation.now
        try:
            self.answer = self.work()
        except Crashed:
            pass
        except Exception as exc:
            self.error = exc
        self.done = True
        if not self.simulation.over:
            try:
                self.ended(self)
            except BaseException as exc:
                self.simulation.fail(exc)


@dataclass(eq=False)
class Simulation:
    """A world of actors with one baton, one clock and one list of choices."""

    choices: Choices
    seed: int | None = None
    now: float = 0.0
    history: list[Step] = field(default_factory=list)
    # How often each point was reached, and with which fault; and the faults that it can have.
    reached: Counter[tuple[str, int]] = field(default_factory=Counter)
    # The sum of each fault's probabilities at the calls of a point.
    expected: dict[tuple[str, int], float] = field(default_factory=lambda: defaultdict(float))
    faults: int = 0  # so far
    kinds: tuple[int, ...] = ()  # of faults, that this history has
    often: float = 0.0  # the probability of one at a call
    skewed: bool = False  # whether the instances' wall clocks differ
    offsets: dict[str, float] = field(default_factory=dict)  # of each instance's wall clock
    over: bool = False

    def __post_init__(self) -> None:
        self.random = Random(f"values {self.seed}")  # of names and of waits
        self._agenda: list[tuple[float, int, Actor | Callable[[], None]]] = []
        self._number = self._calls = 0
        self._alive: list[Actor] = []
        self._main = threading.Lock()
        self._main.acquire()
        self._failure: BaseException | None = None

    # Actors and time

    def start(
        self,
        name: str,
        work: Callable[[], Any],
        *,
        after: float = 0.0,
        instance: str | None = None,
        faulty: bool = True,
        ended: Callable[[Actor], None] = lambda actor: None,
    ) -> Actor:
        """Add an actor that begins its work after some time."""
        actor = Actor(self, name, work, instance or name, faulty, ended)
        self._alive.append(actor)
        if actor.instance not in self.offsets:
            skew = self.choices.pick(len(SKEWS)) if self.skewed else 0
            self.offsets[actor.instance] = SKEWS[skew]
        self.schedule(after, actor)
        return actor

    def wall(self, actor: Actor) -> dt.datetime:
        """Return the time by the clock of the actor's instance."""
        return START + dt.timedelta(seconds=self.now + self.offsets[actor.instance])

    def schedule(self, after: float, what: Actor | Callable[[], None]) -> None:
        """Have an actor go on, or something happen, after some time."""
        self._number += 1
        heapq.heappush(self._agenda, (self.now + after, self._number, what))

    def run(self) -> None:
        """Let everybody work until nobody has anything left to do."""
        self.next(None)
        self._main.acquire()
        self._alive = [actor for actor in self._alive if not actor.done]
        if self._failure is not None:
            raise self._failure
        assert not self._alive, f"blocked for ever: {[actor.name for actor in self._alive]}"

    def close(self) -> None:
        """End all threads, also in the middle of a history that failed."""
        self.over = True
        for actor in self._alive:
            if not actor.done and actor.thread is not None:
                actor.thread.go.release()
                self._main.acquire()

    def fail(self, failure: BaseException) -> None:
        """Stop the history: `run` raises the failure."""
        self._failure = self._failure or failure

    def next(self, last: Actor | None) -> None:
        """Give the baton to the actor whose time is the earliest; `last` is the one that has it."""
        while self._agenda and self._failure is None and not self.over:
            self.now, _, what = heapq.heappop(self._agenda)
            if not isinstance(what, Actor):
                _running.actor = None
                try:
                    what()
                except BaseException as exc:
                    self.fail(exc)
                _running.actor = last
                continue
            if what.done or what is last:
                if what is last:
                    return
                continue
            if what.thread is None:
                what.thread = Thread.idle.pop() if Thread.idle else Thread()
                what.thread.actor = what
            what.thread.go.release()
            break
        else:
            self._main.release()
        if last is not None:
            assert last.thread is not None
            last.thread.go.acquire()
            if self.over or self._failure is not None:
                raise Crashed

    def sleep(self, seconds: float) -> None:
        """Let the others work for some time."""
        actor = self.actor()
        self.check(actor)
        self.schedule(max(0.0, seconds), actor)
        self.next(actor)
        if actor.crashed:  # it was killed meanwhile
            raise Crashed

    def wait(self, until: list[Actor]) -> None:
        """Wait until somebody wakes the actors in `until`, to which this one is added."""
        actor = self.actor()
        self.check(actor)
        until.append(actor)
        self.next(actor)
        if actor.crashed:
            raise Crashed

    def actor(self) -> Actor:
        """Return the actor that runs."""
        actor: Actor = _running.actor
        return actor

    def check(self, actor: Actor) -> None:
        """End an actor that was killed, or whose simulation is over."""
        if actor.crashed or self.over or self._failure is not None:
            raise Crashed

    def crash(self, actor: Actor) -> None:
        """Kill an actor where it stands."""
        actor.crashed = True
        raise Crashed

    # Calls

    def latency(self) -> float:
        """Return how long a message travels."""
        return LATENCIES[self.choices.pick(len(LATENCIES), LIKELY)]

    def fault(self, point: str, kinds: tuple[int, ...]) -> int:
        """Return what happens at a point, of the kinds that can."""
        POINTS[point] = kinds
        actor = self.actor()
        possible = [kind for kind in kinds if kind in self.kinds]
        if not actor.faulty or not possible:
            return NONE
        if self.faults < FAULTS_AT_MOST:
            for kind in possible:
                self.expected[point, kind] += self.often / len(possible)
        if not self.choices.happens(self.often):
            return NONE
        kind = possible[self.choices.pick(len(possible))]
        if self.faults >= FAULTS_AT_MOST:
            return NONE
        self.faults += 1
        self.reached[point, kind] += 1
        return kind

    def note(self, call: str, answer: str, fault: int = NONE) -> None:
        """Add a line to the history."""
        actor = getattr(_running, "actor", None)
        name = actor.name if actor is not None else "the world"
        self.history.append(Step(round(self.now, 3), name, call, NAMES[fault], answer))

    def lines(self) -> list[str]:
        """Return the history as text, a numbered line a step."""
        out = []
        for number, step in enumerate(self.history, 1):
            at = START + dt.timedelta(seconds=step.at)
            fault = f" [{step.fault}]" if step.fault else ""
            answer = f" -> {step.answer}" if step.answer else ""
            what = f"{at:%d %H:%M:%S}.{at.microsecond // 1000:03} {step.actor}: {step.call}"
            out.append(f"{number:3}. {what}{fault}{answer}")
        return out


def current() -> Simulation | None:
    """Return the simulation of the running actor, or None outside of one."""
    actor = getattr(_running, "actor", None)
    return actor.simulation if actor is not None else None


def call[T](
    name: str,
    effect: Callable[[], T],
    *,
    about: str = "",
    what: str = "",
    kinds: tuple[int, ...] = KINDS,
    answer: Callable[[T], str] = lambda _: "",
    refusal: Callable[[], Exception] | None = None,
) -> T:
    """Make a call of a client: it travels, takes effect at once or fails, and is answered.

    `about` is what the history shows with the name, `what` the same without names and numbers;
    `refusal` makes the error of a call that is refused without an effect.
    """
    simulation = current()
    if simulation is None:
        return effect()
    kinds = kinds if refusal is None else (*kinds, REFUSED)
    return _call(simulation, name, effect, about, what or about, kinds, answer, refusal)


def _call[T](
    simulation: Simulation,
    name: str,
    effect: Callable[[], T],
    about: str,
    what: str,
    kinds: tuple[int, ...],
    answer: Callable[[T], str],
    refusal: Callable[[], Exception] | None,
) -> T:
    from google.api_core.exceptions import GoogleAPICallError, ServiceUnavailable

    actor = simulation.actor()
    simulation._calls += 1
    if simulation._calls > MOST_CALLS:
        raise EndlessHistory(f"{MOST_CALLS} calls, the last ones of {actor.name}: {name}")
    text, point = f"{name} {about}".rstrip(), f"{name} {what}".rstrip()
    simulation.reached[point, NONE] += 1
    simulation.sleep(simulation.latency())
    fault = simulation.fault(point, kinds)
    if fault == CRASH:
        simulation.note(text, "", fault)
        simulation.crash(actor)
    if fault == BUSY:
        simulation.note(text, "503", fault)
        raise ServiceUnavailable("The service is unavailable")
    if fault == REFUSED:
        assert refusal is not None
        refused = refusal()
        simulation.note(text, type(refused).__name__, fault)
        raise refused
    if fault == JUMP:
        seconds = JUMPS[simulation.choices.pick(len(JUMPS))]
        simulation.note(text, f"by {seconds:.0f} s", fault)
        simulation.offsets[actor.instance] += seconds
    if fault == STALL:
        hours = STALLS[simulation.choices.pick(len(STALLS))]
        simulation.note(text, f"asleep for {hours:.0f} s", fault)
        simulation.sleep(hours)
    try:
        value = effect()
        if fault == REPEATED:
            simulation.note(text, answer(value), fault)
            simulation.sleep(simulation.latency())
            value = effect()
    except GoogleAPICallError as exc:
        simulation.note(text, f"{exc.code and int(exc.code)} {type(exc).__name__}", fault)
        raise
    except Crashed:
        raise
    except Exception as exc:
        simulation.note(text, type(exc).__name__, fault)
        raise
    simulation.note(text, answer(value), fault)
    if fault == CRASH_AFTER:
        simulation.crash(actor)
    simulation.sleep(simulation.latency())
    if fault == LOST:
        raise ServiceUnavailable("The answer was lost")
    return value


@contextmanager
def simulation(seed: int | None = None, given: list[int] | None = None) -> Iterator[Simulation]:
    """Yield a simulation by a seed, or by a given list of choices, and end its threads."""
    world = Simulation(Choices(seed, given), seed)
    # Each history has a random subset of the kinds of faults, and perhaps none.
    world.kinds = tuple(kind for kind in ALL if world.choices.happens(0.5))
    world.often = (0.0, 0.01, 0.03, 0.08)[world.choices.pick(4)]
    world.skewed = world.choices.happens(0.3)
    try:
        yield world
    finally:
        world.close()
