"""Hostile models that are small files and take unbounded memory or time to predict."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.kernel_approximation import PolynomialCountSketch
from sklearn.kernel_ridge import KernelRidge
from sklearn.multioutput import ClassifierChain, MultiOutputRegressor
from sklearn.pipeline import FeatureUnion
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures
from sklearn.tree import DecisionTreeRegressor

from hostile_models import ROWS, TWO, VALUES, changed, histogram

TEXTS = np.array([["one"], ["two"]], dtype=object)


def union(step: Any, count: int) -> Any:
    """Return a union that repeats one step `count` times."""
    return FeatureUnion([(f"s{i}", step) for i in range(count)])


def dense_categories() -> Any:
    """Return a model that makes 100 million columns of 100,000 shared categories."""
    model = OneHotEncoder(sparse_output=False).fit(np.zeros((1, 1000)))
    return changed(
        model, categories_=[np.arange(100_000.0)] * 1000, _n_features_outs=[100_000] * 1000
    )


def dense_hashes(sparse: bool) -> Any:
    step = HashingVectorizer(n_features=2**10)
    model = ColumnTransformer([("a", step, 0)], sparse_threshold=0 if not sparse else 1)
    model.fit(TEXTS)
    model.transformers_[0][1].n_features = 2**30
    return model


def compared(count: int) -> Any:
    """Return kernel ridge regression that compares each row with `count` rows."""
    model = KernelRidge().fit(ROWS, VALUES)
    return changed(model, X_fit_=np.zeros((count, 4)), dual_coef_=np.zeros(count))


def chain(count: int) -> Any:
    """Return a decision tree in which every right child is another split."""
    model = DecisionTreeRegressor().fit(np.arange(20_000).reshape(-1, 1), np.arange(20_000.0))
    tree = type(model.tree_)(1, np.array([1], np.intp), 1)
    state = model.tree_.__getstate__()
    size = 2 * count + 1
    nodes = np.resize(state["nodes"], size)
    place = np.arange(size)
    leaf = (place % 2 == 1) | (place == size - 1)
    nodes["feature"], nodes["threshold"] = np.where(leaf, -2, 0), -1.0
    nodes["left_child"] = np.where(leaf, -1, place + 1)
    nodes["right_child"] = np.where(leaf, -1, place + 2)
    values = np.zeros((size, 1, 1))
    tree.__setstate__(state | {"nodes": nodes, "values": values, "node_count": size})
    return changed(model, tree_=tree)


def two_parents() -> Any:
    """Return a decision tree whose root has the same node as both of its children."""
    model = DecisionTreeRegressor(max_depth=2).fit(ROWS, VALUES)
    state = model.tree_.__getstate__()
    state["nodes"]["left_child"][0] = state["nodes"]["right_child"][0]
    tree = type(model.tree_)(4, np.array([1], np.intp), 1)
    tree.__setstate__(state)
    return changed(model, tree_=tree)


def histogram_of_two_parents(model: Any) -> None:
    nodes = model._predictors[0][0].nodes
    nodes["left"][0] = nodes["right"][0]


MODELS: dict[str, Callable[[str], Any]] = {
    "categories that are dense": lambda p: dense_categories(),
    "hashes that are dense": lambda p: dense_hashes(sparse=False),
    "powers many times over": lambda p: union(PolynomialFeatures(50).fit(ROWS), 200),
    "sketches many times over": lambda p: union(
        changed(PolynomialCountSketch(n_components=100).fit(ROWS), n_components=10**6), 60
    ),
    "kernels many times over": lambda p: changed(
        MultiOutputRegressor(KernelRidge()).fit(ROWS, np.c_[VALUES, VALUES]),
        estimators_=[compared(100_000)] * 600,
    ),
    "chains of many classes": lambda p: changed(
        ClassifierChain(DummyClassifier()).fit(ROWS, np.c_[TWO, TWO]),
        estimators_=[
            changed(DummyClassifier().fit(ROWS, TWO), classes_=np.arange(10**5), n_classes_=10**5)
        ] * 600,
    ),
    "dense words many times over": lambda p: union(
        changed(
            DictVectorizer(sparse=False).fit([{"a": 1.0}]),
            vocabulary_={str(i): i for i in range(10**4)},
            feature_names_=[str(i) for i in range(10**4)],
        ),
        6000,
    ),
    "words of a million words": lambda p: changed(
        CountVectorizer().fit(["one two"]), ngram_range=(1, 10**6)
    ),
    "hashes of a million words": lambda p: HashingVectorizer(ngram_range=(1, 10**6)),
    "weights of a million letters": lambda p: changed(
        TfidfVectorizer(analyzer="char").fit(["one two"]), ngram_range=(1, 10**6)
    ),
    "a tree without end": lambda p: chain(30_000),
    "a forest of a tree without end": lambda p: changed(
        RandomForestRegressor(1).fit(np.zeros((2, 1)), [0.0, 1.0]), estimators_=[chain(30_000)]
    ),
    "a tree's child of two parents": lambda p: two_parents(),
    "histograms' child of two parents": lambda p: histogram(histogram_of_two_parents),
}  # fmt: skip
