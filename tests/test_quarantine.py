"""`mlsys quarantine`: what the service could not understand can be seen, and sent once more."""

import base64
import hashlib
import json
from typing import Any

import pytest
import requests
from registry_cases import fitted, model_case, notifications_lost

from mlsys.cli import main
from mlsys.clients import clients_for
from mlsys.gcs import gcs_put
from mlsys.local.stack import LocalStack
from mlsys.quarantine import records
from workers.quarantine import quarantine

pytestmark = pytest.mark.usefixtures("environment")


def wrapped(attributes: dict[str, Any], data: bytes = b"{}") -> bytes:
    message = {"attributes": attributes, "data": base64.b64encode(data).decode()}
    return json.dumps({"message": message, "subscription": "s"}).encode()


def push(stack: LocalStack, body: bytes, path: str = "/events/storage") -> int:
    with requests.Session() as session:
        session.trust_env = False
        return session.post(f"{stack.url}{path}", data=body, timeout=30).status_code


def name_of(body: bytes, stack: LocalStack) -> str:
    digest = hashlib.sha256(body).hexdigest()
    [name] = [r.name for r in records(stack.clients, "dev") if digest in r.name]
    return name


def test_what_was_not_understood_is_listed_with_the_reason(
    stack: LocalStack, capsys: pytest.CaptureFixture[str]
) -> None:
    body = wrapped({"eventType": "OBJECT_FINALIZE", "bucketId": "b", "n": "listed"})
    assert push(stack, body) == 204
    assert main(["quarantine", "list", "--env", "dev"]) == 0
    [line] = [x for x in capsys.readouterr().out.splitlines() if name_of(body, stack) in x]
    assert "/events/storage" in line
    assert "the attribute objectId is missing" in line


def test_a_message_is_published_again_and_taken_out(
    stack: LocalStack, capsys: pytest.CaptureFixture[str]
) -> None:
    with model_case(stack, "replayed") as case:
        with notifications_lost(stack):
            from mlsys.gcs import pickled

            gcs_put(pickled(fitted()), case.bucket, case.ref().path)
        assert case.rows() == []
        attributes = {
            "eventType": "OBJECT_FINALIZE",
            "bucketId": case.bucket,
            "objectId": case.ref().path,
        }
        body = wrapped(attributes)
        quarantine(clients_for(stack.settings), "dev", "/events/storage", body, "a bug of then")
        name = name_of(body, stack)
        assert main(["quarantine", "replay", "--env", "dev", name]) == 0
        assert f"published again: {name}" in capsys.readouterr().out
        case.settle()
        assert len(case.rows()) == 1
        assert name not in {r.name for r in records(stack.clients, "dev")}


def test_what_is_still_not_understood_comes_back(stack: LocalStack) -> None:
    body = wrapped({"eventType": "OBJECT_FINALIZE", "bucketId": "b", "n": "again"})
    assert push(stack, body) == 204
    assert main(["quarantine", "replay", "--env", "dev", name_of(body, stack)]) == 0
    stack.pubsub.wait_until_quiet(60)
    assert any('"again"' in record.body for record in records(stack.clients, "dev"))


@pytest.mark.parametrize(
    "body", [b"no json", b"[]", b'{"message": 3}', b'{"message": {"data": 7}}']
)
def test_what_is_no_pushed_message_cannot_be_published_and_stays(
    stack: LocalStack, capsys: pytest.CaptureFixture[str], body: bytes
) -> None:
    assert push(stack, body) == 204
    name = name_of(body, stack)
    assert main(["quarantine", "replay", "--env", "dev", name]) == 1
    assert "cannot be published again" in capsys.readouterr().err
    assert name in {r.name for r in records(stack.clients, "dev")}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name the messages"),
        (["x", "--all"], "name the messages"),
        (["x"], "not in quarantine: x"),
    ],
)
def test_what_to_replay_must_be_said(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["quarantine", "replay", "--env", "dev", *arguments]) == 1
    assert words in capsys.readouterr().err
