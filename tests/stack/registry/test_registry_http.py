"""The registry's routes: GET /model-registry, GET /models and POST /events/storage."""

import base64
import dataclasses
import itertools
import json
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from google.api_core.exceptions import BadRequest, ServiceUnavailable

from app import create_app
from mlsys.cloud.clients import Clients
from mlsys.local.stack import LocalStack
from mlsys.settings import Settings
from registry_cases import TOPIC, ModelCase, model_case, notifications_lost
from workers.registry import table
from workers.registry.sync import Rescan
from workers.registry.table import list_models

CONFLICT = "Could not serialize access to table p:d.t due to concurrent update"


@pytest.fixture
def case(stack: LocalStack, environment: dict[str, str]) -> Iterator[ModelCase]:
    with model_case(stack, "http") as fresh:
        yield fresh


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Restore the process's logging, which the application configures."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def own_clients(settings: Settings) -> Clients:
    """Return clients of this test only, whose methods it may replace."""
    return Clients(settings)


def get(stack: LocalStack, path: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"{stack.url}{path}", timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            assert error.headers["Content-Type"] == "application/problem+json"
            return error.code, json.load(error)


def application(settings: Settings, clients: Clients | None = None) -> FlaskClient:
    return create_app(settings, clients or Clients(settings)).test_client()


def event(bucket: str, path: str, event_type: str = "OBJECT_FINALIZE") -> dict[str, Any]:
    attributes = {"eventType": event_type, "bucketId": bucket, "objectId": path}
    return {"message": {"attributes": attributes, "messageId": "1"}, "subscription": TOPIC}


def test_models_returns_the_registrys_rows_as_json(case: ModelCase) -> None:
    case.upload(version="v2")
    case.upload(version="v10")
    case.put(json.dumps({"metrics": {"r2": 0.5}, "target": "y"}), "v10/metadata.json")
    case.settle()
    status, answer = get(case.stack, "/models?env=dev")
    assert (status, answer["env"]) == (200, "dev")
    mine = [model for model in answer["models"] if model["model_name"] == case.name]
    whole = ("metadata", "contract")
    rows = [{k: v for k, v in row.items() if k not in whole} for row in case.rows()]
    assert mine == [row | {"aliases": []} for row in rows]
    assert [model["model_version"] for model in mine] == ["v10", "v2"]
    assert (mine[0]["metrics"], mine[0]["target"]) == ({"r2": 0.5}, ["y"])
    assert mine[0]["feature_names"] == ["height", "weight"]
    assert isinstance(mine[0]["generation"], int)


@pytest.mark.slow
def test_models_can_be_filtered_and_include_metadata_on_request(case: ModelCase) -> None:
    for version in ("v1", "v2", "v3"):
        case.upload(version=version)
    case.put(json.dumps({"team": "pricing"}), "v2/metadata.json")
    case.put(b"no model", "v4/model.pkl")
    case.settle()

    def versions(query: str) -> tuple[list[str], bool]:
        status, answer = get(case.stack, f"/models?env=dev&model_name={case.name}{query}")
        assert status == 200, answer
        return [model["model_version"] for model in answer["models"]], answer["more"]

    assert versions("") == (["v4", "v3", "v2", "v1"], False)
    assert versions("&status=rejected") == (["v4"], False)
    assert versions("&status=ready") == (["v3", "v2", "v1"], False)
    assert versions("&limit=2") == (["v4", "v3"], True)
    assert versions("&status=ready&limit=3") == (["v3", "v2", "v1"], False)
    status, answer = get(case.stack, f"/models?env=dev&model_name={case.name}&metadata=true")
    assert [m["metadata"] for m in answer["models"]] == [None, None, {"team": "pricing"}, None]
    status, answer = get(case.stack, "/models?env=dev&model_name=there-is-none")
    assert status == 200
    nothing = {"models": [], "broken_aliases": [], "more": False, "next": None}
    assert answer == {"env": "dev"} | nothing


def pages(stack: LocalStack, path: str, key: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of each answer, up to the last page."""
    after = ""
    while True:
        status, answer = get(stack, f"{path}{after}")
        assert status == 200, answer
        assert (answer["next"] is not None) is answer["more"]
        yield answer[key]
        if not answer["more"]:
            return
        after = f"&after={answer['next']}"


def test_pages_of_models_contain_each_row_once(case: ModelCase) -> None:
    for version in ("v1", "v2", "v10"):
        case.upload(version=version)
    case.settle()
    mine = f"/models?env=dev&model_name={case.name}&limit="
    found = [[m["model_version"] for m in page] for page in pages(case.stack, f"{mine}1", "models")]
    assert found == [["v10"], ["v2"], ["v1"]]
    found = [[m["model_version"] for m in page] for page in pages(case.stack, f"{mine}2", "models")]
    assert found == [["v10", "v2"], ["v1"]]
    _, whole = get(case.stack, "/models?env=dev")
    keys = [(m["model_name"], m["model_version"]) for m in whole["models"]]
    paged = [
        (m["model_name"], m["model_version"])
        for page in pages(case.stack, "/models?env=dev&limit=50", "models")
        for m in page
    ]
    assert paged == keys


@pytest.mark.slow
def test_columns_added_by_users_are_json_in_the_answer(case: ModelCase) -> None:
    case.upload()
    case.settle()
    columns = {
        "own_float": ("FLOAT64", "CAST('NaN' AS FLOAT64)", "NaN"),
        "own_day": ("DATE", "DATE '2026-11-28'", "2026-11-28"),
        "own_time": ("TIME", "TIME '12:30:00'", "12:30:00"),
        "own_money": ("NUMERIC", "NUMERIC '1.5'", "1.5"),
        "own_raw": ("BYTES", "b'ab'", "YWI="),
        "own_list": ("ARRAY<INT64>", "[1, 2]", [1, 2]),
    }
    for name, (kind, _, _) in columns.items():
        case.sql(f"ALTER TABLE model_registry ADD COLUMN {name} {kind}")
    try:
        values = ", ".join(f"{name} = {sql}" for name, (_, sql, _) in columns.items())
        case.sql(f"UPDATE model_registry SET {values} WHERE model_name = @name")
        status, answer = get(case.stack, f"/models?env=dev&model_name={case.name}")
        assert status == 200, answer
        [row] = answer["models"]
        assert {name: row[name] for name in columns} == {
            name: expected for name, (_, _, expected) in columns.items()
        }
    finally:
        for name in columns:
            case.sql(f"ALTER TABLE model_registry DROP COLUMN {name}")


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("status=good", "status"),
        ("model_name=A_B", "model_name"),
        ("metadata=perhaps", "metadata"),
        ("after=titanic", "after"),
        ("after=titanic/vx", "after"),
        ("after=/v1", "after"),
    ],
)
def test_a_malformed_filter_of_models_is_named(stack: LocalStack, query: str, name: str) -> None:
    status, answer = get(stack, f"/models?env=dev&{query}")
    assert status == 400
    assert [p["name"] for p in answer["parameters"]] == [name]


@pytest.mark.slow
def test_an_answer_of_models_is_bounded(case: ModelCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound counts bytes, and the columns of one model; a first row is always returned."""
    names = [f"c{i}" for i in range(150)]
    for version in ("v1", "v2"):
        case.upload(version=version)
        case.put(json.dumps({"feature_names": names, "x": "y" * 5000}), f"{version}/metadata.json")
    case.settle()
    rows, more = list_models(case.clients, "dev", model_name=case.name)
    assert [len(row["feature_names"]) for row in rows] == [table.MAX_NAMES] * 2
    assert ([row["features"] for row in rows], more) == ([150, 150], False)
    monkeypatch.setattr(table, "MAX_LISTED_BYTES", 1_500)
    for metadata in (True, False):
        rows, more = list_models(case.clients, "dev", model_name=case.name, metadata=metadata)
        assert ([row["model_version"] for row in rows], more) == (["v2"], True)


def test_a_rescan_reports_its_changes_and_a_second_one_reports_none(
    case: ModelCase,
) -> None:
    get(case.stack, "/model-registry?env=dev")
    with notifications_lost(case.stack):
        case.upload()
        case.put("hello", "v1/notes.txt")
    status, first = get(case.stack, "/model-registry?env=dev")
    assert status == 200
    assert list(first) == [
        *(
            "env",
            "scanned",
            "registered",
            "updated",
            "unchanged",
            "removed",
            "aliases",
            "alias_moves",
            "runs_recorded",
            "skipped",
        ),
        "skipped_count",
    ]
    assert (first["env"], first["registered"], first["updated"], first["removed"]) == (
        "dev",
        1,
        0,
        0,
    )
    assert case.registered() == case.stored()
    assert first["skipped_count"] == len(first["skipped"])
    [skipped] = [s for s in first["skipped"] if s["object"].startswith(case.name)]
    assert skipped["object"] == f"{case.name}/v1/notes.txt"
    assert "is not {model-name}/v{N}/model.pkl" in skipped["reason"]
    status, second = get(case.stack, "/model-registry?env=dev")
    assert (status, second) == (200, first | {"registered": 0, "unchanged": first["unchanged"] + 1})


def test_a_rescan_names_some_skipped_objects_and_counts_all(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [{"object": f"a/{n}.txt", "reason": "is not a model"} for n in range(6_009)]
    monkeypatch.setattr("workers.registry.sync.rescan", lambda *_: Rescan(6_009, skipped=many))
    response = application(settings).get("/model-registry?env=dev")
    answer = response.get_json()
    assert (answer["skipped"], answer["skipped_count"]) == (many[:100], 6_009)
    assert len(response.data) < 100_000


@pytest.mark.parametrize("path", ["/model-registry", "/models"])
@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("env=staging", "is not served here: pass dev"),
        ("env=qa", "dev"),
        ("env=", "dev"),
        ("", "is missing"),
    ],
)
def test_an_environment_that_is_not_served_is_named(
    stack: LocalStack, path: str, query: str, problem: str
) -> None:
    status, answer = get(stack, f"{path}?{query}")
    assert (status, answer["status"]) == (400, 400)
    [parameter] = answer["parameters"]
    assert parameter["name"] == "env" and problem in parameter["problem"]


def test_an_unknown_parameter_is_named(stack: LocalStack) -> None:
    status, answer = get(stack, "/models?env=dev&version=3")
    assert status == 400
    assert answer["parameters"] == [
        {"name": "version", "problem": "is not a parameter of this route"}
    ]


def test_a_missing_bucket_is_404(settings: Settings) -> None:
    elsewhere = dataclasses.replace(settings, models_buckets=(("dev", "no-such-bucket"),))
    response = application(elsewhere).get("/model-registry?env=dev")
    assert (response.status_code, response.mimetype) == (404, "application/problem+json")
    assert response.get_json(force=True) == {
        "type": "urn:mlsys:problem:object-not-found",
        "title": "Bucket or object not found",
        "status": 404,
        "detail": "The bucket gs://no-such-bucket does not exist: create it (docs/operations.md)",
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/model-registry"), ("GET", "/models"), ("POST", "/events/storage")],
)
def test_a_missing_registry_is_503_until_it_is_created(
    case: ModelCase, settings: Settings, method: str, path: str
) -> None:
    """Pub/Sub then keeps the notification and delivers it again."""
    buckets = (("staging", case.bucket),)
    staging = dataclasses.replace(settings, envs=("staging",), models_buckets=buckets)
    response = application(staging).open(
        path,
        method=method,
        query_string={"env": "staging"} if method == "GET" else None,
        json=event(case.bucket, case.ref().path) if method == "POST" else None,
    )
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    answer = response.get_json(force=True)
    assert answer["type"] == "urn:mlsys:problem:try-again"
    assert "mlsys_staging lacks one of the tables of the service: create them" in answer["detail"]


def test_a_registry_with_too_many_concurrent_changes_is_503(
    case: ModelCase,
    settings: Settings,
    own_clients: Clients,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import tenacity

    monkeypatch.setattr("tenacity.wait_random_exponential", lambda **_: tenacity.wait_none())
    errors = itertools.repeat(BadRequest(f"{CONFLICT} at secret-host; reason: invalidQuery"))
    monkeypatch.setattr(own_clients.bigquery, "query", lambda *_, **__: _raise(next(errors)))
    client = application(settings, own_clients)
    for response in (
        client.get("/model-registry?env=dev"),
        client.get("/models?env=dev"),
        client.post("/events/storage", json=event(case.bucket, case.ref().path)),
    ):
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
        answer = response.get_json(force=True)
        assert answer["type"] == "urn:mlsys:problem:try-again"
        assert "secret-host" not in response.text


def test_a_failure_of_bigquery_is_503_without_its_raw_text(
    case: ModelCase, settings: Settings, own_clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    down = ServiceUnavailable("backend at 10.1.2.3 is out")
    monkeypatch.setattr(own_clients.bigquery, "query", lambda *_, **__: _raise(down))
    client = application(settings, own_clients)
    response = client.post("/events/storage", json=event(case.bucket, case.ref().path))
    assert response.status_code == 503 and "Retry-After" in response.headers
    assert "10.1.2.3" not in response.text


def _raise(error: Exception) -> Any:
    raise error


def test_a_notification_updates_the_registry_whatever_its_payload(
    case: ModelCase, settings: Settings
) -> None:
    """The bucket decides; the object resource in the message is a copy that may be stale."""
    with notifications_lost(case.stack):
        case.upload()
    body = event(case.bucket, case.ref().path)
    body["message"]["data"] = base64.b64encode(b'{"generation": "1", "size": "0"}').decode()
    body["message"]["attributes"]["objectGeneration"] = "1"
    response = application(settings).post("/events/storage", json=body)
    assert (response.status_code, response.data) == (204, b"")
    assert case.registered() == case.stored()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bucket", "path", "event_type"),
    [
        ("somebody-elses-bucket", "{name}/v1/model.pkl", "OBJECT_FINALIZE"),
        ("mlsys-runs-dev", "{name}/v1/model.pkl", "OBJECT_FINALIZE"),
        ("{bucket}", "{name}/v1/model.pkl", "OBJECT_METADATA_UPDATE"),
        ("{bucket}", "{name}/v1/model.joblib", "OBJECT_FINALIZE"),
        ("{bucket}", "../{name}/v1/model.pkl", "OBJECT_FINALIZE"),
        ("{bucket}", "", "OBJECT_DELETE"),
    ],
)
def test_an_unrelated_event_is_acknowledged_and_skipped(
    case: ModelCase, settings: Settings, bucket: str, path: str, event_type: str
) -> None:
    with notifications_lost(case.stack):
        case.upload()
    body = event(bucket.format(bucket=case.bucket), path.format(name=case.name), event_type)
    assert application(settings).post("/events/storage", json=body).status_code == 204
    assert case.rows() == []
