"""A model whose output would have two columns of one name is refused as it is described."""

from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from mlsys.artifact.describe import build
from mlsys.artifact.output_names import STAMPS
from mlsys.errors import InvalidRequest, SchemaMismatch
from workers.scoring.planning.columns import Column
from workers.scoring.planning.outputs import with_ids

X = pd.DataFrame({"run_id": [1.0, 2.0, 3.0], "age": [3.0, 1.0, 2.0]})
ONE = pd.Series([1.0, 2.0, 4.0], name="y")
TWO = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [1.0, 3.0, 4.0]})


@pytest.mark.parametrize("name", [*STAMPS, "Run_ID"])
def test_a_target_named_like_a_column_of_every_output_is_refused(name: str) -> None:
    model = LinearRegression().fit(X, ONE)
    text = f"y: names the predictions '{name}', and each run adds the columns predicted_at, "
    with pytest.raises(InvalidRequest, match=text) as caught:
        build(model, X=X, y=ONE.rename(name))
    assert str(caught.value).endswith(f": pass target='predicted_{name}'")
    build(model, X=X, y=ONE.rename(name), target=f"predicted_{name}", id_columns="age")


@pytest.mark.parametrize(
    ("options", "parameter", "words"),
    [
        ({"target": "Age", "id_columns": ["age"]}, "target", "'age' is one of id_columns: pass "),
        ({"target": "ÄRA", "id_columns": ["ära"]}, "target", "pass target='predicted_ÄRA'"),
        ({"y": ONE, "id_columns": ["Y"]}, "y", "names the predictions 'y', and 'Y' is one of"),
        ({"id_columns": ["prediction"]}, "target", "is missing: the predictions would be named"),
        ({"id_columns": ["id", "MODEL_NAME"]}, "id_columns", "names 'MODEL_NAME', and each run"),
        ({"id_columns": "run_id"}, "id_columns", "rename the column of the tables"),
    ],
)
def test_names_that_meet_in_an_output_are_refused_with_what_to_pass(
    options: dict[str, Any], parameter: str, words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        build(LinearRegression().fit(X, ONE), X=X, **options)
    [(name, problem)] = caught.value.problems
    assert name == parameter
    assert words in problem
    columns = [*options["id_columns"]] if isinstance(options["id_columns"], list) else ["run_id"]
    predicted = options.get("target", "y" if "y" in options else "prediction")
    written = [Column(predicted, "FLOAT64"), *(Column(n, t) for n, t in STAMPS.items())]
    with pytest.raises(SchemaMismatch):  # as each run would be
        with_ids([Column(column, "INT64") for column in columns], written)


def test_of_several_targets_each_is_compared_and_the_others_are_kept_in_the_advice() -> None:
    model = LinearRegression().fit(X, TWO)
    with pytest.raises(InvalidRequest) as caught:
        build(model, X=X, y=TWO, target=["a", "model_version"])
    assert str(caught.value).endswith(": pass target=['a', 'predicted_model_version']")
    with pytest.raises(InvalidRequest, match="'prediction_1' is one of id_columns"):
        build(model, X=X, id_columns=["prediction_1"])


def test_a_model_that_predicts_nothing_leaves_the_name_prediction_to_the_ids() -> None:
    assert build(StandardScaler().fit(X), X=X, id_columns="prediction")
    assert build(LinearRegression().fit(X, ONE), X=X, id_columns="*")
