"""Parameters: from the texts of a query to a request, and back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.api.predict_queries import PredictQuery
from mlsys.cloud.tables import TableRef
from mlsys.errors import InvalidRequest
from mlsys.models import ModelRef
from mlsys.settings import Settings
from workers.scoring.journal.store import check_run_id
from workers.scoring.request.parsed import ScoringRequest

SERVICE = Settings("my-project", envs=("dev", "staging"))
GOOD: dict[str, Any] = {
    "env": "dev",
    "input_table": "my-project.titanic.test",
    "output_table": "my-project.titanic.predictions",
    "model_name": "titanic-survival",
    "model_version": "v1",
}


def test_the_required_parameters_are_enough() -> None:
    query = PredictQuery.model_validate(GOOD)
    assert (query.run_id, query.dry_run, query.wait) == (None, False, True)
    assert query.to_request(SERVICE) == ScoringRequest(
        env="dev",
        input_table=TableRef("my-project", "titanic", "test"),
        output_table=TableRef("my-project", "titanic", "predictions"),
        model_name="titanic-survival",
        model_version="v1",
        id_columns=None,
        outputs=("predict",),
        write_disposition="WRITE_APPEND",
    )


def test_max_drift_is_refused_where_nothing_is_counted() -> None:
    assert PredictQuery.model_validate(GOOD | {"profile": "false"}).profile is False
    with pytest.raises(ValidationError, match="counts nothing that max_drift could look at"):
        PredictQuery.model_validate(GOOD | {"max_drift": "0.3", "profile": "false"})


def test_every_parameter_reaches_the_request() -> None:
    query = PredictQuery.model_validate(
        GOOD
        | {
            "model_version": "latest",
            "run_id": "titanic-2026_11",
            "id_columns": " PassengerId , Name",
            "outputs": "predict_proba, predict",
            "write_disposition": "WRITE_EMPTY",
            "dry_run": "true",
            "wait": "false",
        }
    )
    assert (query.run_id, query.dry_run, query.wait) == ("titanic-2026_11", True, False)
    request = query.to_request(SERVICE)
    assert request.model_version == "latest"
    assert request.id_columns == ("PassengerId", "Name")
    assert request.outputs == ("predict", "predict_proba")
    assert request.write_disposition == "WRITE_EMPTY"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("env", "DEV", id="an environment in capitals"),
        pytest.param("input_table", "titanic.test", id="no project"),
        pytest.param("input_table", 5, id="a number for a table"),
        pytest.param("input_table", None, id="null for a table"),
        pytest.param("output_table", "my-project.titanic.test", id="the input table"),
        pytest.param("model_name", "titanic/../x", id="a path for a model"),
        pytest.param("model_name", "a" * 64, id="a long name"),
        pytest.param("model_name", "titanic\n", id="a newline"),
        pytest.param("model_version", "v0", id="version 0"),
        pytest.param("model_version", "v01", id="a leading zero"),
        pytest.param("model_version", "v1 ", id="a space"),
        pytest.param("model_version", "Newest", id="a word in capitals"),
        pytest.param("model_version", "champion_2", id="an underscore"),
        pytest.param("model_version", "v٣", id="other digits"),
        pytest.param("run_id", "", id="an empty run"),
        pytest.param("run_id", "A", id="a run in capitals"),
        pytest.param("run_id", "a" * 129, id="a long run"),
        pytest.param("run_id", "-a", id="a run that starts with a hyphen"),
        pytest.param("id_columns", "", id="no names"),
        pytest.param("id_columns", "a,", id="an empty name"),
        pytest.param("id_columns", "a,a", id="a name twice"),
        pytest.param("id_columns", ["a", "b"], id="a list for names"),
        pytest.param("outputs", "", id="no output"),
        pytest.param("outputs", "predict,decision", id="an unknown output"),
        pytest.param("outputs", None, id="null for outputs"),
        pytest.param("write_disposition", "write_append", id="a disposition in small letters"),
        pytest.param("wait", "later", id="no boolean"),
        pytest.param("limit", "5", id="an unknown parameter"),
    ],
)
def test_a_malformed_value_is_the_only_error(name: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        PredictQuery.model_validate(GOOD | {name: value})
    [error] = caught.value.errors()
    assert error["loc"] in ((name,), ())  # the model as a whole compares the two tables


@pytest.mark.parametrize("name", ["run_id", "id_columns"])
def test_null_means_the_default(name: str) -> None:
    """A message may contain parameters that a query leaves out."""
    query = PredictQuery.model_validate_json(json.dumps(GOOD | {name: None}))
    assert getattr(query, name) is None


def test_an_environment_that_is_not_served_is_refused() -> None:
    query = PredictQuery.model_validate(GOOD | {"env": "prod"})
    with pytest.raises(InvalidRequest, match="'prod' is not served here"):
        query.to_request(SERVICE)


NAME = st.from_regex(r"[a-z0-9]{1,5}(-[a-z0-9]{1,5}){0,3}", fullmatch=True)
COLUMN = st.text(
    st.characters(exclude_characters=",", exclude_categories=["Cs"]), min_size=1, max_size=9
).filter(lambda text: text == text.strip() != "")
REQUESTS = st.builds(
    ScoringRequest,
    env=st.sampled_from(SERVICE.envs),
    input_table=st.just(TableRef("my-project", "titanic", "test")),
    output_table=st.builds(TableRef, st.just("my-project"), st.sampled_from("ab"), st.just("t-1")),
    model_name=NAME,
    model_version=st.sampled_from(["latest", "champion", "a-b"])
    | st.integers(1, 10**9 - 1).map("v{}".format),
    id_columns=st.none() | st.lists(COLUMN, min_size=1, unique=True).map(tuple),
    outputs=st.sampled_from([("predict",), ("predict_proba",), ("predict", "predict_proba")]),
    write_disposition=st.sampled_from(["WRITE_APPEND", "WRITE_TRUNCATE", "WRITE_EMPTY"]),
)


@given(REQUESTS)
def test_a_request_survives_the_round_trip_through_a_message(request: ScoringRequest) -> None:
    """`wait=false` sends it through Pub/Sub as the texts that `GET /predict` takes."""
    message = json.dumps(request.to_dict() | {"run_id": "a-run"})
    query = PredictQuery.model_validate_json(message)
    assert query.to_request(SERVICE) == request
    assert query.run_id == "a-run"


def path_of(ref: ModelRef, kind: str) -> str:
    paths = {"model": ref.path, "metadata": ref.metadata_path, "signature": ref.signature_path}
    return paths[kind]


@given(
    st.text()
    | st.from_regex(r"[a-z/v0-9.-]*(model\.pkl|metadata\.json|model\.sig)\n?", fullmatch=True)
)
def test_a_path_is_parsed_as_a_model_version_only_if_that_gives_the_same_path(path: str) -> None:
    try:
        ref, kind = ModelRef.of_object(path)
    except InvalidRequest:
        return
    assert path == path_of(ref, kind)


@given(NAME, st.integers(1, 10**9 - 1), st.sampled_from(["model", "metadata", "signature"]))
def test_a_model_version_survives_the_round_trip_through_its_paths(
    name: str, number: int, kind: str
) -> None:
    ref = ModelRef(name, f"v{number}")
    assert ModelRef.of_object(path_of(ref, kind)) == (ref, kind)
    assert ref.number == number


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("titanic/model.pkl", id="no version"),
        pytest.param("titanic/v1/old/model.pkl", id="a folder more"),
        pytest.param("/v1/model.pkl", id="no name"),
        pytest.param("titanic/v0/model.pkl", id="version 0"),
        pytest.param("titanic/1/model.pkl", id="a bare number"),
        pytest.param("titanic/v1/model.pkl.tmp", id="another file"),
        pytest.param("titanic/v1/model.joblib", id="another ending"),
        pytest.param("Titanic/v1/model.pkl", id="capitals"),
        pytest.param("titanic_2/v1/model.pkl", id="an underscore"),
        pytest.param("titanic/v1/model.pkl\n", id="a newline at the end"),
        pytest.param("titanic\n/v1/model.pkl", id="a newline in the name"),
        pytest.param("titanic/v1\n/model.pkl", id="a newline in the version"),
        pytest.param("-a/v1/model.pkl", id="a hyphen in front"),
        pytest.param("a--b/v1/model.pkl", id="two hyphens"),
        pytest.param("a" * 64 + "/v1/model.pkl", id="a long name"),
        pytest.param("titanic/v1234567890/model.pkl", id="a long version"),
    ],
)
def test_a_path_that_is_not_a_model_version_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequest):
        ModelRef.of_object(path)


def test_malformed_name_and_version_are_both_reported() -> None:
    with pytest.raises(InvalidRequest) as caught:
        ModelRef("My Model", "1")
    assert [name for name, _ in caught.value.problems] == ["model_name", "model_version"]


@pytest.mark.parametrize("run_id", ["a", "0", "titanic-v1-0123456789abcdef", "a_b-c", "a" * 128])
def test_valid_run_ids(run_id: str) -> None:
    assert check_run_id(run_id) == run_id


@pytest.mark.parametrize("run_id", ["", "A", "a/b", "a.b", "_a", "a\n", "a" * 129, "ä"])
def test_invalid_run_ids_are_refused(run_id: str) -> None:
    with pytest.raises(InvalidRequest, match="^run_id: "):
        check_run_id(run_id)
