"""Models of scikit-learn's own examples load: every callable and value that parameters take."""

import copyreg
import datetime as dt
import decimal
import functools
import html
import pickle
import re
import unicodedata
import uuid
import warnings
import zoneinfo
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest
import scipy.spatial.distance
import scipy.special
import scipy.stats
import sklearn
from sklearn import feature_selection, metrics, model_selection
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import FeatureAgglomeration
from sklearn.compose import (
    ColumnTransformer,
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.decomposition import NMF, PCA, FastICA
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.experimental import (  # noqa: F401
    enable_halving_search_cv,
    enable_iterative_imputer,
)
from sklearn.feature_extraction.text import (
    ENGLISH_STOP_WORDS,
    CountVectorizer,
    HashingVectorizer,
    TfidfVectorizer,
    strip_accents_ascii,
    strip_accents_unicode,
    strip_tags,
)
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as K
from sklearn.impute import IterativeImputer, KNNImputer, MissingIndicator, SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RANSACRegressor, Ridge
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, RegressorChain
from sklearn.naive_bayes import CategoricalNB, GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NeighborhoodComponentsAnalysis
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    LabelEncoder,
    OneHotEncoder,
    OrdinalEncoder,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
    binarize,
    normalize,
)
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier

from mlsys.artifact.loading import load_model
from mlsys.errors import ModelUnusable
from pickle_cases import dumped
from samples import sampled

N = 40
R = np.random.RandomState(0)
X = R.rand(N, 4)
B = np.tile([0, 1], N // 2)
T = np.arange(N) % 3
V = X[:, 0] * 2 + X[:, 1] + 1
TEXTS = [f"<b>Wörd{i % 5}</b> and other {i % 3}" for i in range(N)]
NUMBERS = pd.DataFrame(X, columns=list("abcd"))
FRAME = NUMBERS.assign(
    s=R.choice(["x", "y"], N),
    c=pd.Categorical(R.choice(["u", "v"], N)),
    t=TEXTS,
    flag=R.rand(N) > 0.5,
    day=[dt.date(2020, 1, 1 + i % 5) for i in range(N)],
    at=[dt.time(1 + i % 5, 30) for i in range(N)],
    money=[decimal.Decimal(i % 4) / 4 for i in range(N)],
    key=[uuid.UUID(int=i % 3) for i in range(N)],
    when=pd.to_datetime([f"2020-01-0{1 + i % 5} 10:00" for i in range(N)]),
    utc=pd.to_datetime([f"2020-01-0{1 + i % 5} 10:00" for i in range(N)], utc=True),
    took=pd.to_timedelta([i % 4 for i in range(N)], "h"),
)
FRAME["berlin"] = FRAME.utc.dt.tz_convert("Europe/Berlin")
FRAME["offset"] = FRAME.utc.dt.tz_convert(dt.timezone(dt.timedelta(hours=2)))
FRAME["string"] = FRAME.s.astype("string")
FRAME["whole"] = pd.array(T, dtype="Int64")
LR = LogisticRegression

Case = Callable[[], tuple[Any, Any]]
CASES: dict[str, Case] = {}


def add(name: str, model: Any, data: Any, target: Any = None) -> None:
    def fitted() -> tuple[Any, Any]:
        made = clone(model, safe=False)
        return (made.fit(data) if target is None else made.fit(data, target)), data

    assert name not in CASES, name
    CASES[name] = fitted


def columns(*steps: Any, **more: Any) -> Any:
    return make_pipeline(make_column_transformer(*steps, **more), LR())


# Columns selected by make_column_selector and in a ColumnTransformer's own ways.
for name, kinds in {
    "np.number": np.number, "np.floating": np.floating, "np.integer": np.integer,
    "np.float64": np.float64, "float": float, "'number'": "number", "a list": [np.number, bool],
    "np.inexact": np.inexact,
}.items():  # fmt: skip
    add(
        f"make_column_selector(dtype_include={name})",
        columns((StandardScaler(), make_column_selector(dtype_include=kinds)),
                remainder="drop" if "integer" not in name else "passthrough"),
        NUMBERS, B,
    )  # fmt: skip
for name, kinds in {
    "pd.CategoricalDtype": pd.CategoricalDtype, "'category'": "category", "object": object,
    "np.object_": np.object_, "pd.StringDtype": pd.StringDtype, "str": str,
    "pd.CategoricalDtype()": pd.CategoricalDtype(),
}.items():  # fmt: skip
    used = FRAME[["a", "c", "s"]].astype({"s": object} if "obj" in name else {})
    add(
        f"make_column_selector(dtype_include={name})",
        columns((OneHotEncoder(), make_column_selector(dtype_include=kinds)),
                (StandardScaler(), make_column_selector(dtype_exclude=[kinds, str, object,
                                                                      pd.CategoricalDtype]))),
        used, B,
    )  # fmt: skip
add("make_column_selector(pattern)", columns((StandardScaler(), make_column_selector("^[ab]$"))),
    NUMBERS, B)  # fmt: skip
add("make_column_selector(dtype_include=pd.DatetimeTZDtype)",
    columns((OneHotEncoder(), make_column_selector(dtype_include="datetimetz"))),
    FRAME[["a", "utc"]], B)  # fmt: skip
for name, chosen in {
    "a slice": slice(0, 2), "a slice of names": slice("a", "b"), "an integer mask": [True] * 4,
    "an array mask": np.array([True, True, False, False]), "a Series": NUMBERS.dtypes == "float64",
    "an Index": NUMBERS.columns[:2], "an array of names": np.array(["a", "b"], dtype=object),
    "a list of numbers": [0, 1], "negative numbers": [-1], "a Series of names":
    pd.Series(["a", "b"]), "a tuple": ("a", "b"), "a range": list(range(2)),
}.items():  # fmt: skip
    add(f"a ColumnTransformer by {name}", columns((StandardScaler(), chosen)), NUMBERS, B)
add("a ColumnTransformer with the rest",
    columns((OneHotEncoder(), ["s"]), remainder=StandardScaler()),
    FRAME[["a", "b", "s"]], B)  # fmt: skip
add(
    "a ColumnTransformer with the rest kept",
    columns((OneHotEncoder(), ["s"]), remainder="passthrough"),
    FRAME[["a", "b", "s"]],
    B,
)
add("a FeatureUnion", FeatureUnion([("a", PCA(2)), ("b", StandardScaler())]), X)

# Columns of every type to encoders, imputers and models.
for name in ("s", "c", "flag", "day", "at", "money", "key", "when", "utc", "berlin", "offset",
             "took", "string", "whole"):  # fmt: skip
    add(f"OneHotEncoder of {name}", make_pipeline(OneHotEncoder(), LR()), FRAME[[name]], B)
    add(f"OrdinalEncoder of {name}", make_pipeline(OrdinalEncoder(), LR()), FRAME[[name]], B)
for name in ("s", "day", "money", "key", "string", "whole"):
    add(f"TargetEncoder of {name}", make_pipeline(TargetEncoder(cv=2), LR()), FRAME[[name]], B)
for name in ("s", "day", "money", "string", "c"):
    add(f"SimpleImputer of {name}",
        make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()),
        FRAME[[name]])  # fmt: skip
add("SimpleImputer(missing_values=pd.NA)",
    make_pipeline(SimpleImputer(missing_values=pd.NA, strategy="most_frequent"), OneHotEncoder()),
    FRAME[["string"]])  # fmt: skip
add("SimpleImputer(missing_values=None)",
    make_pipeline(SimpleImputer(missing_values=None, strategy="constant", fill_value="-"),
                  OneHotEncoder()), FRAME[["s"]].astype(object))  # fmt: skip
add("SimpleImputer(strategy=callable)", SimpleImputer(strategy=np.nanmax), X)
add(
    "SimpleImputer(fill_value=Decimal)",
    SimpleImputer(strategy="constant", fill_value=decimal.Decimal(0)),
    FRAME[["money"]],
)
add("MissingIndicator", MissingIndicator(missing_values=np.nan, features="all"), X)
add("KNNImputer(metric)", KNNImputer(weights="distance"), X)
add("IterativeImputer(Ridge)", IterativeImputer(Ridge(), max_iter=2), X)
for name in ("whole", "money"):
    add(f"LogisticRegression of {name}", LR(), FRAME[["a", name]], B)
for name in ("day", "s", "flag", "when", "c", "key"):
    add(f"classes of {name}", LR(), X, FRAME[name].astype(object).map(str) if name == "key" else
        (FRAME[name].astype(str) if name in ("day", "when") else FRAME[name]))  # fmt: skip
add("LabelEncoder of dates", LabelEncoder(), FRAME.day)
add("OneHotEncoder(categories)",
    make_pipeline(OneHotEncoder(categories=[["x", "y"]], drop=np.array(["x"], dtype=object)), LR()),
    FRAME[["s"]], B)  # fmt: skip
add("OrdinalEncoder(dtype)", OrdinalEncoder(dtype=np.int64, handle_unknown="use_encoded_value",
    unknown_value=-1, encoded_missing_value=-2), FRAME[["s"]])  # fmt: skip

# Gradient boosting.
for scoring in ("roc_auc", "loss", "neg_log_loss", metrics.make_scorer(metrics.f1_score), None):
    add(f"HistGradientBoostingClassifier(scoring={str(scoring)[:30]})",
        HistGradientBoostingClassifier(max_iter=3, early_stopping=True, scoring=scoring),
        NUMBERS, B)  # fmt: skip
add(
    "HistGradientBoostingRegressor(scoring)",
    HistGradientBoostingRegressor(max_iter=3, early_stopping=True, scoring="r2"),
    X,
    V,
)
add("HistGradientBoosting by types",
    HistGradientBoostingClassifier(max_iter=3, categorical_features="from_dtype",
                                   monotonic_cst={"a": 1}), FRAME[["a", "c"]], B)  # fmt: skip
add("HistGradientBoosting(interactions)",
    HistGradientBoostingClassifier(max_iter=3, interaction_cst=[{0, 1}, {2, 3}],
                                   class_weight={0: 1, 1: 3}), X, B)  # fmt: skip
add("HistGradientBoosting of categories with early stopping",
    HistGradientBoostingClassifier(max_iter=3, early_stopping=True, scoring="accuracy"),
    FRAME[["a", "c"]], B)  # fmt: skip
add("GradientBoosting(init)", GradientBoostingClassifier(init=LR(), n_estimators=3), X, B)
add(
    "GradientBoosting(init='zero')",
    GradientBoostingClassifier(init="zero", n_estimators=3, n_iter_no_change=2),
    X,
    B,
)

# Feature selection.
for name in ("f_classif", "f_regression", "chi2", "mutual_info_classif", "mutual_info_regression",
             "r_regression"):  # fmt: skip
    add(f"SelectKBest({name})",
        feature_selection.SelectKBest(getattr(feature_selection, name), k=2), X, B)  # fmt: skip
for function in (feature_selection.mutual_info_classif, feature_selection.mutual_info_regression):
    add(f"SelectKBest(partial({function.__name__}))",
        feature_selection.SelectKBest(
            functools.partial(function, random_state=0, discrete_features=False), k=2
        ), X, B)  # fmt: skip
add("SelectKBest(partial(f_regression))",
    feature_selection.SelectKBest(
        functools.partial(feature_selection.f_regression, center=False), k=2), X, V)  # fmt: skip
add("SelectFromModel", feature_selection.SelectFromModel(LR(), max_features=2), X, B)
add(
    "SelectFromModel(max_features=callable)",
    feature_selection.SelectFromModel(LR(), max_features=np.size, threshold=-np.inf),
    X,
    B,
)
add("RFECV", feature_selection.RFECV(LR(), cv=2, scoring="roc_auc"), X, B)
add("SequentialFeatureSelector",
    feature_selection.SequentialFeatureSelector(LR(), cv=2, n_features_to_select=1,
                                                scoring="f1"), X, B)  # fmt: skip

# Text.
for name, function in {
    "str.split": str.split, "str.lower": str.lower, "str.upper": str.upper,
    "str.strip": str.strip, "html.unescape": html.unescape, "sorted": sorted,
    "re.compile().findall": re.compile(r"\w+", re.ASCII).findall,
    "re.compile().split": re.compile(r"\W+").split,
    "partial(re.sub)": functools.partial(re.sub, r"\d+", " "),
    "partial(re.findall)": functools.partial(re.findall, r"\w+"),
    "partial(re.split)": functools.partial(re.split, r"\W+", maxsplit=3),
    "partial(normalize)": functools.partial(unicodedata.normalize, "NFKD"),
    "partial(str.split)": functools.partial(str.split, sep=" "),
    "str.casefold": str.casefold, "str.splitlines": str.splitlines,
    "strip_tags": strip_tags, "strip_accents_ascii": strip_accents_ascii,
    "strip_accents_unicode": strip_accents_unicode, "str": str, "list": list,
}.items():  # fmt: skip
    cuts = "split" in name or "findall" in name or name in ("list", "sorted")
    for way in ("tokenizer", "analyzer") if cuts else ("preprocessor",):
        more = {"token_pattern": None} if way == "tokenizer" else {}
        add(f"TfidfVectorizer({way}={name})",
            make_pipeline(TfidfVectorizer(**{way: function}, **more), LR()), TEXTS, B)  # fmt: skip
for way in ("strip_accents", "preprocessor"):
    add(f"CountVectorizer({way}=strip_accents_unicode)",
        CountVectorizer(**{way: strip_accents_unicode}, dtype=np.float32), TEXTS)  # fmt: skip
add("CountVectorizer(stop_words)", CountVectorizer(stop_words=list(ENGLISH_STOP_WORDS)), TEXTS)
add("CountVectorizer(frozenset)", CountVectorizer(stop_words=["and"], vocabulary={
    "and": 0, "other": 1}), TEXTS)  # fmt: skip
add(
    "TfidfVectorizer in a ColumnTransformer",
    columns((TfidfVectorizer(tokenizer=str.split, token_pattern=None), "t")),
    FRAME[["t"]],
    B,
)
add("HashingVectorizer", make_pipeline(HashingVectorizer(n_features=8, tokenizer=str.split), LR()),
    TEXTS, B)  # fmt: skip

# Functions of arrays.
for name, function in {
    "np.log1p": np.log1p, "np.log": np.log, "np.sqrt": np.sqrt, "np.abs": np.abs, "np.exp": np.exp,
    "np.cbrt": np.cbrt, "np.ravel": np.atleast_2d, "np.nan_to_num": np.nan_to_num,
    "np.asarray": np.asarray, "np.array": np.array, "np.round": np.round, "np.sin": np.sin,
    "np.rint": np.rint, "np.cumsum": np.cumsum, "np.diff": np.diff, "np.sign": np.sign,
    "np.arcsinh": np.arcsinh, "np.square": np.square, "expit": scipy.special.expit,
    "np.flip": np.flip, "np.isnan": np.isnan, "np.asfortranarray": np.asfortranarray,
    "np.ascontiguousarray": np.ascontiguousarray, "np.float64": np.float32,
    "np.gradient": np.fliplr, "abs": abs, "np.around": np.around,
    "np.copy": np.copy, "np.hstack": np.vstack, "np.unwrap": np.unwrap, "normalize": normalize,
    "binarize": binarize, "pd.isna": pd.isna, "softmax": scipy.special.softmax,
    "gammaln": scipy.special.gammaln, "ndtri": scipy.special.ndtri, "np.fft.rfft": np.fft.rfft,
}.items():  # fmt: skip
    add(f"FunctionTransformer({name})", FunctionTransformer(function), X)
add(
    "FunctionTransformer(kw_args)",
    FunctionTransformer(np.clip, kw_args={"a_min": 0, "a_max": 1}),
    X,
)
add("FunctionTransformer(inverse)", FunctionTransformer(np.log1p, np.expm1, validate=True), X)
add(
    "FunctionTransformer(partial(np.clip))",
    FunctionTransformer(functools.partial(np.clip, a_min=0, a_max=0.5)),
    X,
)
add(
    "FunctionTransformer(partial(np.power))",
    FunctionTransformer(functools.partial(np.power, 2.0)),
    X,
)
add("FunctionTransformer(None)", FunctionTransformer(), X)
for func, inverse in ((np.log, np.exp), (np.log1p, np.expm1), (np.sqrt, np.square),
                      (np.arcsinh, np.sinh)):  # fmt: skip
    add(f"TransformedTargetRegressor({func.__name__})",
        TransformedTargetRegressor(Ridge(), func=func, inverse_func=inverse), X, V)  # fmt: skip
for strategy in ("uniform", "quantile", "kmeans"):
    add(f"KBinsDiscretizer({strategy})",
        KBinsDiscretizer(3, encode="onehot-dense", strategy=strategy), X)  # fmt: skip
for way in ("periodic", "constant", "linear"):
    add(f"SplineTransformer({way})", SplineTransformer(extrapolation=way, knots="quantile"), X)

# Kernels and distances.
for name in ("linear", "rbf", "polynomial", "sigmoid", "laplacian", "chi2"):
    function = getattr(metrics.pairwise, f"{name}_kernel")
    add(f"SVC({name}_kernel)", SVC(kernel=function), X, B)
    add(f"Nystroem({name}_kernel)", Nystroem(name, n_components=3, random_state=0), X)
    if name == "chi2":
        continue
    add(f"KernelRidge({name})", KernelRidge(kernel=name), X, V.astype(float))
for function in (metrics.pairwise.rbf_kernel, metrics.pairwise.cosine_similarity):
    add(f"SVR(partial({function.__name__}))",
        SVR(kernel=functools.partial(function) if "cos" in function.__name__
            else functools.partial(function, gamma=0.5)), X, V)  # fmt: skip
for name in ("euclidean", "cityblock", "cosine"):
    add(f"KNeighbors(a tree by scipy's {name})",
        KNeighborsClassifier(metric=getattr(scipy.spatial.distance, name)), X, B)  # fmt: skip
for name in ("euclidean", "cityblock", "cosine", "correlation", "chebyshev", "braycurtis",
             "canberra", "sqeuclidean", "minkowski", "hamming", "jaccard"):  # fmt: skip
    add(f"KNeighbors(scipy's {name})",
        KNeighborsClassifier(
            metric=getattr(scipy.spatial.distance, name), algorithm="brute"), X, B)  # fmt: skip
    if name not in ("chebyshev", "jaccard"):
        add(f"KNeighbors({name!r})", KNeighborsClassifier(metric=name), X, B)
add(
    "KNeighbors(mahalanobis)",
    KNeighborsClassifier(metric="mahalanobis", metric_params={"VI": np.eye(4)}),
    X,
    B,
)
add("KNeighbors(haversine)", KNeighborsClassifier(metric="haversine"), X[:, :2], B)
add("FeatureAgglomeration(pooling_func)", FeatureAgglomeration(2, pooling_func=np.median), X)
for name, function in {"np.max": np.max, "np.min": np.min, "np.sum": np.sum}.items():
    add(f"FeatureAgglomeration({name})", FeatureAgglomeration(2, pooling_func=function), X)
add("FastICA(fun)", FastICA(2, fun="cube", random_state=0), X)
add("NeighborhoodComponents", NeighborhoodComponentsAnalysis(2, max_iter=2), X, B)
for name, kernel in {
    "RBF": 1.0 * K.RBF([1.0] * 4), "Matern": K.Matern(nu=1.5) + K.WhiteKernel(),
    "a sum": K.RationalQuadratic() + K.DotProduct() ** 2,
    "PairwiseKernel": K.PairwiseKernel(metric="rbf"), "ConstantKernel": K.ConstantKernel(2),
}.items():  # fmt: skip
    add(f"GaussianProcessRegressor({name})",
        GaussianProcessRegressor(kernel, optimizer=None, alpha=1e-1), X, V)  # fmt: skip

# Searches, splitters, scorers.
GRID = {"C": [0.1, 1.0]}
for name, scorer in {
    "f1_macro": metrics.make_scorer(metrics.f1_score, average="macro"),
    "fbeta": metrics.make_scorer(metrics.fbeta_score, beta=2),
    "log_loss": metrics.make_scorer(metrics.log_loss, greater_is_better=False,
                                    response_method="predict_proba"),
    "roc_auc": metrics.get_scorer("roc_auc"), "a list": ["accuracy", "f1"],
    "a dictionary": {"a": "accuracy", "b": metrics.make_scorer(metrics.accuracy_score)},
    "average precision": "average_precision",
}.items():  # fmt: skip
    several = isinstance(scorer, list | dict)
    add(f"GridSearchCV(scoring={name})",
        model_selection.GridSearchCV(LR(), GRID, cv=2, scoring=scorer,
                                     refit=False if not several else
                                     ("a" if isinstance(scorer, dict) else "f1"))
        if several else model_selection.GridSearchCV(LR(), GRID, cv=2, scoring=scorer),
        X, B)  # fmt: skip
for splitter in (
    model_selection.KFold(2), model_selection.StratifiedKFold(2, shuffle=True, random_state=0),
    model_selection.ShuffleSplit(2, random_state=np.random.RandomState(0)),
    model_selection.RepeatedKFold(n_splits=2, n_repeats=1), model_selection.TimeSeriesSplit(2),
    model_selection.PredefinedSplit(T > 0), model_selection.StratifiedShuffleSplit(2),
    [(np.arange(20), np.arange(20, 40)), (np.arange(20, 40), np.arange(20))],
):  # fmt: skip
    add(f"GridSearchCV(cv={type(splitter).__name__})",
        model_selection.GridSearchCV(LR(), GRID, cv=splitter), X, B)  # fmt: skip
for name, drawn in {
    "uniform": scipy.stats.uniform(0.1, 1), "loguniform": scipy.stats.loguniform(0.1, 1),
    "expon": scipy.stats.expon(0.5), "a list": [0.1, 1.0], "an array": np.logspace(-1, 0, 3),
    "norm": scipy.stats.truncnorm(0.1, 1), "gamma": scipy.stats.gamma(2),
}.items():  # fmt: skip
    add(f"RandomizedSearchCV({name})",
        model_selection.RandomizedSearchCV(LR(), {"C": drawn}, n_iter=2, cv=2, random_state=0),
        X, B)  # fmt: skip
add("RandomizedSearchCV(randint)",
    model_selection.RandomizedSearchCV(DecisionTreeClassifier(), {
        "max_depth": scipy.stats.randint(1, 5), "criterion": ["gini", "entropy"]}, n_iter=2, cv=2,
        random_state=np.random.RandomState(0)), X, B)  # fmt: skip
add("HalvingGridSearchCV", model_selection.HalvingGridSearchCV(LR(), GRID, cv=2), X, B)
add(
    "HalvingRandomSearchCV",
    model_selection.HalvingRandomSearchCV(LR(), {"C": scipy.stats.uniform(0.1, 1)}, cv=2),
    X,
    B,
)
add("TunedThreshold", model_selection.TunedThresholdClassifierCV(
    LR(), cv=2, scoring=metrics.make_scorer(metrics.f1_score, pos_label=1)), X, B)  # fmt: skip
add("FixedThreshold", model_selection.FixedThresholdClassifier(LR(), threshold=0.3), X, B)

# Estimators in estimators, states and weights.
add("VotingClassifier", VotingClassifier([("a", LR()), ("b", GaussianNB())], voting="soft",
    weights=[1, 2]), X, B)  # fmt: skip
add("StackingClassifier", StackingClassifier([("a", LR()), ("b", SVC())], cv=2,
    passthrough=True, stack_method="predict"), X, B)  # fmt: skip
add("CalibratedClassifierCV", CalibratedClassifierCV(SVC(), cv=2, ensemble=False), X, B)
add("AdaBoost", AdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=3), X, B)
add("Bagging", BaggingClassifier(LR(), n_estimators=2, max_features=2), X, B)
add("ClassifierChain", ClassifierChain(LR(), order=[1, 0]), X, np.c_[B, 1 - B])
add("ClassifierChain(cv)", ClassifierChain(LR(), cv=2, order="random", random_state=0), X,
    np.c_[B, T > 1])  # fmt: skip
add("RegressorChain", RegressorChain(Ridge()), X, np.c_[V, V])
add("MultiOutputClassifier", MultiOutputClassifier(LR()), X, np.c_[B, T])
add("RANSAC", RANSACRegressor(Ridge(), min_samples=5, random_state=0), X, V)
add("LogisticRegressionCV(scorer)", LogisticRegressionCV(
    Cs=2, cv=2, scoring=metrics.make_scorer(metrics.accuracy_score), l1_ratios=(0.0,),
    use_legacy_attributes=False), X, B)  # fmt: skip
add("NMF", NMF(2, init="random", random_state=0), X)
add("CategoricalNB", CategoricalNB(), T.reshape(-1, 1), B)
for name, state in {
    "RandomState": np.random.RandomState(3), "a number of NumPy's": np.int64(3),
}.items():  # fmt: skip
    add(f"random_state={name}", RandomForestClassifier(3, random_state=state), X, B)
for name, weight in {
    "a dictionary": {0: 1.0, 1: 2.0}, "'balanced'": "balanced", "an OrderedDict": OrderedDict(
        [(0, 1), (1, 2)]), "NumPy's keys": {np.int64(0): 1, np.int64(1): np.float64(2)},
}.items():  # fmt: skip
    add(f"class_weight={name}", LR(class_weight=weight), X, B)


def noted(notes: Any) -> Any:
    """Return a model whose author keeps an extra attribute in it."""
    model = LR().fit(X, B)
    model.notes_ = notes
    return model, X


for name, notes in {
    "defaultdict(OrderedDict)": defaultdict(OrderedDict, a=OrderedDict(b=1)),
    "defaultdict(list)": defaultdict(list, a=[1]), "defaultdict(dict)": defaultdict(dict),
    "a date": dt.date(2020, 1, 1), "a moment": dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    "a moment without zone": dt.datetime(2020, 1, 1), "a time": dt.time(1, 2),
    "a time span": dt.timedelta(days=1), "a zone": dt.timezone(dt.timedelta(hours=1), "X"),
    "a zone by name": zoneinfo.ZoneInfo("Europe/Berlin"), "a number": decimal.Decimal("1.5"),
    "a UUID": uuid.UUID(int=5), "a Timestamp": pd.Timestamp("2020-01-01"),
    "a Timestamp with zone": pd.Timestamp("2020-01-01", tz="Europe/Berlin"),
    "a Timedelta": pd.Timedelta("1h"), "pd.NaT": pd.NaT, "pd.NA": pd.NA,
    "a moment in Berlin": dt.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    "a CategoricalDtype": pd.CategoricalDtype(["a", "b"]), "a Series": pd.Series([1.0, 2.0]),
    "a Series of texts": pd.Series(["a", "b"], name="n"), "an Index": pd.Index([1, 2]),
    "a DatetimeTZDtype": pd.DatetimeTZDtype("ns", "UTC"), "a frozenset": frozenset((1, 2)),
    "Int64Dtype": pd.Int64Dtype(), "a set": {1, 2}, "a range": range(3),
    "a Generator": np.random.default_rng(1),
}.items():  # fmt: skip
    CASES[f"{name} in an attribute"] = functools.partial(noted, notes)


def answer(model: Any, data: Any) -> Any:
    method = "predict_proba" if hasattr(model, "predict_proba") else None
    method = method or ("predict" if hasattr(model, "predict") else "transform")
    out = getattr(model, method)(data)
    if isinstance(out, list):
        return np.hstack(out)
    return out.toarray() if hasattr(out, "toarray") else np.asarray(out)


@pytest.mark.parametrize("make", sampled(CASES, 110, __file__))
def test_an_honest_model_loads_and_gives_the_same_answers(make: Case) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, data = make()
        expected = answer(model, data)
        for content in (pickle.dumps(model), pickle.dumps(model, protocol=2), dumped(model)):
            loaded = load_model(content).model
            got = answer(loaded, data)
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)
            if hasattr(model, "notes_"):
                assert type(loaded.notes_) is type(model.notes_)
                same = repr(loaded.notes_) == repr(model.notes_)
                assert same or "Generator" in repr(model.notes_)


@pytest.mark.parametrize(
    "name",
    [
        "HistGradientBoostingClassifier(scoring=roc_auc)",
        "HistGradientBoostingRegressor(scoring)",
        "HistGradientBoosting of categories with early stopping",
        "RandomizedSearchCV(randint)",
    ],
)
def test_a_bound_method_written_by_cloudpickle_loads(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, data = CASES[name]()
        content = cloudpickle.dumps(model)
        assert b"MethodType" in content
        np.testing.assert_array_equal(answer(load_model(content).model, data), answer(model, data))


def test_every_discrete_distribution_written_by_cloudpickle_loads() -> None:
    model = LR().fit(X, B)
    for kind in vars(scipy.stats).values():
        if isinstance(kind, scipy.stats.rv_discrete):
            model.drawn_from_ = kind
            content = cloudpickle.dumps(model)
            assert b"MethodType" in content
            assert load_model(content).model.predict(X[:1]) in B


def test_only_listed_methods_of_str_are_accepted() -> None:
    for method in (str.format, str.join, str.zfill, str.encode):
        model = CountVectorizer(preprocessor=method)
        with pytest.raises(ModelUnusable, match=r"keeps the method `str\.") as caught:
            load_model(pickle.dumps(model))
        assert "dump" not in str(caught.value)


@pytest.mark.parametrize(
    "model",
    [
        feature_selection.SelectKBest(functools.partial(np.clip, out=np.zeros(3))),
        FunctionTransformer(functools.partial(np.add, 1, 2)),
        FunctionTransformer(functools.partial(dict)),
        CountVectorizer(preprocessor=functools.partial(re.sub, "", "x" * 1000)),
        CountVectorizer(preprocessor=functools.partial(re.sub, "a", "b", string="c")),
        CountVectorizer(tokenizer=functools.partial(re.findall, r"\w", flags=re.DEBUG)),
    ],
)
def test_a_partial_of_an_unlisted_function_or_argument_is_refused(model: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ModelUnusable):
            load_model(pickle.dumps(model))


@pytest.mark.parametrize("function", [np.sqrt, np.subtract, str.lower, functools.partial(np.add)])
def test_a_tree_of_neighbours_accepts_only_distances_of_scipy(function: Any) -> None:
    """`np.sqrt(x, y)` would write into the tree's rows."""
    model = KNeighborsClassifier(metric=scipy.spatial.distance.cosine).fit(X, B)
    kind = type(model._tree.__getstate__()[11])
    content = pickle.dumps(model)
    load_model(content)
    with pytest.raises(ModelUnusable, match="pass algorithm='brute'"):
        load_model(pickle.dumps([PyFunc(kind, function), model]))


class PyFunc:
    """A tree's metric that calls any function."""

    def __init__(self, kind: Any, function: Any) -> None:
        self.kind, self.function = kind, function

    def __reduce__(self) -> Any:
        made = sklearn.metrics._dist_metrics.newObj
        state = (0.0, np.empty(0), np.empty((0, 0)), self.function, {})
        return made, (self.kind,), state


OLD = [
    # Names of losses in scikit-learn before 1.8 and before 1.6, and of functions in NumPy before 2.
    (HistGradientBoostingClassifier(max_iter=3), b"csklearn._loss._loss\n", b"c_loss\n"),
    (GradientBoostingClassifier(n_estimators=3), b"csklearn._loss._loss\n", b"c_loss\n"),
    (TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1),
     b"cnumpy\nlog1p\n", b"cnumpy.core._multiarray_umath\nlog1p\n"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "new", "old"), OLD)
def test_names_of_an_older_scikit_learn_load_as_their_successors(
    model: Any, new: bytes, old: bytes
) -> None:
    model = clone(model).fit(X, B)
    content = pickle.dumps(model, protocol=2)
    here = f"X{chr(len(sklearn.__version__))}\0\0\0{sklearn.__version__}".encode()
    assert new in content and here in content
    loaded = load_model(content.replace(new, old).replace(here, b"X\5\0\0\0" + b"1.5.2"))
    np.testing.assert_array_equal(loaded.model.predict(X), model.predict(X))
    assert "saved with scikit-learn 1.5.2" in str(loaded.version_mismatch)


def test_remainder_columns_of_older_releases_load() -> None:
    """Before 1.8 a ColumnTransformer kept them in a list of its own class."""
    from sklearn.compose import _column_transformer

    class Remainder(list):
        def __reduce_ex__(self, protocol: Any) -> Any:
            state = {"data": list(self), "future_dtype": "str", "warning_was_emitted": False}
            return copyreg.__newobj__, (Remainder,), state

    Remainder.__module__ = _column_transformer.__name__
    Remainder.__qualname__ = Remainder.__name__ = "_RemainderColsList"
    model = ColumnTransformer([("s", StandardScaler(), ["a"])], remainder="passthrough")
    model.fit(NUMBERS)
    expected = model.transform(NUMBERS)
    name, step, rest = model.transformers_[-1]
    model.transformers_[-1] = (name, step, Remainder(rest))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_column_transformer, "_RemainderColsList", Remainder, raising=False)
        content = pickle.dumps(model)
    loaded = load_model(content).model
    assert type(loaded.transformers_[-1][2]) is list
    np.testing.assert_array_equal(loaded.transform(NUMBERS), expected)
