"""`list_runs`, `get_run` and `costs`: runs that were started earlier, or by others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsys.arguments import check_choice, kind_of
from mlsys.errors import InvalidRequest
from mlsys.remote.answers import STATUS
from mlsys.remote.frames import frame_of, listed
from mlsys.remote.lists import COSTS, runs_of
from mlsys.remote.lists import costs as remote_costs
from mlsys.remote.service import Service, service_url
from mlsys.remote.texts import texts
from mlsys.remote.verdict import in_full
from mlsys.runs.run import Run
from mlsys.settings import ENVS

if TYPE_CHECKING:
    import pandas as pd

STATES = ("running", "succeeded", "failed", "cancelled", "undone")


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
    runs; only those of one `model`, or in one `state` (running, succeeded, failed, cancelled or
    undone), if they are given.

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


def costs(
    model: str | None = None, *, months: int = 12, env: str = "dev", url: str | None = None
) -> pd.DataFrame:
    """Return what runs cost, a row for each month and model, the latest month first.

    `estimated_cost` is in US dollars: what BigQuery charges at list prices for `bytes_billed`, the
    bytes that were read. `vcpu_seconds` are those of Cloud Run. Runs that failed or were cancelled
    count. Only the runs of one `model`, if it is given, and of the last `months` months.

    Raises:
        InvalidRequest: `months` is not a number.
        RefusedByService, SettingsError, CredentialsMissing, TryAgain: as `predict`.
    """
    check_choice(env, ENVS, "env")
    if isinstance(months, bool) or not isinstance(months, int):
        raise InvalidRequest(("months", f"is {kind_of(months)}: pass a number"))
    with in_full():
        rows, basis = remote_costs(Service(service_url(url)), env, model, months)
    kinds = {"runs": "INT64", "rows_scored": "INT64", "bytes_billed": "INT64"}
    kinds |= {"estimated_cost": "FLOAT64", "vcpu_seconds": "FLOAT64"}
    frame = frame_of(rows, [(name, kinds.get(name, "STRING")) for name in COSTS])
    frame.attrs["price_basis"] = basis
    return frame


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
