"""Cloud Run's jobs in memory: executions of several tasks, which are started again when they die.

- A task that exits with another code than 0, or whose process dies, is started again up to
  `RETRIES` times, as Terraform sets `max_retries`; so is one that exceeds its timeout
  (https://cloud.google.com/run/docs/configuring/max-retries).
- The tasks of an execution that is cancelled or deleted get SIGTERM, and are killed ten seconds
  later (https://cloud.google.com/run/docs/container-contract).
- A process that Cloud Run gave up may still be at work on a machine that it does not reach: some
  choices leave it alive, a zombie beside the next try.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from google.api_core.exceptions import Aborted, NotFound

from simulator.choices import KINDS
from simulator.gaps import Mismatch
from simulator.kernel import Actor, Simulation, call
from simulator.storage import PLAIN, at

RETRIES = 3
TIMEOUT = 1800.0  # seconds of one try of a task
GRACE = 10.0  # from SIGTERM to SIGKILL
DELAYS = (4.0, 1.0, 15.0, 90.0)  # until a task begins
ZOMBIES = 0.25  # the share of given-up tries that live on
TWICE = 0.04  # the share of tries that are started twice


class Exited(Exception):
    """A task's process ended with another exit code than 0."""


@dataclass(eq=False)
class Try:
    """One process of a task."""

    stopping: bool = False
    actor: Actor | None = None


@dataclass(eq=False)
class Task:
    """One task of an execution, and the process that counts."""

    index: int
    tries: int = 0
    current: Try | None = None
    ended: str = ""  # succeeded, failed, cancelled


@dataclass(eq=False)
class Execution:
    """One execution of the job."""

    name: str
    number: int
    arguments: list[str]
    tasks: list[Task]
    completed: float | None = None

    def count(self, how: str) -> int:
        """Return how many tasks ended so."""
        return sum(task.ended == how for task in self.tasks)


@dataclass(eq=False)
class CloudRun:
    """The client of jobs and that of executions.

    `work(arguments, index, count, stopping)` is what a task's process does; it returns its exit
    code.
    """

    simulation: Simulation
    work: Callable[[list[str], int, int, Callable[[], bool]], int]
    executions: dict[str, Execution] = field(default_factory=dict)
    started: int = 0
    tasks_died: int = 0

    # The clients

    def run_job(self, request: Any, timeout: float) -> Any:
        overrides = request.overrides
        arguments = list(overrides.container_overrides[0].args)

        def start() -> Execution:
            number = self.started
            self.started += 1
            tasks = [Task(index) for index in range(overrides.task_count)]
            execution = Execution(f"{request.name}/executions/e{number}", number, arguments, tasks)
            self.executions[execution.name] = execution
            for task in tasks:
                self._later(execution, task)
            return execution

        execution = call(
            *("run_job", start),
            kinds=KINDS,
            answer=lambda made: f"e{made.number} with {len(made.tasks)} tasks",
            refusal=lambda: Aborted("The job is being changed"),
        )
        return SimpleNamespace(metadata=SimpleNamespace(name=execution.name))

    def get_execution(self, name: str, timeout: float) -> Any:
        def get() -> Any:
            execution = self._find(name)
            done = execution.completed
            return SimpleNamespace(
                completion_time=None if done is None else at(done),
                conditions=[],
                succeeded_count=execution.count("succeeded"),
                failed_count=execution.count("failed"),
                cancelled_count=execution.count("cancelled"),
            )

        def text(state: Any) -> str:
            return "at work" if state.completion_time is None else "ended"

        return call("get_execution", get, about=_short(name), what=" ", kinds=PLAIN, answer=text)

    def cancel_execution(self, name: str, timeout: float) -> None:
        def cancel() -> None:
            execution = self._find(name)
            if execution.completed is None:
                self._stop(execution, "cancelled")

        call(
            *("cancel_execution", cancel),
            about=_short(name),
            what=" ",
            kinds=KINDS,
            refusal=lambda: Aborted("The execution is being changed"),
        )

    # What people and Cloud Run do

    def delete_one(self) -> None:
        """Delete the latest execution, as a person may."""
        if self.executions:
            name = list(self.executions)[-1]
            self.simulation.note(f"delete the execution {_short(name)}", "")
            self._stop(self.executions.pop(name), "cancelled")

    def _find(self, name: str) -> Execution:
        if name not in self.executions:
            raise NotFound(name)
        return self.executions[name]

    def _later(self, execution: Execution, task: Task) -> None:
        delay = DELAYS[self.simulation.choices.pick(len(DELAYS))]
        self.simulation.schedule(delay, lambda: self._try(execution, task))

    def _try(self, execution: Execution, task: Task) -> None:
        if task.ended:
            return
        task.tries += 1
        copies = 2 if self.simulation.choices.happens(TWICE) else 1
        for copy in range(copies):
            self._start(execution, task, "twin of " * copy)

    def _start(self, execution: Execution, task: Task, twin: str) -> None:
        one = Try()

        def work() -> None:
            count = len(execution.tasks)
            code = self.work(execution.arguments, task.index, count, lambda: one.stopping)
            if code:
                raise Exited(code)

        def ended(actor: Actor) -> None:
            if actor.error is not None and not isinstance(actor.error, Exited):
                raise Mismatch(f"{actor.name} ended with {actor.error!r}") from actor.error
            if task.current is one and not task.ended:
                self._ended(execution, task, well=actor.ended_well)

        name = f"{twin}e{execution.number}.{task.index}.{task.tries}"
        one.actor = self.simulation.start(name, work, ended=ended)
        if twin:
            return
        task.current = one
        self.simulation.schedule(TIMEOUT, lambda: self._timed_out(execution, task, one))

    def _timed_out(self, execution: Execution, task: Task, one: Try) -> None:
        if task.current is one and not task.ended:
            self._give_up(one)
            self._ended(execution, task, well=False)

    def _ended(self, execution: Execution, task: Task, *, well: bool) -> None:
        self.tasks_died += not well
        if not well and task.tries <= RETRIES:
            self._later(execution, task)
            return
        task.ended = "succeeded" if well else "failed"
        self._complete(execution)

    def _complete(self, execution: Execution) -> None:
        if execution.completed is None and all(task.ended for task in execution.tasks):
            execution.completed = self.simulation.now

    def _stop(self, execution: Execution, how: str) -> None:
        for task in execution.tasks:
            if task.ended:
                continue
            task.ended = how
            if (one := task.current) is not None:
                one.stopping = True
                self.simulation.schedule(GRACE, lambda one=one: self._give_up(one))
        self._complete(execution)

    def _give_up(self, one: Try) -> None:
        actor = one.actor
        if actor is not None and not actor.done and not self.simulation.choices.happens(ZOMBIES):
            self.simulation.note(f"{actor.name} is killed", "")
            actor.crashed = True


def _short(name: str) -> str:
    return name.rpartition("/")[2]
