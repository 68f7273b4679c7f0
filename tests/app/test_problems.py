"""Problem details: every exception has an answer, and no backend's raw text leaves the service."""

import inspect
import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from google.api_core import exceptions as google
from google.auth.exceptions import RefreshError, TransportError
from requests.exceptions import ChunkedEncodingError, ConnectionError, Timeout
from werkzeug.exceptions import Forbidden, Unauthorized

import app.api.registry
from app import create_app
from app.api.problems import STATUS, status_of
from mlsys import errors
from mlsys.remote.answers import faults, sentence
from mlsys.settings import Emulators, Settings

SECRET = "projects/secret-project/secret text of a backend"  # pragma: allowlist secret

# Each of our errors, and its answer. 500 is for errors that no request raises.
ANSWERS: dict[type[Exception], int] = {
    errors.MlsysError: 500,
    errors.SettingsError: 500,
    errors.CredentialsMissing: 500,
    errors.CloudRefused: 500,
    errors.MetadataInvalid: 500,
    errors.ContractInvalid: 500,
    errors.NotRegistered: 500,
    errors.InvalidRequest: 400,
    errors.NotAllowed: 403,
    errors.GuardRefused: 403,
    errors.PermissionMissing: 403,
    errors.ModelNotFound: 404,
    errors.AliasNotFound: 404,
    errors.ObjectNotFound: 404,
    errors.TableNotFound: 404,
    errors.RunNotFound: 404,
    errors.Conflict: 409,
    errors.ModelExists: 409,
    errors.RunCancelled: 409,
    errors.RunPublished: 409,
    errors.RunUndone: 409,
    errors.PriceLimit: 409,
    errors.AliasMoved: 409,
    errors.SchemaMismatch: 422,
    errors.ModelUnusable: 422,
    errors.AliasInvalid: 422,
    errors.ContractBroken: 422,
    errors.PredictionFailed: 422,
    errors.InputDrifted: 422,
    errors.NoProgress: 422,
    errors.RunFailed: 422,
    errors.TryAgain: 503,
    errors.CloudUnavailable: 503,
    errors.RegistryBusy: 503,
    errors.RunInterrupted: 503,
    errors.RunWaiting: 503,
    errors.OthersAtWork: 503,
    errors.NewerRelease: 503,
    errors.TooManyRuns: 503,
    errors.SessionOver: 503,
}


def error_of(kind: type[Exception]) -> Exception:
    """Return an instance of one of our errors."""
    paired = kind in (errors.InvalidRequest, errors.ContractInvalid)
    return kind(("env", "is wrong")) if paired else kind("is wrong")


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    """Return a client of the service with a route that raises what a test puts into `raised`."""
    nowhere = Emulators("http://127.0.0.1:9", "http://127.0.0.1:9", "127.0.0.1:9", "127.0.0.1:9")
    settings = Settings("demo-project", envs=("dev",), push_auth="off", emulators=nowhere)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.logs.configure", lambda: None)
        service = create_app(settings)

    @service.get("/raise")
    def route() -> None:
        raise service.extensions["raised"]

    return service.test_client()


def answer_to(client: FlaskClient, exc: Exception) -> Any:
    """Return the service's answer when a route raises `exc`."""
    client.application.extensions["raised"] = exc
    answer = client.get("/raise")
    assert answer.mimetype == "application/problem+json"
    assert answer.json["status"] == answer.status_code
    return answer


def test_every_error_class_is_in_the_table() -> None:
    ours = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.MlsysError)
    }
    assert ours == set(ANSWERS)
    assert all(issubclass(kind, errors.MlsysError) for kind, _, _ in STATUS)


@pytest.mark.parametrize(
    ("kind", "status"), [pytest.param(k, s, id=k.__name__) for k, s in ANSWERS.items()]
)
def test_an_error_answers_with_its_status_slug_and_message(
    client: FlaskClient, kind: type[Exception], status: int
) -> None:
    answer = answer_to(client, error_of(kind))
    assert answer.status_code == status
    assert "is wrong" in answer.json["detail"]
    assert answer.json["type"].startswith("urn:mlsys:problem:")
    assert ("Retry-After" in answer.headers) is (status == 503)


def test_the_problem_type_is_the_errors_name_in_kebab_case(client: FlaskClient) -> None:
    answer = answer_to(client, errors.TableNotFound("The table a.b.c does not exist"))
    assert answer.json == {
        "type": "urn:mlsys:problem:table-not-found",
        "title": "Table not found",
        "status": 404,
        "detail": "The table a.b.c does not exist",
    }


def test_details_are_machine_readable_too(client: FlaskClient) -> None:
    answer = answer_to(client, errors.InvalidRequest(("env", "is missing"), ("run_id", "is bad")))
    assert answer.json["parameters"] == [
        {"name": "env", "problem": "is missing"},
        {"name": "run_id", "problem": "is bad"},
    ]
    assert answer.json["detail"] == "env: is missing; run_id: is bad"
    answer = answer_to(client, errors.SchemaMismatch("Does not fit.", [("Age", "is missing")]))
    assert answer.json["columns"] == [{"name": "Age", "problem": "is missing"}]
    assert answer.json["detail"] == "Does not fit. Age: is missing"
    answer = answer_to(client, errors.RunInterrupted("Stopped", {"rows_done": 7}))
    assert answer.json["progress"] == {"rows_done": 7}
    assert answer.headers["Retry-After"] == "5"


@pytest.mark.parametrize(
    "exc",
    [
        pytest.param(google.ServiceUnavailable(SECRET), id="unavailable"),
        pytest.param(google.InternalServerError(SECRET), id="internal"),
        pytest.param(google.GatewayTimeout(SECRET), id="gateway"),
        pytest.param(google.DeadlineExceeded(SECRET), id="deadline"),
        pytest.param(google.TooManyRequests(SECRET), id="too many"),
        pytest.param(google.ResourceExhausted(SECRET), id="exhausted"),
        pytest.param(google.Aborted(SECRET), id="aborted"),
        pytest.param(google.RetryError(SECRET, google.ServiceUnavailable(SECRET)), id="retries"),
        pytest.param(
            google.Forbidden(SECRET, errors=[{"reason": "quotaExceeded"}]), id="BigQuery's quota"
        ),
        pytest.param(
            google.Forbidden(SECRET, errors=[{"reason": "rateLimitExceeded"}]), id="its rate"
        ),
        pytest.param(TransportError(SECRET), id="the metadata server"),
        pytest.param(RefreshError(SECRET, retryable=True), id="a token that may come"),
        pytest.param(ConnectionError(SECRET), id="connection"),
        pytest.param(ChunkedEncodingError(SECRET), id="cut connection"),
        pytest.param(Timeout(SECRET), id="timeout"),
        pytest.param(TimeoutError(SECRET), id="a job that goes on"),
    ],
)
def test_a_transient_error_is_503_with_retry_after_and_no_raw_text(
    client: FlaskClient, exc: Exception
) -> None:
    answer = answer_to(client, exc)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json["type"] == "urn:mlsys:problem:503"
    assert "secret" not in answer.text
    assert "The same request can succeed later" in answer.json["detail"]


@pytest.mark.parametrize(
    "exc",
    [
        pytest.param(google.Forbidden(SECRET), id="HTTP"),
        pytest.param(google.Forbidden(SECRET, errors=[{"reason": "accessDenied"}]), id="BigQuery"),
        pytest.param(google.PermissionDenied(SECRET), id="gRPC"),
        pytest.param(google.Unauthorized(SECRET), id="unauthorized"),
    ],
)
def test_a_missing_permission_is_403_without_its_text(client: FlaskClient, exc: Exception) -> None:
    answer = answer_to(client, exc)
    assert answer.status_code == 403
    assert "lacks a permission" in answer.json["detail"]
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "exc",
    [
        pytest.param(ValueError(SECRET), id="a bug"),
        pytest.param(KeyError(SECRET), id="another bug"),
        pytest.param(google.BadRequest(SECRET), id="a request of ours that Google refuses"),
        pytest.param(RefreshError(SECRET), id="an account without a key"),
        pytest.param(ExceptionGroup(SECRET, [ValueError(SECRET)]), id="several"),
    ],
)
def test_an_unexpected_error_is_500_without_its_text(client: FlaskClient, exc: Exception) -> None:
    answer = answer_to(client, exc)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.json["title"] == "Something is wrong with the service"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/no-such-route", 404),
        ("GET", "/runs/", 404),
        ("PUT", "/predict", 405),
        ("GET", "/events/storage", 405),
        ("DELETE", "/models", 405),
    ],
)
def test_the_routers_errors_are_problems_too(
    client: FlaskClient, method: str, path: str, status: int
) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert answer.mimetype == "application/problem+json"
    assert answer.json["type"] == f"urn:mlsys:problem:{status}"


@pytest.mark.parametrize("path", ["/events/storage", "/events/predictions"])
def test_a_body_over_one_mebibyte_is_413(client: FlaskClient, path: str) -> None:
    answer = client.post(path, data=b"x" * (1024 * 1024 + 1))
    assert answer.status_code == 413
    assert answer.mimetype == "application/problem+json"


def test_flasks_http_errors_keep_their_description() -> None:
    assert status_of(Unauthorized("No token.")) == (401, "Unauthorized")
    assert status_of(Forbidden()) == (403, "Forbidden")


GOOD = {
    "env": "dev",
    "input_table": "my-project.titanic.test",
    "output_table": "my-project.titanic.predictions",
    "model_name": "titanic-survival",
    "model_version": "v1",
}
BAD = {
    "env": ("qa", "'qa': "),
    "input_table": ("titanic", "'titanic' is not a table id"),
    "output_table": ("a.b.c; DROP", "'a.b.c; DROP' is not a table id"),
    "model_name": ("Titanic", "'Titanic': pass lower-case words"),
    "model_version": ("1", "'1': pass v1, v2, ..., latest or an alias"),
    "run_id": ("../x", "'../x': pass at most 128 lower-case letters"),
    "id_columns": ("a,,b", "'a,,b': pass names once each"),
    "outputs": ("proba", "'proba': pass any of predict, predict_proba"),
    "write_disposition": ("REPLACE", "'REPLACE': "),
    "dry_run": ("perhaps", "'perhaps': "),
    "wait": ("", "'': "),
    "unheard": ("of", "is not a parameter of this route"),
}


def test_every_malformed_parameter_is_named_at_once(client: FlaskClient) -> None:
    answer = client.get("/predict", query_string={k: v for k, (v, _) in BAD.items()})
    assert answer.status_code == 400
    assert answer.mimetype == "application/problem+json"
    problems = {p["name"]: p["problem"] for p in answer.json["parameters"]}
    assert problems.keys() == BAD.keys()
    for name, (_, start) in BAD.items():
        assert problems[name].startswith(start)
        assert name in answer.json["detail"]


@pytest.mark.parametrize("name", BAD)
def test_only_the_malformed_parameter_is_named(client: FlaskClient, name: str) -> None:
    answer = client.get("/predict", query_string=GOOD | {name: BAD[name][0]})
    assert answer.status_code == 400
    [problem] = answer.json["parameters"]
    assert problem["name"] == name


def test_every_missing_parameter_is_named_at_once(client: FlaskClient) -> None:
    answer = client.get("/predict")
    assert answer.status_code == 400
    assert answer.json["parameters"] == [{"name": n, "problem": "is missing"} for n in GOOD]


def test_the_input_table_is_refused_as_the_output_table(client: FlaskClient) -> None:
    answer = client.get("/predict", query_string=GOOD | {"output_table": GOOD["input_table"]})
    assert answer.status_code == 400
    [problem] = answer.json["parameters"]
    assert problem["name"] == "output_table"
    assert problem["problem"] == "is the input table: pass another one"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/models", "env"),
        ("/model-registry?env=qa", "env"),
        ("/models?env=dev&version=3", "version"),
        ("/runs/NO?env=dev", "run_id"),
        ("/runs/a-run", "env"),
    ],
)
def test_the_other_routes_name_their_parameters_too(
    client: FlaskClient, path: str, name: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == 400
    assert [p["name"] for p in answer.json["parameters"]] == [name]


@pytest.mark.parametrize("path", ["/models", "/model-registry", "/runs/a-run", "/predict"])
def test_an_environment_that_another_service_serves_is_named(
    client: FlaskClient, path: str
) -> None:
    query = GOOD if path == "/predict" else {}
    answer = client.get(path, query_string=query | {"env": "prod"})
    assert answer.status_code == 400
    [problem] = answer.json["parameters"]
    assert problem == {
        "name": "env",
        "problem": "'prod' is not served here: pass dev",
    }


def test_a_requests_text_is_quoted_shortened_and_escaped(client: FlaskClient) -> None:
    answer = client.get("/predict", query_string=GOOD | {"model_name": '<b>"\n' + "x" * 5000})
    assert answer.status_code == 400
    assert len(answer.text) < 1000
    assert answer.json["parameters"][0]["problem"].startswith("'<b>")


def test_a_workers_error_is_answered_by_the_table(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Use a real route, not this module's own."""

    def busy(*_: Any) -> None:
        raise errors.RegistryBusy("The registry kept changing")

    monkeypatch.setattr("workers.registry.sync.rescan", busy)
    answer = client.get("/model-registry?env=dev")
    assert (answer.status_code, answer.json["type"]) == (503, "urn:mlsys:problem:registry-busy")
    assert app.api.registry.api.name == "registry"


FORM, JSON = "application/x-www-form-urlencoded", "application/json"


@pytest.mark.parametrize("kind", [FORM, JSON])
def test_malformed_parameters_of_a_body_are_named_at_once(client: FlaskClient, kind: str) -> None:
    bad = {k: v for k, (v, _) in BAD.items()}
    how: dict[str, Any] = {"json": bad} if kind == JSON else {"data": bad}
    answer = client.post("/predict", **how)
    assert (answer.status_code, answer.mimetype) == (400, "application/problem+json")
    assert {p["name"] for p in answer.json["parameters"]} == BAD.keys()


@pytest.mark.parametrize(
    ("body", "kind", "name", "says"),
    [
        (b"{", JSON, "body", "is not JSON"),
        (b"[]", JSON, "body", "holds a list: pass an object"),
        (b"null", JSON, "body", "holds a NoneType: pass an object"),
        (b"", JSON, "body", "is not JSON"),
        (b"\xff", JSON, "body", "is not JSON"),
        (b"[" * 100_000, JSON, "body", "is not JSON"),
        (b'{"where": "\\ud800"}', JSON, "body", "is not JSON"),
        (b'{"env": NaN}', JSON, "body", "is not JSON"),
        (b"env=dev&env=prod", FORM, "env", "is passed twice: pass it once"),
        (b"env=\xff", FORM, "body", "is not a form in UTF-8"),
        (b"env=%FF", FORM, "body", "is not a form in UTF-8"),
        (b"&".join(b"a%d=1" % i for i in range(101)), FORM, "body", "is not a form"),
    ],
)
def test_an_unreadable_body_is_a_problem(
    client: FlaskClient, body: bytes, kind: str, name: str, says: str
) -> None:
    answer = client.post("/predict", data=body, content_type=kind)
    assert answer.status_code == 400
    [problem] = answer.json["parameters"]
    assert problem["name"] == name and problem["problem"].startswith(says)


@pytest.mark.parametrize("value", [{"a": 1}, [1], [], [["a"]], 10**400, 0.5])
def test_a_json_value_without_a_text_form_is_named(client: FlaskClient, value: Any) -> None:
    # The app's own encoder writes large numbers as text.
    body = json.dumps(GOOD | {"id_columns": value})
    answer = client.post("/predict", data=body, content_type="application/json")
    assert answer.status_code == 400
    assert [p["name"] for p in answer.json["parameters"]] in (["id_columns"], ["body"])


@pytest.mark.parametrize("kind", [None, "text/plain", "multipart/form-data", "application/xml"])
def test_a_body_of_another_type_is_415(client: FlaskClient, kind: str | None) -> None:
    answer = client.post("/predict", data=b"env=dev", content_type=kind)
    assert (answer.status_code, answer.mimetype) == (415, "application/problem+json")
    assert FORM in answer.json["detail"]


def test_parameters_in_the_url_of_a_post_are_refused(client: FlaskClient) -> None:
    answer = client.post("/predict?env=dev", data=GOOD)
    assert answer.status_code == 400
    problem = "is in the URL: pass every parameter in the body"
    assert answer.json["parameters"] == [{"name": "env", "problem": problem}]


def test_an_answer_lists_a_limited_number_of_columns_and_counts_the_rest(
    client: FlaskClient,
) -> None:
    columns = [(f"c{i}", "is missing") for i in range(100_000)]
    answer = answer_to(client, errors.SchemaMismatch("It does not fit.", columns))
    assert len(answer.data) < 20_000
    assert answer.json["columns"][-1] == {"name": "c49", "problem": "is missing"}
    assert (len(answer.json["columns"]), answer.json["more"]) == (50, 99_950)
    assert answer.json["detail"].startswith("It does not fit. c0: is missing; c1: is missing; ")
    assert answer.json["detail"].endswith("; c49: is missing; and 99,950 more")
    assert sentence(answer.json) == "It does not fit."
    assert faults(answer.json)[-2:] == ["c49: is missing", "and 99,950 more"]


@pytest.mark.parametrize(
    "exc",
    [
        errors.InvalidRequest(*((f"p{i}", "is wrong") for i in range(100_000))),
        errors.InvalidRequest(("where", "x" * 1_000_000)),
        errors.ModelUnusable("x" * 1_000_000),
        errors.PredictionFailed("x" * 1_000_000, [{"id": i, "reason": "y"} for i in range(9_999)]),
        errors.TryAgain("x" * 1_000_000),
        errors.Conflict("é" * 1_000_000),
    ],
    ids=lambda exc: type(exc).__name__,
)
def test_answers_about_huge_inputs_stay_short(client: FlaskClient, exc: Exception) -> None:
    assert len(answer_to(client, exc).json["detail"]) < 5_000
