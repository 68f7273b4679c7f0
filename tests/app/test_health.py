"""`GET /health` answers without a backend, and the API describes itself."""

import pytest
from flask.testing import FlaskClient

import mlsys
from app import create_app
from edge_cases import SERVICE
from mlsys.errors import SettingsError
from mlsys.settings import Settings
from wired import wired


@pytest.fixture
def client() -> FlaskClient:
    """Return a client of the service without a backend."""
    return wired(SERVICE).test_client()


def test_health_reports_the_version_and_the_environments(client: FlaskClient) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json == {"status": "healthy", "version": mlsys.__version__, "envs": ["dev"]}


def test_the_api_description_has_every_route_and_parameter(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    assert set(document["paths"]) == {
        "/health",
        "/check",
        "/predict",
        "/runs",
        "/runs/{run_id}",
        "/runs/{run_id}/undo",
        "/backfill",
        "/evaluate",
        "/runs/{run_id}/profile",
        "/models/{model_name}/drift",
        "/model-registry",
        "/models",
        "/models/{model_name}/compare",
        "/models/{model_name}/aliases",
        "/models/{model_name}/aliases/{alias}",
        "/models/{model_name}/aliases/{alias}/history",
        "/events/storage",
        "/events/predictions",
    }
    predict = document["paths"]["/predict"]["get"]
    required = {p["name"]: p.get("required", False) for p in predict["parameters"]}
    assert required == {
        "env": True,
        "input_table": True,
        "output_table": False,
        "model_name": True,
        "model_version": True,
        "run_id": False,
        "id_columns": False,
        "prediction_column": False,
        "class_columns": False,
        "outputs": False,
        "write_disposition": False,
        "where": False,
        "max_rejects": False,
        "allow_rejected": False,
        "allow_version_mismatch": False,
        "engine": False,
        "shadow": False,
        "incremental": False,
        "max_bytes": False,
        "max_cost": False,
        "max_drift": False,
        "contract": False,
        "profile": False,
        "preview": False,
        "dry_run": False,
        "check_ids": False,
        "wait": False,
    }
    assert {"200", "202", "400", "404", "409", "422", "503"} <= set(predict["responses"])


def test_every_parameter_is_described_beside_its_name(client: FlaskClient) -> None:
    paths = client.get("/openapi.json").json["paths"]
    for operation in (operation for path in paths.values() for operation in path.values()):
        for parameter in operation.get("parameters", []):
            assert parameter["description"], parameter["name"]
            assert "anyOf" not in parameter["schema"], parameter["name"]
            assert parameter["schema"]["type"] in ("string", "integer", "boolean")
            assert parameter["schema"].get("default", "") is not None


def test_defaults_are_described_in_the_form_of_a_parameter(client: FlaskClient) -> None:
    predict = client.get("/openapi.json").json["paths"]["/predict"]["get"]
    defaults = {p["name"]: p["schema"].get("default", ...) for p in predict["parameters"]}
    assert {name: value for name, value in defaults.items() if value is not ...} == {
        "outputs": "predict",
        "write_disposition": "WRITE_APPEND",
        "max_rejects": "0",
        "allow_rejected": False,
        "allow_version_mismatch": False,
        "engine": "auto",
        "contract": "enforce",
        "profile": True,
        "dry_run": False,
        "check_ids": False,
        "wait": True,
    }


def test_errors_are_described_with_their_content_type(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    assert "Problem" in document["components"]["schemas"]
    for path in document["paths"].values():
        for operation in path.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert answer["content"] == problem
                    assert ("Retry-After" in answer.get("headers", {})) == (status == "503")
    assert set(document["paths"]["/health"]["get"]["responses"]) == {"200"}


def test_the_push_routes_are_described_as_needing_a_token(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    [(name, scheme)] = document["components"]["securitySchemes"].items()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    operations = {path: next(iter(o.values())) for path, o in document["paths"].items()}
    asking = {path for path, about in operations.items() if about.get("security") == [{name: []}]}
    assert asking == {"/events/storage", "/events/predictions"}


def test_the_documentation_route_redirects_to_a_page(client: FlaskClient) -> None:
    assert client.get("/docs", follow_redirects=True).status_code == 200
    assert client.get("/docs/swagger").status_code == 200


def test_a_service_without_push_authentication_does_not_start() -> None:
    with pytest.raises(SettingsError, match="MLSYS_PUSH_AUTH=off"):
        create_app(Settings("demo-project", push_auth="off"))
