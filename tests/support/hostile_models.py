"""Models of listed names only, whose attributes call, read or allocate what no fitted model does.

Each entry makes a model for the path of a canary file: code that writes the file was led astray.
They follow scikit-learn's source: what it calls by a value of the model, and what its compiled
code indexes without a check.
"""

import functools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import Birch, BisectingKMeans, FeatureAgglomeration, KMeans, MiniBatchKMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import NMF, LatentDirichletAllocation, MiniBatchNMF
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingRegressor,
)
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.frozen import FrozenEstimator
from sklearn.kernel_approximation import AdditiveChi2Sampler, PolynomialCountSketch
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.manifold import LocallyLinearEmbedding
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputRegressor
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MultiLabelBinarizer,
    OneHotEncoder,
    PolynomialFeatures,
    SplineTransformer,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import Bunch

from pickle_cases import attributes, call, glob, text, whole

ROWS = np.random.RandomState(0).rand(30, 4)
TWO = np.tile([0, 1], 15)
THREE = np.tile([0, 1, 2], 10)
VALUES = ROWS[:, 0]


def changed(model: Any, **attributes_: Any) -> Any:
    """Return the model with other attributes."""
    vars(model).update(attributes_)
    return model


def line() -> Any:
    return LinearRegression().fit(ROWS, VALUES)


def logistic() -> Any:
    return LogisticRegression().fit(ROWS, TWO)


def objects(*values: Any) -> Any:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def stack(names: Any, *members: Any) -> Any:
    """Return a stacking model that calls each name as a method of a member."""
    model = StackingRegressor([("a", Ridge()), ("b", Ridge())], cv=2).fit(ROWS, VALUES)
    return changed(model, stack_method_=names, estimators_=list(members) or [line(), line()])


def search() -> Any:
    return GridSearchCV(LogisticRegression(), {"C": [1.0, 2.0]}, cv=2).fit(ROWS, TWO)


def steps_in_themselves() -> Any:
    model = Pipeline([("a", StandardScaler()), ("b", line())])
    model.steps.append(("c", model))
    return model


def doubling(count: int) -> Any:
    """Return an estimator that is used 2 ** count times through others."""
    model: Any = StandardScaler().fit(ROWS)
    for _ in range(count):
        model = FeatureUnion([("a", model), ("b", model)])
    return model


def laughs(count: int, width: int) -> Any:
    value: Any = [1.0] * width
    for _ in range(count):
        value = [value] * width
    return value


def nested(count: int) -> Any:
    model: Any = line()
    for _ in range(count):
        outer = FrozenEstimator.__new__(FrozenEstimator)
        outer.__dict__["estimator"] = model
        model = outer
    return model


TREE = DecisionTreeRegressor(max_depth=3).fit(np.random.RandomState(1).rand(50, 9), range(50))
NARROW = DecisionTreeRegressor(max_depth=1).fit(ROWS[:, :1], VALUES)


def forest(**attributes_: Any) -> Any:
    model = RandomForestClassifier(3, max_depth=2).fit(ROWS, TWO)
    vars(model.estimators_[1]).update(attributes_)
    return model


def boosted(make: Callable[[Any], Any], classes: bool = False) -> Any:
    if classes:
        model = GradientBoostingClassifier(n_estimators=2).fit(ROWS, THREE)
    else:
        model = GradientBoostingRegressor(n_estimators=2).fit(ROWS, VALUES)
    return changed(model, **make(model))


def stages(columns: int) -> Any:
    wide = np.empty((2, columns), dtype=object)
    wide[:] = DecisionTreeRegressor(max_depth=1).fit(ROWS, VALUES)
    return wide


def histogram(change: Callable[[Any], None], **options: Any) -> Any:
    X = np.repeat(np.c_[THREE, ROWS], 20, axis=0)
    model = HistGradientBoostingRegressor(max_iter=2, categorical_features=[0], **options)
    model.fit(X, np.repeat(VALUES + THREE, 20))
    change(model)
    return model


def node(field: str, value: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        nodes = model._predictors[0][0].nodes
        nodes[field][nodes["is_leaf"] == 0] = value

    return change


def all_categorical(model: Any) -> None:
    for stage in model._predictors:
        stage[0].nodes["is_categorical"] = 1
    model._bin_mapper.is_categorical_[:] = 0


def vectors(kind: Any = SVC, rows: Any = ROWS, **attributes_: Any) -> Any:
    return changed(kind().fit(rows, THREE), **attributes_)


SPARSE = sparse.csr_matrix(ROWS)


def beyond(matrix: Any, index: int = 10**6) -> Any:
    matrix = matrix.copy()
    matrix.indices[0] = index
    return matrix


def sparse_coefficients(matrix: Any) -> Any:
    return changed(SGDClassifier().fit(ROWS, TWO).sparsify(), coef_=matrix)


def neighbours(**attributes_: Any) -> Any:
    return changed(KNeighborsClassifier(algorithm="brute").fit(ROWS, THREE), **attributes_)


def words(**attributes_: Any) -> Any:
    return changed(CountVectorizer().fit(["one two", "three"]), **attributes_)


def bisected() -> Any:
    model = BisectingKMeans(3, random_state=0).fit(ROWS)
    model._bisecting_tree.left.center = np.zeros(1)
    return model


def bisected_cycle() -> Any:
    model = BisectingKMeans(3, random_state=0).fit(ROWS)
    model._bisecting_tree.left.left = model._bisecting_tree.left.right = model._bisecting_tree
    return model


def one_hot(**attributes_: Any) -> Any:
    return changed(OneHotEncoder().fit([["a"], ["b"], ["c"]]), **attributes_)


def function(func: Any, **arguments: Any) -> Any:
    step = FunctionTransformer(func, kw_args=arguments or None).fit(ROWS)
    return Pipeline([("function", step), ("scale", StandardScaler().fit(ROWS))])


def writer() -> Any:
    """Return a model that writes the file `7.0` into the working directory when it predicts."""
    steps = [
        FunctionTransformer(np.clip, kw_args={"a_min": 7, "a_max": 7}),
        FunctionTransformer(np.max),
        FunctionTransformer(np.str_),
        stack(["tofile"], np.zeros(1)),
    ]
    return Pipeline([(f"step{i}", step) for i, step in enumerate(steps)])


# By effect: names of methods, objects in an estimator's place, functions, costs, arrays that
# reach beyond their memory.
MODELS: dict[str, Callable[[str], Any]] = {
    # A method by its name.
    "a pipeline that writes a file": lambda p: writer(),
    "stacking calls tofile": lambda p: stack(["tofile", "predict"], np.zeros(2), line()),
    "stacking calls dump of an array": lambda p: stack(["dump", "predict"], np.zeros(2), line()),
    "stacking calls set_params": lambda p: stack(["set_params", "predict"]),
    "stacking calls setstate": lambda p: stack(["__setstate__", "predict"]),
    "stacking calls fit": lambda p: stack(["fit", "predict"]),
    "stacking calls a private method": lambda p: stack(["_more_tags", "predict"]),
    "stacking of arrays": lambda p: stack(["predict", "predict"], np.zeros(2), np.zeros(2)),
    "stacking of dictionaries": lambda p: stack(["predict", "predict"], {}, {}),
    "stacking of a Bunch of functions": lambda p: stack(
        ["predict", "predict"], Bunch(predict=np.exp), Bunch(predict=np.exp)
    ),
    "stacking of texts": lambda p: stack(["format", "format"], "{0.__class__}", "x"),
    "stacking of an index": lambda p: stack(["to_list", "predict"], pd.Index(["a"]), line()),
    "stacking of a random generator": lambda p: stack(
        ["bytes", "bytes"], np.random.RandomState(0), np.random.RandomState(0)
    ),
    "stacking of a ufunc": lambda p: stack(["at", "reduce"], np.add, np.add),
    "stacking of a type": lambda p: stack(["fromkeys", "predict"], dict, line()),
    "stacking classifier calls tofile": lambda p: changed(
        StackingClassifier([("a", LogisticRegression())], cv=2).fit(ROWS, TWO),
        stack_method_=["tofile"], estimators_=[np.zeros(2)],
    ),
    "stacking's parameter": lambda p: changed(
        StackingClassifier([("a", LogisticRegression())], cv=2).fit(ROWS, TWO),
        stack_method="tofile",
    ),
    "a threshold calls tofile": lambda p: changed(
        FixedThresholdClassifier(logistic()).fit(ROWS, TWO),
        response_method="tofile", estimator_=np.zeros(2),
    ),
    "a threshold calls get_params": lambda p: changed(
        FixedThresholdClassifier(logistic()).fit(ROWS, TWO), response_method="get_params"
    ),
    "a chain calls tofile": lambda p: changed(
        ClassifierChain(LogisticRegression()).fit(ROWS, np.c_[TWO, 1 - TWO]),
        chain_method_="tofile", estimators_=[np.zeros(2)] * 2,
    ),
    "a chain's parameter": lambda p: changed(
        ClassifierChain(LogisticRegression()).fit(ROWS, np.c_[TWO, 1 - TWO]),
        chain_method="__setstate__",
    ),
    "a scorer calls tofile": lambda p: changed(
        search(), scorer_=changed(make_scorer(accuracy_score), _response_method="tofile")
    ),
    "a scorer calls one of several": lambda p: changed(
        search(), scorer_=changed(make_scorer(accuracy_score), _response_method=("dump", "predict"))
    ),
    # An object of another kind in an estimator's place.
    "a frozen array": lambda p: changed(FrozenEstimator(line()), estimator=np.zeros(2)),
    "a frozen index": lambda p: changed(FrozenEstimator(line()), estimator=pd.Index(["a", "b"])),
    "a frozen Bunch": lambda p: changed(FrozenEstimator(line()), estimator=Bunch(predict=np.exp)),
    "a frozen type": lambda p: changed(FrozenEstimator(line()), estimator=list),
    "a frozen partial": lambda p: changed(FrozenEstimator(line()), estimator=functools.partial),
    "steps of arrays": lambda p: Pipeline([("a", np.zeros(2)), ("b", line())]),
    "steps of functions": lambda p: Pipeline([("a", StandardScaler()), ("b", np.exp)]),
    "steps of no pairs": lambda p: changed(Pipeline([("a", line())]), steps=[line()] * 2 + [1]),
    "voting of arrays": lambda p: changed(
        VotingRegressor([("a", Ridge())]).fit(ROWS, VALUES), estimators_=[np.zeros(2)]
    ),
    "bagging of types": lambda p: changed(
        BaggingRegressor(n_estimators=2).fit(ROWS, VALUES), estimators_=[list, dict]
    ),
    "boosting by dictionaries": lambda p: changed(
        AdaBoostRegressor(n_estimators=2).fit(ROWS, VALUES), estimators_=[{}, {}]
    ),
    "a search whose best is an array": lambda p: changed(search(), best_estimator_=np.zeros(3)),
    "calibration of texts": lambda p: changed(
        CalibratedClassifierCV(LogisticRegression(), cv=2).fit(ROWS, TWO),
        calibrated_classifiers_=["a"],
    ),
    "one against the rest of arrays": lambda p: changed(
        OneVsRestClassifier(LogisticRegression()).fit(ROWS, THREE), estimators_=[np.zeros(1)] * 3
    ),
    "a target's array": lambda p: changed(
        TransformedTargetRegressor(Ridge()).fit(ROWS, VALUES), regressor_=np.zeros(2)
    ),
    "columns of an array": lambda p: changed(
        ColumnTransformer([("a", StandardScaler(), [0])]).fit(ROWS),
        transformers_=[("a", np.zeros(2), [0])],
    ),
    "outputs of functions": lambda p: changed(
        MultiOutputRegressor(Ridge()).fit(ROWS, np.c_[VALUES, VALUES]), estimators_=[np.exp] * 2
    ),
    "a function in an attribute": lambda p: changed(line(), transform=np.exp),
    "a function in a Bunch": lambda p: changed(line(), extra_=Bunch(a=np.exp)),
    # Cycles, and estimators that are used through one another.
    "steps that hold themselves": lambda p: steps_in_themselves(),
    "estimators that double": lambda p: doubling(40),
    "estimators a thousand deep": lambda p: nested(400),
    "lists of lists": lambda p: changed(line(), coef_=laughs(8, 10)),
    # Parameters that scikit-learn refuses, and some that it never reads.
    "a getter of anything": lambda p: changed(
        SelectFromModel(LinearRegression()).fit(ROWS, VALUES), importance_getter="__class__.__mro__"
    ),
    "a getter of a method": lambda p: changed(
        SelectFromModel(LinearRegression()).fit(ROWS, VALUES), importance_getter="coef_.tofile"
    ),
    "a getter that is called": lambda p: changed(
        SelectFromModel(LinearRegression()).fit(ROWS, VALUES), importance_getter=np.asarray
    ),
    "a getter of another selection": lambda p: changed(
        RFE(LinearRegression()).fit(ROWS, VALUES), importance_getter="estimator.__dict__"
    ),
    "names by a format of attributes": lambda p: changed(
        ColumnTransformer([("a", StandardScaler(), [0])]).fit(ROWS),
        verbose_feature_names_out="{feature_name.__class__}",
    ),
    "names by a format without end": lambda p: changed(
        ColumnTransformer([("a", StandardScaler(), [0])]).fit(ROWS),
        verbose_feature_names_out="{feature_name:>9999999999}",
    ),
    "a file's name for a class weight": lambda p: changed(logistic(), class_weight=p),
    "a parameter of another type": lambda p: changed(logistic(), C="1"),
    "a negative number of rounds": lambda p: changed(logistic(), max_iter=-1),
    "a function that writes": lambda p: function(np.exp, out=np.zeros(1)),
    "a function of objects": lambda p: function(np.array, dtype=object),
    "a function with a condition": lambda p: function(np.exp, where=np.zeros(4)),
    "a function without end": lambda p: function(np.diff, n=10**12),
    "a function with a function": lambda p: function(np.clip, a_min=np.exp),
    # Small in a file, large in use.
    "names from a range": lambda p: changed(line(), feature_names_in_=range(10**7)),
    "classes from a range": lambda p: changed(logistic(), classes_=range(10**7)),
    "classes from a range in a list": lambda p: changed(
        DummyClassifier().fit(ROWS, np.c_[TWO, TWO]), classes_=[range(10**6), range(10**6)]
    ),
    "names from a long list": lambda p: changed(line(), feature_names_in_=["a"] * 1000),
    "names that are not the columns": lambda p: changed(
        line(), feature_names_in_=objects(*["a"] * 1000)
    ),
    "columns from an index without end": lambda p: changed(
        ColumnTransformer([("a", StandardScaler(), [0])]).fit(ROWS),
        _columns=pd.RangeIndex(10**12),
    ),
    "a range without end": lambda p: changed(line(), coef_=range(10**12)),
    "powers without end": lambda p: changed(
        PolynomialFeatures().fit(ROWS), n_output_features_=10**12, _n_out_full=10**12
    ),
    "outputs without end": lambda p: changed(
        DecisionTreeClassifier().fit(ROWS, TWO), n_outputs_=10**9
    ),
    "columns of nothing": lambda p: changed(line(), coef_=np.empty((0, 10**12))),
    "more neighbours than points": lambda p: neighbours(n_samples_fit_=10**9, n_neighbors=1000),
    "clusters without their norms": lambda p: changed(
        Birch(n_clusters=None, threshold=0.01).fit(ROWS), _subcluster_norms=np.zeros(1)
    ),
    "powers that are not filled": lambda p: changed(
        PolynomialFeatures().fit(ROWS), n_output_features_=5000, _n_out_full=5000
    ),
    "splines that are not filled": lambda p: changed(
        SplineTransformer().fit(ROWS), n_features_out_=50_000_000
    ),
    "an encoder's long elements": lambda p: one_hot(sparse_output=False, dtype="S1000000000"),
    "a function's long elements": lambda p: function(np.array, dtype="S1000000000"),
    "differences of differences": lambda p: function(np.diff, n=2**31 - 1),
    "a sampler of many steps": lambda p: changed(
        AdditiveChi2Sampler(sample_interval=0.1).fit(ROWS), sample_steps=10**8
    ),
    "a sketch of many columns": lambda p: changed(
        PolynomialCountSketch().fit(ROWS), n_components=10**9
    ),
    "a sketch of a high degree": lambda p: changed(PolynomialCountSketch().fit(ROWS), degree=10**9),
    "factors without end": lambda p: changed(NMF(2).fit(ROWS), max_iter=10**9, tol=0.0),
    "factors that are not there": lambda p: changed(
        MiniBatchNMF(2).fit(ROWS), _n_components=10**9
    ),
    "topics without end": lambda p: changed(
        LatentDirichletAllocation(2).fit(ROWS), max_doc_update_iter=10**9, mean_change_tol=0.0
    ),
    "an embedding of many columns": lambda p: changed(
        LocallyLinearEmbedding(n_neighbors=4).fit(ROWS), n_components=10**9
    ),
    # Arrays that reach beyond their memory.
    "a tree of more columns": lambda p: changed(
        DecisionTreeRegressor().fit(ROWS, VALUES), tree_=TREE.tree_
    ),
    "a tree of fewer columns than it says": lambda p: changed(
        DecisionTreeRegressor(max_depth=3).fit(np.random.rand(50, 9), range(50)), n_features_in_=1
    ),
    "a tree without a number of columns": lambda p: (
        lambda model: (vars(model).pop("n_features_in_"), model)[1]
    )(DecisionTreeRegressor().fit(ROWS, VALUES)),
    "a forest's tree of more columns": lambda p: forest(tree_=TREE.tree_, n_features_in_=9),
    "a forest of fewer columns": lambda p: changed(
        ExtraTreesClassifier(2).fit(ROWS, TWO), n_features_in_=1
    ),
    "a forest's array": lambda p: changed(forest(), estimators_=[np.zeros(2)]),
    "isolation over chosen columns": lambda p: changed(
        IsolationForest(n_estimators=2).fit(ROWS),
        estimators_features_=[np.array([0])] * 2, _max_features=1,
    ),
    "isolation by a tree of more columns": lambda p: changed(
        IsolationForest(n_estimators=1).fit(ROWS), estimators_=[TREE]
    ),
    "boosting with more trees than outputs": lambda p: boosted(
        lambda m: {"estimators_": stages(50)}
    ),
    "boosting with more trees, declared": lambda p: boosted(
        lambda m: {"estimators_": stages(50), "n_trees_per_iteration_": 50}
    ),
    "boosting over a tree of more columns": lambda p: boosted(
        lambda m: {"estimators_": np.array([[TREE]], dtype=object)}
    ),
    "boosting from fewer classes": lambda p: boosted(
        lambda m: {"init_": DummyClassifier().fit(ROWS, TWO)}, classes=True
    ),
    "boosting from other rows": lambda p: boosted(
        lambda m: {
            "init_": TransformedTargetRegressor(Ridge(), func=np.exp, inverse_func=np.unique,
                                                check_inverse=False).fit(ROWS, VALUES)
        }
    ),
    "boosting from no column": lambda p: boosted(
        lambda m: {
            "init_": changed(DummyRegressor().fit(ROWS, VALUES), constant_=np.zeros((1, 0)),
                             n_outputs_=0)
        }
    ),
    "histograms over other columns": lambda p: histogram(node("feature_idx", 100_000)),
    "histograms over columns below 0": lambda p: histogram(node("feature_idx", -5)),
    "histograms with a child beyond": lambda p: histogram(node("left", 10**6)),
    "histograms with a cycle": lambda p: histogram(node("right", 0)),
    "histograms with foreign categories": lambda p: histogram(node("bitset_idx", 10**6)),
    "histograms whose mapper knows none": lambda p: histogram(all_categorical),
    "histograms whose mapper is short": lambda p: histogram(
        lambda m: vars(m._bin_mapper).update(is_categorical_=np.zeros(1, np.uint8))
    ),
    "histograms with categories beyond": lambda p: histogram(
        lambda m: m._bin_mapper.bin_thresholds_.__setitem__(0, np.array([1e9, -5.0]))
    ),
    "histograms of fewer columns": lambda p: histogram(
        lambda m: vars(m).update(n_features_in_=1)
    ),
    "histograms whose columns are dropped": lambda p: histogram(
        lambda m: m._preprocessor.transformers_.pop(1)
    ),
    "histograms of other trees": lambda p: histogram(
        lambda m: vars(m).update(_predictors=[[TREE]])
    ),
    "vectors that are not there": lambda p: vectors(_n_support=np.array([10**6] * 3, np.int32)),
    "vectors below 0": lambda p: vectors(_n_support=np.array([60, -15, -15], np.int32)),
    "vectors of other columns": lambda p: vectors(support_vectors_=np.zeros((30, 1))),
    "vectors without coefficients": lambda p: vectors(_dual_coef_=np.zeros((2, 1))),
    "vectors without intercepts": lambda p: vectors(_intercept_=np.zeros(1)),
    "vectors of another machine": lambda p: vectors(SVR, _impl="c_svc"),
    "vectors without classes": lambda p: vectors(OneClassSVM, _n_support=np.zeros(0, np.int32)),
    "vectors beyond what was fitted": lambda p: vectors(
        support_=np.arange(10**6, 10**6 + 30, dtype=np.int32)
    ),
    "vectors with half their probabilities": lambda p: vectors(
        _probA=np.zeros(3), _probB=np.zeros(0)
    ),
    "sparse vectors beyond": lambda p: (
        lambda m: changed(m, support_vectors_=beyond(m.support_vectors_))
    )(vectors(rows=SPARSE)),
    "sparse vectors without coefficients": lambda p: vectors(
        rows=SPARSE, _dual_coef_=sparse.csr_matrix((2, 30))
    ),
    "sparse vectors that say they are dense": lambda p: vectors(rows=SPARSE, _sparse=False),
    "sparse coefficients beyond": lambda p: sparse_coefficients(
        beyond(sparse.csr_matrix(np.ones((1, 4))))
    ),
    "sparse coefficients below 0": lambda p: sparse_coefficients(
        beyond(sparse.csr_matrix(np.ones((1, 4))), -7)
    ),
    "neighbours of other classes": lambda p: neighbours(_y=THREE + 10**6),
    "neighbours of fewer classes": lambda p: neighbours(_y=np.zeros(1, int)),
    "neighbours of a class below 0": lambda p: neighbours(_y=THREE - 10**6),
    "centres of other columns": lambda p: changed(
        KMeans(2, n_init=1).fit(ROWS), cluster_centers_=np.zeros((2, 1))
    ),
    "centres of small batches": lambda p: changed(
        MiniBatchKMeans(2, n_init=1).fit(ROWS), n_features_in_=900
    ),
    "centres of a tree": lambda p: bisected(),
    "centres in a cycle": lambda p: bisected_cycle(),
    "words beyond the vocabulary": lambda p: words(vocabulary_={"one": 10**6, "two": 1}),
    "words below the vocabulary": lambda p: words(vocabulary_={"one": -9, "two": 1}),
    "weighted words beyond": lambda p: changed(
        TfidfVectorizer().fit(["one two"]), vocabulary_={"one": 10**6, "two": 1}
    ),
    "features beyond the vocabulary": lambda p: changed(
        DictVectorizer().fit([{"a": 1.0}]), vocabulary_={"a": 10**6}
    ),
    "labels beyond their own": lambda p: changed(
        MultiLabelBinarizer().fit([["a"], ["b"]]), _cached_dict={"a": 10**6, "b": 0}
    ),
    "categories beyond their columns": lambda p: one_hot(_n_features_outs=[1]),
    "rare categories beyond": lambda p: changed(
        OneHotEncoder(min_frequency=2).fit([["a"], ["b"], ["c"], ["c"]]),
        _default_to_infrequent_mappings=[np.array([0, 1, 10**6])],
    ),
    "clusters without end": lambda p: changed(
        FeatureAgglomeration().fit(ROWS), labels_=np.array([0, 1, 2, 10**12])
    ),
    "a metric of other columns": lambda p: changed(
        KNeighborsClassifier(
            algorithm="ball_tree", metric="seuclidean", metric_params={"V": np.ones(4)}
        ).fit(ROWS, THREE),
        _fit_X=ROWS[:, :1], n_features_in_=1,
    ),
}  # fmt: skip


def again(inst: bytes, first: bytes, second: bytes) -> bytes:
    """Return an object that is given a state twice."""
    return whole(inst + first + b"b" + second + b"b")


LINE = glob("sklearn.linear_model._base", "LinearRegression") + b")\x81"
FROZEN = glob("sklearn.frozen._frozen", "FrozenEstimator") + b")\x81"
CSR = glob("scipy.sparse._csr", "csr_matrix") + b")\x81"


def keys_of_keys() -> bytes:
    """Return 4 KB whose keys take seconds to hash: tuples of 999 times the same tuple of 999."""
    inner = b"(" + b"K\x01" * 999 + b"t\x94"
    outer = b"(" + b"h\x00" * 999 + b"t\x94"
    return whole(inner + outer + b"0}" + b"h\x01Ns" * 400)


def colliding() -> bytes:
    """Return integers of one hash: each is compared with all before it."""
    prime = 2**61 - 1  # of CPython's hash of integers; a dictionary here would take as long
    numbers = (pickle.encode_long(i * prime) for i in range(1, 20_000))
    items = b"".join(b"\x8a" + bytes([len(n)]) + n + b"N" for n in numbers)
    return b"\x80\x04}(" + items + b"u."


def bound(func: bytes, owner: bytes) -> bytes:
    """Return a bound method as cloudpickle writes it, in an attribute of a model."""
    method = call(*BUILTIN_TYPE, text("MethodType")) + func + owner + b"\x86R"
    return whole(LINE + attributes(("coef_", method)) + b"b")


BOOSTING = "sklearn.ensemble._hist_gradient_boosting.gradient_boosting"
RAW_PREDICT = glob(BOOSTING, "BaseHistGradientBoosting._raw_predict")
BOOSTED = glob(BOOSTING, "HistGradientBoostingRegressor") + b")\x81"
BUILTIN_TYPE = ("cloudpickle.cloudpickle", "_builtin_type")

BYTES: dict[str, Callable[[str], bytes]] = {
    "a frozen estimator of itself": lambda p: whole(
        FROZEN + b"\x94" + attributes(("estimator", b"h\x00")) + b"b"
    ),
    "two frozen estimators of one another": lambda p: whole(
        FROZEN
        + b"\x94"
        + FROZEN
        + attributes(("estimator", b"h\x00"))
        + b"b\x940h\x00"
        + attributes(("estimator", b"h\x01"))
        + b"b"
    ),
    "a state set twice": lambda p: again(
        LINE, attributes(("coef_", b"N")), attributes(("predict_", b"N"))
    ),
    "a class kept in a list": lambda p: whole(
        LINE + attributes(("coef_", b"]" + glob("sklearn.utils._bunch", "Bunch") + b"a")) + b"b"
    ),
    "a method of a listed function": lambda p: bound(glob("numpy", "exp"), BOOSTED),
    "a method of another estimator's": lambda p: bound(RAW_PREDICT, LINE),
    "a method of a function that runs code": lambda p: bound(glob("os", "system"), text(p)),
    "a method of no estimator": lambda p: bound(RAW_PREDICT, text(p)),
    "a method of a model's other method": lambda p: bound(
        glob(BOOSTING, "BaseHistGradientBoosting.fit"), BOOSTED
    ),
    "the function of a method": lambda p: whole(LINE + attributes(("coef_", RAW_PREDICT)) + b"b"),
    "the function of a method, called": lambda p: whole(RAW_PREDICT + BOOSTED + b"\x85R"),
    "the type of code": lambda p: whole(call(*BUILTIN_TYPE, text("CodeType"))),
    "the type of methods": lambda p: whole(
        LINE + attributes(("coef_", call(*BUILTIN_TYPE, text("MethodType")))) + b"b"
    ),
    "keys of keys": lambda p: keys_of_keys(),
    "keys of one hash": lambda p: colliding(),
}


def hostile() -> list[tuple[str, Callable[[str], bytes]]]:
    """Return every model: its name, and a function that makes its bytes for a canary's path."""
    import hostile_callees  # it makes models by the functions of this module
    import hostile_sizes

    def dumped(make: Callable[[str], Any], path: str) -> bytes:
        return pickle.dumps(make(path), 5)

    cases: list[tuple[str, Callable[[str], bytes]]] = [
        (name, functools.partial(dumped, make))
        for name, make in [
            *MODELS.items(),
            *hostile_callees.MODELS.items(),
            *hostile_sizes.MODELS.items(),
        ]
    ]
    return [*cases, *hostile_callees.OLDER, *BYTES.items()]
