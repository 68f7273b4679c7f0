"""Every parameter of scikit-learn that takes a function, with a library's and a team's own one.

A release with another such parameter fails here until the table has it.
"""

import functools
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.spatial.distance as distance
from sklearn.experimental import (  # noqa: F401
    enable_halving_search_cv,
    enable_iterative_imputer,
)
from sklearn.feature_extraction.text import strip_accents_unicode
from sklearn.feature_selection import f_classif
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score, make_scorer, mean_absolute_error, pairwise, r2_score
from sklearn.neighbors import kneighbors_graph
from sklearn.utils import all_estimators
from sklearn.utils._test_common.instance_generator import _construct_instances

from mlsys.artifact.refusals import why_not
from mlsys.safe_pickle.unpickler import Untrusted, loads
from model_answers import DATA, TEXTS, answers, same
from pickle_cases import dumped

# Functions of a team's own package, one for each calling convention.


def pairs(x: Any, y: Any, **more: Any) -> float:
    return float(np.nansum(np.abs(x - y)))


def kernel(x: Any, y: Any) -> Any:
    return x @ y.T + 1


def all_pairs(x: Any) -> Any:
    return distance.cdist(x, x)


def connected(x: Any) -> Any:
    return kneighbors_graph(x, 5, include_self=False)


def scorer(model: Any, x: Any, y: Any, sample_weight: Any = None) -> float:
    return float(np.mean(model.predict(x) == y))


def agreement(y: Any, found: Any) -> float:
    return float(np.mean(y == found))


def scores(x: Any, y: Any) -> Any:
    return x.sum(axis=0), np.linspace(0.01, 0.02, x.shape[1])


def first(x: Any, n_clusters: int, random_state: Any) -> Any:
    return x[:n_clusters]


def best(results: Any) -> int:
    return 0


def coefficients(model: Any) -> Any:
    return model.coef_ if hasattr(model, "coef_") else model.feature_importances_


def weights(distances: Any) -> Any:
    return distances * 0 + 1


def middle(values: Any, axis: Any = None) -> Any:
    return np.median(values, axis=axis)


def loss(y: Any, found: Any) -> Any:
    return np.abs(y - found)


def valid(*parts: Any) -> bool:
    return True


def two(x: Any) -> int:
    return 2


def contrast(x: Any) -> Any:
    return x**3, (3 * x**2).mean(axis=-1)


def started(objective: Any, start: Any, bounds: Any) -> Any:
    return start, objective(start, eval_gradient=False)


def silent(*state: Any) -> None:
    return None


def combined(feature: Any, category: Any) -> str:
    return f"{feature}={category}"


def names_out(transformer: Any, names: Any) -> Any:
    return np.asarray(names, dtype=object)


def words(text: Any) -> Any:
    return text.split()


def shouted(text: Any) -> Any:
    return text.upper()


def logs(x: Any) -> Any:
    return np.log1p(x)


def exps(x: Any) -> Any:
    return np.expm1(x)


# A library's function that people pass, or None if no library has one; a function of one's own;
# and the other parameters that it needs.
Row = tuple[Any, Any, dict[str, Any]]
TREES: Row = (distance.cityblock, pairs, {})
SCORER: Row = (make_scorer(accuracy_score), scorer, {})
VALUES: Row = (make_scorer(r2_score), scorer, {})
SELECT: Row = (f_classif, scores, {})
TEXT = {
    "strip_accents": (strip_accents_unicode, shouted, {}),
    "preprocessor": (str.casefold, shouted, {}),
    "tokenizer": (str.split, words, {"token_pattern": None}),
    "analyzer": (str.split, words, {}),
}
TABLE: dict[tuple[str, str], Row] = {
    ("AgglomerativeClustering", "metric"): (
        pairwise.cosine_distances, all_pairs, {"linkage": "average"}),
    ("AgglomerativeClustering", "connectivity"): (None, connected, {}),
    ("FeatureAgglomeration", "metric"): (
        pairwise.cosine_distances, all_pairs, {"linkage": "average"}),
    ("FeatureAgglomeration", "connectivity"): (None, connected, {}),
    ("FeatureAgglomeration", "pooling_func"): (np.median, middle, {}),
    ("BisectingKMeans", "init"): (None, first, {}),
    ("KMeans", "init"): (None, first, {"n_init": 1}),
    ("MiniBatchKMeans", "init"): (None, first, {"n_init": 1, "max_iter": 2}),
    ("ClassicalMDS", "metric"): TREES,
    ("MDS", "metric"): (distance.cityblock, pairs, {"init": "random", "n_init": 1}),
    ("TSNE", "metric"): (
        None, pairs, {"init": "random", "max_iter": 250, "perplexity": 3}),
    ("Isomap", "metric"): TREES,
    ("DBSCAN", "metric"): TREES,
    ("HDBSCAN", "metric"): (distance.cityblock, pairs, {"algorithm": "brute"}),
    ("OPTICS", "metric"): TREES,
    ("KNNImputer", "metric"): (None, pairs, {}),
    ("KNNImputer", "weights"): (np.negative, weights, {}),
    **{(n, "metric"): TREES for n in (
        "KNeighborsClassifier", "KNeighborsRegressor", "KNeighborsTransformer",
        "LocalOutlierFactor", "NearestNeighbors", "RadiusNeighborsRegressor",
        "RadiusNeighborsClassifier", "RadiusNeighborsTransformer")},
    **{(f"{kind}Neighbors{n}", "weights"): (np.negative, weights, {}) for kind in ("K", "Radius")
       for n in ("Classifier", "Regressor")},
    ("ColumnTransformer", "verbose_feature_names_out"): (None, combined, {}),
    **{(f"{n}Vectorizer", p): row for n in ("Count", "Hashing", "Tfidf")
       for p, row in TEXT.items()},
    **{(n, "callback"): (None, silent, {}) for n in (
        "DictionaryLearning", "MiniBatchDictionaryLearning", "MiniBatchSparsePCA",
        "NeighborhoodComponentsAnalysis")},
    **{(f"{n}Classifier", "oob_score"): (
        accuracy_score, agreement, {"bootstrap": True, "n_estimators": 3})
       for n in ("ExtraTrees", "RandomForest")},
    **{(f"{n}Regressor", "oob_score"): (
        mean_absolute_error, agreement, {"bootstrap": True, "n_estimators": 3})
       for n in ("ExtraTrees", "RandomForest")},
    ("FastICA", "fun"): (None, contrast, {}),
    ("FunctionTransformer", "func"): (np.log1p, logs, {}),
    ("FunctionTransformer", "inverse_func"): (np.expm1, exps, {"func": np.log1p}),
    ("FunctionTransformer", "feature_names_out"): (None, names_out, {}),
    ("TransformedTargetRegressor", "func"): (
        np.log1p, logs, {"inverse_func": np.expm1, "regressor": Ridge()}),
    ("TransformedTargetRegressor", "inverse_func"): (
        np.expm1, exps, {"func": np.log1p, "regressor": Ridge()}),
    **{(f"GaussianProcess{n}", "optimizer"): (None, started, {})
       for n in ("Classifier", "Regressor")},
    **{(n, "scoring"): VALUES for n in (
        "GridSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV", "RandomizedSearchCV")},
    ("HistGradientBoostingClassifier", "scoring"): (*SCORER[:2], {"max_iter": 2}),
    ("HistGradientBoostingRegressor", "scoring"): (*VALUES[:2], {"max_iter": 2}),
    ("LogisticRegressionCV", "scoring"): (*SCORER[:2], {"Cs": 2, "cv": 2}),
    ("RFECV", "scoring"): (*SCORER[:2], {"cv": 2, "step": 3}),
    ("RidgeCV", "scoring"): VALUES,
    ("RidgeClassifierCV", "scoring"): SCORER,
    ("SequentialFeatureSelector", "scoring"): (
        *VALUES[:2], {"cv": 2, "n_features_to_select": 1}),
    ("TunedThresholdClassifierCV", "scoring"): (
        make_scorer(accuracy_score), make_scorer(agreement), {"thresholds": 5}),
    **{(f"{n}SearchCV", "refit"): (None, best, {}) for n in ("Grid", "Randomized")},
    **{(f"Halving{n}SearchCV", "refit"): (None, best, {}) for n in ("Grid", "Random")},
    ("KernelPCA", "kernel"): (np.dot, kernel, {}),
    ("KernelRidge", "kernel"): (np.dot, kernel, {}),
    ("Nystroem", "kernel"): (np.dot, kernel, {}),
    **{(n, "kernel"): (pairwise.rbf_kernel, kernel, {}) for n in (
        "LabelPropagation", "LabelSpreading", "NuSVC", "NuSVR", "OneClassSVM", "SVC", "SVR")},
    ("OneHotEncoder", "feature_name_combiner"): (None, combined, {}),
    ("RANSACRegressor", "is_data_valid"): (None, valid, {}),
    ("RANSACRegressor", "is_model_valid"): (None, valid, {}),
    ("RANSACRegressor", "loss"): (np.subtract, loss, {}),
    **{(n, "importance_getter"): (None, coefficients, {}) for n in ("RFE", "SelectFromModel")},
    ("RFECV", "importance_getter"): (None, coefficients, {"cv": 2, "step": 3}),
    ("SelectFromModel", "max_features"): (None, two, {}),
    **{(n, "score_func"): SELECT for n in (
        "GenericUnivariateSelect", "SelectFdr", "SelectFpr", "SelectFwe", "SelectKBest",
        "SelectPercentile")},
    ("SimpleImputer", "strategy"): (np.mean, middle, {}),
    ("SpectralClustering", "affinity"): (np.dot, kernel, {}),
    ("SpectralEmbedding", "affinity"): (pairwise.rbf_kernel, all_pairs, {}),
}  # fmt: skip
KINDS = dict(all_estimators())


def test_the_table_has_every_parameter_that_takes_a_function() -> None:
    declared = {
        (name, parameter)
        for name, kind in KINDS.items()
        for parameter, allowed in (getattr(kind, "_parameter_constraints", None) or {}).items()
        if allowed != "no_validation" and any(c is callable for c in allowed)
    }
    assert set(TABLE) == declared


@functools.cache
def made(name: str, parameter: str, own: bool) -> tuple[Any, Any]:
    """Return the fitted estimator with the function, and its training data."""
    library, ours, more = TABLE[name, parameter]
    model = next(iter(_construct_instances(KINDS[name])))
    model.set_params(**more, **{parameter: ours if own else library})
    data = [(TEXTS, None)] if "Vectorizer" in name else DATA
    errors = []
    for rows, target in data:
        try:
            return (model.fit(rows) if target is None else model.fit(rows, target)), rows
        except Exception as exc:
            errors.append(exc)
    raise AssertionError(f"nothing fits {model!r}: {errors}")


def equal(model: Any, loaded: Any, rows: Any) -> None:
    expected, got = answers(model, rows), answers(loaded, rows)
    assert type(loaded) is type(model) and expected.keys() == got.keys()
    # A str is an exception's text.
    assert not expected or not all(type(v) is str for v in expected.values())
    assert all(same(value, got[name]) for name, value in expected.items())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "parameter"), [key for key, row in TABLE.items() if row[0] is not None]
)
def test_a_function_of_a_library_loads(name: str, parameter: str) -> None:
    model, rows = made(name, parameter, own=False)
    expected = pickle.loads(pickle.dumps(model))
    for content in (pickle.dumps(model), dumped(model)):
        equal(expected, loads(content), rows)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "parameter"), TABLE)
def test_a_function_of_ones_own_loads_after_following_the_refusals_advice(
    name: str, parameter: str
) -> None:
    model, rows = made(name, parameter, own=True)
    content = pickle.dumps(model)
    ours = TABLE[name, parameter][1]
    key = f"{__name__}.{getattr(ours, '_score_func', ours).__name__}"
    with pytest.raises(Untrusted) as caught:
        loads(content)
    assert why_not(caught.value, content).endswith(
        f"add {key} to MLSYS_TRUSTED_GLOBALS if you trust it"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        equal(pickle.loads(content), loads(content, (key,)), rows)
