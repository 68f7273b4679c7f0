"""Thousands of deliveries, duplicated and shuffled, while the service may be killed."""

from __future__ import annotations

import http.client
import json
import pickle
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from faults import KINDS
from mlsys.local.addresses import choose_port
from mlsys.local.push import Message
from mlsys.local.service import start_service
from mlsys.local.stack import LocalStack
from registry_cases import ModelCase, fitted, model_case, notifications_lost, push
from rules import Rules

pytestmark = pytest.mark.slow

THREADS = 16
ATTEMPTS = 2_000  # for one message; each kill costs some of the concurrent ones


@pytest.fixture
def case(stack: LocalStack, environment: dict[str, str]) -> Iterator[ModelCase]:
    with model_case(stack, "deliveries") as fresh:
        yield fresh
        with notifications_lost(stack), ThreadPoolExecutor(8) as pool:
            list(pool.map(fresh.delete, fresh.paths()))


def upload(case: ModelCase, objects: int) -> list[Message]:
    """Store models, some twice, some with metadata; return the notifications, held back."""
    contents = [pickle.dumps(fitted(slope)) for slope in (1.0, 2.0, 3.0)]

    def one(n: int) -> None:
        case.put(contents[n % 3], f"v{n}/model.pkl")
        if n % 5 == 0:
            case.put(contents[(n + 1) % 3], f"v{n}/model.pkl")
        if n % 7 == 0:
            case.put(json.dumps({"metrics": {"n": n}}), f"v{n}/metadata.json")

    with notifications_lost(case.stack), ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(1, objects + 1)))
    messages = case.events()
    assert len({message.attributes["objectId"] for message in messages}) >= objects
    return messages


def copies(messages: list[Message], deliveries: int, seed: int) -> list[Message]:
    """Return every message one to ten times, shuffled, `deliveries` in all."""
    rng = random.Random(seed)
    more = rng.sample(9 * messages, deliveries - len(messages))
    return rng.sample([*messages, *more], deliveries)


class Deliveries:
    """Delivers with many threads, each message until it is acknowledged."""

    def __init__(self, stack: LocalStack, url: str | None = None) -> None:
        self.stack = stack
        self.url = url  # of a service other than the stack's
        self.answers: Counter[int | str] = Counter()
        self._lock = threading.Lock()

    def run(self, messages: list[Message]) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._until_acknowledged, messages))

    def acknowledged(self) -> int:
        with self._lock:
            return self.answers[204]

    def _until_acknowledged(self, message: Message) -> None:
        for _ in range(ATTEMPTS):
            answer: int | str
            try:
                answer = push(self.stack, message, self.url)
            except (OSError, http.client.HTTPException):
                answer = "none"
                time.sleep(0.1)
            with self._lock:
                self.answers[answer] += 1
            if answer == 204:
                return
        raise AssertionError(f"never acknowledged: {self.answers}")


def bulk(case: ModelCase, objects: int, number: int) -> None:
    """Deliver the announcements `number` times: no 5xx, and one row a version."""
    messages = copies(upload(case, objects), number, seed=objects)
    assert case.rows() == []
    deliveries = Deliveries(case.stack)
    began = time.monotonic()
    deliveries.run(messages)
    seconds = time.monotonic() - began
    print(f"\n{len(messages)} deliveries in {seconds:.0f} s: {dict(deliveries.answers)}")
    assert deliveries.answers == {204: number}
    assert len(case.registered()) == objects
    assert case.registered() == case.stored()


def disturbed(case: ModelCase, objects: int, number: int, folder: Path) -> None:
    """Deliver while a fifth of the service's calls fail: retries do no harm."""
    messages = copies(upload(case, objects), number, seed=objects)
    port = choose_port(None, "service")
    with Rules(case.stack, faults=0.2, seed=number) as rules:
        server = start_service(
            port=port,
            environment=rules.environment,
            log_file=folder / "service.log",
            pid_file=folder / "service.pid",
        )
        try:
            server.wait_until_ready()
            deliveries = Deliveries(case.stack, f"http://127.0.0.1:{port}")
            deliveries.run(messages)
        finally:
            server.stop()
        done = [dict(faulty.done) for faulty in rules.faulty]
    print(f"\n{number} deliveries: {dict(deliveries.answers)}; calls: {done}")
    assert set(deliveries.answers) <= {204, 503}
    assert all(faults[kind] for faults in done for kind in KINDS)
    assert len(case.registered()) == objects
    assert case.registered() == case.stored()


def killed(case: ModelCase, objects: int, number: int, kills: int) -> None:
    """Kill the service `kills` times in `number` deliveries: the registry needs no rescan."""
    messages = copies(upload(case, objects), number, seed=kills)
    rng = random.Random(kills)
    moments = sorted(rng.sample(range(1, number - THREADS), kills))
    deliveries = Deliveries(case.stack)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(deliveries.run, messages)
        for moment in moments:
            while deliveries.acknowledged() < moment and not running.done():
                time.sleep(0.002)
            assert not running.done()
            case.stack.kill_service()
            case.stack.restart_service()
        running.result(timeout=600)
    print(f"\n{kills} kills in {number} deliveries: {dict(deliveries.answers)}")
    assert deliveries.answers[204] == number
    assert deliveries.answers["none"] >= kills
    assert len(case.registered()) == objects
    assert case.registered() == case.stored()
    assert {row["registered_by"] for row in case.rows()} == {"event"}


@pytest.mark.long
def test_100_deliveries_of_15_objects_leave_one_row_a_version(case: ModelCase) -> None:
    bulk(case, 15, 100)


def test_a_registry_whose_service_is_killed_twice_in_50_deliveries_needs_no_rescan(
    case: ModelCase,
) -> None:
    killed(case, 12, 50, kills=2)


@pytest.mark.long
def test_60_deliveries_with_a_fifth_of_calls_failing_leave_one_row_a_version(
    case: ModelCase, tmp_path: Path
) -> None:
    disturbed(case, 8, 60, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_10000_deliveries_with_a_fifth_of_calls_failing_leave_one_row_a_version(
    case: ModelCase, tmp_path: Path
) -> None:
    disturbed(case, 1_000, 10_000, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_10000_deliveries_of_1000_objects_leave_one_row_a_version(case: ModelCase) -> None:
    bulk(case, 1_000, 10_000)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_registry_whose_service_is_killed_50_times_in_1000_deliveries_needs_no_rescan(
    case: ModelCase,
) -> None:
    killed(case, 300, 1_000, kills=50)
