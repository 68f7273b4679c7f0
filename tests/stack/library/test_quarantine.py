"""`mlsys quarantine`: unreadable messages can be listed and published again."""

import base64
import contextlib
import hashlib
import json
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from google.api_core.exceptions import NotFound

from mlsys.cli import main
from mlsys.cloud.clients import clients_for
from mlsys.cloud.quarantine import objects, parse, read, records
from mlsys.gcs import gcs_put
from mlsys.local.stack import LocalStack
from registry_cases import fitted, model_case, notifications_lost
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


def test_an_unreadable_message_is_listed_with_the_reason(
    stack: LocalStack, capsys: pytest.CaptureFixture[str]
) -> None:
    body = wrapped({"eventType": "OBJECT_FINALIZE", "bucketId": "b", "n": "listed"})
    assert push(stack, body) == 204
    assert main(["quarantine", "list", "--env", "dev"]) == 0
    [line] = [x for x in capsys.readouterr().out.splitlines() if name_of(body, stack) in x]
    assert "/events/storage" in line
    assert "the attribute objectId is missing" in line


def test_a_replayed_message_leaves_the_quarantine(
    stack: LocalStack, capsys: pytest.CaptureFixture[str]
) -> None:
    with model_case(stack, "replayed") as case:
        with notifications_lost(stack):
            from mlsys.artifact.pickling import pickled

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


def test_a_replayed_message_that_is_still_unreadable_returns(stack: LocalStack) -> None:
    body = wrapped({"eventType": "OBJECT_FINALIZE", "bucketId": "b", "n": "again"})
    assert push(stack, body) == 204
    assert main(["quarantine", "replay", "--env", "dev", name_of(body, stack)]) == 0
    stack.pubsub.wait_until_quiet(60)
    assert any('"again"' in record.body for record in records(stack.clients, "dev"))


@pytest.mark.parametrize(
    "body", [b"no json", b"[]", b'{"message": 3}', b'{"message": {"data": 7}}']
)
def test_a_body_that_is_not_a_pushed_message_cannot_be_replayed_and_stays(
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
def test_replay_needs_a_selection(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["quarantine", "replay", "--env", "dev", *arguments]) == 1
    assert words in capsys.readouterr().err


FOREIGN = {
    "quarantine/": b"",
    "quarantine/notes.txt": b"look at these on Monday",
    "quarantine/2026-01-01/a folder/": b"",
    "quarantine/2026-01-01/list.json": b"[1, 2]",
    "quarantine/2026-01-01/record.json": b'{"body": 3, "reason": "x", "received_at": "y"}',
    "quarantine/2026-01-01/bytes.json": b"\xff\xfe" * 1000,
}


def test_foreign_objects_in_the_quarantine_folder_are_not_touched(
    stack: LocalStack, capsys: pytest.CaptureFixture[str]
) -> None:
    body = b"neither JSON nor anything else"
    assert push(stack, body) == 204
    bucket = stack.clients.storage.bucket("mlsys-runs-dev")
    for path, content in FOREIGN.items():
        bucket.blob(path).upload_from_string(content)
    try:
        assert main(["quarantine", "list", "--env", "dev"]) == 0
        shown = capsys.readouterr()
        assert name_of(body, stack) in shown.out
        for path in FOREIGN:
            assert path not in shown.out.splitlines()
            told = f"{path} is not a message: mlsys leaves it alone." in shown.err
            assert told is not path.endswith("/")
        notes = "quarantine/notes.txt"
        assert main(["quarantine", "replay", "--env", "dev", notes]) == 1
        assert f"not in quarantine: {notes}" in capsys.readouterr().err
        main(["quarantine", "replay", "--env", "dev", "--all"])
        shown = capsys.readouterr()
        assert f"{name_of(body, stack)}: cannot be published again" in shown.err
        assert {p for p in FOREIGN if p[-1] != "/"} <= set(objects(stack.clients, "dev"))
    finally:
        for path in FOREIGN:
            with contextlib.suppress(NotFound):  # the local storage has no "folder/" object
                bucket.blob(path).delete()


def test_an_object_deleted_meanwhile_is_skipped(stack: LocalStack) -> None:
    body = wrapped({"n": "deleted meanwhile"})
    assert push(stack, body) == 204
    name = name_of(body, stack)
    found = list(read(stack.clients, "dev", ["quarantine/gone.json", name, "quarantine/gone/"]))
    assert [(n, r and r.reason) for n, r in found] == [(name, "the attribute eventType is missing")]
    bucket = stack.clients.storage.bucket("mlsys-runs-dev")
    publish = stack.clients.publisher.publish

    def deleting(*args: Any, **kwargs: Any) -> Any:
        bucket.blob(name).delete()
        return publish(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack.clients.publisher, "publish", deleting)
        assert main(["quarantine", "replay", "--env", "dev", name]) == 0


def test_a_list_is_bounded_and_has_one_line_for_each_message(
    stack: LocalStack, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(3):
        quarantine(stack.clients, "dev", "/events/storage", b"%d" % n, f"two\nlines \x1b[31m {n}")
    assert main(["quarantine", "list", "--env", "dev", "--limit", "2"]) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 2
    assert f"{len(objects(stack.clients, 'dev')) - 2:,} more are not shown" in shown.err
    assert "\x1b" not in shown.out


def test_an_unwrapped_message_is_replayed_unchanged(stack: LocalStack) -> None:
    headers = {"eventType": "OBJECT_FINALIZE", "bucketId": "b", "objectId": "a/v1/model.pkl"}
    with pytest.MonkeyPatch.context() as patch:
        sent: list[tuple[bytes, dict[str, str]]] = []

        def publish(_: str, data: bytes, timeout: float, **attributes: str) -> Any:
            sent.append((data, attributes))
            return SimpleNamespace(result=lambda timeout: None)

        patch.setattr(stack.clients.publisher, "publish", publish)
        uri = quarantine(stack.clients, "dev", "/events/storage", b"\xff", "a bug", headers)
        name = uri.removeprefix("gs://mlsys-runs-dev/")
        assert main(["quarantine", "replay", "--env", "dev", name]) == 0
    assert sent == [(b"\xff", headers)]


@pytest.mark.parametrize("attribute", ["timeout", "data", "topic"])
def test_an_unpublishable_attribute_does_not_stop_the_other_messages(
    stack: LocalStack, capsys: pytest.CaptureFixture[str], attribute: str
) -> None:
    uri = quarantine(
        stack.clients, "dev", "/events/storage", wrapped({attribute: "x"}), "a bug of then"
    )
    name = uri.removeprefix("gs://mlsys-runs-dev/")
    assert main(["quarantine", "replay", "--env", "dev", name]) == 1
    assert "cannot be published again" in capsys.readouterr().err


def test_records_of_earlier_releases_are_readable() -> None:
    record = parse("n", b'{"body": "{}", "reason": "r", "received_at": "t"}')
    assert record is not None
    assert (record.route, record.headers, record.body_base64) == ("", {}, None)
