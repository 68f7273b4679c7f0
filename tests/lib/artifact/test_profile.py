"""The profile of training data: bins with counts, small, and read back as it was written."""

import json
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlsys.artifact.documents import text_of
from mlsys.artifact.estimators.importance import importances
from mlsys.artifact.profile import Profile, figures
from mlsys.artifact.profile_size import BYTES, size_of
from mlsys.artifact.profiling import build_profile, describe
from mlsys.artifact.signatures import Signature
from mlsys.columns.bins import CATEGORY, NUMBER, PLAIN, count
from mlsys.columns.stored import stored
from mlsys.errors import MetadataInvalid

RANDOM = np.random.default_rng(0)


def described(values: Any, **more: Any) -> dict[str, Any]:
    return describe(stored(pd.Series(values), "x"), **more).to_dict()


def profile_of(X: pd.DataFrame, model: Any = None) -> dict[str, Any]:
    model = model or LinearRegression().fit(np.zeros((len(X), 1)), np.zeros(len(X)))
    return build_profile(model, X, Signature.from_data(X))


def test_a_number_has_deciles_from_the_minimum_to_the_maximum() -> None:
    values = RANDOM.normal(30, 14, 1_000).tolist()
    column = described([*values, None])
    edges = column["edges"]
    assert (column["kind"], column["nulls"], len(edges)) == (NUMBER, 1, 11)
    assert (edges[0], edges[-1]) == (min(values), max(values))
    assert all(80 < rows < 120 for rows in column["counts"])
    assert sum(column["counts"]) == 1_000
    assert all(len(repr(edge)) <= 8 for edge in edges[1:-1])  # rounded


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, 3] * 10, CATEGORY),
        (list(range(21)) * 3, NUMBER),
        (list(range(15)), NUMBER),  # 15 rows of as many values
        (["a", "b"] * 9, CATEGORY),
        ([f"id{i}" for i in range(30)], PLAIN),
        (list(range(30)), PLAIN),
        ([f"w{i % 14}" for i in range(30)], CATEGORY),
        ([True, False], CATEGORY),
        ([b"a", b"a"], PLAIN),
        ([None, None], CATEGORY),
        ([1.5] * 9, CATEGORY),
        (list(pd.date_range("2026-01-01", periods=30)), NUMBER),
    ],
)
def test_the_kind_of_a_column_follows_from_its_values(values: list[Any], kind: str) -> None:
    assert described(values)["kind"] == kind


def shuffled(values: Any) -> Any:
    return np.random.default_rng(0).permutation(values)


@pytest.mark.parametrize(
    ("values", "is_identifier"),
    [
        pytest.param(range(1, 31), True, id="30 row numbers"),
        pytest.param(range(1, 30), False, id="29 rows"),
        pytest.param(shuffled(range(1, 892))[:712], True, id="a sample of row numbers"),
        pytest.param(shuffled([*range(500), *range(20)]), True, id="a join repeated some"),
        pytest.param(shuffled([*range(500)] * 2), False, id="two rows each"),
        pytest.param(-(np.arange(400) ** 2), True, id="they fall"),
        pytest.param([*range(0, 4_000, 10), np.nan], True, id="floats, and NULL"),
        pytest.param(np.arange(400) + 0.5, False, id="fractions"),
        pytest.param(RANDOM.permutation(10**6)[:1_000], False, id="incomes"),
        pytest.param(RANDOM.integers(-(2**63), 2**63 - 1, 999), False, id="hashes"),
        pytest.param(RANDOM.integers(18, 80, 400), False, id="ages"),
        pytest.param(RANDOM.poisson(10**6, 100), False, id="counts"),
    ],
)
def test_whole_numbers_that_look_like_identifiers_have_no_bins(
    values: Any, is_identifier: bool
) -> None:
    column = described(values)
    assert (column["kind"] == PLAIN) == is_identifier
    assert ("distinct" in column) == is_identifier
    assert described(values, labels=False)["kind"] == NUMBER, "a prediction is not an identifier"


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.arange(1, 40) / 10, id="tenths"),
        pytest.param([0.7] * 30 + [0.7 + k / 99 for k in range(40)], id="a frequent minimum"),
        pytest.param([1e6 + 0.1] * 30 + [2e6 + k * 3 / 7 for k in range(40)], id="a gap"),
        pytest.param(2**24 + 1 + 8 * np.arange(40), id="whole numbers beyond 2^24"),
    ],
)
def test_hardly_a_row_crosses_an_edge_where_float32_holds_the_values(
    values: Any, sign: int
) -> None:
    rows = sign * np.repeat(values, 25)
    profile = describe(stored(pd.Series(rows), "x"))
    as_float32 = stored(pd.Series(rows.astype("float32").astype("float64")), "x")
    moved = np.subtract(count(profile.bins, as_float32).bins, profile.counts.bins)
    assert abs(moved).max() <= len(rows) // 100
    assert count(profile.bins, as_float32).below + count(profile.bins, as_float32).above == 0


def test_edges_at_values_that_float32_holds_stay_there() -> None:
    assert described(np.repeat(np.arange(44) / 2, 25))["edges"][:3] == [0, 2, 4]


def test_a_frequent_minimum_has_a_bin_of_its_own() -> None:
    column = described(np.where(RANDOM.random(1_000) < 0.4, 0, RANDOM.random(1_000)))
    assert column["edges"][:2] == [0, 0]
    assert 350 < column["counts"][0] < 450


def test_close_numbers_keep_the_digits_that_they_differ_in() -> None:
    edges = described(10**15 + RANDOM.integers(0, 1_000, 500))["edges"]
    assert len(set(edges)) == 11
    assert all(isinstance(edge, int) for edge in edges)


def test_infinite_values_lie_outside_the_edges() -> None:
    column = described([*np.linspace(0, 1, 50), np.inf, -np.inf])
    assert (column["below"], column["above"]) == (1, 1)
    json.dumps(column, allow_nan=False)


def test_the_categories_are_the_hundred_most_frequent() -> None:
    words = [f"w{i:03}" for i in range(150) for _ in range(150 - i)]
    column = described(words)
    assert column["values"][:2] == ["w000", "w001"]
    assert len(column["values"]) == 100
    assert column["other"] == sum(range(1, 51))


AWKWARD = '"\\\n\té☃𝄞 '


def awkward_frame(columns: int, make: Any) -> pd.DataFrame:
    names = [f"{'n' * 240}{i}_é" for i in range(columns)]
    return pd.DataFrame({name: make(i) for i, name in enumerate(names)})


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda i: RANDOM.normal(size=300) * 1e-7 * 10.0**i, id="floats"),
        pytest.param(lambda i: RANDOM.integers(-(2**62), 2**62, 300), id="large integers"),
        pytest.param(lambda i: [f"{AWKWARD * 9}{k % 120}" for k in range(300)], id="awkward texts"),
        pytest.param(lambda i: [f"{i}{k}" * (k % 7) for k in range(100)] * 3, id="many texts"),
        pytest.param(
            lambda i: (
                pd.Timestamp("2026-01-01", tz="UTC")
                + pd.to_timedelta(RANDOM.integers(0, 10**15, 300), "us")
            ),
            id="timestamps",
        ),
    ],
)
def test_two_hundred_columns_take_at_most_64_kib(make: Any) -> None:
    with np.errstate(all="ignore"):
        profile = profile_of(awkward_frame(200, make))
    text = text_of({"profile": profile})
    assert size_of(profile) <= BYTES
    assert len(text.encode()) <= BYTES + 20
    assert json.loads(text) == {"profile": profile}
    read = Profile.of_document({"profile": profile})
    assert read is not None
    assert len(read.columns) == 200
    assert all(column.bins.count >= 1 for column in read.columns)  # each one has a share


def test_cut_categories_are_the_rare_ones_and_the_profile_says_so() -> None:
    X = pd.DataFrame(
        {f"c{i}": [f"{'x' * 60}{int(k**0.5)}" for k in range(900)] for i in range(200)}
    )
    profile = profile_of(X)
    assert profile["cut"] > 0
    for column in profile["columns"]:
        assert min(column["counts"]) >= 50
        assert sum(column["counts"]) + column["other"] == 900
    assert "cut" not in profile_of(X[["c0"]])


def test_more_columns_have_more_room() -> None:
    profile = profile_of(pd.DataFrame(RANDOM.normal(size=(30, 600))).add_prefix("c"))
    assert BYTES < size_of(profile) <= 3 * BYTES
    assert "cut" not in profile


def trained(classifier: Any) -> tuple[Any, pd.DataFrame]:
    X = pd.DataFrame({"a": RANDOM.normal(size=400), "b": RANDOM.normal(size=400)})
    X["c"] = RANDOM.choice(["x", "y"], 400)
    columns = make_column_transformer((OneHotEncoder(), ["c"]), (StandardScaler(), ["a", "b"]))
    return make_pipeline(columns, classifier).fit(X, np.where(X["a"] > 0, "yes", "no")), X


def test_predictions_on_the_training_rows_are_described_by_method() -> None:
    profile = profile_of(*trained(LogisticRegression())[::-1])
    [labels] = profile["predictions"]["predict"]
    assert labels["kind"] == CATEGORY
    assert sorted(labels["values"]) == ["no", "yes"]
    assert [c["kind"] for c in profile["predictions"]["predict_proba"]] == [NUMBER, NUMBER]
    assert profile["predicted_rows"] == 400


def test_predicted_times_are_described_as_the_text_that_scoring_writes() -> None:
    _, X = trained(LogisticRegression())
    days = np.array(["2020-01-01", "2021-01-01T12:00"], "M8[us]")
    model = LogisticRegression().fit(X[["a"]], days[(X["a"] > 0).astype(int)])
    [labels] = profile_of(X[["a"]], model)["predictions"]["predict"]
    assert set(labels["values"]) == {str(day) for day in days}


def test_rows_that_the_model_cannot_take_do_not_prevent_the_profile_of_its_predictions() -> None:
    model, X = trained(LogisticRegression())
    X.loc[::10, "a"] = None
    profile = profile_of(X, model)
    assert profile["predicted_rows"] == 360
    assert sum(profile["predictions"]["predict"][0]["counts"]) == 360


def test_the_importance_of_a_feature_is_that_of_its_columns() -> None:
    for classifier in (LogisticRegression(), RandomForestClassifier(20, random_state=0)):
        model, X = trained(classifier)
        shares = importances(model, list(X.columns))
        assert shares is not None
        assert sum(shares) == pytest.approx(1, abs=1e-3)
        assert shares.index(max(shares)) == 0
        assert [c["importance"] for c in profile_of(X, model)["columns"]] == shares
    assert importances(object(), ["a"]) is None


def test_a_profile_is_read_as_it_was_written_and_counts_the_same_rows() -> None:
    model, X = trained(LogisticRegression())
    read = Profile.of_document(json.loads(json.dumps({"profile": profile_of(X, model)})))
    assert read is not None
    for name, column in zip(X.columns, read.columns, strict=True):
        assert count(column.bins, stored(X[name], "x")).bins == column.counts.bins
    assert read.rows == 400


def test_a_document_without_a_profile_has_none_and_one_of_another_version_is_refused() -> None:
    assert Profile.of_document({"profile": None}) is None is Profile.of_document({})
    for profile in (3, {"rows": 6, "columns": {"a": {"nulls": 0}}}, {"version": 3}):
        with pytest.raises(MetadataInvalid, match="upload the model again"):
            Profile.of_document({"profile": profile})


@pytest.mark.parametrize(
    "change",
    [
        {"columns": 3},
        {"rows": None},
        {"columns": [{}]},
        {"columns": [{"kind": "number", "edges": [0, 1]}]},
    ],
)
def test_a_malformed_profile_is_refused(change: dict[str, Any]) -> None:
    document = {"profile": {"version": 2, "rows": 1, "columns": []} | change}
    with pytest.raises(MetadataInvalid, match="profile has the wrong form"):
        Profile.of_document(document)


def test_the_figures_for_people_are_by_the_columns_names() -> None:
    X = pd.DataFrame({"Age": [22.0, 38.0, None] * 20, "Sex": ["male", "female", "male"] * 20})
    document = {"profile": profile_of(X), "signature": Signature.from_data(X).to_dict()}
    assert figures(document) == {
        "rows": 60,
        "columns": {
            "Age": {"nulls": 20, "distinct": 2, "top": {"22": 20, "38": 20}, "mean": 30},
            "Sex": {"nulls": 0, "distinct": 2, "top": {"male": 40, "female": 20}},
        },
    }
    assert figures({"profile": {"rows": 3}}) == {"rows": 3}
    assert figures({}) == {}


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([2**63 - 1] * 100, id="one value"),
        pytest.param([*range(2**63 - 100, 2**63)] * 2, id="neighbours"),
        pytest.param([-(2**63), *range(98), 2**63 - 1] * 2, id="every extreme"),
        pytest.param([*range(10**18, 10**18 + 7_000, 7)] * 2, id="19 digits"),
    ],
)
def test_whole_numbers_of_19_digits_keep_their_digits(values: Any) -> None:
    """Fingerprints as FARM_FINGERPRINT gives them are such."""
    column = described(list(values))
    assert "other" not in column and "above" not in column and "below" not in column
    assert max(column["counts"]) <= len(values) * (0.2 if len(set(values)) > 1 else 1)
    ends = column.get("values") or column["edges"]
    assert (ends[0], ends[-1]) == (min(values), max(values))


@pytest.mark.parametrize("labels", [None, False])
def test_the_greatest_floats_give_a_profile_that_json_can_hold(labels: bool | None) -> None:
    values = [*(1.7e308 / 50 * i for i in range(-50, 51)), sys.float_info.max]
    column = described(values, labels=labels, precision=1e-9)
    json.dumps(column, allow_nan=False)
    assert sum(column["counts"]) == 102
