"""`preview=N` answers with the first rows, scored as a run scores them, and writes nothing."""

from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

from mlsys.local.stack import LocalStack
from scoring_cases import Lab

DATA = pd.DataFrame(
    {"id": range(12), "a": [i % 5 / 2 for i in range(12)], "note": list("abcdef" * 2)}
)
MODEL = DecisionTreeRegressor().fit(DATA[["a"]], DATA["a"] * 10)


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture(scope="module")
def model(lab: Lab) -> str:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in lab.stack.environment.items():
            patch.setenv(name, value)
        return lab.upload(MODEL, DATA[["a"]])


@pytest.fixture(scope="module")
def table(lab: Lab) -> str:
    return lab.put(DATA)


def question(lab: Lab, table: str, model: str, **more: Any) -> dict[str, str]:
    """Return the parameters of a preview, without an output table."""
    params = lab.params(table, model, **({"preview": 3} | more))
    if "output_table" not in more:
        del params["output_table"]
    return params


def tables(lab: Lab) -> set[str]:
    return {
        f"{dataset}.{item.table_id}"
        for dataset in ("scoring", "mlsys_dev")
        for item in lab.clients.bigquery.list_tables(f"{lab.project}.{dataset}", timeout=30)
    }


def outputs(answer: dict[str, Any]) -> list[tuple[int, float]]:
    return sorted((row["output"]["id"], row["output"]["prediction"]) for row in answer["rows"])


def test_a_preview_has_the_rows_of_a_run_and_writes_nothing(
    lab: Lab, model: str, table: str
) -> None:
    before, objects = tables(lab), lab.objects("")
    answer = lab.here(question(lab, table, model, preview=12)).json
    assert (tables(lab), lab.objects("")) == (before, objects)
    assert answer["columns"] == [
        {"name": "id", "type": "INT64"},
        {"name": "prediction", "type": "FLOAT64"},
    ]
    assert [c["name"] for c in answer["inputs"]] == ["id", "a"]
    assert all(row["input"]["a"] * 10 == row["output"]["prediction"] for row in answer["rows"])
    assert answer["warnings"] == []
    _, rows = lab.score(table, model)
    assert outputs(answer) == list(zip(rows["id"], rows["prediction"], strict=True))


def test_a_filter_a_view_and_names_beyond_ascii_are_previewed(
    lab: Lab, model: str, table: str
) -> None:
    before = tables(lab)
    answer = lab.here(question(lab, table, model, where="a > 1.5", preview=2)).json
    assert [row["input"]["a"] for row in answer["rows"]] == [2.0, 2.0]
    view = lab.view(f"SELECT * FROM `{table}`")
    answer = lab.here(question(lab, view, model, where="note = 'f'")).json
    assert outputs(answer) == [(5, 0.0), (11, 5.0)] and answer["warnings"] == []
    named = lab.put(DATA.rename(columns={"note": "größe"}))
    answer = lab.here(question(lab, named, model, id_columns="größe,id")).json
    assert [c["name"] for c in answer["columns"]] == ["größe", "id", "prediction"]
    assert answer["rows"][0]["output"]["größe"] == answer["rows"][0]["input"]["größe"]
    assert len(tables(lab) - before) == 2  # the test's own view and table


def test_an_empty_table_and_one_with_fewer_rows_are_previewed(lab: Lab, model: str) -> None:
    empty = lab.create({"id": "INT64", "a": "FLOAT64"})
    assert lab.here(question(lab, empty, model)).json["rows"] == []
    few = lab.put(DATA.head(2))
    assert len(lab.here(question(lab, few, model, preview=100)).json["rows"]) == 2


def test_a_row_that_cannot_be_scored_has_the_reason(lab: Lab, environment: dict[str, str]) -> None:
    data = pd.DataFrame({"id": range(6), "a": [1.0, None, 2.0, 3.0, None, 4.0]})
    linear = lab.put_pickle(LinearRegression().fit(DATA[["a"]], DATA["a"]))
    answer = lab.here(question(lab, lab.put(data), linear, id_columns="id", preview=6)).json
    by_id = {row["input"]["id"]: row for row in answer["rows"]}
    assert {number for number, row in by_id.items() if row["output"] is None} == {1, 4}
    assert by_id[1]["reason"] and by_id[0]["reason"] is None


@pytest.mark.parametrize(
    ("more", "status", "slug", "says"),
    [
        ({"preview": "101"}, 400, "invalid-request", "less than or equal to 100"),
        ({"preview": "0"}, 400, "invalid-request", "greater than or equal to 1"),
        ({"dry_run": "true"}, 400, "invalid-request", "pass it without dry_run"),
        ({"wait": "false"}, 400, "invalid-request", "pass it without wait"),
        ({"shadow": "v2"}, 400, "invalid-request", "pass it without shadow"),
        ({"run_id": "mine"}, 400, "invalid-request", "pass it without run_id"),
        ({"id_columns": "missing"}, 422, "schema-mismatch", "missing"),
        ({"output_table": "other-project.a.b"}, 403, "not-allowed", "other-project.a"),
    ],
)
def test_a_preview_is_refused_as_a_run_is(
    lab: Lab, model: str, table: str, more: dict[str, str], status: int, slug: str, says: str
) -> None:
    lab.here(question(lab, table, model, **more)).problem(status, slug, says)


def test_an_output_table_is_checked_and_is_required_only_by_a_run(
    lab: Lab, model: str, table: str
) -> None:
    lab.here(question(lab, table, model, output_table=lab.name("output"))).json["rows"][0]
    wrong = lab.create({"id": "STRING"})
    lab.here(question(lab, table, model, output_table=wrong)).problem(422, "schema-mismatch")
    params = question(lab, table, model)
    del params["preview"]
    said = lab.here(params).problem(400, "invalid-request", "output_table: is missing")
    assert [p["name"] for p in said["parameters"]] == ["output_table"]
