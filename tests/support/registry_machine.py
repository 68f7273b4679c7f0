"""The steps that Hypothesis may take in the registry's world, in any order."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from registry_world import HANDLERS, Design, Handler, World, as_the_service_does

CHANGES = ("put", "put a lower generation", "delete", "restore")
FILES = ("model.pkl", "model.pkl", "metadata.json")
# Usually one version, so that its handlers run at the same time.
paths = st.sampled_from([f"m/{v}/{file}" for v in ("v1", "v1", "v1", "v2") for file in FILES])
picks = st.integers(0, 30)


class RegistryMachine(RuleBasedStateMachine):
    """Takes steps in any order, and lets the world become quiet in the end."""

    design: Design = staticmethod(as_the_service_does)

    def __init__(self) -> None:
        super().__init__()
        self.world = World(type(self).design)
        self.lossy, self.order = False, Random(0)

    @initialize(lossy=st.booleans(), order=st.integers(0, 2**32))
    def begin(self, lossy: bool, order: int) -> None:
        """Choose whether notifications get lost: only then a rescan may repair the registry."""
        self.lossy, self.order = lossy, Random(order)

    @rule(path=paths, how=st.sampled_from(CHANGES), pick=picks, begin=st.integers(0, 3))
    def change_the_bucket(self, path: str, how: str, pick: int, begin: int) -> None:
        """Change an object, and perhaps let handlers begin."""
        if how == "delete":
            self.world.delete(path)
        elif how == "restore":
            self.world.restore(path, pick)
        else:
            self.world.put(path, lower=how == "put a lower generation")
        self._deliver(begin, pick, steps=0)

    @precondition(lambda self: self.world.messages)
    @rule(pick=picks, lost=st.booleans())
    def duplicate_or_lose_an_announcement(self, pick: int, lost: bool) -> None:
        messages, waiting = self.world.messages, self.world.waiting()
        if lost and self.lossy and waiting:
            self.world.drop(waiting[pick % len(waiting)])
        else:
            self.world.duplicate(messages[pick % len(messages)])
            self._deliver(2, pick, steps=0)

    @precondition(lambda self: self._may_start() and self.world.waiting())
    @rule(number=st.integers(1, 3), pick=picks, steps=st.integers(0, 12))
    def deliver(self, number: int, pick: int, steps: int) -> None:
        self._deliver(number, pick, steps)

    @precondition(lambda self: self.lossy and self._may_start() and self.world.handlers)
    @rule(steps=st.integers(0, 12))
    def start_a_rescan(self, steps: int) -> None:
        self.world.step(self.world.start_rescan(), steps)

    @precondition(lambda self: self.world.handlers)
    @rule(pick=picks, steps=st.integers(1, 8))
    def step(self, pick: int, steps: int) -> None:
        self.world.step(self._handler(pick), steps)

    @precondition(lambda self: self.world.handlers)
    @rule(pick=picks, to=st.sampled_from(["query", "answer", "running", "ended", "the end"]))
    def run_to(self, pick: int, to: str) -> None:
        self.world.run(self._handler(pick), to)

    @precondition(lambda self: self.world.handlers)
    @rule(pick=picks, lost_answer=st.booleans())
    def crash(self, pick: int, lost_answer: bool) -> None:
        """Kill a handler where it is, or just after its statement took effect."""
        handler = self._handler(pick)
        if lost_answer:
            self.world.run(handler, to="ended")
        if handler in self.world.handlers:
            self.world.kill(handler)

    @precondition(lambda self: self.world.orphans())
    @rule(pick=picks)
    def end_a_statement_of_a_dead_handler(self, pick: int) -> None:
        running = [job for job in self.world.orphans() if job.state == "running"]
        if running:
            self.world.cloud.registry.end(running[pick % len(running)])

    @precondition(lambda self: len(self.world.handlers) > 1)
    @rule()
    def become_quiet_until_the_next_day(self) -> None:
        self.world.quiet(self.order)
        self.world.cloud.registry.today += 1

    @invariant()
    def a_stored_version_does_not_vanish(self) -> None:
        self.world.check_that_no_version_vanishes()

    def teardown(self) -> None:
        try:
            self.world.quiet(self.order)
        finally:
            self.world.close()

    def _deliver(self, number: int, pick: int, steps: int) -> None:
        """Start handlers that keep step with each other."""
        for _ in range(number):
            if (waiting := self.world.waiting()) and self._may_start():
                self.world.step(self.world.deliver(waiting[pick % len(waiting)]), steps)

    def _may_start(self) -> bool:
        return len(self.world.handlers) < HANDLERS

    def _handler(self, pick: int) -> Handler:
        return self.world.handlers[pick % len(self.world.handlers)]
