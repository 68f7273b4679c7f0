"""Honest models load: every scikit-learn estimator, and pipelines as people build them."""

import io
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from unittest import SkipTest

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from scipy import sparse, special
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process import kernels as K
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    RandomizedSearchCV,
    RepeatedStratifiedKFold,
    StratifiedKFold,
)
from sklearn.multiclass import OutputCodeClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsRegressor
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    SplineTransformer,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.utils import all_estimators
from sklearn.utils._test_common.instance_generator import _construct_instances

from mlsys.artifact.loading import load_model
from mlsys.safe_pickle.decompress import unpack
from mlsys.safe_pickle.unpickler import loads
from model_answers import BINARY, BOTH, FRAME, TEXTS, THREE, VALUES, X, answers, fit, same
from pickle_cases import dumped
from samples import sampled


def forms(model: Any) -> Iterator[bytes]:
    yield dumped(model)
    yield dumped(model, compress=3)
    for protocol in (0, 2, 5):
        yield pickle.dumps(model, protocol=protocol)


def check(model: Any, data: Any) -> None:
    twin = joblib.load(io.BytesIO(dumped(model)))
    expected = answers(twin, data)
    for content in forms(model):
        loaded = loads(unpack(content, 1 << 26))
        got = answers(loaded, data)
        assert type(loaded) is type(twin)
        assert vars(loaded).keys() == vars(twin).keys()
        assert expected.keys() == got.keys()
        for name, value in expected.items():
            assert same(value, got[name]), (name, value, got[name])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "kind",
    sampled(dict(all_estimators()), 70, __file__, kind=lambda kind: kind.__module__.split(".")[1]),
)
def test_every_estimator_loads_and_gives_the_same_answers(kind: Any) -> None:
    try:
        models = list(_construct_instances(kind))
    except SkipTest:  # FrozenEstimator needs another estimator
        models = [kind(LogisticRegression().fit(X, BINARY))]
    for model in models:
        check(*fit(model))


PREPARED = ColumnTransformer(
    [
        ("n", make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), ["n", "m"]),
        ("s", OneHotEncoder(handle_unknown="ignore"), ["s", "c"]),
    ]
)
CHOSEN = ColumnTransformer(
    [
        ("n", KNNImputer(), make_column_selector(dtype_include=float)),
        ("s", OrdinalEncoder(dtype=np.float32), FRAME.columns[[3]]),
    ]
)
MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "logistic on a frame": lambda: (
        make_pipeline(PREPARED, LogisticRegression()).fit(FRAME, BINARY),
        FRAME,
    ),
    "forest with a random state": lambda: (
        make_pipeline(
            CHOSEN, RandomForestClassifier(5, random_state=np.random.RandomState(3))
        ).fit(FRAME, BINARY),
        FRAME,
    ),
    "boosting with categories": lambda: (
        HistGradientBoostingClassifier(max_iter=5, random_state=np.random.RandomState(1)).fit(
            FRAME[["n", "c"]], BINARY
        ),
        FRAME[["n", "c"]],
    ),
    "boosting of three classes": lambda: (
        HistGradientBoostingClassifier(max_iter=3).fit(X, THREE), X),
    "gradient boosting": lambda: (GradientBoostingClassifier(n_estimators=3).fit(X, THREE), X),
    "names for classes": lambda: (
        LogisticRegression().fit(X, np.array(["no", "yes"] * 15, dtype=object)), X),
    "a search": lambda: (
        GridSearchCV(
            make_pipeline(StandardScaler(), SVC()),
            {"svc__C": [1.0, 2.0], "svc__kernel": ["rbf", "linear"]},
            cv=StratifiedKFold(2),
            scoring=make_scorer(f1_score),
        ).fit(X, BINARY),
        X,
    ),
    "a search among estimators": lambda: (
        GridSearchCV(
            make_pipeline(StandardScaler(), Ridge()),
            {"standardscaler": [StandardScaler(), "passthrough"], "ridge": [Ridge(), SVC()]},
            cv=KFold(2),
        ).fit(X, BINARY),
        X,
    ),
    "a repeated search": lambda: (
        GridSearchCV(
            LogisticRegression(),
            {"C": np.array([1.0, 2.0])},
            cv=RepeatedStratifiedKFold(n_splits=2, n_repeats=1, random_state=1),
            scoring=["accuracy", "roc_auc"],
            refit="accuracy",
        ).fit(X, BINARY),
        X,
    ),
    "a random search": lambda: (
        RandomizedSearchCV(
            LogisticRegression(),
            {"C": scipy.stats.loguniform(0.1, 1), "max_iter": scipy.stats.randint(100, 200)},
            n_iter=2,
            cv=2,
            random_state=0,
        ).fit(X, BINARY),
        X,
    ),
    "voting": lambda: (
        VotingClassifier(
            [
                ("a", LogisticRegression()),
                ("b", RandomForestClassifier(3, class_weight={0: 1, 1: 2})),
            ],
            voting="soft",
        ).fit(X, BINARY),
        X,
    ),
    "stacking": lambda: (
        StackingClassifier([("a", LogisticRegression()), ("b", SVC())], cv=2).fit(X, BINARY), X),
    "calibrated": lambda: (CalibratedClassifierCV(SVC(), cv=2).fit(X, BINARY), X),
    "calibrated by steps": lambda: (
        CalibratedClassifierCV(SVC(), cv=2, method="isotonic").fit(X, BINARY), X),
    "calibrated by temperature": lambda: (
        CalibratedClassifierCV(LogisticRegression(), cv=2, method="temperature").fit(X, BINARY), X),
    "several outputs": lambda: (MultiOutputRegressor(Ridge()).fit(X, BOTH), X),
    "several outputs of a forest": lambda: (RandomForestRegressor(3).fit(X, BOTH), X),
    "constant codes": lambda: (
        OutputCodeClassifier(LogisticRegression(), random_state=0).fit(X, THREE), X),
    "the logarithm of the target": lambda: (
        TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1).fit(X, VALUES),
        X,
    ),
    "a transformed target": lambda: (
        TransformedTargetRegressor(Ridge(), transformer=PowerTransformer()).fit(X, VALUES), X),
    "functions of NumPy": lambda: (
        make_pipeline(
            FunctionTransformer(np.sqrt),
            FunctionTransformer(np.clip, kw_args={"a_min": 0, "a_max": 1}),
            FunctionTransformer(np.nan_to_num),
        ).fit(X),
        X,
    ),
    "functions of SciPy": lambda: (FunctionTransformer(special.expit).fit(X), X),
    "splines and powers": lambda: (
        make_union(SplineTransformer(), PolynomialFeatures()).fit(X), X),
    "the best features": lambda: (
        make_pipeline(SelectKBest(f_regression, k=2), Ridge()).fit(X, VALUES), X),
    "words": lambda: (
        make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, BINARY),
        TEXTS,
    ),
    "letters": lambda: (CountVectorizer(analyzer="char_wb", ngram_range=(1, 2)).fit(TEXTS), TEXTS),
    "sparse neighbours": lambda: (
        KNeighborsClassifier(algorithm="brute").fit(sparse.csr_matrix(X), BINARY), X),
    "sparse coefficients": lambda: (SGDClassifier(random_state=0).fit(X, BINARY).sparsify(), X),
    "neighbours in a radius": lambda: (RadiusNeighborsRegressor(5.0).fit(X, VALUES), X),
    "outliers": lambda: (IsolationForest(n_estimators=3, random_state=0).fit(X), X),
    "imputed in turns": lambda: (IterativeImputer(max_iter=2, random_state=0).fit(X), X),
    "frames for output": lambda: (
        make_pipeline(StandardScaler(), PolynomialFeatures())
        .set_output(transform="pandas")
        .fit(FRAME[["n"]]),
        FRAME[["n"]],
    ),
    "fitted on a memmap": lambda: (KNeighborsClassifier().fit(X.view(np.memmap), BINARY), X),
    "dates": lambda: (
        OneHotEncoder(handle_unknown="ignore").fit(
            pd.DataFrame({"d": pd.date_range("2020", periods=3)})
        ),
        pd.DataFrame({"d": pd.date_range("2020", periods=3)}),
    ),
    "a process of its own kernel": lambda: (
        GaussianProcessRegressor(
            K.ConstantKernel() * K.Matern() + K.WhiteKernel(), optimizer=None
        ).fit(X, VALUES),
        X,
    ),
    "a process of three classes": lambda: (GaussianProcessClassifier(K.RBF()).fit(X, THREE), X),
} | {
    f"{loss} by {kind.__name__}": lambda kind=kind, loss=loss: (
        kind(loss=loss).fit(X, VALUES + 1), X)
    for kind, losses in (
        (HistGradientBoostingRegressor, ("absolute_error", "gamma", "poisson")),
        (GradientBoostingRegressor, ("huber", "quantile", "absolute_error")),
        (SGDRegressor, ("huber", "epsilon_insensitive")),
    )
    for loss in losses
} | {
    f"neighbours by {metric}, {way}": lambda metric=metric, way=way: (
        KNeighborsClassifier(
            algorithm=way,
            metric=metric,
            metric_params={"V": np.ones(4)} if metric == "seuclidean" else None,
        ).fit(X, BINARY),
        X,
    )
    for way, metrics in (
        ("kd_tree", ("euclidean", "manhattan", "chebyshev")),
        ("ball_tree", ("minkowski", "canberra", "hamming", "seuclidean")),
    )
    for metric in metrics
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in MODELS.items()])
def test_typical_pipelines_load_and_give_the_same_answers(make: Callable[[], Any]) -> None:
    model, data = make()
    check(model, data)


def test_a_model_reaches_the_service_unchanged() -> None:
    model = make_pipeline(PREPARED, LogisticRegression()).fit(FRAME, BINARY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_model(dumped(model))
    assert loaded.warnings == ()
    np.testing.assert_array_equal(loaded.model.predict_proba(FRAME), model.predict_proba(FRAME))
