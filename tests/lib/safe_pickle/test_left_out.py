"""Objects kept beside a model are left out; one that scikit-learn may read is refused."""

import collections
import datetime as dt
import fractions
import functools
import pathlib
import pickle
import time
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn import metrics
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mlsys.artifact.loading import load_model
from mlsys.errors import ModelUnusable
from mlsys.safe_pickle import left_out
from mlsys.safe_pickle.handles import StandIn, resolve
from pickle_cases import dumped

X = np.random.RandomState(0).rand(40, 3)
Y = np.tile([0, 1], 20)
DAYS = pd.date_range("2020-01-01", periods=4, tz="Europe/Berlin")
FRAME = pd.DataFrame(
    {"n": [1.5, 2, 3, 4], "s": list("abca"), "w": pd.array([1, None, 2, 3], "Int64"), "d": DAYS}
)
BESIDE = {
    "a frame": FRAME,
    "a frame by two levels": FRAME.set_index(["s", "n"]),
    "an empty frame": pd.DataFrame(),
    "statistics of a frame": FRAME.describe(),
    "a Series by date": pd.Series([1.0, 2, 3, 4], DAYS),
    "a Series of dates": FRAME.d,
    "a Series of whole numbers": FRAME.w,
    "a Series of categories": FRAME.s.astype("category"),
    "a Series of Arrow's numbers": pd.Series([1, 2], dtype="int64[pyarrow]"),
    "sparse numbers": pd.Series(pd.arrays.SparseArray([0, 0, 1])),
    "dtypes": FRAME.dtypes,
    "groups": FRAME.groupby(["s", "n"]).w.mean(),
    "an index of dates": DAYS,
    "an index of categories": pd.CategoricalIndex(["a", "b"]),
    "intervals": pd.cut([1, 2, 3], 2),
    "a period": pd.Period("2020", "M"),
    "a path": pathlib.Path("reports/auc.txt"),
    "a counter": collections.Counter("abca"),
    "a queue": collections.deque([1, 2]),
    "a fraction": fractions.Fraction(1, 3),
    "a display": metrics.ConfusionMatrixDisplay(np.eye(2)),
    "a sparse matrix": scipy.sparse.coo_matrix(np.eye(2)),
    "a distribution": __import__("scipy.stats").stats.norm(0, 1),
}
FORMS: list[Callable[[Any], bytes]] = [
    pickle.dumps, dumped, functools.partial(pickle.dumps, protocol=2),
    functools.partial(dumped, compress=3),
]  # fmt: skip


@pytest.mark.parametrize("value", BESIDE.values(), ids=BESIDE)
def test_an_object_beside_the_model_is_left_out(value: Any) -> None:
    model = LogisticRegression().fit(X, Y)
    model.beside_ = value
    whole = make_pipeline(StandardScaler(), model)
    whole[0].fit(X)
    whole.report_ = {"auc": 0.9, "day": dt.date(2020, 1, 1), "all": [value]}
    for write in FORMS:
        loaded = load_model(write(whole)).model
        np.testing.assert_array_equal(loaded.predict_proba(X), whole.predict_proba(X))
        assert loaded.report_["auc"] == 0.9
        assert set(vars(model)) - set(vars(loaded[1])) <= {"beside_"}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pd.cut(FRAME.n, 2), "bin the column in the pipeline with KBinsDiscretizer"),
        (DAYS.tz_localize(None).to_period("D"), "train on the dates"),
        ([fractions.Fraction(i, 3) for i in range(4)], "needs `fractions.Fraction`"),
        (DAYS.tz_convert("dateutil/Europe/Berlin"), r"\.dt\.tz_convert\('UTC'\)"),
    ],
)
def test_an_object_that_prediction_needs_is_refused_by_name(values: Any, reason: str) -> None:
    frame = pd.DataFrame({"x": values})
    for write in FORMS:
        with pytest.raises(ModelUnusable, match=reason):
            load_model(write(OneHotEncoder().fit(frame)))


def test_following_the_advice_for_intervals_gives_a_loadable_model() -> None:
    frame = pd.DataFrame({"x": pd.cut(FRAME.n, 2).astype(str)})
    model = OrdinalEncoder().fit(frame)
    loaded = load_model(pickle.dumps(model)).model
    np.testing.assert_array_equal(loaded.transform(frame), model.transform(frame))


def test_categories_that_only_fit_uses_are_left_out() -> None:
    frame = FRAME[["s"]].astype("category")
    model = OneHotEncoder(categories=[frame.s.cat.categories.astype("category")]).fit(frame)
    loaded = load_model(pickle.dumps(model)).model
    np.testing.assert_array_equal(
        loaded.transform(frame).toarray(), model.transform(frame).toarray()
    )


@pytest.mark.parametrize(
    "attributes",
    [
        {"classes_": np.array([pathlib.Path("a"), pathlib.Path("b")], dtype=object)},
        {"coef_": pd.DataFrame([[1.0, 2, 3]])},
        {"intercept_": [collections.Counter("a")]},
        {"C": fractions.Fraction(1)},
        {"class_weight": {0: fractions.Fraction(1)}},
    ],
)
def test_an_attribute_of_scikit_learn_is_never_left_out(attributes: dict[str, Any]) -> None:
    model = LogisticRegression().fit(X, Y)
    vars(model).update(attributes)
    with pytest.raises(ModelUnusable, match="needs `"):
        load_model(pickle.dumps(model))


def test_a_step_is_never_left_out() -> None:
    model = make_pipeline(StandardScaler().fit(X), DecisionTreeClassifier().fit(X, Y))
    model.steps[0] = ("x", collections.deque())
    with pytest.raises(ModelUnusable):
        load_model(pickle.dumps(model))
    with pytest.raises(ModelUnusable, match=r"needs `pandas\.DataFrame`"):
        load_model(pickle.dumps(FRAME))


@pytest.mark.slow
def test_leaving_out_many_objects_is_fast() -> None:
    model = LogisticRegression().fit(X, Y)
    model.many_ = [pd.Series([1.0], pd.DatetimeIndex(["2020"])) for _ in range(3000)]
    start = time.process_time()
    with pytest.raises(ModelUnusable, match="objects of pandas"):
        load_model(pickle.dumps(model))
    assert time.process_time() - start < 10


@pytest.mark.parametrize("key", sorted(left_out.KEYS))
def test_names_that_are_left_out_are_never_resolved(key: str) -> None:
    """Most names exist in some release of their library; none is ever resolved."""
    module, _, name = key.rpartition(".")
    assert module and name.isidentifier()
    if module.partition(".")[0] in ("collections", "fractions", "pathlib", "scipy", "sklearn"):
        assert resolve(key) is not None


def test_a_stand_in_discards_its_state() -> None:
    stand_in = StandIn("collections.deque")
    stand_in.append(1)
    stand_in["a"] = 1
    assert vars(stand_in) == {"key": "collections.deque"}


def test_pytz_zones_become_zoneinfo_zones() -> None:
    pytz = pytest.importorskip("pytz")
    berlin = pytz.timezone("Europe/Berlin")
    twice = dt.datetime(2020, 10, 25, 2, 30)
    moments = [berlin.localize(twice, is_dst=summer) for summer in (True, False)]
    model = LogisticRegression().fit(X, Y)
    model.kept_ = [*moments, pytz.UTC, pytz.FixedOffset(90), pd.Timestamp(moments[1]), berlin]
    first, second, utc, offset, stamp, zone = load_model(pickle.dumps(model)).model.kept_
    assert [first.isoformat(), second.isoformat()] == [m.isoformat() for m in moments]
    assert utc is dt.UTC and offset == dt.timezone(dt.timedelta(minutes=90))
    assert stamp.isoformat() == moments[1].isoformat() and zone.key == "Europe/Berlin"
    days = pd.to_datetime(["2020-01-01 10:00", "2020-07-01 10:00"] * 20, utc=True)
    frame = pd.DataFrame({"x": days.tz_convert(berlin)})
    encoder = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(frame, Y)
    loaded = load_model(pickle.dumps(encoder)).model
    for rows in (frame, frame.assign(x=frame.x.dt.tz_convert("UTC"))):  # in BigQuery's form
        np.testing.assert_array_equal(loaded.predict_proba(rows), encoder.predict_proba(rows))


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (b"cpandas\nSeries\n", b"cpandas.core.series\nSeries\n"),
        (b"cpandas\nIndex\n", b"cpandas.core.indexes.base\nIndex\n"),
        (b"cpandas\nCategoricalDtype\n", b"cpandas.core.dtypes.dtypes\nCategoricalDtype\n"),
        (b"cpandas\nInt64Dtype\n", b"cpandas.core.arrays.integer\nInt64Dtype\n"),
    ],
)
def test_names_of_pandas_2_load_in_pandas_3(new: bytes, old: bytes) -> None:
    model = LogisticRegression().fit(X, Y)
    model.kept_ = [
        pd.Series([1.0], pd.Index([1])), pd.CategoricalDtype(["a"]), pd.Int64Dtype(),
    ]  # fmt: skip
    content = pickle.dumps(model, protocol=2)
    assert new in content
    assert repr(load_model(content.replace(new, old)).model.kept_) == repr(model.kept_)


def test_joblib_reads_the_same_files() -> None:
    """The forms above are joblib's: only the stand-in is ours."""
    model = LogisticRegression().fit(X, Y)
    model.beside_ = FRAME
    original = joblib.load(__import__("io").BytesIO(dumped(model)))
    assert original.beside_.equals(FRAME)
