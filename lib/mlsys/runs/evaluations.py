"""`evaluate`: how right the predictions of runs were, once their labels are known."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlsys.arguments import check_choice, kind_of
from mlsys.artifact.refs import ModelRef
from mlsys.errors import InvalidRequest
from mlsys.remote.answers import EVALUATIONS
from mlsys.remote.frames import listed
from mlsys.remote.progress import say
from mlsys.remote.service import Service, service_url
from mlsys.remote.texts import texts
from mlsys.remote.verdict import in_full
from mlsys.runs.run import Run
from mlsys.settings import ENVS

if TYPE_CHECKING:
    import pandas as pd

SECONDS = 3600.0  # as long as a request to Cloud Run may take


def evaluate(
    labels_table: str,
    label_column: str,
    *,
    run: str | Run | None = None,
    model: str | ModelRef | None = None,
    version: str | None = None,
    since: str | dt.date | None = None,
    until: str | dt.date | None = None,
    id_columns: str | Sequence[str] | None = None,
    prediction_column: str | None = None,
    task: str | None = None,
    shadow: bool = False,
    env: str = "dev",
    url: str | None = None,
) -> pd.DataFrame:
    """Compare predictions with the labels of a table, and return the metrics, a row for each run.

    Pass a `run`, or a `model` and a period: then each of its runs that finished from `since` until
    before `until` (dates or times, in UTC) is compared, also only those of one `version` or alias.
    With `shadow` the challengers of these runs are compared, by the rows that they wrote.
    BigQuery joins the predictions with the labels by `id_columns`, and only sums leave it.

    The columns are those of `prediction_evaluations` (docs/api.md), which keeps the metrics; a
    metric that does not apply is missing. `details` has the figures of each class, the calibration,
    the pairs of labels and predictions, and the quantiles of the error. Runs of a model that cannot
    be compared are printed with the reason.

    Raises:
        InvalidRequest: neither or both of `run` and `model` are passed.
        RefusedByService: the service refuses the request; the message names each column.
        SettingsError, CredentialsMissing, TryAgain: as `predict`.
    """
    if (run is None) == (model is None):
        raise InvalidRequest(("run", "pass either a run, or a model and a period"))
    name = model.name if isinstance(model, ModelRef) else model
    version = version or (model.version if isinstance(model, ModelRef) else None)
    params = texts(
        {
            "env": check_choice(env, ENVS, "env"),
            "labels_table": labels_table,
            "label_column": label_column,
            "run_id": run.run_id if isinstance(run, Run) else run,
            "model_name": name,
            "model_version": version,
            "since": _moment("since", since),
            "until": _moment("until", until),
            "id_columns": id_columns,
            "prediction_column": prediction_column,
            "task": task,
            "shadow": shadow,
        }
    )
    service = Service(service_url(url))
    with in_full():
        answer = service.ask("/evaluate", params, timeout=SECONDS, fields=[EVALUATIONS])
    for refused in answer["not_evaluated"]:
        say(f"not evaluated: {refused['run_id']}: {refused['reason']}")
    return listed(answer["evaluations"], "prediction_evaluations")


def _moment(name: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dt.date):  # also a datetime, and pandas' Timestamp
        return value.isoformat()
    raise InvalidRequest((name, f"is {kind_of(value)}: pass a date or a time"))
