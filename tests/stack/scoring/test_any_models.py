"""A class of a notebook, from upload to predictions, by a service with MLSYS_MODELS=any."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from app import create_app
from mlsys.cloud.clients import clients_for
from mlsys.gcs import gcs_put
from mlsys.local.stack import LocalStack
from registry_cases import ModelCase, model_case
from scoring_cases import Lab
from workers.registry.sync import converge
from workers.scoring.planning.find_run import prepare

pytestmark = [pytest.mark.usefixtures("environment"), pytest.mark.slow]

ROWS = pd.DataFrame({"id": np.arange(300), "a": np.linspace(0, 1, 300), "b": 2.0})
NOTEBOOK = """
import sys, warnings
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from mlsys.models import upload_model

FACTOR = 3

class Ratio(BaseEstimator, RegressorMixin):
    def fit(self, X, y):
        return self

    def predict(self, X):
        return (X["a"] / X["b"] * FACTOR).to_numpy()

X = pd.DataFrame({"a": np.linspace(0, 1, 20), "b": np.linspace(1, 3, 20)})
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    upload_model(Ratio().fit(X, X["a"]), sys.argv[1], "v1", X=X, target="ratio", id_columns=["id"])
print("\\n".join(str(w.message) for w in caught))
"""
TEXT = """
import numpy as np
from sklearn.base import BaseEstimator

class Level(BaseEstimator):
    def fit(self, X):
        self.feature_names_in_ = np.array(X.columns, dtype=object)
        return self

    def predict(self, X):
        return np.where(X["a"] > 0.5, "high", "low")
"""


@pytest.fixture(scope="module")
def listed(stack: LocalStack) -> Lab:
    """Return a service with the default setting, in this process."""
    lab = Lab(stack)
    lab.settings = replace(stack.settings, trusted_globals=())
    lab.clients = clients_for(lab.settings)
    lab.client = create_app(lab.settings, lab.clients).test_client()
    return lab


@pytest.fixture(scope="module")
def free(stack: LocalStack) -> Lab:
    """Return a service with MLSYS_MODELS=any, in this process."""
    lab = Lab(stack)
    lab.settings = replace(stack.settings, models="any")
    lab.clients = clients_for(lab.settings)
    lab.client = create_app(lab.settings, lab.clients).test_client()
    return lab


@pytest.fixture(scope="module")
def table(free: Lab) -> str:
    return free.put(ROWS)


@pytest.fixture
def case(stack: LocalStack) -> Iterator[ModelCase]:
    with model_case(stack, "any") as fresh:
        yield fresh


def test_a_class_of_a_notebook_is_registered_and_scores(
    free: Lab, listed: Lab, table: str, case: ModelCase
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK, case.name],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "model: Ratio is stored in the file as code. Only a service with" in done.stdout
    assert f"{case.name}/v1 is rejected in dev: " in done.stdout
    row = case.row()  # by the stack's own service
    assert (row["status"], row["loader"]) == ("rejected", "listed")
    assert "MLSYS_MODELS=any takes the model as it is" in row["status_reason"]

    assert converge(free.clients, "dev", case.ref()) == "updated"
    [row] = case.rows()
    assert (row["status"], row["status_reason"], row["loader"]) == ("ready", None, "any")
    assert converge(free.clients, "dev", case.ref()) == "unchanged"

    params = free.params(table, case.name)
    verdict = free.here(params | {"dry_run": "true"}).json
    assert (verdict["ok"], verdict["loader"]) == (True, "any")
    verdict = listed.here(params | {"dry_run": "true"}).json
    assert (verdict["ok"], verdict["loader"]) == (False, "listed")
    assert "MLSYS_MODELS=any" in json.dumps(verdict["problems"])

    result = free.here(params).done()
    assert (result["loader"], result["rows"]) == ("any", 300)
    np.testing.assert_array_equal(
        free.rows(params["output_table"])["ratio"], ROWS["a"] / ROWS["b"] * 3
    )
    assert listed.here(params | {"run_id": result["run_id"]}).done()["reused"]
    listed.here(params).problem(422, "model-unusable", "MLSYS_MODELS=any")
    status = listed.here({"env": "dev"}, f"/runs/{result['run_id']}").json
    assert status["result"]["loader"] == "any"


def test_a_run_that_was_planned_for_any_code_is_not_scored_after_the_setting_changed(
    free: Lab, listed: Lab, table: str
) -> None:
    model = LinearRegression().fit(ROWS[["a", "b"]], ROWS["a"])
    params = free.params(table, free.put_pickle(model), id_columns="id")
    planned = prepare(free.clients, free.request(params))
    planned.close()
    run_id = planned.plan.run_id
    assert planned.plan.model.loader == "any"
    listed.here(params | {"run_id": run_id}).problem(
        422, "model-unusable", "planned with MLSYS_MODELS=any", "without run_id"
    )
    result = listed.here(params).done()
    assert result["loader"] == "listed" and result["run_id"] != run_id
    assert free.here(params | {"run_id": result["run_id"]}).done()["loader"] == "listed"
    assert free.here(params).done()["loader"] == "any"


def level() -> Any:
    """Return a fitted model that predicts text and has no `classes_`, of a notebook's class."""
    namespace: dict[str, Any] = {"__name__": "__main__"}  # no module has it: it is stored as code
    exec(TEXT, namespace)
    return namespace["Level"]().fit(ROWS[["a", "b"]])


def test_text_of_an_estimator_without_classes_is_scored_and_compared(free: Lab, table: str) -> None:
    with pytest.warns(UserWarning, match="Level is stored in the file as code"):
        name = free.upload(level(), ROWS[["a", "b"]], target="level")
    params = free.params(table, name)
    verdict = free.here(params | {"dry_run": "true"}).json
    assert {"name": "level", "type": "STRING"} in verdict["writes"]
    result = free.here(params).done()
    assert (result["rows"], result["drift"]["columns"], result["warnings"]) == (300, 3, [])
    want = np.where(ROWS["a"] > 0.5, "high", "low")
    assert free.rows(params["output_table"])["level"].tolist() == want.tolist()


def test_the_text_of_a_pickle_alone_says_what_to_set(free: Lab, table: str) -> None:
    with pytest.warns(UserWarning, match="Level is stored in the file as code"):
        name = free.put_pickle(level())
    params = free.params(table, name, id_columns="id")
    free.here(params).problem(422, "model-unusable", "predicts text", "set self.classes_ in")


class Ending:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> Any:
        return os._exit, (3,)


def test_a_crash_is_remembered_for_the_loader_that_had_it(
    free: Lab, listed: Lab, table: str
) -> None:
    name = free.put_pickle(LinearRegression().fit(ROWS[["a", "b"]], ROWS["a"]))
    gcs_put(pickle.dumps(Ending()), free.settings.models_bucket("dev"), f"{name}/v1/model.pkl")
    params = free.params(table, name, id_columns="id")
    free.here(params).problem(422, "model-unusable", "exited with 3", "-any.json")
    [kept] = free.objects(f"crashes/{name}/")
    assert kept.endswith("-any.json")
    listed.here(params).problem(422, "model-unusable", "_exit")
