"""The executions of a run's job, as its objects `execution-{n}.json`.

Each is created once, before Cloud Run is asked to start it, so that requests that are delivered
again start no second one; its name is noted afterwards. A second one would cost work alone: the
tasks of both write the same parts.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from mlsys.cloud.clients import TIMEOUT, Clients, is_passing
from mlsys.errors import PermissionMissing, bounded
from mlsys.plural import plural
from workers.scoring.journal.store import RunStore

log = logging.getLogger(__name__)

MAX_MESSAGE = 300  # characters of Cloud Run's own text
START_SECONDS = 180.0  # that starting one may take before it counts as lost
_NAME = re.compile(r"execution-(\d+)\.json")


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution of the job: how many tasks, why, and how far the run was."""

    number: int
    tasks: int
    reason: str  # of the choice of the job
    at: str
    progress: str
    name: str = ""  # that Cloud Run gave it
    refused: str = ""  # why Cloud Run did not start it
    tolerance: Mapping[str, Any] | None = None  # of the request that started it

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read an `execution-{n}.json`."""
        return cls(
            value["number"],
            value["tasks"],
            value["reason"],
            value["at"],
            value["progress"],
            value.get("name", ""),
            value.get("refused", ""),
            value.get("tolerance"),
        )

    @property
    def object_name(self) -> str:
        """The name of its object, below the run."""
        return f"execution-{self.number}.json"

    def claim(self, store: RunStore) -> bool:
        """Create its object; return False if another request was first."""
        return store.create(self.object_name, asdict(self))

    def started(self, store: RunStore, name: str) -> Execution:
        """Note the name that Cloud Run gave it."""
        named = replace(self, name=name)
        store.note(self.object_name, asdict(named))
        return named

    def not_started(self, store: RunStore, why: str) -> None:
        """Note that Cloud Run refused it: the next request starts another one."""
        store.note(self.object_name, asdict(replace(self, refused=why)))

    def cancel(self, clients: Clients) -> None:
        """Ask Cloud Run to end it: its tasks get SIGTERM, and are not started again."""
        if self.name and look_up(clients, self) is None:
            clients.executions.cancel_execution(name=self.name, timeout=TIMEOUT)


@dataclass(frozen=True, slots=True)
class Ended:
    """An execution that works no longer: how its tasks ended, as a text, and when if known."""

    how: str
    at: dt.datetime | None = None


def latest_execution(store: RunStore) -> Execution | None:
    """Return the run's latest execution, or None if it has none.

    Raises:
        Conflict: its object is damaged.
    """
    found = (_NAME.fullmatch(name) for name in store.names())
    numbers = [int(match[1]) for match in found if match]
    if not numbers:
        return None
    name = f"execution-{max(numbers)}.json"
    document = store.read(name)
    return None if document is None else store.parse(name, document, Execution.from_dict)


def look_up(clients: Clients, execution: Execution) -> Ended | None:
    """Return how the execution ended, or None while it works, or while Cloud Run does not say.

    Raises:
        PermissionMissing: the service's account may not see it.
    """
    from google.api_core import exceptions

    if execution.refused:
        return Ended(execution.refused)
    if not execution.name:
        age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(execution.at)
        if age.total_seconds() <= START_SECONDS:
            return None
        return Ended("the request that started it ended before Cloud Run answered")
    try:
        state = clients.executions.get_execution(name=execution.name, timeout=TIMEOUT)
    except exceptions.NotFound:
        return Ended("it was deleted")
    except exceptions.GoogleAPICallError as exc:
        if is_passing(exc):
            log.warning("Cloud Run does not say how %s goes: %s", execution.name, exc)
            return None
        if isinstance(exc, exceptions.Forbidden | exceptions.Unauthorized):
            raise PermissionMissing(
                "The service may not see the executions of its Cloud Run job. Grant its account "
                "roles/run.viewer on the project, or pass engine=service."
            ) from exc
        raise
    if not state.completion_time:
        return None
    counts = f"{plural(state.succeeded_count, 'task')} succeeded, {state.failed_count} failed"
    how = f"{counts}, {state.cancelled_count} were cancelled"
    for condition in state.conditions:  # Cloud Run's own text names the task and its limit
        if condition.type_ == "Completed" and condition.message:
            how += f" ({bounded(condition.message.rstrip('. '), MAX_MESSAGE)})"
    return Ended(how, state.completion_time)


def without_result(run_id: str, execution: Execution, ended: Ended, what: str) -> str:
    """Return what to do about an execution that ended without a result."""
    return (
        f"The execution {execution.name.rpartition('/')[2]} of {run_id} {what}: {ended.how}. A "
        "task that exceeds its memory is killed; its log in Cloud Run says so. Raise job_memory in "
        "Terraform for lack of memory, job_timeout for lack of time, or use a model that needs "
        "less of both. Then repeat the request."
    )
