"""For every estimator of scikit-learn and every output, the planned shape is the scored one."""

import datetime as dt
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor, StackingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from every_estimator import (
    CLASSES,
    FEATURES,
    LABELS,
    PRICE,
    PRICES,
    TARGETS,
    THREE,
    TWO,
    N,
    X,
    estimators,
)
from in_process import columns_of_outputs, scorer_of
from mlsys.cloud.tables import TableRef
from mlsys.columns.frames import from_frame
from mlsys.errors import InvalidRequest
from samples import sampled
from workers.scoring.planning.columns import Column
from workers.scoring.planning.destination import Destination
from workers.scoring.planning.model_pin import ModelPin
from workers.scoring.planning.plan import Plan
from workers.scoring.request.parsed import OUTPUTS
from workers.scoring.shards.scorer import Batch, Scorer

REFUSED = {  # outputs that planning refuses, with the reason
    ("FunctionTransformer", "transform"): "cannot name what transform gives",
}


def predictor(model: Any, outputs: list[str], targets: tuple[str, ...] = ()) -> Scorer:
    """Return a scorer of the model with a plan as `make_plan` makes it."""
    columns, methods = columns_of_outputs([Column("id", "INT64")], model, targets, outputs)
    table = TableRef("p", "d", "t")
    into = Destination(table, tuple(columns), False, (), "predicted_at", "WRITE_APPEND")
    plan = Plan(
        run_id="r",
        token="t",
        request={"input_table": "p.d.i", "env": "dev"},
        model=ModelPin("b", "p", 1, "c", "m", "v1", size=1),
        is_query=False,
        snapshot_at="",
        created_at=dt.datetime(2026, 11, 28, tzinfo=dt.UTC).isoformat(),
        rows_expected=N,
        features=FEATURES,
        ids=(Column("id", "INT64"),),
        read_columns=("id", "a", "b", "c", "d"),
        outputs=methods,
        output=into,
        rejects=into,
        location="US",
        path="plain: a test's",
    )
    return scorer_of(model, plan)


def check(model: Any, method: str) -> str:
    """Score by one method and compare with the model's answers; or return why it is refused."""
    try:
        scorer = predictor(model, [method])
    except InvalidRequest as exc:
        return str(exc)
    given = getattr(model, method)(X)
    if isinstance(given, list):
        given = np.hstack(given)
    given = given.toarray() if hasattr(given, "toarray") else np.asarray(given)
    rows = scorer.score(Batch(from_frame(X.assign(id=range(N)))))
    names = scorer.plan.outputs[method]
    assert len({name.lower() for name in names}) == len(names)
    assert rows.column("id").to_pylist() == list(range(N))
    if not names:  # a selector that selected nothing
        assert given.size == 0
        return ""
    found = np.column_stack([rows.column(name).to_pylist() for name in names])
    expected = given.reshape(N, -1)
    if found.dtype.kind in "USO":
        assert found.tolist() == expected.astype(str).tolist()
    else:
        np.testing.assert_array_equal(found, expected.astype(found.dtype))
    return ""


def kind_of(made: BaseEstimator) -> tuple[str, bool]:
    """Return the outputs that an estimator has, and whether one is refused."""
    name = type(made).__name__
    refused = any(name == refused for refused, _ in REFUSED)
    return ",".join(m for m in OUTPUTS if hasattr(made, m)), refused


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("made", sampled(dict(estimators()), 60, __file__, kind=kind_of))
def test_scoring_writes_the_planned_columns(made: BaseEstimator) -> None:
    fits = 0
    name = type(made).__name__
    able = [m for m in OUTPUTS if hasattr(made, m)]
    required = made.__sklearn_tags__().target_tags.required
    supervised = required or is_classifier(made) or is_regressor(made) or name == "PLSSVD"
    # The others ignore the target: one is enough.
    for target in TARGETS.values() if supervised else [PRICE]:
        if is_regressor(made) and np.asarray(target).dtype.kind in "UO":
            continue  # a few accept it, and then cannot predict
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                model = made.__class__(**made.get_params(deep=False)).fit(X, target)
            except (ValueError, TypeError, AttributeError, IndexError, NotImplementedError):
                continue  # not a target for this estimator
        fits += 1
        for method in OUTPUTS:
            if not callable(getattr(model, method, None)):
                continue
            wanted = REFUSED.get((name, method), "")
            if name == "ClassifierChain" and target is CLASSES and method != "predict":
                wanted = f"has {method} only where each output has two classes"
            said = check(model, method)
            assert wanted in said
            assert bool(wanted) == bool(said), said
    assert fits or not able


def nested(inner: Any) -> Any:
    """Return the estimator within a search, a pipeline and a wrapper."""
    search = GridSearchCV(make_pipeline(StandardScaler(), inner), {}, cv=2)
    return make_pipeline(StandardScaler(), search)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("model", "y", "expected"),
    [
        pytest.param(
            ClassifierChain(LogisticRegression()),
            LABELS,
            {
                "predict": ["left", "right"],
                "predict_proba": ["probability_left_1", "probability_right_1"],
                "decision_function": ["decision_left", "decision_right"],
            },
            id="ClassifierChain",
        ),
        pytest.param(
            nested(ClassifierChain(LogisticRegression())),
            LABELS,
            {"predict_proba": ["probability_left_1", "probability_right_1"]},
            id="a chain in a search in a pipeline",
        ),
        pytest.param(
            RidgeClassifier(),
            LABELS,
            {"predict": ["left", "right"], "decision_function": ["decision_0", "decision_1"]},
            id="RidgeClassifier of two labels",
        ),
        pytest.param(
            nested(RidgeClassifier()),
            TWO,
            {"predict": ["prediction"], "decision_function": ["decision"]},
            id="RidgeClassifier of two classes",
        ),
        pytest.param(
            OneVsRestClassifier(LogisticRegression()),
            LABELS,
            {
                "predict_proba": ["probability_0", "probability_1"],
                "decision_function": ["decision_0", "decision_1"],
            },
            id="OneVsRestClassifier of two labels",
        ),
        pytest.param(
            MLPClassifier((3,), max_iter=20, random_state=0),
            LABELS,
            {"predict": ["left", "right"], "predict_proba": ["probability_0", "probability_1"]},
            id="MLPClassifier of two labels",
        ),
        pytest.param(
            KNeighborsClassifier(3),
            CLASSES,
            {
                "predict_proba": [
                    *(f"probability_left_{i}" for i in range(3)),
                    *(f"probability_right_{i}" for i in range(2)),
                ]
            },
            id="two classifications by neighbours",
        ),
        pytest.param(
            MultiOutputClassifier(RandomForestClassifier(3, random_state=0)),
            CLASSES,
            {"predict": ["left", "right"]},
            id="MultiOutputClassifier",
        ),
        pytest.param(
            StackingClassifier(
                [("x", KNeighborsClassifier(3))], RandomForestClassifier(3, random_state=0), cv=2
            ),
            LABELS,
            {"predict_proba": ["probability_left_0", "probability_right_0"]},
            id="a stack of two labels",
        ),
        pytest.param(
            nested(SVC(decision_function_shape="ovo")),
            THREE,
            {"decision_function": 3},
            id="pairs of classes that look alike",
        ),
        pytest.param(
            StackingClassifier(
                [("x", GaussianNB())], SVC(decision_function_shape="ovo", random_state=0), cv=2
            ),
            np.arange(N) % 4,
            {"decision_function": [f"decision_{i}_{j}" for i in range(4) for j in range(i + 1, 4)]},
            id="pairs of a stack",
        ),
        pytest.param(
            make_pipeline(StandardScaler(), KMeans(3, n_init=1, random_state=0)),
            None,
            {"predict": ["prediction"], "transform": [f"transform_kmeans{i}" for i in range(3)]},
            id="clusters",
        ),
        pytest.param(
            nested(RandomForestRegressor(3, random_state=0)),
            PRICES,
            {"predict": [f"prediction_{i}" for i in range(3)]},
            id="three values by a forest",
        ),
    ],
)
def test_models_with_answers_for_each_label_output_or_pair(
    model: Any, y: Any, expected: dict[str, Any]
) -> None:
    model = model.fit(X, y)
    targets = ("left", "right") if y is LABELS or y is CLASSES else ()
    for fitted_model in (model, FrozenEstimator(model)):
        for method, names in expected.items():
            scorer = predictor(fitted_model, [method], targets)
            found = list(scorer.plan.outputs[method])
            assert len(found) == names if isinstance(names, int) else found == names
            given = getattr(model, method)(X)
            given = np.hstack(given) if isinstance(given, list) else np.asarray(given)
            rows = scorer.score(Batch(from_frame(X.assign(id=range(N)))))
            columns = [rows.column(name).to_pylist() for name in found]
            np.testing.assert_array_equal(np.column_stack(columns), given.reshape(N, -1))
