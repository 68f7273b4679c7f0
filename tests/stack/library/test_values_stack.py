"""A table returns, and the service scores, exactly the frame's values."""

import re
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from frame_cases import COLUMNS, ROWS, assert_same, is_taken
from mlsys.bq import bq_get, bq_put
from mlsys.cloud.clients import Clients
from mlsys.errors import InvalidRequest
from mlsys.local.stack import LocalStack
from scoring_cases import Lab

RELAXED = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

# On the stack it would take minutes to shrink a failing example.
ON_THE_STACK = settings(RELAXED, phases=(Phase.explicit, Phase.reuse, Phase.generate))


def frames(columns: int) -> st.SearchStrategy[pd.DataFrame]:
    """Return a strategy for frames of `ROWS` rows: the writable of `columns` random columns."""

    def frame(some: list[Any]) -> pd.DataFrame:
        full = [s.reindex(range(ROWS)) if s.dtype == object else s for s in some]
        kept = [s for s in full if len(s) == ROWS and is_taken(s)]
        return pd.DataFrame({f"c{i}": s for i, s in enumerate(kept)}, index=range(ROWS))

    return st.lists(COLUMNS, min_size=columns, max_size=columns).map(frame)


def check_round_trip(clients: Clients, df: pd.DataFrame) -> None:
    """Write the frame into a table of its own and compare the rows read."""
    table = f"{clients.settings.project}.titanic.values_{uuid.uuid4().hex}"
    try:
        bq_put(df.assign(row=range(len(df))), table)
    except InvalidRequest as exc:  # the local BigQuery has no BIGNUMERIC
        name = re.match(r"df: column '(c\d+)': needs BIGNUMERIC", str(exc))
        assert name is not None, str(exc)
        check_round_trip(clients, df.drop(columns=name[1]))
        return
    result = bq_get(f"SELECT * FROM `{table}` ORDER BY row")
    clients.bigquery.delete_table(table, timeout=30)
    for name in df.columns:
        assert_same(df[name], result[name])


@pytest.mark.slow
@settings(ON_THE_STACK, max_examples=3)
@given(df=frames(30))
def test_a_table_returns_the_frames_values(
    clients: Clients, environment: dict[str, str], df: pd.DataFrame
) -> None:
    check_round_trip(clients, df)


@pytest.mark.long
@settings(ON_THE_STACK, max_examples=300)
@given(df=frames(30))
def test_a_table_returns_the_frames_values_in_many_examples(
    clients: Clients, environment: dict[str, str], df: pd.DataFrame
) -> None:
    check_round_trip(clients, df)


NUMBERS = st.one_of(
    *(
        st.lists(values, min_size=30, max_size=30)
        for values in (
            st.integers(-(2**63), 2**63 - 1),
            st.integers(-5, 5) | st.none(),
            st.sampled_from([2**53 + 1, 2**53, 7, None]),
            st.floats(-1e9, 1e9) | st.none(),
            st.booleans(),
        )
    )
)
WORDS = st.lists(st.sampled_from(["a", "é", "NaN", ""]) | st.none(), min_size=30, max_size=30)


@st.composite
def training(draw: st.DrawFn) -> pd.DataFrame:
    """Draw a frame to learn from: three columns of numbers, one of text, and ids."""
    columns: dict[str, Any] = {}
    for name in ("u", "v", "w"):
        values = draw(NUMBERS)
        whole = all(v is None or type(v) is int for v in values)
        columns[name] = pd.array(values, "Int64") if whole and None in values else values
    return pd.DataFrame(columns | {"t": draw(WORDS), "id": range(30)})


def scored(lab: Lab, df: pd.DataFrame) -> None:
    """Compare the service's output with the model's answers for the notebook's frame."""
    table = lab.name("values")
    bq_put(df, table)
    X = bq_get(f"SELECT * FROM `{table}` ORDER BY id")[["u", "v", "w", "t"]]
    numbers = ["u", "v", "w"]
    prepare = make_column_transformer(
        (make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler()), numbers),
        (OneHotEncoder(), ["t"]),
    )
    models = (
        (HistGradientBoostingRegressor(max_iter=3, min_samples_leaf=2), X[numbers]),
        (make_pipeline(prepare, Ridge()), X),
    )
    for model, seen in models:
        try:
            model.fit(seen, np.arange(30) % 7)
            name = lab.upload(model, seen, wait=True)
        except InvalidRequest as exc:
            assert re.search("[uvwt]: |'[uvwt]'", str(exc)), str(exc)
            continue
        except (ValueError, TypeError):
            continue  # scikit-learn itself refuses such a frame
        params = lab.params(table, name, id_columns="id")
        lab.http(params).done()
        result = lab.rows(params["output_table"])
        np.testing.assert_allclose(result["prediction"], model.predict(seen), rtol=1e-9)


@pytest.mark.slow
@settings(ON_THE_STACK, max_examples=1)
@given(df=training())
def test_the_service_scores_the_notebooks_values(
    stack: LocalStack, environment: dict[str, str], df: pd.DataFrame
) -> None:
    scored(Lab(stack), df)


@pytest.mark.long
@settings(ON_THE_STACK, max_examples=100)
@given(df=training())
def test_the_service_scores_the_notebooks_values_in_many_examples(
    stack: LocalStack, environment: dict[str, str], df: pd.DataFrame
) -> None:
    scored(Lab(stack), df)
