"""`model_version=champion`: the alias means the version that it names when the run is planned."""

import base64
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeRegressor

from mlsys.local.stack import LocalStack
from scoring_cases import Lab, unique

pytestmark = pytest.mark.usefixtures("environment")

DATA = pd.DataFrame({"id": range(40), "a": np.arange(40) / 3, "b": np.arange(40) % 7})
X = DATA[["a", "b"]]
V1 = DecisionTreeRegressor(random_state=0).fit(X, X["a"] * X["b"])
V2 = DecisionTreeRegressor(random_state=0).fit(X, X["a"] - X["b"])


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture(scope="module")
def shared(lab: Lab, stack: LocalStack) -> tuple[str, str]:
    """Return a table, and a model of two versions."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        model = lab.upload(V1, X)
        lab.upload(V2, X, model, "v2")
        return lab.put(DATA), model


@pytest.fixture
def params(lab: Lab, shared: tuple[str, str]) -> dict[str, str]:
    """Return a request by an alias of the test's own, which names v1."""
    alias = unique("alias")
    lab.put_alias(shared[1], alias, {"version": "v1"})
    return lab.params(*shared, model_version=alias)


def move(lab: Lab, params: dict[str, str], version: str) -> None:
    lab.put_alias(params["model_name"], params["model_version"], {"version": version})


def predictions(lab: Lab, params: dict[str, str]) -> list[float]:
    return sorted(lab.rows(params["output_table"])["prediction"])


def test_result_dry_run_ledger_and_job_name_alias_and_version(
    lab: Lab, params: dict[str, str]
) -> None:
    verdict = lab.http(params | {"dry_run": "true"}).json
    result = lab.http(params).done()
    named = ("v1", params["model_version"])
    assert (verdict["model_version"], verdict["model_alias"]) == named
    assert (result["model_version"], result["model_alias"]) == named
    runs = lab.here({"env": "dev", "model_name": params["model_name"]}, "/runs").json["runs"]
    row = next(row for row in runs if row["run_id"] == result["run_id"])
    assert (row["model_version"], row["model_alias"]) == named
    job = lab.clients.bigquery.get_job(result["job_id"], timeout=30)
    assert job.labels["mlsys_alias"] == params["model_version"]
    assert job.labels["mlsys_version"] == "v1"
    assert set(lab.rows(params["output_table"])["model_version"]) == {"v1"}


@pytest.mark.parametrize("way", ["schedule", "service"])
def test_a_run_that_a_message_starts_names_the_alias_too(
    lab: Lab, params: dict[str, str], way: str
) -> None:
    """A schedule publishes the alias; a backfill and the console the version, and the alias."""
    alias, run_id = params["model_version"], unique("pushed")
    message = params | {"run_id": run_id}
    if way == "service":
        message |= {"model_version": "v1", "model_alias": alias}
        move(lab, params, "v2")
    data = base64.b64encode(json.dumps(message).encode()).decode()
    body = json.dumps({"message": {"data": data, "messageId": "1"}, "subscription": "s"})
    assert lab.push(body.encode()).status == 204
    state = lab.here({"env": "dev"}, f"/runs/{run_id}").json
    assert (state["result"]["model_version"], state["result"]["model_alias"]) == ("v1", alias)
    runs = lab.here({"env": "dev", "model_name": params["model_name"]}, "/runs").json["runs"]
    [row] = [row for row in runs if row["run_id"] == run_id]
    assert (row["model_version"], row["model_alias"]) == ("v1", alias)
    assert "model_alias" not in row["request"]
    if way == "schedule":  # the request is the run, whatever else a caller names it by
        again = lab.here(params | {"model_version": "v1", "run_id": run_id}).done()
        assert (again["reused"], again["model_alias"]) == (True, alias)


def test_the_run_is_that_of_the_version(lab: Lab, params: dict[str, str]) -> None:
    first = lab.here(params | {"model_version": "v1"}).done()
    again = lab.here(params).done()
    assert (again["run_id"], again["reused"]) == (first["run_id"], True)
    assert first["model_alias"] is None


@pytest.mark.slow
def test_a_moved_alias_is_another_run(lab: Lab, params: dict[str, str]) -> None:
    first = lab.here(params).done()
    move(lab, params, "v2")
    second = lab.here(params).done()
    assert (first["model_version"], second["model_version"]) == ("v1", "v2")
    assert second["run_id"] != first["run_id"]
    assert predictions(lab, params) == sorted([*V1.predict(X), *V2.predict(X)])


@pytest.mark.slow
def test_a_run_that_has_begun_keeps_its_version(lab: Lab, params: dict[str, str]) -> None:
    params |= {"run_id": unique("begun")}
    accepted = lab.here(params | {"wait": "false"})
    assert accepted.status == 202
    move(lab, params, "v2")
    result = lab.here(params).done()
    assert (result["model_version"], result["model_alias"]) == ("v1", params["model_version"])
    assert predictions(lab, params) == sorted(V1.predict(X))


def test_another_alias_of_the_planned_version_may_join_a_named_run(
    lab: Lab, params: dict[str, str]
) -> None:
    params |= {"run_id": unique("joined")}
    lab.here(params | {"model_version": "v2"}).done()
    problem = lab.here(params).problem(409, "conflict", "model_version")
    assert "another run_id" in problem["detail"]


@pytest.mark.parametrize(
    ("content", "status", "slug", "says"),
    [
        ({"version": "v77"}, 404, "model-not-found", "is broken: it names {}/v77"),
        ({"version": None}, 404, "alias-not-found", "has no alias"),
        ({"version": 3}, 422, "alias-invalid", "write v1, v2, v3"),
        ([], 422, "alias-invalid", "it holds a list, not an object"),
    ],
)
def test_an_alias_that_names_no_version_is_explained(
    lab: Lab, params: dict[str, str], content: object, status: int, slug: str, says: str
) -> None:
    lab.put_alias(params["model_name"], params["model_version"], content)
    problem = lab.here(params).problem(status, slug, says.format(params["model_name"]))
    if slug == "model-not-found":
        assert "has v2, v1. Move the alias, or pass a version" in problem["detail"]
    lab.here(params | {"dry_run": "true"}).problem(status, slug)
    assert not lab.exists(params["output_table"])


def test_an_unknown_alias_is_answered_with_those_there_are(
    lab: Lab, params: dict[str, str]
) -> None:
    unknown = params | {"model_version": "chamipon"}
    detail = lab.here(unknown).problem(404, "alias-not-found", "no alias chamipon")["detail"]
    assert params["model_version"] in detail
    lab.here(unknown | {"model_name": "no-such-model"}).problem(
        404, "model-not-found", "no version of no-such-model"
    )


def test_a_missing_version_is_answered_with_those_there_are(
    lab: Lab, params: dict[str, str]
) -> None:
    problem = lab.here(params | {"model_version": "v9"}).problem(404, "model-not-found", "/v9/")
    assert "has v2, v1. Pass one of them" in problem["detail"]
