"""A pushed run that is out of time is continued by a new message, and its own is acknowledged."""

import dataclasses
import heapq
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.api import events
from edge_cases import REQUEST, SERVICE, request_of
from mlsys.errors import MlsysError, NoProgress, RunInterrupted, TooManyRuns
from mlsys.local.push import ACKNOWLEDGED, PushSubscription
from mlsys.local.topics import predictions, push_subscriptions
from wired import NoClients, wired
from workers import admission


class Publishing(NoClients):
    """Clients with a publisher that keeps what it is given, and can fail."""

    def __init__(self) -> None:
        super().__init__(SERVICE)
        self.done: list[str] = []  # in the order in which it happened
        self.sent: list[dict[str, Any]] = []
        self.on_publish: Callable[[], None] = lambda: None
        self.on_result: Callable[[], None] = lambda: None

    @property
    def publisher(self) -> Any:  # type: ignore[override]
        def publish(topic: str, data: bytes, timeout: float) -> Any:
            assert topic == SERVICE.predictions_topic("dev")
            self.on_publish()
            self.sent.append(json.loads(data))
            return SimpleNamespace(result=lambda timeout: self.acknowledge())

        return SimpleNamespace(publish=publish)

    def acknowledge(self) -> str:
        self.on_result()
        self.done.append("Pub/Sub has the message")
        return "1"


class Working:
    """Stands in for the workers: each try works until its deadline, or fails."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.left = 0.0  # seconds of work
        self.worked = 0.0
        self.overhead = 0.0  # seconds of each try that are not work on rows
        self.fault: MlsysError | None = None

    def prepare(
        self, _: Any, request: Any, run_id: str | None, *, redelivered: bool = False
    ) -> Any:
        version = "v3" if request.model_version == "champion" else request.model_version
        plan = SimpleNamespace(run_id=run_id or "the-run", model=SimpleNamespace(version=version))
        return SimpleNamespace(plan=plan, request=request, close=lambda: None)

    def perform(
        self, _: Any, prepared: Any, *, deadline: float, stopping: Any, pushed: bool = False
    ) -> Any:
        if self.fault is not None:
            raise self.fault
        work = 0.0 if stopping() else min(self.left, deadline - self.now - self.overhead)
        self.now += work + self.overhead
        self.left -= work
        self.worked += work
        if self.left > 0:
            raise RunInterrupted("Out of time", {"rows_done": int(self.worked)})
        return SimpleNamespace(rows=int(self.worked), reused=False)


@pytest.fixture
def working(monkeypatch: pytest.MonkeyPatch) -> Working:
    working = Working()
    monkeypatch.setattr("workers.scoring.planning.find_run.prepare", working.prepare)
    monkeypatch.setattr("workers.scoring.engines.perform.perform", working.perform)
    monkeypatch.setattr(events, "time", SimpleNamespace(monotonic=lambda: working.now))
    return working


@pytest.fixture
def clients() -> Publishing:
    return Publishing()


@pytest.fixture
def client(working: Working, clients: Publishing) -> FlaskClient:
    return wired(SERVICE, clients).test_client()


def pushed(client: FlaskClient, request: Any = REQUEST, attempt: int = 1) -> int:
    body = json.dumps(json.loads(request_of(request)) | {"deliveryAttempt": attempt})
    return client.post("/events/predictions", data=body).status_code


def test_a_run_out_of_time_is_continued_and_then_acknowledged(
    client: FlaskClient, working: Working, clients: Publishing
) -> None:
    working.left = 1000.0
    assert pushed(client) == 204
    assert (working.worked, clients.sent) == (540.0, [REQUEST])
    assert clients.done == ["Pub/Sub has the message"]  # before the answer
    assert pushed(client, clients.sent[0]) == 204
    assert (working.left, len(clients.sent)) == (0, 1)


def test_the_continuation_is_the_same_request_with_its_run_id(
    client: FlaskClient, working: Working, clients: Publishing
) -> None:
    working.left = 1000.0
    more = {"where": "a > 1", "max_rejects": "1%", "id_columns": "a,b", "model_version": "latest"}
    request = {k: v for k, v in REQUEST.items() if k != "run_id"} | more
    assert pushed(client, request | {"wait": "false", "write_disposition": "WRITE_APPEND"}) == 204
    assert clients.sent == [request | {"run_id": "the-run"}]


def test_the_continuation_names_the_version_that_an_alias_meant(
    client: FlaskClient, working: Working, clients: Publishing
) -> None:
    working.left = 1000.0
    assert pushed(client, REQUEST | {"model_version": "champion"}) == 204
    [sent] = clients.sent
    assert (sent["model_version"], sent["model_alias"]) == ("v3", "champion")
    working.left = 1000.0
    assert pushed(client, sent) == 204
    assert clients.sent[1] == sent  # however often it is continued


def test_a_message_names_an_alias_only_beside_the_version_that_it_meant(
    client: FlaskClient, working: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons: list[str] = []
    monkeypatch.setattr(events, "_quarantine", lambda _, why: reasons.append(why) or ("", 204))
    for version in ("latest", "champion"):
        request = REQUEST | {"model_version": version, "model_alias": "champion"}
        assert pushed(client, request) == 204
        assert f"names what '{version}' does" in reasons[-1]


@pytest.mark.parametrize("when", ["on_publish", "on_result"])
def test_a_message_is_not_acknowledged_before_its_continuation_is_published(
    client: FlaskClient, working: Working, clients: Publishing, when: str
) -> None:
    def fail() -> None:
        raise TimeoutError

    setattr(clients, when, fail)
    working.left = 1000.0
    assert pushed(client) == 503
    assert clients.done == []


def test_a_stopped_instance_publishes_the_continuation_at_once(
    client: FlaskClient, working: Working, clients: Publishing
) -> None:
    working.left = 1000.0
    client.application.extensions["mlsys"].stopping.set()
    assert (pushed(client), working.worked, clients.sent) == (204, 0.0, [REQUEST])


def test_a_run_without_progress_is_acknowledged_and_not_continued(
    client: FlaskClient, working: Working, clients: Publishing
) -> None:
    working.fault = NoProgress("It made none")
    assert (pushed(client), clients.sent) == (204, [])


def test_a_run_without_memory_waits_for_pub_subs_backoff_and_a_caller_for_retry_after(
    client: FlaskClient, clients: Publishing, working: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A continuation would come back at once, and again."""
    working.fault = TooManyRuns("Others hold it")
    assert (pushed(client), clients.sent) == (429, [])

    def prepare(*_: Any, **__: Any) -> None:
        raise TooManyRuns("Others hold it")

    monkeypatch.setattr("workers.scoring.planning.find_run.prepare", prepare)
    answer = client.get("/predict", query_string=REQUEST)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert pushed(client) == 429


def test_a_message_that_has_waited_for_long_is_published_again(
    client: FlaskClient, clients: Publishing, working: Working
) -> None:
    working.fault = TooManyRuns("Others hold it")
    late = events.RENEWED_AFTER
    assert (pushed(client, REQUEST, late - 1), clients.sent) == (429, [])
    assert (pushed(client, REQUEST, late), clients.sent) == (204, [REQUEST])
    assert clients.done == ["Pub/Sub has the message"]


def test_a_message_that_cannot_be_published_again_goes_on_waiting(
    client: FlaskClient, clients: Publishing, working: Working
) -> None:
    def fail() -> None:
        raise TimeoutError

    working.fault = TooManyRuns("Others hold it")
    clients.on_publish = fail
    assert pushed(client, REQUEST, events.RENEWED_AFTER) == 429
    assert pushed(client, REQUEST, 99) == 429


def test_a_wait_is_renewed_before_pub_sub_gives_up_and_after_the_alert_has_seen_it() -> None:
    waits = [subscription().backoff(attempt) for attempt in range(1, events.RENEWED_AFTER)]
    assert 3600 + 300 < sum(waits) < 2 * 3600
    allowed = subscription().attempts_allowed or 0
    assert allowed >= 2 * events.RENEWED_AFTER


def test_three_hours_without_google_cloud_are_survived() -> None:
    attempts = subscription().attempts_allowed or 0
    assert sum(subscription().backoff(attempt) for attempt in range(1, attempts)) > 3 * 3600


def test_a_run_holds_a_place_while_it_is_planned_and_worked_on(
    client: FlaskClient, working: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[int] = []

    def prepare(*args: Any, **_: Any) -> Any:
        admission.hold("a model", 1000)
        places.append(len(admission._places))
        return working.prepare(*args)

    monkeypatch.setattr("workers.scoring.planning.find_run.prepare", prepare)
    before = len(admission._places)
    assert pushed(client) == 204
    assert places == [before + 1]
    assert len(admission._places) == before


def test_a_push_ends_before_the_limit_of_a_request_and_of_pub_sub(
    working: Working, clients: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit, seconds in ((3600.0, 540.0), (300.0, 270.0), (20.0, 18.0)):
        working.left, working.worked = 10_000.0, 0.0
        short = wired(dataclasses.replace(SERVICE, request_timeout=limit), clients)
        assert pushed(short.test_client()) == 204
        assert working.worked == seconds


# Pub/Sub, simulated. The retry policy is the subscription's own; besides it Pub/Sub holds back the
# pushes of the whole subscription after a failure, from 100 ms up to 60 s.
# https://cloud.google.com/pubsub/docs/push#push_backoff
# https://cloud.google.com/pubsub/docs/handling-failures#exponential_backoff
LATENCY = 1.0  # seconds from publishing to pushing
OVERHEAD = 10.0  # of each try: the model is loaded, the session opened
FIVE_HOURS = 5 * 3600.0


def subscription() -> PushSubscription:
    """Return the subscription of the scoring requests."""
    [found] = [s for s in push_subscriptions("dev", "http://x") if s.topic == predictions("dev")]
    return found


def simulate(client: FlaskClient, working: Working, clients: Publishing) -> tuple[float, int]:
    """Push a run of five hours until it is done. Return its busy share, and the nacks."""
    began, number, nacks, window = working.now, 1, 0, 0.1
    waiting: list[tuple[float, int, int, Any]] = [(began, number, 1, REQUEST)]
    while waiting:
        due, _, attempt, request = heapq.heappop(waiting)
        working.now = max(working.now, due)
        before = len(clients.sent)
        status = pushed(client, request, attempt)
        number += 1
        if status in ACKNOWLEDGED:
            window = 0.1
        else:
            nacks += 1
            assert attempt < (subscription().attempts_allowed or 0), "a dead letter"
            pause = max(subscription().backoff(attempt), window)
            window = min(60.0, window * 2)
            heapq.heappush(waiting, (working.now + pause, number, attempt + 1, request))
        if status in ACKNOWLEDGED and len(clients.sent) > before:
            due = working.now + LATENCY
            heapq.heappush(waiting, (due, number, 1, clients.sent[-1]))
    assert working.left == 0
    return working.worked / (working.now - began), nacks


def test_a_run_of_five_hours_is_busy_nearly_all_the_time(
    client: FlaskClient, working: Working, clients: Publishing
) -> None:
    working.left, working.overhead = FIVE_HOURS, OVERHEAD
    busy, nacks = simulate(client, working, clients)
    assert busy > 0.95
    assert nacks == 0


def test_without_continuations_it_would_wait_a_fifth_of_the_time(
    client: FlaskClient, working: Working, clients: Publishing
) -> None:
    def fail() -> None:
        raise TimeoutError

    clients.on_publish = fail  # each try is answered 503, as it was before there were any
    working.left, working.overhead = FIVE_HOURS, OVERHEAD
    busy, nacks = simulate(client, working, clients)
    assert 0.75 < busy < 0.85
    assert nacks > 30


def test_a_twin_message_costs_work_and_nothing_else(
    client: FlaskClient, working: Working, clients: Publishing
) -> None:
    """The process ended between the publishing and its answer: Pub/Sub has two messages."""
    working.left = 1000.0
    assert pushed(client) == 204
    assert pushed(client, REQUEST) == pushed(client, clients.sent[0]) == 204
    assert (working.left, clients.sent) == (0, [REQUEST])
