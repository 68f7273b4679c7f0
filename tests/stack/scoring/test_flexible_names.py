"""Column names beyond ASCII letters, digits and underscores: scored, and never a 503.

BigQuery calls them flexible: https://cloud.google.com/bigquery/docs/schemas#flexible-column-names
"""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from mlsys.columns.names import is_plain
from mlsys.errors import SchemaMismatch, TableNotFound
from mlsys.local.stack import LocalStack
from scoring_cases import Lab, unique
from workers.scoring.engines.run import execute
from workers.scoring.planning.columns import Column, columns_to_read, needs_aliases
from workers.scoring.planning.find_run import prepare

pytestmark = pytest.mark.usefixtures("environment")

NAMES = ["größe", "客户", "first name", "2020-2021", "a%", "it's", "<=50K", "x|y", "_field_1"]
ROWS = 40
X = pd.DataFrame(np.random.default_rng(0).random((ROWS, len(NAMES))), columns=NAMES)
DATA = X.assign(**{"id": range(ROWS), "education-num": [f"n{i}" for i in range(ROWS)]})
MODEL = LinearRegression().fit(X, X["größe"] * 2 - X["客户"])


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture
def model(lab: Lab) -> str:
    return lab.put_pickle(MODEL)


@pytest.fixture(scope="module")
def table(lab: Lab) -> str:
    return lab.put(DATA)


def scored(lab: Lab, params: dict[str, str]) -> pd.DataFrame:
    """Return the output's rows, after a dry run that agrees with the run."""
    verdict = lab.http(params | {"dry_run": "true"}).json
    assert verdict["ok"], verdict
    assert "usd" in verdict["price_basis"].lower()
    result = lab.http(params).done()
    assert verdict["warnings"] == result["warnings"]
    assert any("a query copies the columns first" in w for w in result["warnings"])
    assert lab.http(params).done() == result | {"reused": True}
    return lab.rows(params["output_table"], by="id")


@pytest.mark.slow
def test_features_ids_and_a_filter_with_flexible_names_are_scored(
    lab: Lab, table: str, model: str
) -> None:
    params = lab.params(table, model, id_columns="id,education-num,first name")
    rows = scored(lab, params | {"where": "`first name` > 0.5 AND id < 35"})
    kept = DATA[(DATA["first name"] > 0.5) & (DATA["id"] < 35)]
    assert rows["id"].tolist() == kept["id"].tolist()
    assert rows["education-num"].tolist() == kept["education-num"].tolist()
    np.testing.assert_array_equal(rows["first name"], kept["first name"])
    np.testing.assert_allclose(rows["prediction"], MODEL.predict(kept[NAMES]), rtol=1e-12)


def test_a_view_with_flexible_names_is_scored(lab: Lab, table: str, model: str) -> None:
    view = lab.view(f"SELECT * FROM `{table}` WHERE id < 10")
    params = lab.params(view, model, id_columns="id", run_id=unique("odd"))
    result = lab.http(params | {"where": "`2020-2021` >= 0"}).done()
    assert result["rows"] == 10
    rows = lab.rows(params["output_table"])
    np.testing.assert_allclose(rows["prediction"], MODEL.predict(X[:10]), rtol=1e-12)


@pytest.mark.slow
def test_a_filter_on_a_flexible_name_alone_is_run_as_a_query(lab: Lab, table: str) -> None:
    plain = pd.DataFrame({"id": range(ROWS)})
    name = lab.put_pickle(LinearRegression().fit(plain, plain["id"]))
    params = lab.params(table, name, id_columns="id", where="`first name` > 0.5")
    assert len(scored(lab, params)) == (DATA["first name"] > 0.5).sum()


def test_a_table_named_like_its_column_gives_the_column(lab: Lab) -> None:
    data = pd.DataFrame({"first name": ["x", "y"], "a": [0.0, 1.0], "id": [1, 2]})
    name = lab.name("a")
    data = data.rename(columns={"a": name.rpartition(".")[2]})
    feature = data.columns[1]
    fitted = LinearRegression().fit(data[[feature]], [0, 1])
    ids = f"id,first name,{feature}"
    params = lab.params(lab.put(data, name), lab.put_pickle(fitted), id_columns=ids)
    assert lab.here(params | {"dry_run": "true", "check_ids": "true"}).json["ok"]
    assert lab.here(params).done()["rows"] == 2
    assert lab.rows(params["output_table"])[feature].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("where", "named"), [("`last name` = 'x'", "last name"), ("größer > 1", "größer")]
)
def test_a_refused_filter_names_its_flexible_columns(
    lab: Lab, table: str, model: str, where: str, named: str
) -> None:
    params = lab.params(table, model, id_columns="id", where=where)
    lab.here(params).problem(400, "invalid-request", f"has no column {named})", "backticks")


def test_the_copy_is_made_from_the_snapshot(lab: Lab, model: str) -> None:
    table = lab.put(DATA)
    request = lab.request(lab.params(table, model, id_columns="id"))
    prepared = prepare(lab.clients, request, unique("odd"))
    lab.put(DATA.assign(id=DATA["id"] + ROWS), table)
    assert execute(lab.clients, prepared).rows == ROWS


def test_a_deleted_table_is_refused_without_a_retry(lab: Lab, model: str) -> None:
    table = lab.put(DATA)
    request = lab.request(lab.params(table, model, id_columns="id"))
    prepared = prepare(lab.clients, request, unique("odd"))
    lab.clients.bigquery.delete_table(table, timeout=30)
    with pytest.raises(TableNotFound):
        execute(lab.clients, prepared)


def test_columns_with_plain_names_are_read_without_a_copy(lab: Lab, table: str) -> None:
    plain = pd.DataFrame({"id": range(ROWS)})
    name = lab.put_pickle(LinearRegression().fit(plain, plain["id"]))
    plan = prepare(lab.clients, lab.request(lab.params(table, name, id_columns="id"))).plan
    assert not plan.is_copied
    assert plan.aliases == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["INTERVAL", "GEOGRAPHY", "JSON"])
@pytest.mark.parametrize("role", ["feature", "id", "default id"])
def test_types_without_a_flat_form_are_refused_by_name(lab: Lab, kind: str, role: str) -> None:
    schema = {"id": "INTEGER", "odd": kind} | ({"a": "FLOAT64"} if role != "feature" else {})
    names = ["odd"] if role == "feature" else ["a"]
    fitted = LinearRegression().fit(pd.DataFrame([[0.0], [1.0]], columns=names), [0, 1])
    ids = {"feature": "id", "id": "id,odd", "default id": ""}[role]
    params = lab.params(
        lab.create(schema), lab.put_pickle(fitted), **({"id_columns": ids} if ids else {})
    )
    if role == "default id":
        verdict = lab.here(params | {"dry_run": "true"}).json
        assert verdict["ok"] == (lab.here(params).status == 200)
        assert lab.here(params).status in (200, 422)
        return
    assert not lab.here(params | {"dry_run": "true"}).json["ok"]
    body = lab.here(params).problem(422, "schema-mismatch", "odd", kind)
    assert body["columns"][0]["name"] == "odd"


def test_an_interval_that_the_schema_hides_is_refused_by_name(lab: Lab) -> None:
    """The local BigQuery reports STRING for a column that a query made an INTERVAL."""
    table = lab.name()
    sql = f"CREATE TABLE `{table}` AS SELECT 1.0 AS a, 1 AS id, INTERVAL 3 DAY AS pause"
    lab.clients.bigquery.query(sql, timeout=30).result(timeout=30)
    fitted = LinearRegression().fit(pd.DataFrame({"a": [0.0, 1.0]}), [0, 1])
    params = lab.params(table, lab.put_pickle(fitted), id_columns="id,pause")
    verdict = lab.here(params | {"dry_run": "true"}).json
    assert not verdict["ok"]
    assert verdict["problems"][0]["columns"][0]["name"] == "pause"
    lab.here(params).problem(422, "schema-mismatch", "pause")


# Without the stack


def test_a_name_that_bigquery_refuses_is_refused_in_planning() -> None:
    table = [Column("a.b", "FLOAT64"), Column("id", "INT64")]
    with pytest.raises(SchemaMismatch, match=r"a\.b: holds '\.'"):
        columns_to_read(table, [], table)
    assert columns_to_read(table, [], table[1:]) == ("id",)


@pytest.mark.parametrize(
    ("read", "where", "aliased"),
    [
        (["id"], None, False),
        (["id"], "id > 3 AND note = 'x'", False),
        (["id", "größe"], None, True),
        (["id"], "`Erste Zeile` > 3", True),
        (["id"], "`größe` IS NULL", True),
    ],
)
def test_only_flexible_names_get_aliases(read: list[str], where: str | None, aliased: bool) -> None:
    table = [Column(name, "STRING") for name in ("id", "größe", "erste zeile", "note")]
    assert needs_aliases(table, read, where) is aliased
    assert all(is_plain(name) for name in read) is not ("größe" in read)
