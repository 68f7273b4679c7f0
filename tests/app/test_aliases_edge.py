"""The routes of aliases over a cloud in memory: who moves, what is refused, what is answered."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import auth
from mlsys.settings import Emulators
from mlsys.settings.guards import read_guards
from tokens import GOOGLES, PUSHER, SERVICE, STRANGERS, claims, cut_off, signed
from warehouse import Warehouse
from wired import wired

PATH = "/models/m/aliases/champion"
OBJECT = "m/aliases/champion.json"
PERSON = {"email": "ada@example.com", "aud": "32555940559.apps.googleusercontent.com"}
FORGED = {
    "X-Goog-Authenticated-User-Email": "accounts.google.com:root@example.com",
    "X-Goog-IAP-JWT-Assertion": cut_off(claims(email="root@example.com")),
    "X-Forwarded-User": "root@example.com",
    "X-Forwarded-Email": "root@example.com",
    "X-Remote-User": "root@example.com",
    "X-Goog-User-Email": "root@example.com",
    "From": "root@example.com",
    "Cookie": "email=root@example.com",
    "X-Mlsys-Who": "root@example.com",
}


@pytest.fixture
def cloud() -> Warehouse:
    warehouse = Warehouse()
    for version in ("v1", "v2", "v10"):
        warehouse.bucket.put(f"m/{version}/model.pkl")
    return warehouse


@pytest.fixture
def serve(cloud: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FlaskClient]:
    """Return a function that makes a client of the service with these settings."""

    class Certificates:
        data, status, headers = json.dumps({"googles": GOOGLES.certificate}).encode(), 200, {}

    monkeypatch.setattr("app.auth._transport", lambda: lambda url, **_: Certificates)

    def make(**values: Any) -> FlaskClient:
        return wired(replace(SERVICE, **values), cloud).test_client()

    return make


@pytest.fixture
def local(serve: Callable[..., FlaskClient]) -> FlaskClient:
    nowhere = Emulators("http://127.0.0.1:9", "http://127.0.0.1:9", "127.0.0.1:9", "127.0.0.1:9")
    return serve(push_auth="off", emulators=nowhere)


@pytest.fixture
def behind_iam(serve: Callable[..., FlaskClient]) -> FlaskClient:
    return serve(push_auth="platform", on_cloud_run=True, role="api")


def move(client: FlaskClient, version: str = "v2", **values: Any) -> Any:
    headers = values.pop("headers", {})
    return client.post(f"{PATH}?env=dev", json={"version": version} | values, headers=headers)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_who_is_the_verified_account_whatever_other_headers_say(behind_iam: FlaskClient) -> None:
    """Cloud Run forwards a person's token without its signature, which IAM has checked."""
    headers = FORGED | bearer(cut_off(claims(**PERSON)))
    done = move(behind_iam, why="better", headers=headers)
    assert (done.status_code, done.json["who"], done.json["moved"]) == (200, PERSON["email"], True)
    now = behind_iam.get(f"{PATH}?env=dev").json
    assert (now["version"], now["who"], now["source"]) == ("v2", PERSON["email"], "service")


@pytest.mark.parametrize("headers", [FORGED, *({name: value} for name, value in FORGED.items())])
def test_without_a_token_nobody_moves(
    behind_iam: FlaskClient, cloud: Warehouse, headers: dict[str, str]
) -> None:
    refused = move(behind_iam, headers=headers)
    assert refused.status_code == 401 and "identity token" in refused.json["detail"]
    assert behind_iam.delete(f"{PATH}?env=dev", headers=headers).status_code == 401
    assert OBJECT not in cloud.bucket.objects and not cloud.runs.objects


@pytest.mark.parametrize(
    "changed",
    [
        {"email_verified": False},
        {"email_verified": "true"},
        {"email": ...},
        {"email": ""},
        {"email": ["a@b.example"]},
        {"exp": 1},
        {"iat": 9e10},
        {"iss": "https://example.com"},
        {"iss": ...},
    ],
)
def test_a_token_that_names_no_verified_account_is_refused(
    behind_iam: FlaskClient, cloud: Warehouse, changed: dict[str, Any]
) -> None:
    token = cut_off(claims(**PERSON | changed))
    assert move(behind_iam, headers=bearer(token)).status_code == 401
    assert OBJECT not in cloud.bucket.objects


def test_a_token_that_cloud_run_did_not_check_is_refused(behind_iam: FlaskClient) -> None:
    """With the other header, Cloud Run checks that one, and leaves Authorization as it came."""
    headers = bearer(cut_off(claims(**PERSON)))
    refused = move(behind_iam, headers=headers | {"X-Serverless-Authorization": "Bearer x"})
    assert refused.status_code == 401


def test_elsewhere_the_token_is_verified_and_for_this_service(
    serve: Callable[..., FlaskClient],
) -> None:
    client = serve(push_auth="app")
    assert move(client, headers=bearer(signed(email="ada@example.com"))).json["who"] == (
        "ada@example.com"
    )
    for token in (
        cut_off(claims(email="ada@example.com")),
        signed(STRANGERS, email="ada@example.com"),
        signed(**PERSON),
        f"{signed()[:-4]}AAAA",
    ):
        assert move(client, "v1", headers=bearer(token)).status_code == 401


def test_the_push_account_is_an_account_like_others(behind_iam: FlaskClient) -> None:
    assert move(behind_iam, headers=bearer(cut_off(claims()))).json["who"] == PUSHER


def test_the_local_stack_has_one_account(local: FlaskClient) -> None:
    done = move(local, headers=FORGED)
    assert (done.status_code, done.json["who"]) == (200, auth.LOCAL_ACCOUNT)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({}, ["version"]),
        ({"version": "champion"}, ["version"]),
        ({"version": "latest"}, ["version"]),
        ({"version": "v0"}, ["version"]),
        ({"version": 3}, ["version"]),
        ({"version": None}, ["version"]),
        ({"version": "v2", "expected": "latest"}, ["expected"]),
        ({"version": "v2", "why": ""}, ["why"]),
        ({"version": "v2", "why": " \n"}, ["why"]),
        ({"version": "v2", "why": "x" * 2001}, ["why"]),
        ({"version": "v2", "why": "\ud800"}, ["body"]),
        ({"version": "v2", "force": "maybe"}, ["force"]),
        ({"version": "v2", "request_id": "1"}, ["request_id"]),
        ({"version": "v2", "who": "root@example.com"}, ["who"]),
        ({"version": "v2", "evidence": {}}, ["evidence"]),
        ({"version": "v2", "force": True}, ["why"]),
        ([], ["body"]),
    ],
)
def test_a_malformed_move_is_refused_by_its_parameters(
    local: FlaskClient, cloud: Warehouse, values: Any, names: list[str]
) -> None:
    answer = local.post(f"{PATH}?env=dev", json=values)
    assert answer.status_code == 400, answer.json
    assert [each["name"] for each in answer.json["parameters"]] == names
    assert OBJECT not in cloud.bucket.objects and not cloud.runs.objects


@pytest.mark.parametrize("alias", ["latest", "v1", "v0", "Champion", "a" * 64, "a.b"])
def test_a_malformed_alias_is_refused(local: FlaskClient, alias: str) -> None:
    for method in ("get", "post", "delete"):
        answer = getattr(local, method)(f"/models/m/aliases/{alias}?env=dev")
        assert answer.status_code == 400, answer.json


def test_other_bodies_and_doubled_names_are_refused(local: FlaskClient) -> None:
    assert local.post(f"{PATH}?env=dev", data="version=v2").status_code == 415
    for body in ('{"version": "v1", "version": "v2"}', "{", '{"version": NaN}'):
        answer = local.post(f"{PATH}?env=dev", data=body, content_type="application/json")
        assert answer.status_code == 400, answer.json
    assert move(local).status_code == 200
    assert local.get(f"{PATH}?env=dev", json={"version": "v1"}).status_code == 400
    assert local.post(f"{PATH}?env=staging", json={"version": "v1"}).status_code == 400
    assert local.post(PATH, json={"version": "v1"}).status_code == 400


def test_a_move_that_expects_another_version_is_refused_with_who_is_there(
    local: FlaskClient,
) -> None:
    assert move(local, "v1", expected="none", why="the first").json["previous_version"] is None
    for expected in ("v2", "none"):
        refused = move(local, "v10", expected=expected)
        assert (refused.status_code, refused.json["type"]) == (409, "urn:mlsys:problem:alias-moved")
        text = f"champion of m names v1, not {expected}. It was moved by {auth.LOCAL_ACCOUNT} at "
        assert text in refused.json["detail"] and "(the first)" in refused.json["detail"]
    assert move(local, "v10", expected="v1").json["previous_version"] == "v1"


def test_a_version_that_does_not_exist_is_refused_even_by_force(local: FlaskClient) -> None:
    refused = move(local, "v3", force=True, why="I want it")
    assert refused.status_code == 404
    assert "m/v3/model.pkl does not exist: pass v10, v2, v1" in refused.json["detail"]


def test_a_rejected_version_is_refused_unless_forced_with_a_reason(
    local: FlaskClient, cloud: Warehouse
) -> None:
    cloud.verdict = "rejected", "its golden rows differ"
    refused = move(local)
    assert (refused.status_code, refused.json["type"]) == (422, "urn:mlsys:problem:model-unusable")
    assert "m/v2 is rejected in dev: its golden rows differ." in refused.json["detail"]
    assert not cloud.runs.objects
    forced = move(local, force=True, why="the outage")
    assert (forced.status_code, forced.json["forced"]) == (200, True)
    now = local.get(f"{PATH}?env=dev").json
    assert (now["forced"], now["why"]) == (True, "the outage")
    assert now["evidence"]["registry"]["status"] == "rejected"


def test_a_dry_run_writes_nothing(local: FlaskClient, cloud: Warehouse) -> None:
    answer = move(local, dry_run=True)
    assert (answer.status_code, answer.json["moved"], answer.json["dry_run"]) == (200, False, True)
    assert answer.json["evidence"]["registry"]["status"] == "ready"
    assert OBJECT not in cloud.bucket.objects and not cloud.runs.objects


def guarded(cloud: Warehouse, **guard: Any) -> None:
    guards = read_guards(json.dumps({"dev": {"champion": guard}}), ("dev",), [])
    cloud.settings = replace(cloud.settings, alias_guards=guards)


@pytest.mark.parametrize("headers", [FORGED, *({name: value} for name, value in FORGED.items())])
def test_a_guard_asks_for_the_verified_account(
    behind_iam: FlaskClient, cloud: Warehouse, headers: dict[str, str]
) -> None:
    guarded(cloud, movers=["root@example.com"], why=True)
    token = bearer(cut_off(claims(**PERSON)))
    refused = move(behind_iam, headers=headers | token)
    assert (refused.status_code, refused.json["type"]) == (403, "urn:mlsys:problem:guard-refused")
    assert [(each["name"], each["ok"], each["seen"]) for each in refused.json["clauses"]] == [
        ("movers", False, PERSON["email"]),
        ("why", False, None),
        ("ready", True, "ready"),
    ]
    assert "ask root@example.com; why: the reason is missing" in refused.json["detail"]
    removed = behind_iam.delete(f"{PATH}?env=dev&why=x", headers=headers | token)
    assert removed.status_code == 404  # there is none
    assert OBJECT not in cloud.bucket.objects and not cloud.runs.objects
    root = bearer(cut_off(claims(**PERSON | {"email": "root@example.com"})))
    asked = move(behind_iam, why="better", dry_run=True, headers=headers | root)
    assert [each["ok"] for each in asked.json["evidence"]["guard"]] == [True, True, True]
    assert move(behind_iam, why="better", headers=headers | root).json["moved"] is True
    assert behind_iam.get(f"{PATH}?env=dev").json["guarded"] is True
    removed = behind_iam.delete(f"{PATH}?env=dev&why=x", headers=headers | token)
    assert (removed.status_code, OBJECT in cloud.bucket.objects) == (403, True)


def test_a_repeated_request_moves_once(local: FlaskClient, cloud: Warehouse) -> None:
    name = "0123456789abcdef" * 2
    first = move(local, expected="none", request_id=name)
    assert move(local, expected="none", request_id=name).json == first.json
    assert move(local, "v1", request_id="f" * 32).status_code == 200
    assert move(local, expected="none", request_id=name).json == first.json  # others followed
    assert len(cloud.bucket.past[OBJECT]) == 2
    other = move(local, "v10", request_id=name)
    assert (other.status_code, "belongs to another move" in other.json["detail"]) == (409, True)


def test_a_move_to_the_same_version_changes_nothing(local: FlaskClient, cloud: Warehouse) -> None:
    move(local)
    again = move(local)
    assert (again.status_code, again.json["moved"]) == (200, False)
    assert len(cloud.bucket.past[OBJECT]) == 1


def test_a_removed_alias_keeps_its_past(local: FlaskClient, cloud: Warehouse) -> None:
    assert local.delete(f"{PATH}?env=dev").status_code == 404
    move(local)
    assert local.delete(f"{PATH}?env=dev&expected=v1").status_code == 409
    gone = local.delete(f"{PATH}?env=dev&expected=v2&why=retired").json
    assert (gone["version"], gone["previous_version"], gone["moved"]) == (None, "v2", True)
    assert OBJECT not in cloud.bucket.objects
    missing = local.get(f"{PATH}?env=dev")
    assert (missing.status_code, missing.json["type"]) == (404, "urn:mlsys:problem:alias-not-found")
    assert [row.values["deleted"] for row in cloud.aliases.rows] == [False, True]
    assert cloud.aliases.rows[-1].values["who"] == auth.LOCAL_ACCOUNT
    assert move(local, expected="none").status_code == 200


def test_a_dropped_file_is_listed_as_such(local: FlaskClient, cloud: Warehouse) -> None:
    move(local, why="mine")
    content = {"version": "v1", "who": "root@example.com", "why": "I say so"}
    cloud.bucket.put(OBJECT, content=json.dumps(content).encode())
    cloud.bucket.put("m/aliases/other.json", content=b"?")
    listed = local.get("/models/m/aliases?env=dev").json["aliases"]
    champion, other = listed
    assert (champion["version"], champion["who"], champion["source"]) == ("v1", None, "file")
    assert (champion["previous_version"], champion["why"]) == ("v2", "I say so")
    assert (other["version"], other["problem"][:14]) == (None, "it is not JSON")
    refused = move(local, "v10", expected="v2").json["detail"]
    assert "moved by somebody, past the service" in refused
    assert move(local, "v10", expected="v1").status_code == 200
    repaired = local.post("/models/m/aliases/other?env=dev", json={"version": "v1"})
    assert repaired.status_code == 200


def test_an_alias_whose_version_was_deleted_is_broken(local: FlaskClient, cloud: Warehouse) -> None:
    move(local)
    assert local.get(f"{PATH}?env=dev").json["broken"] is False
    cloud.bucket.delete("m/v2/model.pkl")
    [listed] = local.get("/models/m/aliases?env=dev").json["aliases"]
    now = local.get(f"{PATH}?env=dev").json
    assert (now["broken"], now["problem"]) == (
        *(True, "m/v2/model.pkl does not exist: it has v10, v1"),
    )
    assert now == listed | {"env": "dev"}


@pytest.mark.parametrize("after", ["x", "2026-03-01T08:00:00", "2026", "v1"])
def test_a_page_of_the_history_goes_on_after_a_time(local: FlaskClient, after: str) -> None:
    answer = local.get(f"{PATH}/history?env=dev&after={after}")
    assert [each["name"] for each in answer.json["parameters"]] == ["after"]
    assert "pass the next of the page before" in answer.json["detail"]
