"""Every exception of Google's clients, at every call of every public function, is one sentence."""

import importlib
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google.auth
import grpc
import pandas as pd
import pytest
import requests
import urllib3
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage import exceptions as storage
from google.resumable_media import common as media
from sklearn.dummy import DummyRegressor

import mlsys.artifact.describe
import mlsys.bq
import mlsys.contracts
import mlsys.gcs
import mlsys.models
import mlsys.remote.identity_token
from broken_cloud import BrokenCloud
from mlsys.artifact import signing
from mlsys.cli.errors import explain
from mlsys.cloud import quarantine
from mlsys.cloud.errors import TABLE, cloud_errors, translated
from mlsys.cloud.messages import ROLES, Use
from mlsys.errors import (
    CloudRefused,
    CloudUnavailable,
    Conflict,
    CredentialsMissing,
    InvalidRequest,
    MlsysError,
    ModelNotFound,
    NotRegistered,
    ObjectNotFound,
    PermissionMissing,
    TableNotFound,
)
from mlsys.registry import promotion, row, version_upload

X = pd.DataFrame({"a": [1.0, 2.0]})
DENIED = (
    "me@demo-project.iam.gserviceaccount.com does not have storage.objects.get access to the "
    "Google Cloud Storage object. Permission 'storage.objects.get' denied on resource (or it may "
    "not exist)."
)
LONG = "x" * 100_000
SECRET = "-----BEGIN PRIVATE KEY-----"  # pragma: allowlist secret


def http(status: int) -> requests.Response:
    """Return a response that no client has turned into an exception."""
    response = requests.Response()
    response.status_code = status
    response._content = json.dumps({"error": {"message": "said so"}}).encode()
    response.request = requests.Request("GET", "https://storage.googleapis.com/b/o").prepare()
    return response


class Status(grpc.RpcError):
    """The error that gRPC raises."""

    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__(code)
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "gRPC says so"


# Exceptions that the clients raise, and the ones that a notebook sees. The functions have sentences
# of their own for NotFound and others, so several may match.
MISSING = (ObjectNotFound, TableNotFound, ModelNotFound, NotRegistered)
RAISED: list[tuple[Exception, tuple[type[MlsysError], ...]]] = [
    (auth.DefaultCredentialsError("none", ValueError("x")), (CredentialsMissing,)),
    (auth.MalformedError("not in the expected format"), (CredentialsMissing,)),
    (auth.RefreshError("invalid_grant: Bad Request", {"error": "x"}), (CredentialsMissing,)),
    (auth.RefreshError("later", retryable=True), (CloudUnavailable,)),
    (auth.ReauthFailError("Reauthentication failed"), (CredentialsMissing,)),
    (auth.MutualTLSChannelError("no certificate"), (CredentialsMissing,)),
    (auth.TransportError("no route to oauth2.googleapis.com"), (CloudUnavailable,)),
    (auth.TimeoutError("timed out"), (CloudUnavailable,)),
    (api.Unauthenticated("no identity"), (CredentialsMissing,)),
    (api.Unauthorized("Invalid Credentials"), (CredentialsMissing,)),
    (api.Forbidden(DENIED), (PermissionMissing,)),
    (api.PermissionDenied("denied"), (PermissionMissing,)),
    (api.Forbidden("q", errors=[{"reason": "quotaExceeded"}]), (CloudUnavailable,)),
    (api.Forbidden("b", errors=[{"reason": "billingNotEnabled"}]), (CloudRefused,)),
    (api.NotFound("Not found: Table a.b.c"), MISSING),
    (api.BadRequest("Syntax error"), (InvalidRequest,)),
    (api.InvalidArgument("bad argument"), (InvalidRequest,)),
    (api.Conflict("Already Exists: Table a.b.c"), (Conflict,)),
    (api.AlreadyExists("Already Exists"), (Conflict,)),
    (api.Aborted("aborted"), (CloudUnavailable,)),
    (api.PreconditionFailed("generation"), (Conflict,)),
    (api.TooManyRequests("slow down"), (CloudUnavailable,)),
    (api.ResourceExhausted("quota"), (CloudUnavailable,)),
    (api.InternalServerError("oops"), (CloudUnavailable,)),
    (api.BadGateway("oops"), (CloudUnavailable,)),
    (api.ServiceUnavailable("oops"), (CloudUnavailable,)),
    (api.DeadlineExceeded("late"), (CloudUnavailable,)),
    (api.MethodNotImplemented("never"), (CloudRefused,)),
    (api.MovedPermanently("elsewhere"), (CloudRefused,)),
    (api.Cancelled("stopped"), (CloudRefused,)),
    (api.from_http_status(413, "too large"), (CloudRefused,)),
    (api.RetryError("gave up", cause=api.ServiceUnavailable("x")), (CloudUnavailable,)),
    (api.RetryError("gave up", cause=requests.ConnectionError("x")), (CloudUnavailable,)),
    (api.RetryError("gave up", cause=auth.RefreshError("x")), (CredentialsMissing,)),
    (api.RetryError("gave up", cause=None), (CloudUnavailable,)),
    (storage.InvalidResponse(http(403), "Request failed", 403), (PermissionMissing,)),
    (media.InvalidResponse(http(401), "Request failed", 401), (CredentialsMissing,)),
    (media.InvalidResponse(http(503), "Request failed", 503), (CloudUnavailable,)),
    (media.InvalidResponse(None, "Request failed"), (CloudUnavailable,)),
    (storage.DataCorruption(http(200), "Checksum mismatch"), (CloudUnavailable,)),
    (media.DataCorruption(http(200), "Checksum mismatch"), (CloudUnavailable,)),
    (Status(grpc.StatusCode.UNAVAILABLE), (CloudUnavailable,)),
    (Status(grpc.StatusCode.PERMISSION_DENIED), (PermissionMissing,)),
    (requests.ConnectionError("no route"), (CloudUnavailable,)),
    (requests.exceptions.ProxyError("Cannot connect to proxy"), (CloudUnavailable,)),
    (requests.exceptions.SSLError("CERTIFICATE_VERIFY_FAILED"), (CloudUnavailable,)),
    (requests.ReadTimeout("read timed out"), (CloudUnavailable,)),
    (requests.ConnectTimeout("timed out"), (CloudUnavailable,)),
    (requests.exceptions.ChunkedEncodingError("broken"), (CloudUnavailable,)),
    (requests.JSONDecodeError("Expecting value", "<html>", 0), (CloudUnavailable,)),
    (urllib3.exceptions.ProtocolError("aborted"), (CloudUnavailable,)),
    (urllib3.exceptions.ReadTimeoutError(None, "/", "timed out"), (CloudUnavailable,)),  # type: ignore[arg-type]
    (ssl.SSLError("bad certificate"), (CloudUnavailable,)),
    (ConnectionResetError("reset"), (CloudUnavailable,)),
    (TimeoutError(), (CloudUnavailable,)),
    (api.BadRequest(LONG), (InvalidRequest,)),
    (requests.ConnectionError(LONG), (CloudUnavailable,)),
]


def upload(key: Path) -> Any:
    model = DummyRegressor().fit(X, [1, 2])
    return mlsys.models.upload_model(model, "demo", X=X, signing_key=key)


# Every public function that calls Google, with valid arguments.
CALLS: dict[str, Callable[[Path], Any]] = {
    "mlsys.bq.bq_get": lambda _: mlsys.bq.bq_get("SELECT 1"),
    "mlsys.bq.bq_put": lambda _: mlsys.bq.bq_put(pd.DataFrame({"a": [1]}), "demo-project.d.t"),
    "mlsys.contracts.get_contract": lambda _: mlsys.contracts.get_contract("demo", "v1"),
    "mlsys.contracts.set_contract": lambda _: mlsys.contracts.set_contract(
        "demo", "v1", {"version": 1, "clauses": []}
    ),
    "mlsys.gcs.gcs_get": lambda _: mlsys.gcs.gcs_get("demo-bucket", "a/b"),
    "mlsys.gcs.gcs_put": lambda _: mlsys.gcs.gcs_put(b"x", "demo-bucket", "a/b"),
    "mlsys.gcs.gcs_get_pickle": lambda _: mlsys.gcs.gcs_get_pickle("demo-bucket", "a/b"),
    "mlsys.gcs.gcs_put_pickle": lambda _: mlsys.gcs.gcs_put_pickle({}, "demo-bucket", "a/b"),
    "mlsys.gcs.gcs_list_blobs": lambda _: mlsys.gcs.gcs_list_blobs("demo-bucket"),
    "mlsys.models.upload_model": upload,
    "mlsys.models.sign_model": lambda key: mlsys.models.sign_model(
        mlsys.models.ModelRef("demo", "v1"), "dev", key
    ),
}


REF = mlsys.models.ModelRef("demo", "v1")
FILE = "demo/v1/metadata.json"
BODY = {"message": {"data": "e30=", "attributes": {"eventType": "OBJECT_FINALIZE"}}}
RECORD = quarantine.Record(
    "quarantine/2026/a.json", "2026-11-28", "/events/storage", "why", json.dumps(BODY)
)


def holds(cloud: BrokenCloud) -> dict[str, Any]:
    """Return the objects that the promotion and the quarantine read."""
    settings = cloud.settings
    source, target = settings.models_bucket("dev"), settings.models_bucket("staging")
    mark = json.dumps({"from": f"gs://{source}/{REF.path}#1"})
    return {
        f"{source}/{REF.path}": (b"model",),
        f"{source}/{FILE}": (b"new",),
        f"{target}/{FILE}": (b"old", {"mlsys-promotion": mark}),
        f"{settings.runs_bucket('dev')}/{RECORD.name}": (b"{}",),
    }


# And every function of the commands.
COMMANDS: dict[str, Callable[[Any], Any]] = {
    "promote": lambda c: promotion.promote(
        REF, "dev", "staging", by="me", from_clients=c, to_clients=c
    ),
    "list": lambda c: quarantine.objects(c, "dev"),
    "read": lambda c: list(quarantine.read(c, "dev", quarantine.objects(c, "dev"))),
    "replay": lambda c: quarantine.replay(c, "dev", RECORD),
    "registered": lambda c: row.registered(c, "dev", REF),
}
CALLS_OF = {"promote": 14, "list": 2, "read": 4, "replay": 5, "registered": 3}


@pytest.mark.parametrize("name", COMMANDS)
def test_any_google_error_in_a_command_becomes_one_sentence(name: str) -> None:
    well = BrokenCloud(0, None)
    well.holds = holds(well)
    COMMANDS[name](well)
    assert len(well.made) >= CALLS_OF[name], well.made
    for at, what in enumerate(well.made, 1):
        for exc, expected in RAISED:
            case = f"{type(exc).__name__} at {what} ({at}) of {name}"
            broken = BrokenCloud(at, exc, well.holds)
            try:
                COMMANDS[name](broken)
            except MlsysError as said:
                # a malformed message and a file that changed meanwhile have their own sentences
                own = isinstance(said, Conflict | InvalidRequest) and isinstance(
                    exc, api.PreconditionFailed | api.BadRequest
                )
                assert isinstance(said, expected) or own, case
                assert said.__cause__ is not None or isinstance(said, ObjectNotFound), case
                text = str(said)
                assert "\n" not in text and 10 < len(text) < 1400, case
            else:  # deleted meanwhile, which is fine, or a bucket that may not be listed
                assert isinstance(exc, api.NotFound | api.Forbidden), case
                assert what in ("delete", "download", "list_blobs", "storage"), case


@pytest.mark.parametrize("case", RAISED, ids=lambda case: type(case[0]).__name__)
def test_the_command_line_translates_the_remaining_google_errors(case: Any) -> None:
    exc, _ = case
    text = explain(exc)
    assert "\n" not in text and 10 < len(text) < 1400
    assert "does not know" not in text and "lacks ." not in text


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key.pem"
    signing.new_key(path)
    return path


def with_cloud(monkeypatch: pytest.MonkeyPatch, cloud: BrokenCloud) -> None:
    for module in (mlsys.bq, mlsys.contracts, mlsys.gcs, mlsys.models):
        monkeypatch.setattr(module, "default_clients", lambda: cloud)


def test_every_public_function_that_calls_google_is_tested() -> None:
    public = {
        f"{module.__name__}.{name}"
        for module in (mlsys.bq, mlsys.contracts, mlsys.gcs, mlsys.models)
        for name in module.__all__
        if not isinstance(getattr(module, name), type)
    }
    by_the_service = {"mlsys.models.list_models", "mlsys.models.set_alias"}  # and not by Google
    assert public - by_the_service == set(CALLS)


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", CALLS)
def test_any_google_error_at_any_call_becomes_one_sentence(
    name: str, every: int, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each call one error in `every`, others at the next call."""
    if name == "mlsys.models.upload_model":  # so that each upload makes the same document
        build, model = mlsys.artifact.describe.build, DummyRegressor().fit(X, [1, 2])
        document = build(model, X=X)
        monkeypatch.setattr("mlsys.artifact.describe.build", lambda *_, **__: document)
    held: dict[str, Any] = {}
    if name.startswith("mlsys.contracts."):
        held = {"mlsys-models-dev/demo/v1/contract.json": (b'{"version": 1, "clauses": []}',)}
    well = BrokenCloud(0, None, held)
    with_cloud(monkeypatch, well)
    CALLS[name](key)
    assert len(well.made) >= 2
    for at, what in enumerate(well.made, 1):
        for exc, expected in RAISED[at % every :: every]:
            case = f"{type(exc).__name__} at {what} of {name}"
            with_cloud(monkeypatch, BrokenCloud(at, exc, held))
            try:
                CALLS[name](key)
            except MlsysError as said:
                assert isinstance(said, expected), case
                assert said.__cause__ is not None, case
                text = str(said)
                assert "\n" not in text and 10 < len(text) < 1200, case
            else:  # a missing table is created
                assert isinstance(exc, api.NotFound) and name == "mlsys.bq.bq_put", case
                assert what in ("bigquery", "get_table"), case


def test_every_name_in_the_table_is_a_class() -> None:
    for name in TABLE:
        module, _, kind = name.rpartition(".")
        found = getattr(importlib.import_module(module), kind)
        assert f"{found.__module__}.{found.__qualname__}" == name
        assert issubclass(found, Exception)


def test_every_public_exception_of_the_clients_is_in_the_table() -> None:
    """A release that adds one fails this test."""
    modules = (api, auth, storage, media, requests.exceptions, urllib3.exceptions)
    for module in modules:
        for name, kind in vars(module).items():
            if not isinstance(kind, type) or not issubclass(kind, Exception):
                continue
            if issubclass(kind, Warning) or name in ("InvalidPathError", "BaseHTTPError"):
                continue
            if kind.__module__.split(".")[0] in ("builtins", "email", "json"):
                continue
            if name == "AsyncRestUnsupportedParameterError":  # a mistake in code, not a call
                continue
            names = [f"{k.__module__}.{k.__qualname__}" for k in kind.__mro__]
            assert set(names) & set(TABLE), f"{module.__name__}.{name}"


def test_other_exceptions_are_not_translated() -> None:
    use = Use("Cloud Storage", "gs://b/a", ("storage.objects.get",))
    for exc in (ValueError("x"), KeyError("x"), FileNotFoundError("x"), RuntimeError("x")):
        assert translated(exc, use) is None
        with pytest.raises(type(exc)) as caught, cloud_errors(use):
            raise exc
        assert caught.value is exc
    ours = TableNotFound("The table does not exist")
    with pytest.raises(TableNotFound) as same, cloud_errors(use):
        raise ours
    assert same.value is ours


@pytest.mark.parametrize(
    ("said", "named"),
    [
        (DENIED, "lacks storage.objects.get. Ask for the role roles/storage.objectViewer"),
        (
            "Access Denied: Project p-project: User does not have bigquery.jobs.create permission "
            "in project p-project.",
            "lacks bigquery.jobs.create. Ask for the role roles/bigquery.jobUser",
        ),
        (
            "Access Denied: Table p-project:d.t: User does not have permission to query table",
            "lacks storage.objects.get or storage.objects.list. Ask for the role",
        ),
        (
            "Request had insufficient authentication scopes for storage.googleapis.com/b",
            "lacks storage.objects.get or storage.objects.list",
        ),
    ],
)
def test_a_403_names_the_permission_the_role_and_the_resource(said: str, named: str) -> None:
    use = Use("Cloud Storage", "gs://b/a", ("storage.objects.get", "storage.objects.list"))
    text = str(translated(api.Forbidden(said), use))
    assert text.startswith(f"Cloud Storage denies access to gs://b/a: the account {named}")
    assert text.endswith(f"Google says: {said}")


def test_every_permission_that_a_function_needs_has_a_role() -> None:
    needed = {
        *("storage.objects.get", "storage.objects.list"),
        *mlsys.gcs._WRITE,
        *version_upload.WRITE,
        *mlsys.bq._QUERY.permissions,
        *mlsys.bq._load_of(mlsys.bq.TableRef("p-project", "d", "t")).permissions,
    }
    assert needed <= set(ROLES)


FILES = {
    "does not exist": None,
    "is a folder": "",
    "is not a JSON file": "not json",
    "is not a JSON file of credentials": "[1]",
    "does not have a valid type": "{}",
    "service account": json.dumps({"type": "service_account", "private_key": SECRET}),
    "credentials": json.dumps({"type": "authorized_user"}),
    "usable": json.dumps({"type": "external_account"}),
}


@pytest.mark.parametrize("reason", FILES)
def test_a_bad_credentials_file_is_named_with_its_variable(
    reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, content = tmp_path / "key.json", FILES[reason]
    if content == "":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    monkeypatch.setenv("GCP_PROJECT_ID", "bad-file-project")
    for emulator in ("STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST"):
        monkeypatch.delenv(emulator, raising=False)
    with pytest.raises(CredentialsMissing) as caught:
        mlsys.bq.bq_get("SELECT 1")
    text = str(caught.value)
    assert text.startswith(f"GOOGLE_APPLICATION_CREDENTIALS names {path}, which ")
    assert reason in text and "gcloud auth application-default login" in text
    assert "\n" not in text and SECRET not in text
    with pytest.raises(CredentialsMissing):
        mlsys.gcs.gcs_list_blobs("demo-bucket")


@pytest.mark.parametrize("content", [b"\xff\xfe{\x00", b"\x00", b"[" * 100_000, b"\xef\xbb\xbf{}"])
def test_a_binary_credentials_file_is_named(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key.json"
    path.write_bytes(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    with pytest.raises(CredentialsMissing, match="which is not a JSON file. Unset it"):
        mlsys.cloud.credentials.default_credentials()
    with pytest.raises(CredentialsMissing, match="which is not a JSON file. Unset it"):
        mlsys.remote.identity_token.identity_token("https://service")


def test_a_tilde_in_the_path_and_an_unreadable_file_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "~/nowhere/key.json")
    with pytest.raises(CredentialsMissing, match=r"does not exist \(~ is not expanded"):
        mlsys.cloud.credentials.default_credentials()

    def never(*_: Any, **__: Any) -> str:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "key.json"
    path.write_text("{}")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    monkeypatch.setattr(Path, "read_text", never)
    with pytest.raises(CredentialsMissing, match=r"cannot be read \(Permission denied\)"):
        mlsys.cloud.credentials.default_credentials()


def test_an_unreadable_login_is_not_reported_as_missing(tmp_path: Path) -> None:
    (tmp_path / "application_default_credentials.json").write_text("garbage")
    with pytest.raises(CredentialsMissing, match="credentials of this machine cannot be used"):
        mlsys.cloud.credentials.default_credentials()


def test_expired_credentials_name_the_file_they_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    use = Use("BigQuery", "the query", ("bigquery.jobs.create",))
    exc = auth.RefreshError("invalid_grant: Token has been expired or revoked.")
    text = str(translated(exc, use))
    assert "of this machine: they have expired or were revoked (invalid_grant" in text
    assert "gcloud auth application-default login" in text
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/keys/key.json")
    text = str(translated(exc, use))
    assert "in /keys/key.json, which GOOGLE_APPLICATION_CREDENTIALS names" in text


def test_a_real_client_with_expired_credentials_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients' own layers run: Google answers a token request with invalid_grant."""
    from google.oauth2.credentials import Credentials

    def refused(*_: Any, **__: Any) -> requests.Response:
        response = http(400)
        response._content = b'{"error": "invalid_grant", "error_description": "Bad Request"}'
        return response

    monkeypatch.setenv("GCP_PROJECT_ID", "expired-project")  # clients are cached by their settings
    for emulator in ("STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST"):
        monkeypatch.delenv(emulator, raising=False)
    person = Credentials(None, "refresh", None, "https://oauth2.googleapis.com/token", "id", "s")
    monkeypatch.setattr(google.auth, "default", lambda **_: (person, "demo-project"))
    monkeypatch.setattr(requests.Session, "request", refused)
    for name in ("mlsys.bq.bq_get", "mlsys.bq.bq_put", "mlsys.gcs.gcs_get", "mlsys.gcs.gcs_put"):
        with pytest.raises(CredentialsMissing, match="expired or were revoked .*invalid_grant"):
            CALLS[name](Path())
