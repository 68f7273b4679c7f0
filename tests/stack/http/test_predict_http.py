"""`GET /predict`: equal requests are one run, and every refusal says what to pass instead."""

import sys
import types
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.api_core.exceptions import Conflict
from google.cloud import bigquery
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from mlsys.gcs import gcs_put, gcs_put_pickle
from mlsys.local.stack import LocalStack
from scoring_cases import Lab, unique
from team_models import TooFew

pytestmark = pytest.mark.usefixtures("environment")

DATA = pd.DataFrame({"id": range(40), "a": np.arange(40) / 3, "b": np.arange(40) % 7})
X = DATA[["a", "b"]]
MODEL = DecisionTreeRegressor(random_state=0).fit(X, X["a"] * X["b"])
OTHER = DecisionTreeRegressor(random_state=0).fit(X, X["a"] - X["b"])


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture(scope="module")
def shared(lab: Lab, stack: LocalStack) -> tuple[str, str]:
    """Return a table and a model that no test changes."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        return lab.put(DATA), lab.upload(MODEL, X)


@pytest.fixture
def params(lab: Lab, shared: tuple[str, str]) -> dict[str, str]:
    """Return a request that succeeds, with an output table of its own."""
    return lab.params(*shared)


@pytest.fixture
def fresh(lab: Lab) -> dict[str, str]:
    """Return a request that succeeds, with a table and a model that the test may change."""
    return lab.params(lab.put(DATA), lab.upload(MODEL, X))


def expected(data: pd.DataFrame = DATA, model: Any = MODEL) -> list[tuple[int, float]]:
    """Return the rows that scoring `data` gives."""
    return list(zip(data["id"], model.predict(data[["a", "b"]]), strict=True))


def found(lab: Lab, params: dict[str, str]) -> list[tuple[int, float]]:
    """Return the rows of the output table."""
    rows = lab.rows(params["output_table"])
    return sorted(zip(rows["id"], rows["prediction"], strict=True))


# Equal requests, and different ones


def test_an_identical_request_reuses_the_run_and_adds_no_rows(
    lab: Lab, params: dict[str, str]
) -> None:
    first = lab.http(params).done()
    second = lab.http(params).done()
    assert not first["reused"]
    assert second == first | {"reused": True}
    assert found(lab, params) == expected()


@pytest.mark.slow
def test_concurrent_identical_requests_publish_once(lab: Lab, params: dict[str, str]) -> None:
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: lab.http(params).done(), range(4)))
    assert len({a["run_id"] for a in answers}) == 1
    assert sorted(a["reused"] for a in answers) == [False, True, True, True]
    assert found(lab, params) == expected()


def test_a_changed_input_table_gives_a_new_run(lab: Lab, fresh: dict[str, str]) -> None:
    first = lab.http(fresh).done()
    more = DATA.assign(id=DATA["id"] + 100)
    lab.put(more, fresh["input_table"])
    second = lab.http(fresh).done()
    assert second["run_id"] != first["run_id"]
    assert second["rows"] == 2 * len(DATA)
    assert found(lab, fresh) == sorted(2 * expected() + expected(more))


@pytest.mark.slow
def test_different_requests_are_different_runs(lab: Lab, params: dict[str, str]) -> None:
    first = lab.here(params).done()
    second = lab.here(params | {"id_columns": "id,a"}).problem(
        422, "schema-mismatch", "does not fit the table"
    )
    assert [c["name"] for c in second["columns"]] == ["a"]
    elsewhere = params | {"output_table": lab.name("output")}
    assert lab.here(elsewhere).done()["run_id"] != first["run_id"]


def test_a_new_model_generation_gives_a_new_run(lab: Lab, fresh: dict[str, str]) -> None:
    first = lab.here(fresh).done()
    lab.upload(OTHER, X, fresh["model_name"])
    second = lab.here(fresh).done()
    assert second["run_id"] != first["run_id"]
    assert second["model_generation"] != first["model_generation"]
    assert found(lab, fresh) == sorted(expected() + expected(model=OTHER))


def test_a_run_id_of_the_caller_names_the_run(lab: Lab, params: dict[str, str]) -> None:
    own = params | {"run_id": unique("mine")}
    first = lab.here(own).done()
    assert first["run_id"] == own["run_id"]
    assert lab.here(own).done() == first | {"reused": True}
    assert found(lab, params) == expected()
    other = own | {"output_table": lab.name("output"), "write_disposition": "WRITE_TRUNCATE"}
    lab.here(other).problem(
        409, "conflict", own["run_id"], "output_table, write_disposition", "another run_id"
    )
    assert not lab.exists(other["output_table"])


@pytest.mark.slow
def test_a_run_whose_output_table_was_deleted_runs_again(lab: Lab, params: dict[str, str]) -> None:
    first = lab.here(params).done()
    for suffix in ("-2", "-3"):
        lab.clients.bigquery.delete_table(params["output_table"], timeout=30)
        again = lab.here(params).done()
        assert again["run_id"] == first["run_id"] + suffix
        assert not again["reused"]
        assert lab.here(params).done() == again | {"reused": True}
        assert found(lab, params) == expected()
        assert set(lab.rows(params["output_table"])["run_id"]) == {again["run_id"]}


@pytest.mark.slow
def test_a_run_whose_output_table_was_recreated_runs_again(
    lab: Lab, params: dict[str, str]
) -> None:
    first = lab.here(params).done()
    schema = lab.schema(params["output_table"])
    lab.clients.bigquery.delete_table(params["output_table"], timeout=30)
    lab.create(schema, params["output_table"])
    assert lab.here(params).done()["run_id"] == first["run_id"] + "-2"
    assert found(lab, params) == expected()


@pytest.mark.slow
def test_latest_is_the_highest_version_number(lab: Lab, fresh: dict[str, str]) -> None:
    name = fresh["model_name"]
    lab.upload(MODEL, X, name, "v9")
    lab.upload(OTHER, X, name, "v10")
    gcs_put("{}", lab.settings.models_bucket("dev"), f"{name}/v11/metadata.json")
    gcs_put("x", lab.settings.models_bucket("dev"), f"{name}/v12/old/model.pkl")
    gcs_put_pickle(MODEL, lab.settings.models_bucket("dev"), f"{name}-more/v99/model.pkl")
    result = lab.http(fresh | {"model_version": "latest"}).done()
    assert result["model_version"] == "v10"
    assert found(lab, fresh) == expected(model=OTHER)
    assert lab.http(fresh | {"model_version": "v10"}).done()["run_id"] == result["run_id"]


# Existing output tables


def test_append_adds_the_rows_of_each_run(lab: Lab, params: dict[str, str]) -> None:
    for number in (1, 2):
        lab.http(params | {"run_id": unique("run")}).done()
        assert found(lab, params) == sorted(expected() * number)


def test_truncate_replaces_the_existing_rows(lab: Lab, fresh: dict[str, str]) -> None:
    fresh |= {"write_disposition": "WRITE_TRUNCATE"}
    first = lab.http(fresh).done()
    lab.upload(OTHER, X, fresh["model_name"])
    second = lab.http(fresh).done()
    assert second["run_id"] != first["run_id"]
    assert found(lab, fresh) == expected(model=OTHER)


def test_empty_refuses_a_table_with_rows(lab: Lab, params: dict[str, str]) -> None:
    params |= {"write_disposition": "WRITE_EMPTY"}
    first = lab.http(params).done()
    assert lab.http(params).done() == first | {"reused": True}
    answer = lab.http(params | {"run_id": unique("run")})
    answer.problem(409, "conflict", "40 rows", "WRITE_EMPTY", "another output_table")
    assert found(lab, params) == expected()


def test_empty_refuses_a_table_that_was_filled_meanwhile(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    params |= {"write_disposition": "WRITE_EMPTY"}
    lab.here(params | {"write_disposition": "WRITE_APPEND"}).done()
    monkeypatch.setattr(
        "workers.scoring.planning.make_plan.output_location", lambda *_: (None, "US")
    )
    lab.here(params).problem(409, "conflict", "has rows now", "WRITE_EMPTY")
    assert found(lab, params) == expected()


def test_a_load_with_the_reason_duplicate_is_a_conflict(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def duplicate(*args: Any, **options: Any) -> None:
        raise Conflict("409 Already Exists: Table mlsys-local:scoring.output")

    monkeypatch.setattr(bigquery.LoadJob, "result", duplicate)
    params |= {"write_disposition": "WRITE_EMPTY"}
    lab.here(params).problem(409, "conflict", params["output_table"], "has rows now")


def test_an_output_table_with_more_and_reordered_columns_is_filled_by_name(
    lab: Lab, params: dict[str, str]
) -> None:
    schema = {
        "comment": "STRING",
        "run_id": "STRING",
        "prediction": "FLOAT64",
        "model_version": "STRING",
        "checked": "BOOL",
        "ID": "INT64",
        "predicted_at": "TIMESTAMP",
        "model_name": "STRING",
        "price": "NUMERIC",
    }
    lab.create(schema, params["output_table"])
    result = lab.here(params).done()
    rows = lab.rows(params["output_table"], "ID")
    assert list(rows.columns) == list(schema)
    assert list(zip(rows["ID"], rows["prediction"], strict=True)) == expected()
    assert rows[["comment", "checked", "price"]].isna().all(axis=None)
    assert set(rows["run_id"]) == {result["run_id"]}
    assert set(rows["model_name"]) == {params["model_name"]}
    assert set(rows["model_version"]) == {"v1"}


def test_an_output_table_that_does_not_fit_is_refused_with_the_columns(
    lab: Lab, params: dict[str, str]
) -> None:
    fields = [
        bigquery.SchemaField("id", "STRING"),
        bigquery.SchemaField("prediction", "FLOAT64", mode="REPEATED"),
        bigquery.SchemaField("predicted_at", "TIMESTAMP"),
        bigquery.SchemaField("model_name", "STRING"),
        bigquery.SchemaField("model_version", "STRING"),
        bigquery.SchemaField("owner", "STRING", mode="REQUIRED"),
    ]
    table = bigquery.Table(params["output_table"], fields)
    lab.clients.bigquery.create_table(table, timeout=30)
    body = lab.here(params).problem(422, "schema-mismatch", params["output_table"])
    assert {c["name"]: c["problem"] for c in body["columns"]} == {
        "id": "is INT64, and STRING in the table",
        "prediction": "is FLOAT64, and ARRAY in the table",
        "run_id": "is not in the output table",
        "owner": "is required in the table, and the run does not write it",
    }
    assert lab.count(params["output_table"]) == 0


def test_truncate_does_not_replace_an_unrelated_table(lab: Lab, params: dict[str, str]) -> None:
    """A mistaken WRITE_TRUNCATE into the training data, say, must not destroy the table."""
    lab.create({"other": "DATE"}, params["output_table"])
    params |= {"write_disposition": "WRITE_TRUNCATE"}
    lab.here(params).problem(422, "schema-mismatch", params["output_table"], "another output_table")
    assert [f.name for f in lab.clients.bigquery.get_table(params["output_table"]).schema] == [
        "other"
    ]


# Columns


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prediction", "run_id", "Model_Name"])
def test_an_id_column_with_the_name_of_an_output_column_is_refused_or_left_out(
    lab: Lab, name: str
) -> None:
    model = lab.upload(MODEL, X, id_columns=[])
    table = lab.put(DATA.rename(columns={"id": name}))
    params = lab.params(table, model) | {"id_columns": f"a,{name}"}
    body = lab.here(params).problem(422, "schema-mismatch", "pass id_columns without it")
    assert name in [c["name"] for c in body["columns"]]
    result, rows = lab.score(table, model, id_columns="a", by="a")
    assert rows["prediction"].tolist() == MODEL.predict(X).tolist()
    assert result["rows"] == len(DATA)
    result = lab.here(lab.params(table, model)).json
    assert result["rows"] == len(DATA)
    assert any("not carried over" in w and name in w for w in result["warnings"])


def test_id_columns_can_be_chosen(lab: Lab) -> None:
    data = DATA.assign(word="x", day="y")
    table, model = lab.put(data), lab.upload(MODEL, X)
    _, rows = lab.score(table, model, id_columns="word,ID, b")
    assert list(rows.columns)[:4] == ["word", "id", "b", "prediction"]
    _, rows = lab.score(table, lab.upload(MODEL, X, id_columns=[]))
    assert list(rows.columns)[:4] == ["id", "word", "day", "prediction"]
    params = lab.params(table, model, id_columns="id,nowhere,nor_here")
    body = lab.here(params).problem(422, "schema-mismatch", "lacks id columns")
    assert [c["name"] for c in body["columns"]] == ["nowhere", "nor_here"]
    lab.here(lab.params(table, model, id_columns="id,ID")).problem(
        422, "schema-mismatch", "two columns of the same name"
    )


# Dry runs


def test_a_dry_run_returns_the_verdict_and_writes_nothing(lab: Lab, params: dict[str, str]) -> None:
    before = lab.objects("")
    verdict = lab.http(params | {"dry_run": "true"})
    assert verdict.status == 200
    body = verdict.json
    assert body["ok"]
    assert body["problems"] == body["warnings"] == []
    assert body["rows"] == len(DATA)
    assert body["model_version"] == "v1"
    assert body["reads"] == ["id", "a", "b"]
    assert [c["name"] for c in body["writes"]] == [
        "id",
        "prediction",
        "predicted_at",
        "model_name",
        "model_version",
        "run_id",
    ]
    assert not body["output_table_exists"]
    assert not body["run_exists"]
    assert not lab.exists(params["output_table"])
    assert not {name for name in lab.objects("") if name not in before and body["run_id"] in name}
    assert lab.http(params).done()["run_id"] == body["run_id"]
    assert lab.http(params | {"dry_run": "true"}).json["run_exists"]


def test_a_dry_run_names_the_columns_that_do_not_fit(lab: Lab) -> None:
    table = lab.put(DATA.assign(b="x"))
    params = lab.params(table, lab.upload(MODEL, X), dry_run="true")
    body = lab.here(params).json
    assert not body["ok"]
    assert body["problems"][0]["columns"] == [
        {"name": "b", "problem": "is STRING, and was INT64 in training"}
    ]
    assert not lab.objects(body["run_id"])


def test_a_dry_run_reports_a_filled_table_and_an_unusable_model(
    lab: Lab, params: dict[str, str]
) -> None:
    lab.here(params).done()
    body = lab.here(params | {"dry_run": "true", "write_disposition": "WRITE_EMPTY"}).json
    assert not body["ok"]
    assert "has 40 rows" in body["problems"][0]["detail"]
    scaler = lab.put_pickle(StandardScaler())
    body = lab.here(lab.params(params["input_table"], scaler, dry_run="true")).json
    assert not body["ok"]
    assert "a StandardScaler, is not fitted: call fit" in body["problems"][0]["detail"]


# Refusals


def test_every_missing_parameter_is_named_at_once(lab: Lab) -> None:
    body = lab.http({}).problem(400, "invalid-request")
    assert body["parameters"] == [
        {"name": name, "problem": "is missing"}
        for name in ("env", "input_table", "output_table", "model_name", "model_version")
    ]


def test_every_malformed_parameter_is_named_at_once(lab: Lab) -> None:
    wrong = {
        "env": "qa",
        "input_table": "titanic.test",
        "output_table": "p.d.t; DROP TABLE x",
        "model_name": "Titanic Survival",
        "model_version": "1",
        "run_id": "../../other",
        "id_columns": "a,,b",
        "outputs": "decide",
        "write_disposition": "WRITE_OVER",
        "dry_run": "perhaps",
        "wait": "no idea",
    }
    body = lab.http(wrong).problem(400, "invalid-request")
    assert {p["name"] for p in body["parameters"]} == set(wrong)
    for problem in body["parameters"]:
        assert wrong[problem["name"]] in problem["problem"]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("env", "prod", "is not served here"),
        ("env", "DEV", "'dev'"),
        ("input_table", "", "pass project.dataset.table"),
        ("input_table", "mlsys-local.titanic.test` WHERE 1=1 --", "pass project.dataset.table"),
        ("input_table", "mlsys-local.titanic.(SELECT 1)", "pass project.dataset.table"),
        ("input_table", "mlsys-local.titanic.test\n", "pass project.dataset.table"),
        ("output_table", "mlsys-local.tit-anic.test", "pass project.dataset.table"),
        ("output_table", "mlsys-local.titanic.t$someday", "names no partition: pass one by"),
        ("model_name", "../secrets", "lower-case words"),
        ("model_name", "a" * 64, "at most 63"),
        ("model_name", "titanic-survival\n", "lower-case words"),
        ("model_version", "v0", "pass v1"),
        ("model_version", "v1/../v2", "pass v1"),
        ("model_version", "LATEST", "latest"),
        ("run_id", "UPPER", "lower-case letters"),
        ("run_id", "a" * 129, "at most 128"),
        ("run_id", "", "lower-case letters"),
        ("id_columns", "id,id", "once each"),
        ("outputs", "", "pass names"),
        ("modelname", "x", "not a parameter of this route"),
        ("unheard", "of", "not a parameter of this route"),
    ],
)
def test_a_malformed_or_unknown_parameter_is_refused_by_name(
    lab: Lab, params: dict[str, str], name: str, value: str, says: str
) -> None:
    body = lab.here(params | {name: value}).problem(400, "invalid-request")
    assert [p["name"] for p in body["parameters"]] == [name]
    assert says in body["parameters"][0]["problem"]
    assert not lab.exists(params["output_table"])


def test_the_output_cannot_be_the_input(lab: Lab, params: dict[str, str]) -> None:
    same = params | {"output_table": params["input_table"]}
    body = lab.http(same).problem(400, "invalid-request", "is the input table")
    assert [p["name"] for p in body["parameters"]] == ["output_table"]
    assert lab.count(params["input_table"]) == len(DATA)


@pytest.mark.parametrize(
    ("name", "value", "slug", "says"),
    [
        ("input_table", "mlsys-local.titanic.nowhere", "table-not-found", "titanic.nowhere"),
        ("input_table", "mlsys-local.nowhere.test", "table-not-found", "nowhere.test"),
        ("output_table", "mlsys-local.nowhere.out", "table-not-found", "create it first"),
        ("model_name", "no-such-model", "model-not-found", "no-such-model/v1/model.pkl"),
        ("model_version", "v77", "model-not-found", "/v77/model.pkl"),
    ],
)
def test_a_missing_table_model_or_version_is_named(
    lab: Lab, params: dict[str, str], name: str, value: str, slug: str, says: str
) -> None:
    lab.http(params | {name: value}).problem(404, slug, says)
    dry = lab.http(params | {name: value, "dry_run": "true"})
    if name == "output_table":  # a dry run does not need it
        assert says in dry.json["problems"][0]["detail"]
        assert not dry.json["ok"]
    else:
        dry.problem(404, slug, says)


def test_latest_of_a_model_without_versions_is_not_found(lab: Lab, params: dict[str, str]) -> None:
    unknown = params | {"model_name": "no-such-model", "model_version": "latest"}
    lab.http(unknown).problem(404, "model-not-found", "no version of no-such-model")


def test_a_view_is_refused_as_output(lab: Lab, params: dict[str, str]) -> None:
    view = bigquery.Table(lab.name("view"))
    view.view_query = f"SELECT * FROM `{params['input_table']}`"
    lab.clients.bigquery.create_table(view, timeout=30)
    name = f"{view.project}.{view.dataset_id}.{view.table_id}"
    lab.http(params | {"output_table": name}).problem(422, "schema-mismatch", name, "VIEW")


def put_model(lab: Lab, content: bytes) -> str:
    name = unique("broken")
    gcs_put(content, lab.settings.models_bucket("dev"), f"{name}/v1/model.pkl")
    return name


@pytest.mark.slow
@pytest.mark.parametrize(
    "content", [b"", b"no pickle at all", b"\x80\x05", b"PK\x03\x04zip", b"\x1f\x8b\x08gzip"]
)
def test_a_file_that_is_not_a_pickle_is_refused(
    lab: Lab, params: dict[str, str], content: bytes
) -> None:
    wrong = params | {"model_name": put_model(lab, content)}
    lab.here(wrong).problem(422, "model-unusable", wrong["model_name"], "is not a pickled model")
    assert not lab.exists(params["output_table"])


def test_a_model_of_a_missing_package_is_refused(lab: Lab, params: dict[str, str]) -> None:
    module = types.ModuleType("gone_with_the_wind")
    sys.modules[module.__name__] = module
    try:
        exec("class Model:\n    def predict(self, X): return [0] * len(X)", module.__dict__)
        name = lab.put_pickle(module.Model())
    finally:
        del sys.modules[module.__name__]
    lab.http(params | {"model_name": name}).problem(
        422, "model-unusable", "module 'gone_with_the_wind'", "the package into the image"
    )


class OfTheNotebook:
    """Represents a class that was defined in a notebook's cell."""

    def predict(self, rows: Any) -> Any:
        return rows


def test_a_model_of_a_missing_class_is_refused(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = lab.put_pickle(OfTheNotebook())
    monkeypatch.delattr(sys.modules[__name__], "OfTheNotebook")
    lab.here(params | {"model_name": name}).problem(
        422, "model-unusable", "OfTheNotebook", "not on the list", "MLSYS_TRUSTED_GLOBALS"
    )


@pytest.mark.parametrize("thing", [KFold(), {"a": 1}, [1, 2], None])
def test_a_pickle_without_predict_is_refused(lab: Lab, params: dict[str, str], thing: Any) -> None:
    wrong = params | {"model_name": lab.put_pickle(thing)}
    lab.here(wrong).problem(422, "model-unusable", type(thing).__name__, "has no predict")


def test_an_unfitted_model_is_refused(lab: Lab, params: dict[str, str]) -> None:
    wrong = params | {"model_name": lab.put_pickle(LinearRegression())}
    answer = lab.here(wrong | {"id_columns": "id"})
    answer.problem(422, "model-unusable", "LinearRegression", "fitted")


def test_a_model_that_raises_on_nulls_names_their_columns_and_publishes_nothing(
    lab: Lab,
) -> None:
    model = LinearRegression().fit(X.astype("float64"), X["a"])
    name = lab.upload(model, X.astype("float64"))
    holes = DATA.astype({"a": "float64", "b": "float64"})
    holes.loc[3, "b"] = np.nan
    params = lab.params(lab.put(holes), name)
    run_id = lab.here(params | {"dry_run": "true"}).json["run_id"]
    lab.http(params).problem(422, "prediction-failed", "NaN", "Columns with NULLs: b")
    assert not lab.exists(params["output_table"])
    assert not lab.objects(f"{run_id}/parts")
    state = lab.http({"env": "dev"}, f"/runs/{run_id}").json
    assert state["state"] == "failed"
    assert "Columns with NULLs: b" in state["failure"]["detail"]
    assert (state["rows_done"], state["rows_total"]) == (0, len(DATA))
    lab.http(params).problem(422, "prediction-failed")  # the same request fails the same way
    # Another number of rows: the local BigQuery does not say when a load changed a table.
    whole = DATA.astype({"a": "float64", "b": "float64"}).iloc[:-1]
    lab.put(whole, params["input_table"], "WRITE_TRUNCATE")
    result = lab.http(params).done()
    assert result["run_id"] != run_id
    inputs = lab.rows(params["input_table"])[["a", "b"]]
    assert [p for _, p in found(lab, params)] == model.predict(inputs).tolist()
    state = lab.http({"env": "dev"}, f"/runs/{result['run_id']}").json
    assert state["state"] == "succeeded"


def test_a_model_that_returns_a_wrong_number_of_values_is_refused(lab: Lab) -> None:
    class_less = lab.put_pickle(TooFew())
    params = lab.params(lab.put(DATA[["id", "a"]]), class_less, id_columns="id")
    lab.here(params).problem(422, "model-unusable", "gives 1 answer to 3 rows")
    assert not lab.exists(params["output_table"])


def test_an_unknown_route_and_a_wrong_method_get_problems(lab: Lab) -> None:
    lab.http({}, "/nowhere").problem(404, "404")
    assert lab.client.delete("/predict").status_code == 405
