"""Take a prepared run to its result by the engine that fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mlsys.cloud.clients import Clients
from workers import admission
from workers.scoring.engines import cloud_run_job, local
from workers.scoring.engines.run import execute
from workers.scoring.journal.execution import latest_execution
from workers.scoring.journal.outcomes import Engine, Result
from workers.scoring.planning.engine_choice import choose
from workers.scoring.planning.find_run import Prepared
from workers.scoring.request.parsed import AUTO, JOB


def perform(
    clients: Clients,
    prepared: Prepared,
    *,
    deadline: float | None = None,
    stopping: Callable[[], bool] = lambda: False,
    pushed: bool = False,
) -> Result:
    """Work on a prepared run until it is done, and return its result.

    `pushed`: the request is a message, whose sender looks at `GET /runs/{run_id}`.

    Raises:
        InvalidRequest: the request asks for a job, and none is configured.
        MlsysError: as `execute` and `cloud_run_job.execute` do.
    """
    if prepared.result is not None:
        return execute(clients, prepared)
    settings, store = clients.settings, prepared.store
    engine = choose(settings, prepared.engine, prepared.plan.rows_expected)
    if prepared.engine == AUTO and settings.job and engine.name != JOB:
        if (begun := latest_execution(store)) is not None:
            engine = Engine(JOB, begun.reason)
    if engine.name != JOB:
        may_move = prepared.engine == AUTO and bool(settings.job)
        try:
            return local.score(
                clients, prepared, engine, deadline=deadline, stopping=stopping, may_move=may_move
            )
        except local.TooSlow as exc:
            engine = Engine(JOB, str(exc))
    prepared.close()  # the tasks load the model
    admission.let_go()
    return cloud_run_job.score(
        *(clients, replace(prepared, model=None, challenger=None), engine),
        deadline=deadline,
        stopping=stopping,
        pushed=pushed,
    )
