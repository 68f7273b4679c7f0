"""Score one task's share of a run: what each task of the Cloud Run job executes.

    python -m workers.scoring.engines.task RUN_ID --env dev [--max-rejects 100] [--max-drift 0.3]
        [--contract warn]

Cloud Run says which task it is by CLOUD_RUN_TASK_INDEX and CLOUD_RUN_TASK_COUNT. The exit code is 0
once nothing is left for this task, also if the run failed for good, and 1 for a fault that may
pass: Cloud Run starts the task again.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from mlsys.cloud.clients import clients_for, is_passing
from mlsys.errors import OthersAtWork, RunCancelled, RunInterrupted, SettingsError, TryAgain
from mlsys.settings import Settings
from workers import logs
from workers.monitoring.contract import ENFORCE, MODES
from workers.sandbox import walls
from workers.scoring.engines.run import execute
from workers.scoring.journal.execution import latest_execution
from workers.scoring.journal.outcomes import Engine, Tolerance, read_failure
from workers.scoring.journal.store import RunStore, check_run_id
from workers.scoring.planning.find_run import Prepared
from workers.scoring.planning.plan import read_plan
from workers.scoring.request.parsed import JOB, MaxRejects, read_max_drift
from workers.scoring.shards.chain import Share

log = logging.getLogger(__name__)

LOOK = 5.0  # seconds between two looks whether another task has failed
DONE, REPEAT = 0, 1  # exit codes


def main(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> int:
    """Work on the share, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m workers.scoring.engines.task")
    parser.add_argument("run_id", type=check_run_id)
    parser.add_argument("--env", required=True)
    parser.add_argument("--max-rejects", type=MaxRejects.parse, default=MaxRejects())
    parser.add_argument("--max-drift", type=read_max_drift)
    parser.add_argument("--contract", choices=MODES, default=ENFORCE)
    options = parser.parse_args(arguments)
    share = Share(
        int(environ.get("CLOUD_RUN_TASK_INDEX", "0")),
        int(environ.get("CLOUD_RUN_TASK_COUNT", "1")),
    )
    logs.configure()
    settings = Settings.from_env()
    require_walls(settings)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    store = RunStore(clients_for(settings), settings.require_env(options.env), options.run_id)
    limits = options.max_drift, options.contract
    return work(store, share, options.max_rejects, stopping.is_set, *limits)


def require_walls(settings: Settings) -> None:
    """Protect this process from the models, and check that they can be kept apart.

    Raises:
        SettingsError: they cannot.
    """
    walls.protect_memory()
    held = walls.available()
    if not settings.emulators and not held.filter:
        raise SettingsError(f"Models cannot be kept apart here: {held.missing}")


def work(
    store: RunStore,
    share: Share,
    max_rejects: MaxRejects,
    stopping: Callable[[], bool],
    max_drift: float | None = None,
    contract: str = ENFORCE,
) -> int:
    """Score the share of a planned run, and return the exit code."""
    clients, about = store.clients, {"run_id": store.run_id}
    failed = _Failed(store, Tolerance(str(max_rejects), max_drift, contract))
    try:
        if failed() or (plan := read_plan(store)) is None:
            log.warning("There is nothing to do: no plan, or a failure", extra=about)
            return DONE
        execution = latest_execution(store)
        engine = Engine(JOB, execution.reason if execution else "")
        prepared = Prepared(store, plan, max_rejects, max_drift=max_drift, contract=contract)
        execute(
            *(clients, prepared),
            stopping=lambda: stopping() or failed(),
            share=share,
            engine=engine,
        )
    except (OthersAtWork, RunCancelled) as exc:
        log.info("%s", exc, extra=about)
    except RunInterrupted as exc:
        log.warning("%s", exc, extra=about)
        return DONE if failed.seen else REPEAT
    except Exception as exc:
        if isinstance(exc, TryAgain) or is_passing(exc):
            log.warning("The task will be repeated: %s", exc, exc_info=True, extra=about)
            return REPEAT
        # `execute` has written it for the other tasks and for callers.
        log.error("The run failed: %s", exc, extra=about)
    return DONE


class _Failed:
    """Whether another task has failed for good, looked up now and then.

    One of an execution that tolerates less has not.
    """

    def __init__(self, store: RunStore, tolerance: Tolerance) -> None:
        self._store, self._tolerance = store, tolerance
        self._looked_at: float | None = None
        self.seen = False

    def __call__(self) -> bool:
        now = time.monotonic()
        if not self.seen and (self._looked_at is None or now - self._looked_at > LOOK):
            self._looked_at = now
            failure = read_failure(self._store)
            self.seen = failure is not None and failure.counts_for(self._tolerance)
        return self.seen


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
