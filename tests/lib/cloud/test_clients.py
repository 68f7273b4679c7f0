"""Clients: created on first use, one for a process, anonymous towards emulators."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import google.auth
import pytest
import requests
from google.api_core.exceptions import MethodNotImplemented, NotFound
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError

import mlsys.cloud.clients
from mlsys.cloud.clients import Clients, bigquery_retry, clients_for, default_clients
from mlsys.cloud.loopback import is_loopback, without_proxies
from mlsys.errors import CredentialsMissing
from mlsys.local.pubsub import PubSub
from mlsys.settings import Emulators, Settings

KINDS = ("storage", "bigquery", "bigquery_read", "publisher")
LOCAL = Settings(
    "demo-project",
    emulators=Emulators(
        "http://127.0.0.1:9", "http://127.0.0.1:10", "127.0.0.1:11", "127.0.0.1:12"
    ),
)


@pytest.mark.parametrize("kind", KINDS)
def test_without_credentials_one_sentence_says_what_to_run(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(**_: Any) -> None:
        raise DefaultCredentialsError("a long text\nover several lines")

    monkeypatch.setattr(google.auth, "default", nothing)
    with pytest.raises(CredentialsMissing) as caught:
        getattr(Clients(Settings("demo-project")), kind)
    text = str(caught.value)
    assert "gcloud auth application-default login" in text
    assert "mlsys local up" in text
    assert "\n" not in text
    assert "a long text" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_with_emulators_no_credentials_are_loaded(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(**_: Any) -> None:
        raise AssertionError("credentials were looked for")

    monkeypatch.setattr(google.auth, "default", never)
    assert getattr(Clients(LOCAL), kind) is not None


def test_emulator_clients_are_anonymous_and_use_the_given_addresses() -> None:
    clients = Clients(LOCAL)
    for client, address in (
        (clients.storage, "http://127.0.0.1:9"),
        (clients.bigquery, "http://127.0.0.1:10"),
    ):
        assert isinstance(client._credentials, AnonymousCredentials)
        assert address == client._connection.API_BASE_URL
        assert client.project == "demo-project"


def test_a_credential_that_appears_later_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is not cached: after a login the same process can continue."""

    def nothing(**_: Any) -> None:
        raise DefaultCredentialsError("none")

    clients = Clients(Settings("demo-project"))
    monkeypatch.setattr(google.auth, "default", nothing)
    with pytest.raises(CredentialsMissing):
        _ = clients.storage
    monkeypatch.setattr(google.auth, "default", lambda **_: (AnonymousCredentials(), "x"))
    assert clients.storage.project == "demo-project"


def test_an_object_that_does_not_exist_costs_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's client asks for the bucket, too, once it knows it: in a thread, for its traces."""
    asked: list[str] = []

    def answer(_: Any, method: str, url: str, **__: Any) -> requests.Response:
        asked.append(f"{method} {url.split('?')[0]}")
        response = requests.Response()
        response.status_code, response._content = (404 if "/o/" in url else 200), b"{}"
        response.request = requests.Request(method, url).prepare()
        return response

    monkeypatch.setattr(requests.Session, "request", answer)
    storage = Clients(LOCAL).storage
    threads = set(threading.enumerate())
    blob = storage.get_bucket("bucket").blob("name")
    for use in (blob.reload, blob.download_as_bytes, blob.delete):
        with pytest.raises(NotFound):
            use()
    for thread in set(threading.enumerate()) - threads:
        thread.join(30)
    assert [line.split()[0] for line in asked] == ["GET", "GET", "GET", "DELETE"], asked


def test_equal_settings_share_their_clients() -> None:
    assert clients_for(LOCAL) is clients_for(Settings("demo-project", emulators=LOCAL.emulators))
    assert clients_for(LOCAL) is not clients_for(Settings("other-project"))
    assert clients_for(LOCAL).storage is clients_for(LOCAL).storage


def test_the_default_clients_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCP_PROJECT_ID", "first-project")
    first = default_clients()
    assert first is default_clients()
    assert first.settings.project == "first-project"
    monkeypatch.setenv("GCP_PROJECT_ID", "second-project")
    assert default_clients().settings.project == "second-project"


def test_concurrent_threads_get_the_same_client(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def slow(settings: Settings) -> object:
        made.append(settings)
        time.sleep(0.05)
        return object()

    monkeypatch.setattr(mlsys.cloud.clients, "_storage", slow)
    clients = Clients(LOCAL)
    barrier = threading.Barrier(8)

    def use(_: int) -> Any:
        barrier.wait()
        return clients.storage

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(use, range(8)))
    assert len({id(client) for client in found}) == 1
    assert made == [LOCAL]


def test_bigquery_calls_are_retried_for_at_most_two_minutes() -> None:
    assert bigquery_retry().timeout == 120.0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_local_addresses_are_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    with socket.socket() as proxy, socket.socket() as rest:
        for server in (proxy, rest):
            server.bind(("127.0.0.1", 0))
            server.listen()
            server.settimeout(0.2)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        for name in ("http", "https", "all", "grpc"):
            monkeypatch.setenv(f"{name}_proxy", address)
            monkeypatch.setenv(f"{name.upper()}_PROXY", address)
        for name in ("NO_PROXY", "no_proxy", "no_grpc_proxy"):
            monkeypatch.delenv(name, raising=False)
        pubsub = PubSub("p")
        pubsub.create_topic("t")
        pubsub.start()
        grpc_address = pubsub.address.replace("127.0.0.1", host)
        rest_address = f"http://{host}:{rest.getsockname()[1]}"
        clients = Clients(
            Settings(
                "p", emulators=Emulators(rest_address, rest_address, grpc_address, grpc_address)
            )
        )
        try:
            name = "projects/p/topics/t"
            clients.publisher.publish(name, b"x", timeout=10).result(timeout=10)
            assert len(pubsub.messages("t")) == 1
            with pytest.raises(MethodNotImplemented):
                clients.bigquery_read.create_read_session(parent="projects/p", timeout=10)
            for call in (
                lambda: clients.storage.bucket("b").exists(timeout=0.3, retry=None),
                lambda: clients.bigquery.get_table("p.d.t", timeout=0.3, retry=None),
            ):
                with pytest.raises(requests.exceptions.ReadTimeout):
                    call()
                rest.accept()[0].close()
            with pytest.raises(TimeoutError):
                proxy.accept()
        finally:
            clients.publisher.transport.close()
            clients.bigquery_read.transport.close()
            pubsub.stop()


@pytest.mark.parametrize(
    ("host", "own"),
    [
        *(("localhost", True), ("LOCALHOST.", True), ("a.localhost", True), ("127.9.9.9", True)),
        *(("::1", True), ("[::1]", True), ("0.0.0.0", True), ("::1%lo", True), ("", False)),
        *((None, False), ("127.0.0.1.example", False), ("10.0.0.1", False), ("::2", False)),
    ],
)
def test_local_addresses_are_recognized(host: str | None, own: bool) -> None:
    assert is_loopback(host) is own


def test_existing_proxy_exceptions_are_kept() -> None:
    assert without_proxies({"NO_PROXY": "a.example", "no_proxy": ""}) == {
        "NO_PROXY": "a.example,127.0.0.1,localhost,::1",
        "no_proxy": "127.0.0.1,localhost,::1",
    }
