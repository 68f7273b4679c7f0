"""The Arrow path gives the same matrix and answers as scikit-learn's own path, bit for bit."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, event, given, reject, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from mlsys.artifact.golden import golden_frame
from mlsys.artifact.metadata import ModelMetadata
from mlsys.artifact.signatures import Signature
from mlsys.columns.arrow_types import arrow_type
from mlsys.columns.features import UNKNOWN, Feature
from mlsys.columns.frames import from_frame, to_frame, to_model_frame
from mlsys.errors import PredictionFailed, SchemaMismatch
from mlsys.local.stack import LocalStack
from scoring_cases import Lab
from workers.inference.fast_path import encoders as lookups
from workers.inference.fast_path import one_pass
from workers.inference.fast_path.choose import Route, choose
from workers.inference.fast_path.compiler import compile_model
from workers.inference.fast_path.model import Compiled
from workers.inference.fast_path.same_bits import same_bits
from workers.inference.fast_path.scikit import FallBack
from workers.inference.predictor import PredictionSpec, Predictor


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Ignore scikit-learn's warnings about unusual data, as a run does."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


class Witness(BaseEstimator):
    """Ends a pipeline of the steps under test, and accepts anything."""

    def fit(self, X: Any, y: Any = None) -> "Witness":
        """Mark the model as fitted."""
        self.fitted_ = True
        return self

    def predict(self, X: Any) -> Any:
        """Return the number of columns."""
        return np.full(X.shape[0], X.shape[1])


# Texts that only some comparisons distinguish, or that look like a missing value.
TEXTS = [
    "a",
    "b",
    "A",
    "",
    " ",
    "nan",
    "NaN",
    "None",
    "<NA>",
    "a\0",
    "é",
    "e\u0301",
    "日",
    "0",
    "1.0",
]
FLOATS = [0.0, -0.0, 1.0, -1.5, 5e-324, -2.2e-308, 1e300, 0.1, 3.0, float("nan")]
INTS = [0, 1, 2, 3, -1, 2**53, 2**53 - 1, -(2**63), 2**63 - 1]
KINDS = ["text", "none", "object", "category", "whole", "sparse whole", "float", "flag"]
TYPES = {"whole": "INT64", "sparse whole": "INT64", "float": "FLOAT64", "flag": "BOOL"}


@st.composite
def values(draw: st.DrawFn, kind: str, rows: int, training: bool) -> list[Any]:
    """Draw values of a column; the table gets other ones than the training."""
    some: st.SearchStrategy[Any]
    if kind == "whole":
        some = st.sampled_from(INTS[:5])
        if not training:
            some = st.sampled_from(INTS[:5] * 50 + [*INTS[5:], None])
    elif kind == "sparse whole":
        some = st.sampled_from([*INTS[:6], None])
    elif kind == "float":
        some = st.sampled_from([*FLOATS, None] if training else [*FLOATS * 30, None, np.inf])
    elif kind == "flag":
        some = st.booleans() if training else st.sampled_from([True, False] * 30 + [None])
    elif training:
        some = st.sampled_from([*TEXTS[: draw(st.integers(1, 9))], None])
    else:
        known = TEXTS[:3] * 9
        some = st.sampled_from(known + draw(st.sampled_from([[], [None], [*TEXTS, None]])))
    return draw(st.lists(some, min_size=rows, max_size=rows))


@st.composite
def encoders(draw: st.DrawFn) -> Any:
    """Draw an encoder with options that change its output."""
    rare = draw(st.sampled_from([{}, {}, {"min_frequency": 3}, {"max_categories": 2}]))
    dtype = draw(st.sampled_from([np.float64, np.float64, np.float32, np.int16]))
    if draw(st.booleans()):
        return OneHotEncoder(
            handle_unknown=draw(
                st.sampled_from(["error", *["ignore", "infrequent_if_exist", "warn"] * 3])
            ),
            drop=draw(st.sampled_from([None, None, "first", "if_binary"])),
            sparse_output=draw(st.booleans()),
            dtype=dtype,
            **rare,
        )
    unknown = draw(st.sampled_from([None, *[-1, np.nan] * 4]))
    return OrdinalEncoder(
        handle_unknown="error" if unknown is None else "use_encoded_value",
        unknown_value=unknown,
        encoded_missing_value=draw(st.sampled_from([np.nan, -2])),
        dtype=np.float64 if dtype == np.int16 else dtype,
        **rare,
    )


@st.composite
def scalers(draw: st.DrawFn) -> Any:
    """Draw steps for numbers."""
    flag = st.booleans()
    return draw(
        st.sampled_from(
            [
                StandardScaler(with_mean=draw(flag), with_std=draw(flag)),
                MinMaxScaler(feature_range=(-1, 2), clip=draw(flag)),
                RobustScaler(),
            ]
        )
    )


@st.composite
def imputers(draw: st.DrawFn) -> Any:
    """Draw an imputer for numbers."""
    return SimpleImputer(
        strategy=draw(st.sampled_from(["mean", "median", "most_frequent", "constant"])),
        add_indicator=draw(st.booleans()),
        keep_empty_features=draw(st.booleans()),
        missing_values=draw(st.sampled_from([np.nan, np.nan, np.nan, 0])),
    )


@st.composite
def branches(draw: st.DrawFn, text: bool) -> Any:
    """Draw a transformer of a branch: for text only, or for anything that is not text."""
    if text:
        imputer = draw(
            st.sampled_from(
                [
                    SimpleImputer(strategy="most_frequent"),
                    SimpleImputer(strategy="constant", fill_value="a"),
                    SimpleImputer(strategy="constant", fill_value="missing"),
                ]
            )
        )
        steps = draw(st.sampled_from([[], [], ["passthrough"], [imputer]]))
        steps = [*steps, draw(encoders())]
    else:
        steps = draw(
            st.sampled_from(
                [
                    ["passthrough"],
                    [draw(scalers())],
                    [draw(imputers()), draw(scalers())],
                    [draw(imputers()), "passthrough"],
                    [draw(encoders())],
                    [draw(imputers()), draw(scalers()), draw(scalers())],
                    [FunctionTransformer(np.sign)],
                ]
            )
        )
    return steps[0] if len(steps) == 1 else make_pipeline(*steps)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, list[Feature], pa.Table]:
    """Draw a fitted Pipeline, its features, and a table of other rows."""
    kinds = {
        f"c{i}": k
        for i, k in enumerate(draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6)))
    }
    n, m = draw(st.integers(3, 25)), draw(st.integers(1, 25))

    def column(kind: str, rows: int, training: bool) -> pa.Array:
        some = draw(values(kind, rows, training))
        return pa.array(some, arrow_type(TYPES.get(kind, "STRING")))

    X = to_frame(pa.table({name: column(kind, n, True) for name, kind in kinds.items()}))
    for name, kind in kinds.items():
        if kind == "category":
            X[name] = X[name].astype("category")
        elif kind in ("none", "object"):
            X[name] = X[name].astype(object)
            missing = None if kind == "none" else np.nan
            X[name] = X[name].where(X[name].notna(), missing)
    text = [n for n, k in kinds.items() if k not in TYPES]
    other = [n for n in kinds if n not in text]
    chosen: list[tuple[str, Any, list[str]]] = []
    for i in range(draw(st.integers(1, 4))):
        from_text = bool(text) and (not other or draw(st.booleans()))
        names = draw(st.permutations(text if from_text else other))
        names = names[: draw(st.integers(1, len(names)))]
        chosen.append((f"t{i}", draw(branches(from_text)), names))
    weights = draw(st.sampled_from([None, None, {"t0": 0.1}, {"t1": 0.0}]))
    columns = ColumnTransformer(
        chosen,
        remainder=draw(st.sampled_from(["drop", "drop", "drop", "passthrough"])),
        sparse_threshold=draw(st.sampled_from([0, 0.3, 1.0, 1.0])),
        transformer_weights=weights,
    )
    if draw(st.booleans()):
        columns = make_pipeline("passthrough", columns)
    if len(chosen) == 1 and set(chosen[0][2]) == set(kinds) and draw(st.booleans()):
        X = X[chosen[0][2]]
        columns = chosen[0][1]
    behind = draw(st.sampled_from([[], [], [MinMaxScaler()], [StandardScaler(with_mean=False)]]))
    model = make_pipeline(columns, *behind, Witness())
    try:
        model.fit(X)
    except (ValueError, TypeError, ArithmeticError):  # not a model that anybody could upload
        reject()
    table = pa.table({name: column(kind, m, False) for name, kind in kinds.items()})
    cut = draw(st.integers(0, m))
    table = pa.concat_tables([table.slice(0, cut), table.slice(cut)])  # two chunks
    return model, list(Signature.from_data(X).features), table


def layout(matrix: Any) -> Any:
    """Return the properties of a matrix that can change the arithmetic, besides its values."""
    if sparse.issparse(matrix):
        return matrix.format, matrix.has_sorted_indices, matrix.has_canonical_format
    return matrix.flags.c_contiguous, matrix.flags.f_contiguous


def check(model: Any, features: list[Feature], table: pa.Table) -> str:
    """Compare the matrices of both paths, and return the path that the table took."""
    compiled = compile_model(model, features)
    if isinstance(compiled, str):
        return "not compiled"
    head = Pipeline(model.steps[:-1])
    try:
        plain = head.transform(to_model_frame(table, features))
        X = plain.to_numpy() if isinstance(plain, pd.DataFrame) else plain
    except (ValueError, TypeError, SchemaMismatch) as exc:
        with pytest.raises((ValueError, TypeError, SchemaMismatch, FallBack)):
            compiled.matrix(table)
        return f"both raise {type(exc).__name__}"
    try:
        fast = compiled.matrix(table)
    except FallBack as exc:
        return f"falls back: {exc}"
    assert same_bits(X, fast), (X, fast)
    assert layout(X) == layout(fast)
    dictionaries = [c.dictionary_encode() if c.type == pa.string() else c for c in table.columns]
    assert same_bits(X, compiled.matrix(pa.table(dictionaries, table.column_names)))
    return f"the same {type(X).__name__}"


QUICK = settings(
    max_examples=100,
    phases=set(Phase) - {Phase.explain},  # it would run for minutes
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
    ],
)


@pytest.mark.slow
@QUICK
@given(cases())
def test_the_matrix_is_that_of_scikit_learn_bit_for_bit(case: tuple[Any, Any, Any]) -> None:
    event(check(*case))


@pytest.mark.long
@settings(QUICK, max_examples=20_000)
@given(cases())
def test_the_matrix_is_that_of_scikit_learn_in_many_more_cases(case: tuple[Any, Any, Any]) -> None:
    check(*case)


@pytest.mark.parametrize("missing", [[None], [np.nan], [None, np.nan], [np.nan, None]], ids=str)
@pytest.mark.parametrize("dtype", ["str", UNKNOWN, "none", "nan"])
@pytest.mark.parametrize("encoder", [OneHotEncoder, OrdinalEncoder], ids=lambda e: e.__name__)
def test_none_and_nan_are_different_categories(
    encoder: Any, dtype: str, missing: list[Any]
) -> None:
    """The feature decides which one the table's NULL is; the encoder may not know it."""
    X = pd.DataFrame({"a": pd.Series(["x", "y", *missing], dtype=object)})
    ignore = {"handle_unknown": "ignore"}
    if encoder is OrdinalEncoder:
        ignore = {"handle_unknown": "use_encoded_value", "unknown_value": -1}
    model = make_pipeline(encoder(**ignore), Witness()).fit(X)
    feature = Feature("a", "STRING", dtype)
    if dtype in ("none", "nan"):
        feature = Feature("a", "STRING", "object", missing=dtype)
    table = pa.table({"a": pa.array(["y", None, "x", "z"])})
    assert check(model, [feature], table).startswith("the same")


TEXT, NUMBERS = ["colour", "city"], ["x", "y", "n"]


def training(rows: int = 300) -> pd.DataFrame:
    """Return text with missing values, numbers with missing values, and integers."""
    random = np.random.default_rng(0)
    df = pd.DataFrame({"x": random.normal(size=rows), "y": random.normal(size=rows)})
    df["n"] = random.integers(0, 5, rows)
    df.loc[::7, "x"] = np.nan
    df["colour"] = pd.Series(random.choice(["red", "blue", "green"], rows), dtype="str")
    df["city"] = pd.Series(random.choice(["Rome", "Bonn", None], rows), dtype="str")
    return df


def prepared(unknown: str = "ignore", **options: Any) -> ColumnTransformer:
    """Return a typical preparation of text and numbers."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return make_column_transformer(
        (OneHotEncoder(handle_unknown=unknown), TEXT), (numbers, NUMBERS), **options
    )


class OwnEncoder(OneHotEncoder):
    """A class that the Arrow path does not know."""


def classes(df: pd.DataFrame, count: int) -> pd.Series:
    """Return a class for each row, from the columns that the models see."""
    return df["n"] % count


CLASSIFIERS = [
    LogisticRegression(),
    LogisticRegression(C=1e-9),  # nearly every score is a tie
    LogisticRegression(solver="newton-cg"),
    RandomForestClassifier(2, max_depth=1, n_jobs=1, random_state=0),  # ties here, too
    ExtraTreesClassifier(5, n_jobs=1, random_state=0),
    GradientBoostingClassifier(n_estimators=3, random_state=0),
    HistGradientBoostingClassifier(max_iter=3, random_state=0),
    GaussianNB(),
]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=lambda e: type(e).__name__)
def test_outputs_of_one_pass_equal_those_of_the_methods(estimator: Any, count: int) -> None:
    methods = [
        m
        for m in ("predict_proba", "predict", "decision_function", "predict_log_proba")
        if hasattr(estimator, m)
    ]
    df = training()
    model = make_pipeline(prepared(sparse_threshold=0), estimator).fit(df, classes(df, count))
    table, features = from_frame(df), Signature.from_data(df).features
    compiled = compile_model(model, features)
    assert isinstance(compiled, Compiled)
    for wanted in (methods, methods[::-1]):
        found = compiled.answers(table, wanted)
        for method in wanted:
            assert same_bits(found[method], getattr(model, method)(df)), method


def test_the_plain_path_takes_dictionaries_of_text_too() -> None:
    df = training()
    model = make_pipeline(prepared(), LogisticRegression()).fit(df, classes(df, 2))
    table, features = from_frame(df), Signature.from_data(df).features
    for i, column in enumerate(table.columns):
        if column.type == pa.string():
            table = table.set_column(i, table.column_names[i], column.dictionary_encode())
    given = Route(model, features, ["predict_proba"], "a test").answers(table)
    assert same_bits(given["predict_proba"], model.predict_proba(df))


def test_an_estimator_computes_once_for_several_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = RandomForestClassifier.predict_proba
    monkeypatch.setattr(
        RandomForestClassifier, "predict_proba", lambda *a: calls.append(1) or real(*a)
    )
    X = training()[["y", "n"]]
    model = RandomForestClassifier(3, random_state=0).fit(X, classes(X, 2))
    one_pass.answers(model, X.to_numpy(), ["predict", "predict_proba"])
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("model", "columns"),
    [
        pytest.param(make_pipeline(prepared(), LogisticRegression()), None, id="usual"),
        pytest.param(make_pipeline(make_pipeline(prepared()), GaussianNB()), None, id="nested"),
        pytest.param(
            make_pipeline(prepared(sparse_threshold=0), PCA(2), LogisticRegression()),
            None,
            id="an unknown step behind the matrix",
        ),
        pytest.param(
            make_pipeline(
                make_column_transformer(
                    (OneHotEncoder(), ["colour"]), (FunctionTransformer(np.abs), ["y", "n"])
                ),
                LogisticRegression(),
            ),
            None,
            id="an unknown branch without text",
        ),
        pytest.param(
            make_pipeline(
                make_column_transformer((OneHotEncoder(), ["city"]), (CountVectorizer(), "colour")),
                LogisticRegression(),
            ),
            None,
            id="an unknown branch with text",
        ),
        pytest.param(
            GridSearchCV(
                make_pipeline(prepared(), LogisticRegression()),
                {"logisticregression__C": [1, 2]},
                cv=2,
            ),
            None,
            id="search",
        ),
        pytest.param(LinearRegression(), ["y", "n"], id="numbers alone"),
        pytest.param(
            make_pipeline(SimpleImputer(), MinMaxScaler(), LinearRegression()), NUMBERS, id="scaled"
        ),
    ],
)
def test_a_known_model_takes_arrow_columns_and_gives_the_same_answers(
    model: Any, columns: list[str] | None
) -> None:
    df = training()
    X = df if columns is None else df[columns]
    model.fit(X, classes(df, 2))
    compiled = compile_model(model, Signature.from_data(X).features)
    assert isinstance(compiled, Compiled), compiled
    found = compiled.answers(from_frame(X), ["predict"])
    assert same_bits(found["predict"], model.predict(X))


def test_a_model_that_was_fitted_on_an_array_takes_arrow_columns() -> None:
    X = training()[["y", "n"]]
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(X.to_numpy(), X["y"])
    compiled = compile_model(model, Signature.from_data(X).features)
    assert isinstance(compiled, Compiled)
    found = compiled.answers(from_frame(X), ["predict"])
    assert same_bits(found["predict"], model.predict(X.to_numpy()))


@pytest.mark.parametrize(
    ("model", "columns", "reason"),
    [
        (make_pipeline(FunctionTransformer(np.abs), GaussianNB()), ["n"], "FunctionTransformer"),
        (make_pipeline(OwnEncoder(sparse_output=False), GaussianNB()), TEXT, "OwnEncoder gets"),
        (
            make_pipeline(prepared().set_output(transform="pandas"), GaussianNB()),
            None,
            "ColumnTransformer gives frames",
        ),
        (HistGradientBoostingClassifier(max_iter=2), ["shade", "y"], "encodes columns itself"),
        (Pipeline([("a", prepared()), ("b", "passthrough")]), None, "the last step is"),
    ],
)
def test_an_unknown_model_is_left_to_scikit_learn(
    model: Any, columns: list[str] | None, reason: str
) -> None:
    df = training()
    df["shade"] = df["colour"].astype("category")
    X = df[columns or [*TEXT, *NUMBERS]]
    if "gives frames" in reason:  # which cannot be sparse
        model[0].transformers[0][1].set_params(sparse_output=False)
    model.fit(X, classes(df, 2))
    found = compile_model(model, Signature.from_data(X).features)
    assert isinstance(found, str)
    assert reason in found


def predictor(model: Any, X: pd.DataFrame, path: str = "arrow") -> Predictor:
    """Return a predictor of a classifier with two classes."""
    spec = PredictionSpec(
        features=Signature.from_data(X).features,
        outputs={"predict": ("prediction",), "predict_proba": ("p0", "p1")},
        types={"prediction": "INT64", "p0": "FLOAT64", "p1": "FLOAT64"},
        path=path,
    )
    return Predictor(model, spec)


def test_the_first_rows_take_both_paths_and_the_others_only_arrow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    df = training()
    monkeypatch.setattr("workers.inference.fast_path.choose.PROOF", len(df) + 1)
    model = make_pipeline(prepared(), LogisticRegression()).fit(df, classes(df, 2))
    scores, plain = predictor(model, df), predictor(model, df, "plain: so it is asked").predict
    calls = []
    real = Pipeline.predict
    monkeypatch.setattr(Pipeline, "predict", lambda *a: calls.append(1) or real(*a))
    table = from_frame(df)
    first, second, third = (scores.predict(table) for _ in range(3))
    assert len(calls) == 2
    assert first == second == third == plain(table)
    assert scores.path == "arrow"


def test_a_predictor_whose_paths_differ_falls_back_and_reports_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    df = training()
    model = make_pipeline(prepared(), LogisticRegression()).fit(df, classes(df, 2))
    right = predictor(model, df, "plain: so it is asked").predict(from_frame(df))
    real = lookups.Lookup.codes
    monkeypatch.setattr(lookups.Lookup, "codes", lambda self, column: 1 - real(self, column) // 2)
    scores = predictor(model, df)
    for _ in range(2):
        assert scores.predict(from_frame(df)) == right
    assert scores.path == "plain: predict, predict_proba differed"
    assert "The fast path changed" in caplog.text


@pytest.mark.parametrize(("column", "value"), [("colour", "pink"), ("colour", None), ("y", np.inf)])
def test_a_row_that_the_model_refuses_raises_the_models_message(column: str, value: Any) -> None:
    """The bad row follows batches that took the Arrow path."""
    df = training()
    model = make_pipeline(prepared("error"), LogisticRegression()).fit(df, classes(df, 2))
    bad = from_frame(df.head(3)).to_pylist()
    bad[1][column] = value
    bad[2]["n"] = None  # beside a NULL, whole numbers become floats
    table = pa.Table.from_pylist(bad, schema=from_frame(df).schema)
    scores = predictor(model, df)
    scores.predict(from_frame(df))
    with pytest.raises((PredictionFailed, SchemaMismatch)) as plain:
        predictor(model, df, "plain: so it is asked").predict(table)
    with pytest.raises((PredictionFailed, SchemaMismatch)) as fast:
        scores.predict(table)
    assert (type(fast.value), str(fast.value)) == (type(plain.value), str(plain.value))
    assert scores.path == "arrow"


def test_an_integer_too_large_for_a_float_is_scored_the_same_on_both_paths() -> None:
    """Beside a NULL the model gets it as Int64."""
    df = training()
    model = make_pipeline(prepared("error"), LogisticRegression()).fit(df, classes(df, 2))
    rows = from_frame(df.head(3)).to_pylist()
    rows[1]["n"], rows[2]["n"] = 2**60 + 1, None
    table = pa.Table.from_pylist(rows, schema=from_frame(df).schema)
    fast, plain = predictor(model, df), predictor(model, df, "plain: so it is asked")
    assert fast.predict(table) == plain.predict(table)


def test_golden_rows_that_differ_on_the_arrow_path_disable_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    df = training()[[*TEXT, "n"]]
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(df, classes(df, 2))
    signature = Signature.from_data(df)
    rows = [["red", "Rome", 1], ["blue", None, 2]]
    golden = {"rows": rows, "predictions": model.predict(golden_frame(signature, rows)).tolist()}
    metadata = ModelMetadata(document={"golden": golden}, signature=signature)
    assert choose(model, signature.features, ["predict"], metadata).path == "arrow"
    real = one_pass.answers
    monkeypatch.setattr(
        "workers.inference.fast_path.model.answers",
        lambda *a: {m: 1 - v for m, v in real(*a).items()},
    )
    path = choose(model, signature.features, ["predict"], metadata).path
    assert path == "plain: predict differed on the golden rows"


def test_a_model_with_missing_attributes_is_left_to_scikit_learn() -> None:
    X = training()[TEXT]
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(X, X["colour"])
    del model[0].categories_
    found = compile_model(model, Signature.from_data(X).features)
    assert found == "AttributeError while its steps were inspected"


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("head", "path"),
    [
        pytest.param(prepared(), "arrow", id="arrow"),
        pytest.param(
            make_column_transformer((PolynomialFeatures(), ["y", "n"])),
            "plain: PolynomialFeatures gets the columns themselves",
            id="plain",
        ),
    ],
)
def test_a_run_reports_the_path_of_its_rows(lab: Lab, head: Any, path: str) -> None:
    df = training().assign(id=range(300))
    X = df[[*TEXT, *NUMBERS]]
    model = make_pipeline(head, LogisticRegression()).fit(X, classes(df, 3))
    name = lab.upload(model, X)
    result, rows = lab.score(lab.put(df), name, outputs="predict,predict_proba")
    assert result["path"] == path
    assert rows["prediction"].tolist() == model.predict(X).tolist()
    for i, column in enumerate(model.predict_proba(X).T):
        assert same_bits(rows[f"probability_{i}"].to_numpy(), column.copy())
