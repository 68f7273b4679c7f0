"""Models for the sweep: columns of every type, and objects that people keep beside a model."""

import collections
import datetime as dt
import decimal
import fractions
import functools
import ipaddress
import pathlib
import random
import re
import types
import uuid
import zoneinfo
from typing import Any

import dateutil.tz
import numpy as np
import pandas as pd
import pyarrow as pa
import pytz
import scipy.optimize
import scipy.sparse as sp
import scipy.stats
from sklearn import compose, impute, metrics, model_selection, preprocessing, tree, utils
from sklearn.linear_model import LogisticRegression

from pickle_sweep import FRAME, LABELS, ROWS, N, Table

TABLE = Table()
IS = range(N)
STAMPS = pd.Series(pd.to_datetime([f"2020-01-0{1 + i % 5} 10:00" for i in IS]))
TEXTS = pd.Series([f"s{i % 3}" for i in IS])
WHOLE = pd.Series(np.arange(N) % 3)
COLUMNS: dict[str, pd.Series] = {
    "stamps": STAMPS, "booleans": pd.Series([bool(i % 2) for i in IS]), "text": TEXTS,
    "numbers": WHOLE, "dates": pd.Series([dt.date(2020, 1, 1 + i % 5) for i in IS]),
    "decimals": pd.Series([decimal.Decimal(i % 4) for i in IS]),
    "text with None": pd.Series([["a", None, "b"][i % 3] for i in IS]),
    "text with NaN": pd.Series([["a", np.nan, "b"][i % 3] for i in IS]),
    "datetimes": pd.Series([dt.datetime(2020, 1, 1 + i % 5, tzinfo=dt.UTC) for i in IS]),
    "fractions": pd.Series([fractions.Fraction(i % 3, 7) for i in IS]),
    "bytes": pd.Series([b"ab"[i % 2 :] for i in IS]),
    "stamps in Berlin": STAMPS.dt.tz_localize("Europe/Berlin"),
    "stamps by pytz": STAMPS.dt.tz_localize(pytz.timezone("Europe/Berlin")),
    "stamps in pytz.UTC": STAMPS.dt.tz_localize(pytz.UTC),
    "stamps by offset": STAMPS.dt.tz_localize(pytz.FixedOffset(60)),
    "stamps by dateutil": STAMPS.dt.tz_localize("dateutil/Europe/Berlin"),
    "categories": pd.Series(pd.Categorical(TEXTS)),
    "ordered categories": pd.Series(pd.Categorical(TEXTS, ["s0", "s1", "s2"], ordered=True)),
    "categories of numbers": pd.Series(pd.Categorical(WHOLE)),
    "categories of stamps": pd.Series(pd.Categorical(STAMPS)),
    "intervals": pd.Series(pd.cut(WHOLE, 3)), "periods": STAMPS.dt.to_period("D"),
    "stamps as objects": STAMPS.astype(object),
    "strings with NA": pd.Series(pd.array([["a", pd.NA][i % 2] for i in IS], dtype="string")),
    "Int64": pd.Series(pd.array(WHOLE, dtype="Int64")),
    "boolean": pd.Series(pd.array([bool(i % 2) for i in IS], dtype="boolean")),
    "Int64 with NA": pd.Series(pd.array([None if i % 5 == 0 else i % 3 for i in IS], "Int64")),
    "Arrow's strings": TEXTS.astype("string[pyarrow]"),
    "Arrow's integers": WHOLE.astype("int64[pyarrow]"),
    "Arrow's texts": TEXTS.astype(pd.ArrowDtype(pa.string())),
    "time spans": pd.Series(pd.to_timedelta(WHOLE, "D")), "float32": WHOLE.astype("float32"),
    "sparse numbers": pd.Series(pd.arrays.SparseArray(WHOLE)),
    "stamps with NaT": pd.Series([pd.NaT if i % 3 == 0 else pd.Timestamp(2020, 1, 1) for i in IS]),
    "the repeated hour": pd.Series(
        pd.to_datetime([f"2020-10-25 0{i % 3}:30" for i in IS], utc=True)
    ).dt.tz_convert("Europe/Berlin"),
}  # fmt: skip
# The refusal's text for a column's values.
REFUSED = {
    "fractions": "BigQuery columns cannot hold fractions: train on float or Decimal",
    "stamps by dateutil": r".dt.tz_convert('UTC')", "intervals": "KBinsDiscretizer",
    "periods": "train on the dates",
}  # fmt: skip
SELECTED = "choose the columns by their names"
UNSELECTED = ("categories of stamps", "intervals", "periods", "Arrow's integers", "Arrow's texts",
              "sparse numbers")  # fmt: skip
# What scikit-learn itself fits no model to.
UNFIT = {
    "": "strings with NA", "OrdinalEncoder": "stamps with NaT", "selector": "stamps with NaT",
    "SimpleImputer": "stamps|booleans|categories of stamps|stamps with NaT|time spans|boolean",
    "categories=": "text with None|text with NaN|bytes|stamps with NaT|strings with NA|"
                   "Int64 with NA",
    "classes": "dates|decimals|text with None|text with NaN|datetimes|fractions|bytes|intervals|"
               "periods|strings with NA|Int64 with NA|stamps as objects|stamps in Berlin|"
               "stamps by pytz|stamps in pytz.UTC|stamps by offset|stamps by dateutil|"
               "the repeated hour|time spans",
}  # fmt: skip
for name, column in COLUMNS.items():
    frame = pd.DataFrame({"x": column})
    values = list(pd.unique(column))
    for kind, model in {
        "OneHotEncoder": preprocessing.OneHotEncoder(handle_unknown="ignore"),
        "OrdinalEncoder": preprocessing.OrdinalEncoder(),
        "OneHotEncoder(min_frequency=15)": preprocessing.OneHotEncoder(
            min_frequency=15, handle_unknown="infrequent_if_exist"),
        "TargetEncoder": preprocessing.TargetEncoder(cv=2),
        "SimpleImputer": impute.SimpleImputer(strategy="most_frequent"),
        "OneHotEncoder(categories=a list)": preprocessing.OneHotEncoder(categories=[values]),
        "OneHotEncoder(categories=an Index)": preprocessing.OneHotEncoder(
            categories=[pd.Index(pd.unique(column))]),
        "OrdinalEncoder(categories=an array)": preprocessing.OrdinalEncoder(
            categories=[np.asarray(pd.unique(column))]),
        "make_column_selector": compose.make_column_transformer(
            (preprocessing.OneHotEncoder(),
             compose.make_column_selector(dtype_include=column.dtype))),
    }.items():  # fmt: skip
        if any(name in names.split("|") for part, names in UNFIT.items() if part in kind):
            continue
        refusal = SELECTED if "selector" in kind and name in UNSELECTED else REFUSED.get(name)
        TABLE.add(f"{kind} of {name}", model, frame, LABELS, refused=refusal)
    if name not in UNFIT["classes"].split("|"):
        TABLE.add(f"classes of {name}", tree.DecisionTreeClassifier(random_state=0), ROWS, column)


def with_note(value: Any) -> tuple[Any, Any]:
    model = LogisticRegression().fit(ROWS, LABELS)
    model.note_ = value
    return model, ROWS


def note(name: str, value: Any, refused: str | None = None) -> None:
    TABLE.put(f"{name} beside a model", functools.partial(with_note, value), refused)


for name, column in COLUMNS.items():
    note(f"a Series of {name}", column)
    note(f"a frame of {name}", pd.DataFrame({"x": column}))
    note(f"an index of {name}", pd.Index(column))
    note(f"a value of {name}", column.iloc[1])
    note(f"a dtype of {name}", column.dtype)
    note(f"an array of {name}", column.array)
KEEP = "leave it out of the model, or keep"
LISTED = "if you trust it"
for name, value in {
    "a description": FRAME.describe(), "counts": FRAME.s.value_counts(),
    "a corr": FRAME[["a"]].corr(),
    "a frame by two levels": FRAME.set_index(["s", "a"]), "an empty frame": pd.DataFrame(),
    "an empty Series": pd.Series(dtype=float), "groups": FRAME.groupby(["s", "a"]).b.mean(),
    "dates": pd.date_range("2020-01-01", periods=3), "a range": pd.RangeIndex(3),
    "dates in Berlin": pd.date_range("2020-01-01", periods=3, tz="Europe/Berlin"),
    "levels": pd.MultiIndex.from_product([[1, 2], ["a", "b"]]), "a path": pathlib.Path("x"),
    "an IntervalIndex": pd.interval_range(0, 3), "a PurePosixPath": pathlib.PurePosixPath("a/b"),
    "a PeriodIndex": pd.period_range("2020", "2021", freq="M"), "counted": collections.Counter("a"),
    "metrics": {"auc": np.float64(0.9), "when": dt.datetime(2020, 1, 1), "cm": np.eye(2)},
    "a deque": collections.deque([1]), "a fraction": fractions.Fraction(1, 3), "bytes": b"abc",
    "a bytearray": bytearray(b"a"), "a complex": 1j, "a slice": slice(1),
    "a pattern": re.compile("a"),
    "a defaultdict": collections.defaultdict(int), "a ChainMap": collections.ChainMap({}),
    "a Bunch": utils.Bunch(a=1), "a display": metrics.ConfusionMatrixDisplay(np.eye(2)),
    "a structured array": np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
    "a masked array": np.ma.masked_array([1, 2], [0, 1]),
    "a datetime64": np.datetime64("2020-01-01"),
    **{f"a {n} matrix": getattr(sp, f"{n}_matrix")(np.eye(2)) for n in (
        "coo", "csc", "csr", "lil", "dia", "bsr")},
    "a coo_array": sp.coo_array(np.eye(2)), "poly1d": np.poly1d([1, 2]),
    "a Polynomial": np.polynomial.Polynomial([1, 2]), "a distribution": scipy.stats.norm(0, 1),
    "a date": dt.date(2020, 1, 1), "a zone": zoneinfo.ZoneInfo("UTC"), "a set": {"a"},
    "pytz's Berlin": pytz.timezone("Europe/Berlin"), "pytz.utc": pytz.utc,
    "pytz's offset": pytz.FixedOffset(90), "dateutil's Berlin": dateutil.tz.gettz("Europe/Berlin"),
    "dateutil's UTC": dateutil.tz.tzutc(), "an Interval": pd.Interval(0, 1), "dt.UTC": dt.UTC,
    "a Period": pd.Period("2020"), "a Categorical": pd.Categorical(["a"]),
    "a UUID": uuid.UUID(int=1),
    "an IntegerArray": pd.array([1, None]), "an OrderedDict": collections.OrderedDict(a=1),
    "an optimum": scipy.optimize.OptimizeResult(x=np.eye(2)), "an offset": pd.offsets.Day(1),
    "estimators": [LogisticRegression(), tree.DecisionTreeClassifier()],
    "a splitter": model_selection.KFold(3),
}.items():  # fmt: skip
    note(name, value)
for name, value, said in (
    ("an address", ipaddress.ip_address("1.2.3.4"), LISTED),
    ("a decimal context", decimal.Context(), LISTED), ("a random.Random", random.Random(1), LISTED),
    ("a dok matrix", sp.dok_matrix(np.eye(2)), LISTED),
    ("a recarray", np.rec.array([(1, 2.0)], dtype=[("a", int), ("b", float)]), KEEP),
    ("Ellipsis", ..., f"{KEEP} None"), ("NotImplemented", NotImplemented, f"{KEEP} None"),
    ("a namespace", types.SimpleNamespace(a=1), f"{KEEP} a dict in its place"),
    ("an exception", ValueError("x"), f"{KEEP} its text"), ("a matrix", np.matrix([[1, 2]]), KEEP),
    ("a constant", re.I, f"{KEEP} the constant's value"), ("NoneType", type(None), KEEP),
    ("the type int", int, "keeps the type `int` itself in `LogisticRegression.note_`"),
    ("the type np.float64", np.float64, "keeps the type `float64` itself"),
    ("a class", LogisticRegression, "not an object of it: leave it out"),
    ("a function", np.mean, "keeps a function in `LogisticRegression.note_`"),
):  # fmt: skip
    note(name, value, said)
