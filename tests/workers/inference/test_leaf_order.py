"""Rows that trees score in another order get the same answers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

from mlsys.artifact.signatures import Signature
from mlsys.columns.frames import from_frame
from workers.inference.fast_path.compiler import compile_model
from workers.inference.fast_path.leaf_order import WORTH_TREES, leaf_order, put_back, reorder
from workers.inference.fast_path.model import Compiled
from workers.inference.fast_path.same_bits import same_bits

ROWS = 500
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(ROWS, 6))
X[:, 5] = RANDOM.integers(0, 3, ROWS)
NOISE = RANDOM.normal(0, 0.5, ROWS)
NAMES = np.array(["low", "middle", "high"])


def target(kind: str) -> np.ndarray:
    """Return a target that depends on the rows, with noise, so that trees grow deep."""
    number = X[:, 0] + X[:, 1] * X[:, 5] + NOISE
    return {
        "numbers": number,
        "two columns": np.column_stack([number, X[:, 2]]),
        "two classes": number > 0,
        "three classes": NAMES[np.digitize(number, [-0.5, 0.5])],
        "two columns of classes": np.column_stack([number > 0, X[:, 5] > 1]),
    }[kind]


def ensembles(trees: int) -> list[Any]:
    """Return one ensemble of `trees` trees for every supported class."""
    boosted = {"random_state": 0}
    forest = boosted | {"n_estimators": trees}
    return [
        RandomForestClassifier(n_jobs=1, **forest),
        RandomForestRegressor(n_jobs=1, **forest),
        ExtraTreesClassifier(n_jobs=1, **forest),
        ExtraTreesRegressor(n_jobs=1, **forest),
        GradientBoostingClassifier(n_estimators=trees, **boosted),
        GradientBoostingRegressor(n_estimators=trees, **boosted),
        HistGradientBoostingClassifier(max_iter=trees, categorical_features=[5], **boosted),
        HistGradientBoostingRegressor(max_iter=trees, categorical_features=[5], **boosted),
    ]


def cases() -> list[Any]:
    answers = []
    for model in ensembles(WORTH_TREES):
        name = type(model).__name__
        kinds = ["two classes", "three classes"] if "Classifier" in name else ["numbers"]
        if "Boosting" not in name:
            many = "two columns of classes" if "Classifier" in name else "two columns"
            kinds.append(many)
        answers += [pytest.param(model, kind, id=f"{name}, {kind}") for kind in kinds]
    return answers


def fitted(model: Any) -> Any:
    """Return the model, fitted to a target of its kind."""
    return model.fit(
        X, target("two classes" if "Classifier" in type(model).__name__ else "numbers")
    )


def methods_of(model: Any) -> list[str]:
    return [m for m in ("predict", "predict_proba", "decision_function") if hasattr(model, m)]


@pytest.mark.parametrize(("model", "kind"), cases())
@pytest.mark.parametrize("rows", [ROWS, 1], ids=["many rows", "one row"])
def test_the_answers_are_equal_bit_for_bit(model: Any, kind: str, rows: int) -> None:
    model.fit(X, target(kind))
    forms = [np.ascontiguousarray(X[:rows]), np.asfortranarray(X[:rows])]
    if "Hist" not in type(model).__name__:
        forms.append(sparse.csr_matrix(X[:rows]))
    for given in forms:
        order = leaf_order(model, given)
        assert order is not None
        assert sorted(order) == list(range(rows))
        for method in methods_of(model):
            direct = getattr(model, method)(given)
            answers = put_back(getattr(model, method)(reorder(given, order)), order)
            assert same_bits(answers, direct), (method, type(given))


@pytest.mark.parametrize("model", ensembles(WORTH_TREES), ids=lambda e: type(e).__name__)
def test_similar_rows_are_adjacent_in_the_order(model: Any) -> None:
    """Rows next to each other in this order share more leaves than neighbours in the table."""
    order = leaf_order(fitted(model), X)
    assert order is not None
    predictions = model.predict(X).astype(float)
    assert np.abs(np.diff(predictions[order])).mean() < 0.8 * np.abs(np.diff(predictions)).mean()


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_a_table_is_scored_in_leaf_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table takes the Arrow path with missing values, and its order is restored."""
    df = pd.DataFrame(X, columns=list("abcdef"))
    df.loc[::9, "a"] = np.nan
    model = RandomForestClassifier(WORTH_TREES, n_jobs=1, random_state=0)
    model.fit(df, target("three classes"))
    compiled = compile_model(model, Signature.from_data(df).features)
    assert isinstance(compiled, Compiled)
    orders = []
    monkeypatch.setattr(
        "workers.inference.fast_path.model.leaf_order",
        lambda *a: orders.append(leaf_order(*a)) or orders[-1],
    )
    answers = compiled.answers(from_frame(df), ["predict", "predict_proba"])
    assert not np.array_equal(orders[0], np.arange(ROWS))
    for method, given in answers.items():
        assert same_bits(given, getattr(model, method)(df)), method


class OwnForest(RandomForestRegressor):
    """A class that is not supported: it may depend on the order of rows."""


@pytest.mark.parametrize(
    "model",
    [
        *ensembles(WORTH_TREES - 1),
        OwnForest(WORTH_TREES),
        DecisionTreeRegressor(),
        LinearRegression(),
    ],
    ids=lambda e: type(e).__name__,
)
def test_other_models_and_small_ensembles_get_the_rows_in_table_order(model: Any) -> None:
    assert leaf_order(fitted(model), X) is None
