"""Notifications may be duplicated, late, reordered or lost: one row remains."""

import http.client
import itertools
import json
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from mlsys.local.push import Message
from mlsys.local.stack import LocalStack
from mlsys.local.topics import dead_letter
from registry_cases import (
    TOPIC,
    ModelCase,
    model_case,
    notifications_lost,
    push,
    settled_rescan,
    shuffled,
)

pytestmark = pytest.mark.slow

VERSIONS = [f"v{n}" for n in range(1, 6)]
THREADS = 8
MAX_DELIVERIES = 200  # of one message; Pub/Sub's dead-letter policy would end it sooner


@pytest.fixture
def case(stack: LocalStack, environment: dict[str, str]) -> Iterator[ModelCase]:
    with model_case(stack, "redelivery") as fresh:
        yield fresh


def deliver(stack: LocalStack, messages: Iterable[Message]) -> set[int]:
    """Deliver messages from many threads, each until it is acknowledged; return the answers."""

    def until_acknowledged(message: Message) -> set[int]:
        answers = set()
        for _ in range(MAX_DELIVERIES):
            answers.add(status := push(stack, message))
            if status == 204:
                return answers
        raise AssertionError(f"never acknowledged: {answers}")

    with ThreadPoolExecutor(THREADS) as pool:
        return set().union(*pool.map(until_acknowledged, messages))


def kinds(messages: Iterable[Message]) -> list[str]:
    return [message.attributes["eventType"] for message in messages]


def ten_uploads(case: ModelCase) -> None:
    """Upload five versions, and the first five more times: ten FINALIZE, five DELETE."""
    for version in VERSIONS:
        case.upload(version=version)
    for slope in range(2, 7):
        case.upload(slope=slope, version="v1")


@pytest.mark.long
@pytest.mark.parametrize("times", [2, 10])
def test_ten_uploads_with_duplicate_announcements_give_one_row_a_version(
    case: ModelCase, times: int
) -> None:
    before = case.stack.pubsub.counts(TOPIC)
    case.stack.pubsub.duplicate = times - 1
    try:
        ten_uploads(case)
        case.settle()
    finally:
        case.stack.pubsub.duplicate = 0
    assert case.stack.pubsub.counts(TOPIC).acked - before.acked == 15 * times
    assert [version for version, *_ in case.registered()] == VERSIONS
    assert case.registered() == case.stored()


@pytest.mark.long
@pytest.mark.parametrize(
    ("seed", "times"), [(1, 2), *(pytest.param(n, 10, marks=pytest.mark.long) for n in (1, 2, 3))]
)
def test_ten_uploads_redelivered_in_any_order_give_one_row_a_version(
    case: ModelCase, seed: int, times: int
) -> None:
    with notifications_lost(case.stack):
        ten_uploads(case)
    messages = case.events()
    assert sorted(kinds(messages)) == ["OBJECT_DELETE"] * 5 + ["OBJECT_FINALIZE"] * 10
    assert case.rows() == []
    assert deliver(case.stack, shuffled(messages, times, seed)) <= {204, 503}
    assert [version for version, *_ in case.registered()] == VERSIONS
    assert case.registered() == case.stored()


@pytest.mark.long
@pytest.mark.parametrize("changes", [8, 24])
def test_messages_delivered_during_changes_leave_the_buckets_final_state(
    case: ModelCase, changes: int
) -> None:
    """The bucket changes while its messages arrive, duplicated and shuffled."""
    rng = random.Random(3)
    case.stack.pubsub.duplicate = 2
    try:
        for n in range(changes):
            version = rng.choice(("v1", "v2"))
            if rng.random() < 0.3 and case.blob(version) is not None:
                case.delete(f"{version}/model.pkl")
            elif rng.random() < 0.3:
                case.put(json.dumps({"metrics": n}), f"{version}/metadata.json")
            else:
                case.upload(slope=n, version=version)
        case.settle()
    finally:
        case.stack.pubsub.duplicate = 0
    assert case.registered() == case.stored()
    deliver(case.stack, shuffled(case.events(), 2, seed=4))
    assert case.registered() == case.stored()


@pytest.mark.long
def test_a_late_finalize_does_not_register_a_deleted_model(case: ModelCase) -> None:
    case.upload(slope=1.0)
    case.upload(slope=2.0)
    case.settle()
    case.delete()
    case.settle()
    finalized = [m for m in case.events() if m.attributes["eventType"] == "OBJECT_FINALIZE"]
    assert len(finalized) == 2
    for message in finalized:
        assert push(case.stack, message) == 204
        assert case.rows() == []


@pytest.mark.long
def test_a_stale_delete_does_not_remove_a_live_model(case: ModelCase) -> None:
    case.upload(slope=1.0)
    case.settle()
    case.delete()
    case.settle()
    live = case.upload(slope=2.0)
    case.settle()
    [deleted] = [m for m in case.events() if m.attributes["eventType"] == "OBJECT_DELETE"]
    for _ in range(3):
        assert push(case.stack, deleted) == 204
        assert case.registered() == [("v1", live.generation, None)]


@pytest.mark.long
def test_every_order_of_messages_gives_the_same_rows(case: ModelCase) -> None:
    """The last change of the object decides, not its last message."""
    with notifications_lost(case.stack):
        case.upload(slope=1.0, version="v1")
        case.delete("v1/model.pkl")
        kept = case.upload(slope=2.0, version="v1")
        case.upload(slope=1.0, version="v2")
        case.delete("v2/model.pkl")
    first, second = (
        [m for m in case.events() if f"/{version}/" in m.attributes["objectId"]]
        for version in ("v1", "v2")
    )
    assert kinds(first) == ["OBJECT_FINALIZE", "OBJECT_DELETE", "OBJECT_FINALIZE"]
    assert kinds(second) == ["OBJECT_FINALIZE", "OBJECT_DELETE"]
    for one, other in zip(
        itertools.permutations(first), itertools.cycle(itertools.permutations(second)), strict=False
    ):
        for message in (*one, *other):
            assert push(case.stack, message) == 204
        assert case.registered() == [("v1", kept.generation, None)]


def test_an_archived_generation_updates_the_registry(case: ModelCase) -> None:
    """In a bucket with object versioning an overwrite archives: OBJECT_ARCHIVE, no delete."""
    with notifications_lost(case.stack):
        live = case.upload()
    [finalized] = case.events()
    attributes = {**finalized.attributes, "eventType": "OBJECT_ARCHIVE"}
    archived = Message(finalized.data, attributes, "1", finalized.publish_time)
    assert push(case.stack, archived) == 204
    assert case.registered() == [("v1", live.generation, None)]


def test_a_change_of_only_an_objects_metadata_is_ignored(case: ModelCase) -> None:
    with notifications_lost(case.stack):
        case.upload()
    [finalized] = case.events()
    attributes = {**finalized.attributes, "eventType": "OBJECT_METADATA_UPDATE"}
    updated = Message(finalized.data, attributes, "1", finalized.publish_time)
    assert push(case.stack, updated) == 204
    assert case.rows() == []


def test_unacknowledged_messages_become_dead_letters_and_a_rescan_repairs_the_registry(
    case: ModelCase,
) -> None:
    settled_rescan(case.clients)
    case.stack.kill_service()
    try:
        case.upload(version="v1")
        case.upload(version="v2")
        case.settle()
    finally:
        case.stack.restart_service()
    letters = [m.attributes["objectId"] for m in case.stack.pubsub.messages(dead_letter(TOPIC))]
    mine = sorted(path for path in letters if path.startswith(f"{case.name}/"))
    assert mine == [case.ref("v1").path, case.ref("v2").path]
    assert case.rows() == []
    address = urlsplit(case.stack.url or "")
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    connection.request("GET", "/model-registry?env=dev")
    answer = json.load(connection.getresponse())
    connection.close()
    assert answer["registered"] == 2
    assert case.registered() == case.stored()
