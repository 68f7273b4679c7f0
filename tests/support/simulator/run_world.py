"""What runs need of the world: their clients, locks that wait by the virtual clock, a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from mlsys.settings import Settings
from simulator.kernel import current
from simulator.loads import LoadingClient
from simulator.model import Model
from simulator.reads import ReadClient
from simulator.setups import PROJECT
from simulator.storage import StorageClient
from simulator.topics import PublisherClient
from workers import machine
from workers.scoring.engines import cloud_run_job, run
from workers.scoring.planning import model_pin
from workers.scoring.shards import read_session

SETTINGS = Settings(
    project=PROJECT,
    envs=("dev",),
    models_buckets=(("dev", "models"),),
    runs_buckets=(("dev", "runs"),),
    push_auth="off",
)
PART_ROWS = 4


@dataclass
class Clients:
    """The clients of `mlsys.cloud.clients`, in memory."""

    settings: Settings
    storage: StorageClient
    bigquery: LoadingClient
    bigquery_read: ReadClient
    publisher: PublisherClient
    jobs: Any = None
    executions: Any = None


class _Lock:
    """A lock of one instance, which waits by the virtual clock."""

    def __init__(self) -> None:
        self._held = False

    def acquire(self, timeout: float) -> bool:
        if self._held:
            simulation = current()
            assert simulation is not None
            simulation.sleep(timeout)
        taken, self._held = not self._held, True
        return taken

    def release(self) -> None:
        self._held = False


class _Locks:
    """The locks of `workers.scoring.engines.run`, which each instance has for itself."""

    def __init__(self) -> None:
        self._locks: dict[tuple[int, str, str], _Lock] = {}

    def setdefault(self, key: str, _: Any) -> _Lock:
        simulation = current()
        assert simulation is not None
        place = id(simulation), simulation.actor().instance, key
        return self._locks.setdefault(place, _Lock())


def shrink_runs(patch: pytest.MonkeyPatch) -> None:
    """Give runs small parts, one core, and a model that is at the sandbox's door."""
    patch.setattr(read_session, "PART_ROWS", PART_ROWS)
    patch.setattr(machine, "cores", lambda: 1)
    patch.setattr(model_pin, "SandboxedModel", Model)
    patch.setattr(model_pin, "crash_of", lambda *_: None)
    patch.setattr(model_pin, "note_sound", lambda *_: None)
    patch.setattr(run, "_locks", _Locks())
    # Callers look at an execution less often: a history lasts hours.
    patch.setattr(cloud_run_job, "POLL", 4.0)
    patch.setattr(cloud_run_job, "POLL_SHARE", 3)
    patch.setattr(cloud_run_job, "POLL_MOST", 45.0)
    patch.setattr(cloud_run_job, "LOOK", 20.0)
