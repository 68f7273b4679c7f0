"""Two versions are compared by what the registry, the ledger and their metadata say."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from mlsys.artifact.parameters import parameters_of
from mlsys.errors import InvalidRequest, ModelNotFound, ModelUnusable
from mlsys.settings import Settings
from workers.registry import compare as module
from workers.registry.compare import compare


def row(version: str, **document: Any) -> dict[str, Any]:
    document = {"parameters": {"alpha": "1.0", "fit_intercept": "True"}} | document
    metrics, contract = document.pop("metrics", {"r2": 0.5}), document.pop("contract", None)
    return {
        "model_version": version,
        "model_class": "Ridge",
        "status": "ready",
        "status_reason": None,
        "target": ["y"],
        "size_bytes": 1_000,
        "crc32c": "abc=",
        "uploaded_at": None,
        "loader": "listed",
        "promoted_from": None,
        "generation": 7,
        "feature_names": ["a"],
        "sklearn_version": "1.9.1",
        "python_version": "3.12.1",
        "metrics": json.dumps(metrics),
        "contract": json.dumps(contract) if contract else None,
        "metadata": json.dumps(document) if document.get("parameters") is not None else None,
    }


V1 = row("v1", versions={"numpy": "2.5.5"}, profile={"rows": 100, "columns": {"a": {"mean": 1.5}}})
V2 = row(
    "v2",
    parameters={"alpha": "2.0", "fit_intercept": "True"},
    metrics={"r2": 0.75, "folds": {"first": 0.7}},
    versions={"numpy": "2.5.5"},
    profile={"rows": 150, "columns": {"a": {"mean": 1.5}}},
)
OLD = row("v3", parameters=None)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Let the registry and the ledger hold some rows, and keep the clients unused."""
    held = SimpleNamespace(rows={"v3": OLD, "v2": V2, "v1": V1}, runs={}, sandbox=None)
    monkeypatch.setattr(module, "rows_of", lambda *_: held.rows)
    monkeypatch.setattr(module, "_runs", lambda *_: held.runs)

    def read_model(*_: Any, **__: Any) -> bytes:
        raise ModelUnusable("it is too large")

    monkeypatch.setattr("workers.verification.opened.read_model", read_model)
    return held


CLIENTS: Any = SimpleNamespace(settings=Settings("my-project"))


def compared(a: str, b: str, **more: Any) -> dict[str, Any]:
    return compare(CLIENTS, "dev", "titanic", a, b, **more)


def test_only_differences_are_named_with_both_values(registry: SimpleNamespace) -> None:
    registry.runs = {"v2": {"succeeded": 2, "failed": 0, "rows_scored": 836}}
    answer = compared("v1", "v2")
    assert answer["metrics"] == [
        {"name": "r2", "a": 0.5, "b": 0.75, "differs": True, "change": 0.25},
        {"name": "folds.first", "a": None, "b": 0.7, "differs": True},
    ]
    assert answer["parameters"] == [{"name": "alpha", "a": "1.0", "b": "2.0", "differs": True}]
    assert [(f["name"], f["change"]) for f in answer["profile"]] == [("rows", 50)]
    assert [(f["name"], f["a"], f["b"]) for f in answer["runs"]] == [
        ("succeeded", 0, 2),
        ("rows_scored", 0, 836),
    ]
    assert answer["versions"] == answer["columns"] == answer["about"] == answer["notes"] == []


def contract(*clauses: dict[str, Any]) -> dict[str, Any]:
    return {"version": 1, "clauses": list(clauses)}


AGE = {"column": "Age", "check": "in_range", "min_value": 0, "max_value": 120, "action": "warn"}
FARE = {"column": "Fare", "check": "not_null", "max_share": 0.05, "action": "warn"}
ROWS = {"check": "row_count", "min_value": 300, "action": "stop"}


def test_clauses_of_the_contracts_that_differ_are_named(registry: SimpleNamespace) -> None:
    lower = AGE | {"max_value": 100, "action": "reject", "note": "asked for by the owner"}
    registry.rows = {
        "v1": row("v1", contract=contract(AGE, FARE, ROWS)),
        "v2": row("v2", contract=contract(ROWS, lower, FARE, FARE | {"max_share": 0.5})),
        "v3": row("v3"),
    }
    differ = [(f["name"], f["a"], f["b"]) for f in compared("v1", "v2")["contract"]]
    assert differ == [
        ("Age in_range", "warn: 0..120", "reject: 0..100"),
        ("Fare not_null (2)", None, "warn: for 0.5 of rows"),
    ]
    every = [f["name"] for f in compared("v1", "v2", everything=True)["contract"]]
    assert every == ["Age in_range", "Fare not_null", "row_count", "Fare not_null (2)"]
    without = compared("v1", "v3")["contract"]
    assert [(f["a"], f["b"]) for f in without] == [
        ("warn: 0..120", None),
        ("warn: for 0.95 of rows", None),
        ("stop: 300..", None),
    ]


def test_a_contract_of_another_release_is_noted(registry: SimpleNamespace) -> None:
    registry.rows = {"v1": row("v1", contract=contract(AGE | {"check": "is_odd"})), "v2": V2}
    answer = compared("v1", "v2")
    assert answer["contract"] == []
    [note] = answer["notes"]
    assert note.startswith("The contract of v1 is unknown: contract.json: /clauses/0/check is ")


def test_all_names_also_what_does_not_differ(registry: SimpleNamespace) -> None:
    answer = compared("v1", "v2", everything=True)
    same = {"name": "fit_intercept", "a": "True", "b": "True", "differs": False}
    assert same in answer["parameters"]
    assert {"name": "a.mean", "a": 1.5, "b": 1.5, "differs": False, "change": 0.0} in answer[
        "profile"
    ]
    assert {"name": "size_bytes", "a": 1_000, "b": 1_000, "differs": False, "change": 0} in answer[
        "about"
    ]


def test_a_version_without_metadata_is_compared_by_what_is_known(
    registry: SimpleNamespace,
) -> None:
    answer = compared("latest", "v1")
    assert (answer["a"], answer["b"]) == ("v3", "v1")
    assert [(f["a"], f["b"]) for f in answer["parameters"]] == [(None, "1.0"), (None, "True")]
    assert "v3 has no metadata.json" in answer["notes"][0]
    assert answer["notes"][1] == "The parameters of v3 are unknown: it is too large"


@pytest.mark.parametrize(
    ("a", "b", "error", "says"),
    [
        ("v1", "v9", ModelNotFound, "titanic v9 is not in the registry of dev: it has v3, v2, v1"),
        ("v1", "v1", InvalidRequest, "b: 'v1' and 'v1' are both v1: pass two versions"),
        ("latest", "v3", InvalidRequest, "'latest' and 'v3' are both v3"),
    ],
)
def test_two_versions_that_exist_are_compared(
    registry: SimpleNamespace, a: str, b: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as caught:
        compared(a, b)
    assert says in str(caught.value)
    registry.rows = {}
    with pytest.raises(ModelNotFound, match="titanic is not in the registry of dev: GET /models"):
        compared(a, b)


def test_a_metadata_of_any_form_is_compared(registry: SimpleNamespace) -> None:
    odd = {"signature": [], "versions": "x", "profile": 3, "parameters": {"a": [1]}, "metrics": [1]}
    registry.rows = {"v2": row("v2", **odd), "v1": V1}
    answer = compared("v1", "v2")
    assert {"name": "metrics", "a": None, "b": [1], "differs": True} in answer["metrics"]


# The parameters that upload_model stores


def test_the_parameters_of_a_pipeline_are_texts_without_addresses() -> None:
    model = make_pipeline(
        StandardScaler(), FunctionTransformer(str.upper), LogisticRegression(C=0.5)
    )
    parameters = parameters_of(model)
    assert parameters["logisticregression__C"] == "0.5"
    assert parameters["standardscaler"] == "StandardScaler"
    assert parameters["steps"].startswith("[('standardscaler', StandardScaler), ")
    assert not any(" at 0x" in text for text in parameters.values())
    json.dumps(parameters)


def test_odd_parameters_are_bounded() -> None:
    class Odd:
        def __init__(self, values: Any) -> None:
            self.values = values

        def get_params(self, deep: bool = True) -> Any:
            return self.values

    nested: list[Any] = []
    nested.append(nested)
    parameters = parameters_of(
        Odd(
            {
                "long": "x" * 10_000,
                "many": list(range(1_000)),
                "self": nested,
                "odd": "\ud800",
                1: 2,
            }
        )
    )
    assert all(len(text) <= 204 for text in parameters.values())
    assert parameters["odd"] == "'\\ud800'" and parameters["1"] == "2"
    assert len(parameters_of(Odd({f"p{i}": i for i in range(1_000)}))) == 500
    assert parameters_of(Odd(None)) == parameters_of(object()) == {}
