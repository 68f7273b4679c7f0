"""The engine `service`: the processes of this machine score the rows."""

from __future__ import annotations

from collections.abc import Callable

from mlsys.cloud.clients import Clients
from mlsys.errors import RunInterrupted, RunWaiting
from workers.scoring.engines.run import execute
from workers.scoring.journal.outcomes import Engine, Result
from workers.scoring.planning.engine_choice import too_slow
from workers.scoring.planning.find_run import Prepared


class TooSlow(Exception):
    """The run should move to a job; the finished parts stay."""


def score(
    clients: Clients,
    prepared: Prepared,
    engine: Engine,
    *,
    deadline: float | None,
    stopping: Callable[[], bool],
    may_move: bool,
) -> Result:
    """Work on a prepared run until it is done, and return its result.

    Raises:
        TooSlow: it would take too long here, and `may_move`.
        MlsysError: as `execute` does.
    """
    why: list[str] = []

    def pace(rate: float, left: int) -> None:
        if may_move and (reason := too_slow(rate, left)):
            why.append(reason)
            raise RunWaiting("The run moves to a job")

    try:
        return execute(
            clients, prepared, deadline=deadline, stopping=stopping, engine=engine, pace=pace
        )
    except RunInterrupted as exc:
        if why:
            raise TooSlow(why[0]) from exc
        raise
