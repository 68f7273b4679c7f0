"""The executions of the small Cloud Run for jobs (`jobs`), and what its API shows of them."""

from __future__ import annotations

import subprocess
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass
class Task:
    """One task of an execution: its processes, one after the other."""

    index: int
    codes: list[int] = field(default_factory=list)  # of the tries that ended
    process: subprocess.Popen[bytes] | None = None
    ended: bool = False
    cancelled: bool = False  # before it ended well


@dataclass
class Execution:
    """One execution of a job."""

    name: str
    arguments: tuple[str, ...]
    tasks: list[Task]
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    completed: datetime | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def failed(self) -> int:
        """How many tasks used up their tries."""
        return sum(
            task.ended and task.codes[-1:] != [0] and not task.cancelled for task in self.tasks
        )

    @property
    def succeeded(self) -> int:
        """How many tasks exited with 0."""
        return sum(task.codes[-1:] == [0] and not task.cancelled for task in self.tasks)


def message_of(execution: Execution) -> Any:
    """Return the execution as the API shows it; the texts of its condition are our own."""
    from google.cloud import run_v2

    conditions = []
    if execution.completed is not None:
        failed = [task for task in execution.tasks if task.codes[-1:] != [0] and task.codes]
        texts = [f"Task {task.index} ended with the code {task.codes[-1]}." for task in failed[:1]]
        states = run_v2.Condition.State
        if execution.cancelled.is_set():
            texts = ["The execution was cancelled."]
        is_well = not failed and not execution.cancelled.is_set()
        state = states.CONDITION_SUCCEEDED if is_well else states.CONDITION_FAILED
        conditions = [run_v2.Condition(type_="Completed", state=state, message="".join(texts))]
    return run_v2.Execution(
        name=execution.name,
        job=execution.name.split("/executions/")[0].rpartition("/")[2],
        task_count=len(execution.tasks),
        create_time=execution.created,
        completion_time=execution.completed,
        conditions=conditions,
        running_count=sum(not task.ended for task in execution.tasks),
        succeeded_count=execution.succeeded,
        failed_count=execution.failed,
        cancelled_count=sum(task.cancelled for task in execution.tasks),
        retried_count=sum(max(0, len(task.codes) - 1) for task in execution.tasks),
    )
