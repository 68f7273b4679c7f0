"""`profile` and `drift`: what runs saw of their columns, beside the training data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsys.arguments import check_choice, check_text
from mlsys.remote.answers import DRIFT, PROFILE
from mlsys.remote.frames import listed
from mlsys.remote.progress import say
from mlsys.remote.service import Service, service_url
from mlsys.remote.texts import texts
from mlsys.remote.verdict import in_full
from mlsys.runs.run import Run
from mlsys.settings import ENVS

if TYPE_CHECKING:
    import pandas as pd


def profile(run: str | Run, *, env: str = "dev", url: str | None = None) -> pd.DataFrame:
    """Return the columns of a run and of its predictions, a row each, those that drifted first.

    The columns of the frame are those of `prediction_profiles` (docs/api.md): `level`, `distance`
    to the training data, `why`, shares of NULLs and of values that are new, and `bins` with the
    rows of the run and of the training data. `mlsys.vis.plot_drift` draws it.

    Raises:
        InvalidRequest: `run` is neither an id nor a run.
        RefusedByService: the environment has no such run, or it counted no columns.
        SettingsError, CredentialsMissing, TryAgain: as `predict`.
    """
    check_choice(env, ENVS, "env")
    run_id = run.run_id if isinstance(run, Run) else check_text(run, "run", "pass a run's id")
    with in_full():
        path = f"/runs/{run_id}/profile"
        answer = Service(service_url(url)).ask(path, {"env": env}, fields=[PROFILE])
    about = {name: answer[name] for name in ("run_id", "model_name", "model_version")}
    return listed([about | row for row in answer["columns"]], "prediction_profiles")


def drift(
    model: str,
    *,
    version: str | None = None,
    runs: int = 20,
    env: str = "dev",
    url: str | None = None,
) -> pd.DataFrame:
    """Return the columns of a model's last runs, a row for each run and column, the latest first.

    `distance` is to the training data, `distance_previous` to the run before, and `distance_week`
    to the latest run at least seven days before: Jensen-Shannon distances from 0 to 1. Drift says
    that the rows differ, not that the predictions are worse: `evaluate` does, by labels.
    `mlsys.vis.plot_drift_history` draws it. At most 100 runs; only those of a `version`.

    Raises:
        InvalidRequest: `model` is not a name.
        RefusedByService, SettingsError, CredentialsMissing, TryAgain: as `predict`.
    """
    check_text(model, "model", "pass a model's name")
    params = texts({"env": check_choice(env, ENVS, "env"), "model_version": version, "runs": runs})
    with in_full():
        path = f"/models/{model}/drift"
        answer = Service(service_url(url)).ask(path, params, timeout=120, fields=[DRIFT])
    if answer["more"]:
        say("Columns are missing, because the answer would be too large: pass smaller runs")
    return listed(answer["columns"], "prediction_profiles")
