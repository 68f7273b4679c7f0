"""`list_runs` and `get_run`: runs that were started earlier, or by others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsys.arguments import check_choice
from mlsys.remote.answers import STATUS
from mlsys.remote.frames import listed
from mlsys.remote.lists import runs_of
from mlsys.remote.service import Service, service_url
from mlsys.remote.texts import texts
from mlsys.remote.verdict import in_full
from mlsys.runs.run import Run
from mlsys.settings import ENVS

if TYPE_CHECKING:
    import pandas as pd

STATES = ("running", "succeeded", "failed", "cancelled")


def list_runs(
    model: str | None = None,
    *,
    state: str | None = None,
    limit: int = 100,
    env: str = "dev",
    url: str | None = None,
) -> pd.DataFrame:
    """Return the runs that still work, then the latest that finished, a row each.

    The columns are those of the ledger, `prediction_runs` (docs/api.md). At most `limit` finished
    runs; only those of one `model`, or in one `state` (running, succeeded, failed or cancelled), if
    they are given.

    Raises:
        RefusedByService, SettingsError, CredentialsMissing, TryAgain: as `predict`.
    """
    check_choice(env, ENVS, "env")
    if state is not None:
        check_choice(state, STATES, "state")
    params = texts({"env": env, "model_name": model, "state": state})
    with in_full():
        rows, _ = runs_of(Service(service_url(url)), params, limit)
    return listed(rows, "prediction_runs")


def get_run(run_id: str, *, env: str = "dev", url: str | None = None) -> Run:
    """Return a run by its id: how far it is, its result, or why it failed.

    Raises:
        RefusedByService: the environment has no such run.
        SettingsError, CredentialsMissing, TryAgain: as `predict`.
    """
    check_choice(env, ENVS, "env")
    service = Service(service_url(url))
    with in_full():
        return Run.of_status(service.ask(f"/runs/{run_id}", {"env": env}, fields=[STATUS]))
