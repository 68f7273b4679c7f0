"""Models for the sweep: library functions in every parameter of an estimator that takes one."""

import functools
import html
import operator
import re
import shlex
import statistics
import string
import textwrap
import unicodedata
import urllib.parse
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import scipy.fft
import scipy.signal
import scipy.sparse
import scipy.spatial.distance as distance
import scipy.special
import scipy.stats
from sklearn import (
    cluster,
    compose,
    decomposition,
    ensemble,
    feature_selection,
    impute,
    kernel_approximation,
    kernel_ridge,
    linear_model,
    metrics,
    neighbors,
    pipeline,
    preprocessing,
    semi_supervised,
    svm,
    utils,
)  # fmt: skip
from sklearn.feature_extraction.text import CountVectorizer, strip_tags

from pickle_sweep import FRAME, LABELS, ROWS, TARGET, Table

partial = functools.partial
Ridge, LR = linear_model.Ridge, linear_model.LogisticRegression
TABLE = Table()
NUMBERS = FRAME[["a", "b", "c", "d"]]
MISSING = np.where(np.arange(ROWS.size).reshape(ROWS.shape) % 11 == 3, np.nan, ROWS)
TEXTS = [f"<b>Wörd{i % 5}</b> and other {i % 3}\nnew line" for i in range(len(ROWS))]

# The refusal's text, by a part of the case's name.
REFUSED = {
    "np.vdot|ones_like|np.where|zeros_like|statistics|detrend|as_float_array|pairwise_distances":
        r"not on the list of what a model may be made of: train with",
    "NearestNeighbors": "has no predict and no transform",
    "attrgetter": "pass the path as text",
    r"zscore|rankdata|get_dummies|(?<!p)scale\)|power_transform|quantile_transform":
        "computes over all rows that it is given, and a table is scored in batches: use ",
    r"\(scipy.fft": "MLSYS_TRUSTED_GLOBALS does not accept it",
    r"pd.DataFrame|csr_matrix|csr_array|=set|=Counter": "not an object of it: leave it out",
    r"of a frame\((?!np|item|method)":
        "only functions and classes of a module itself can be listed",
    "methodcaller": "calls any method by its name",
    "itemgetter": "choose columns with a ColumnTransformer",
    r"str.encode|str.expandtabs|join": "keeps the method `str",
    "=repr|=ascii|capwords|dedent|shlex|unquote":
        "does not accept functions of Python's standard library: put a function of your own",
}  # fmt: skip
LISTS = re.compile(
    r"str.split|str.splitlines|str.encode|pattern|findall|=list|re.split|=tuple|=set|=sorted|"
    "shlex|=Counter|methodcaller"
)


def add(name: str, model: Any, rows: Any = ROWS, target: Any = None) -> None:
    why = next((said for cases, said in REFUSED.items() if re.search(cases, name)), None)
    TABLE.add(name, model, rows, target, refused=why)


# Kernels, metrics and weights.
for name, f in {
    "rbf_kernel": metrics.pairwise.rbf_kernel, "linear_kernel": metrics.pairwise.linear_kernel,
}.items():  # fmt: skip
    add(f"SVC({name})", svm.SVC(kernel=f), ROWS, LABELS)
    add(f"OneClassSVM({name})", svm.OneClassSVM(kernel=f))
    add(f"LabelSpreading({name})", semi_supervised.LabelSpreading(kernel=f), ROWS, LABELS)
for name, f in {"np.dot": np.dot, "np.inner": np.inner, "np.vdot": np.vdot}.items():
    add(f"KernelRidge({name})", kernel_ridge.KernelRidge(kernel=f), ROWS, TARGET)
    add(f"KernelPCA({name})", decomposition.KernelPCA(2, kernel=f))
    add(f"Nystroem({name})",
        kernel_approximation.Nystroem(kernel=f, n_components=5, random_state=0))  # fmt: skip
for way in ("auto", "brute", "ball_tree"):
    for f in (distance.euclidean, distance.cosine, distance.cityblock):
        add(f"neighbours({way}, {f.__name__})",
            neighbors.KNeighborsClassifier(metric=f, algorithm=way), ROWS, LABELS)  # fmt: skip
for way in ("auto", "brute"):
    add(
        f"LocalOutlierFactor({way})",
        neighbors.LocalOutlierFactor(metric=distance.cosine, novelty=True, algorithm=way),
    )
add("NearestNeighbors", neighbors.NearestNeighbors(metric=distance.cosine))
add("RadiusNeighbors", neighbors.RadiusNeighborsClassifier(metric=distance.euclidean, radius=2.0),
    ROWS, LABELS)  # fmt: skip
for f in (np.reciprocal, np.exp, np.negative, np.ones_like, np.sqrt, np.square):
    add(f"neighbours weighed by {f.__name__}", neighbors.KNeighborsRegressor(weights=f),
        np.c_[ROWS[:, ::2], np.arange(len(ROWS))], TARGET)  # fmt: skip
    add(f"KNNImputer(weights={f.__name__})", impute.KNNImputer(weights=f), MISSING)

# Statistics.
for name, f in {
    "np.mean": np.mean, "np.nanmedian": np.nanmedian, "np.min": np.min, "max": max, "min": min,
    "trim_mean": partial(scipy.stats.trim_mean, proportiontocut=0.1), "gmean": scipy.stats.gmean,
    "hmean": scipy.stats.hmean, "statistics.mean": statistics.mean,
    "statistics.median": statistics.median,
}.items():  # fmt: skip
    add(f"SimpleImputer({name})", impute.SimpleImputer(strategy=f), MISSING)
for f in (np.mean, np.max, np.median, scipy.stats.gmean):
    add(f"FeatureAgglomeration({f.__name__})", cluster.FeatureAgglomeration(2, pooling_func=f))
for f in (metrics.f1_score, metrics.balanced_accuracy_score):
    add(
        f"a forest scored by {f.__name__}",
        ensemble.RandomForestClassifier(10, oob_score=f, bootstrap=True),
        ROWS,
        LABELS,
    )
for name, f in {"mean_absolute_error": metrics.mean_absolute_error,
                "a partial": partial(metrics.mean_pinball_loss, alpha=0.2)}.items():  # fmt: skip
    add(
        f"a forest of values scored by {name}",
        ensemble.RandomForestRegressor(10, oob_score=f, bootstrap=True),
        ROWS,
        TARGET,
    )
add("RANSAC(np.subtract)", linear_model.RANSACRegressor(loss=np.subtract, random_state=0),
    ROWS, TARGET)  # fmt: skip
add("SelectKBest(a partial)", feature_selection.SelectKBest(
    partial(feature_selection.f_regression, center=False), k=2), ROWS, TARGET)  # fmt: skip
add("RFE(attrgetter)",
    feature_selection.RFE(
        pipeline.make_pipeline(preprocessing.StandardScaler(), LR()),
        importance_getter=operator.attrgetter("named_steps.logisticregression.coef_"),
    ), ROWS, LABELS)  # fmt: skip

# Functions of the target.
for name, (f, back) in {
    "log": (np.log, np.exp), "log2": (np.log2, np.exp2), "cbrt": (np.cbrt, partial(np.power, 3)),
    "log10": (np.log10, partial(np.power, 10)), "logit": (scipy.special.logit, scipy.special.expit),
    "exp10": (np.log10, scipy.special.exp10), "reciprocal": (np.reciprocal, np.reciprocal),
    "negative": (np.negative, np.negative), "arcsinh": (np.arcsinh, np.sinh),
}.items():  # fmt: skip
    add(f"the target by {name}",
        compose.TransformedTargetRegressor(Ridge(), func=f, inverse_func=back, check_inverse=False),
        ROWS, TARGET / 20)  # fmt: skip

# Functions of rows.
NUMPY = (
    "abs absolute arcsinh argsort around array asanyarray asarray asarray_chkfinite atleast_2d "
    "average cbrt ceil column_stack concatenate copy cos cosh cumprod cumsum deg2rad degrees diff "
    "exp expm1 fabs fix fliplr flip flipud float32 float64 floor gradient hstack i0 "
    "int64 isfinite isinf isnan log log10 log1p log2 logical_not max mean median nan_to_num "
    "nancumsum nanmean negative ones_like ptp rad2deg radians ravel real rint rot90 round sign sin "
    "sinc sinh sort sqrt square stack std sum tan tanh transpose tril triu trunc unwrap var vstack "
    "where zeros_like conj angle"
)
ROW_WISE = {
    **{f"np.{n}": getattr(np, n) for n in NUMPY.split()},
    **{f"scipy.special.{n}": getattr(scipy.special, n) for n in (
        "cosdg digamma erf expit expm1 exprel gamma gammaln j0 log1p log_ndtr log_softmax logit "
        "logsumexp ndtr ndtri psi sindg softmax").split()},
    "zscore": scipy.stats.zscore, "rankdata": scipy.stats.rankdata, "iqr": scipy.stats.iqr,
    "detrend": scipy.signal.detrend, "np.fft.fft": np.fft.fft, "scipy.fft": scipy.fft.fft,
    **{f"pd.{n}": getattr(pd, n) for n in ("DataFrame", "isna", "notna")},
    "pd.get_dummies": pd.get_dummies, "csr_matrix": scipy.sparse.csr_matrix,
    "csr_array": scipy.sparse.csr_array,
    **{n: getattr(preprocessing, n) for n in (
        "normalize scale minmax_scale robust_scale maxabs_scale binarize power_transform "
        "add_dummy_feature").split()},
    "quantile_transform": partial(preprocessing.quantile_transform, n_quantiles=5),
    "check_array": utils.check_array, "as_float_array": utils.as_float_array,
    "rbf_kernel of rows": metrics.pairwise.rbf_kernel, "partial(np.array)":
    partial(np.array, dtype=float), "pairwise_distances": metrics.pairwise_distances,
}  # fmt: skip
for name, f in ROW_WISE.items():
    rows = NUMBERS if name == "pd.get_dummies" else ROWS
    add(f"FunctionTransformer({name})", preprocessing.FunctionTransformer(f), rows)
for name, f in {
    "copy": pd.DataFrame.copy, "abs": pd.DataFrame.abs, "to_numpy": pd.DataFrame.to_numpy,
    "fillna": partial(pd.DataFrame.fillna, value=0), "clip": pd.DataFrame.clip,
    "rank": pd.DataFrame.rank, "drop": partial(pd.DataFrame.drop, columns=["a"]),
    "methodcaller": operator.methodcaller("fillna", 0), "itemgetter": operator.itemgetter(["a"]),
    "np.log1p": np.log1p,
}.items():  # fmt: skip
    add(f"FunctionTransformer of a frame({name})", preprocessing.FunctionTransformer(f), NUMBERS)
for name, (f, arguments) in {
    "clip": (np.clip, {"a_min": 0, "a_max": 1}), "round": (np.round, {"decimals": 1}),
    "nan_to_num": (np.nan_to_num, {"nan": 0.0, "copy": True}),
    "asarray": (np.asarray, {"dtype": np.float32}), "take": (np.take, {"indices": [0], "axis": 1}),
    "delete": (np.delete, {"obj": [0], "axis": 1}), "digitize": (np.digitize, {"bins": [0.1, 0.5]}),
    "interp": (np.interp, {"xp": [0, 1], "fp": [0, 2]}),
}.items():  # fmt: skip
    add(f"FunctionTransformer by kw_args({name})",
        preprocessing.FunctionTransformer(f, kw_args=arguments))  # fmt: skip

# Functions of text.
OF_TEXT = {
    **{f"str.{n}": getattr(str, n) for n in (
        "lower split strip casefold upper title splitlines encode expandtabs")
       .split()},
    "html.unescape": html.unescape, "html.escape": html.escape, "strip_tags": strip_tags,
    "partial(normalize)": partial(unicodedata.normalize, "NFKD"),
    "partial(re.sub)": partial(re.sub, r"\d+", " "), "a pattern": re.compile(r"\w+").findall,
    "partial(re.findall)": partial(re.findall, r"\w+"), "list": list, "str": str, "repr": repr,
    "partial(re.split)": partial(re.split, r"\W+"), "tuple": tuple, "set": set, "sorted": sorted,
    "partial(str.split)": partial(str.split, sep=","), "capwords": string.capwords,
    "ascii": ascii, "dedent": textwrap.dedent, "shlex.split": shlex.split, "Counter": Counter,
    "methodcaller": operator.methodcaller("split", ","), "unquote": urllib.parse.unquote,
    "' '.join": " ".join,
}  # fmt: skip
for name, f in OF_TEXT.items():
    for way in ("tokenizer", "preprocessor", "analyzer"):
        if way == "preprocessor" and LISTS.search(f"={name}"):
            continue  # it returns a list
        pattern = None if way == "tokenizer" else r"\w+"
        add(f"CountVectorizer({way}={name})",
            CountVectorizer(**{way: f}, token_pattern=pattern), TEXTS)  # fmt: skip
