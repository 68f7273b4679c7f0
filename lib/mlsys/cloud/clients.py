"""The only place that creates Google clients.

On the cloud they use Application Default Credentials. When the emulator variables are set
(`STORAGE_EMULATOR_HOST`, `BIGQUERY_EMULATOR_HOST`, `BIGQUERY_STORAGE_EMULATOR_HOST`,
`PUBSUB_EMULATOR_HOST`, `CLOUD_RUN_EMULATOR_HOST`; `mlsys local up` prints them) they are anonymous
and talk to the local servers over the same protocols; servers on this machine are reached without a
proxy. A client is created on first use, once per process.
"""

from __future__ import annotations

import functools
import socket
import threading
import urllib.parse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlsys.cloud.loopback import host_of, is_loopback
from mlsys.cloud.quotas import is_quota, is_too_large, is_used_up
from mlsys.errors import SettingsError
from mlsys.settings import Emulators, Settings

if TYPE_CHECKING:
    from google.api_core.retry import Retry
    from google.cloud import bigquery, storage
    from google.cloud.bigquery_storage_v1 import BigQueryReadClient
    from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
    from google.cloud.run_v2 import ExecutionsClient, JobsClient, RevisionsClient, ServicesClient

TIMEOUT = 60.0  # seconds for one call to a Google API
RETRY_DEADLINE = 120.0  # seconds for one call with all its retries, below any request's limit


class Clients:
    """The Google clients of one process, each created on first use. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._made: dict[str, Any] = {}

    @property
    def storage(self) -> storage.Client:
        """The Cloud Storage client."""
        return self._once("storage", _storage)

    @property
    def bigquery(self) -> bigquery.Client:
        """The BigQuery client."""
        return self._once("bigquery", _bigquery)

    @property
    def bigquery_read(self) -> BigQueryReadClient:
        """The client of the BigQuery Storage Read API."""
        return self._once("bigquery_read", _bigquery_read)

    @property
    def publisher(self) -> PublisherClient:
        """The Pub/Sub publisher."""
        return self._once("publisher", _publisher)

    @property
    def subscriber(self) -> SubscriberClient:
        """The Pub/Sub client that reads subscriptions."""
        return self._once("subscriber", _subscriber)

    @property
    def jobs(self) -> JobsClient:
        """The client of Cloud Run's jobs."""
        return self._once("jobs", _jobs)

    @property
    def executions(self) -> ExecutionsClient:
        """The client of the executions of Cloud Run's jobs."""
        return self._once("executions", _executions)

    @property
    def services(self) -> ServicesClient:
        """The client of Cloud Run's services."""
        return self._once("services", _services)

    @property
    def revisions(self) -> RevisionsClient:
        """The client of the revisions of Cloud Run's services."""
        return self._once("revisions", _revisions)

    def _once(self, name: str, make: Any) -> Any:
        with self._lock:
            if name not in self._made:
                self._made[name] = make(self.settings)
            return self._made[name]


@functools.cache
def clients_for(settings: Settings) -> Clients:
    """Return the clients for `settings`, the same ones at every call."""
    return Clients(settings)


def default_clients() -> Clients:
    """Return the clients of this process's environment, which a notebook's calls use.

    Raises:
        SettingsError: a setting is missing (see `Settings.from_env`), or the emulator variables
            point to a local stack that is not running.
    """
    settings = Settings.from_env()
    _check_local_stack(settings)
    return clients_for(settings)


def _check_local_stack(settings: Settings) -> None:
    """Refuse at once a local server that is not running: Google's clients retry for two minutes."""
    for kind in ("storage", "bigquery"):
        address = getattr(settings.emulators, kind)
        if not address:
            continue
        try:
            url = urllib.parse.urlsplit(address)
            host, port = url.hostname, url.port or 80  # a malformed port raises ValueError
            if url.scheme not in ("http", "https") or not host:
                raise ValueError
        except ValueError as exc:
            raise SettingsError(
                f"{Emulators.VARIABLES[kind]} is {address[:200]!r}: pass http://HOST:PORT, or "
                "unset it"
            ) from exc
        try:
            socket.create_connection((host, port), timeout=2).close()
        except OSError as exc:
            raise SettingsError(
                f"No local stack answers at {address}: start it with `make local`, and export the "
                "variables that it prints (also in .local/env)"
            ) from exc


def bigquery_retry() -> Retry:
    """Return BigQuery's own retry with `RETRY_DEADLINE` in place of its default of ten minutes."""
    from google.cloud.bigquery import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(RETRY_DEADLINE)


def is_passing(exc: Exception) -> bool:
    """Return whether a call that raised this exception of Google's clients may succeed later."""
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError, TransportError
    from requests.exceptions import ChunkedEncodingError, ConnectionError, Timeout

    if is_too_large(exc) or is_used_up(exc) or isinstance(exc, exceptions.MethodNotImplemented):
        return False
    if isinstance(exc, exceptions.Forbidden | exceptions.TooManyRequests):
        # BigQuery reports quotas as 403: https://cloud.google.com/bigquery/docs/error-messages
        return is_quota(exc)
    if isinstance(exc, GoogleAuthError):
        return exc.retryable or isinstance(exc, TransportError)
    return isinstance(
        exc,
        exceptions.ServerError
        | exceptions.RetryError
        | exceptions.Aborted
        | ChunkedEncodingError
        | ConnectionError
        | Timeout
        | TimeoutError,  # from waiting for a job or a publish
    )


def _credentials(emulator: str | None) -> Any:
    if emulator:
        from google.auth.credentials import AnonymousCredentials

        return AnonymousCredentials()
    from mlsys.cloud.credentials import default_credentials

    return default_credentials()


def _session(emulator: str | None, credentials: Any) -> Any:
    """Return a session that ignores proxy variables if the server is on this machine, else None."""
    if not emulator or not is_loopback(host_of(emulator)):
        return None
    from google.auth.transport.requests import AuthorizedSession

    session = AuthorizedSession(credentials)
    session.trust_env = False
    return session


def _channel(emulator: str, options: Sequence[tuple[str, int]] = ()) -> Any:
    """Return a gRPC channel to a local server, without a proxy if it is on this machine."""
    import grpc

    direct = [("grpc.enable_http_proxy", 0)] if is_loopback(host_of(emulator)) else []
    return grpc.insecure_channel(emulator, options=[*options, *direct])


def _storage(settings: Settings) -> storage.Client:
    from google.api_core.client_options import ClientOptions
    from google.cloud import storage

    host = settings.emulators.storage
    credentials = _credentials(host)
    client = storage.Client(
        project=settings.project,
        credentials=credentials,
        client_options=ClientOptions(api_endpoint=host) if host else None,
        _http=_session(host, credentials),
    )
    # For attributes of traces it asks for the bucket, in a thread of its own, at each answer 404: a
    # run has ten. The variable that switches traces' buckets off does not end that (3.17).
    client._bucket_metadata_cache = None
    return client


def _bigquery(settings: Settings) -> bigquery.Client:
    from google.api_core.client_options import ClientOptions
    from google.cloud import bigquery

    host = settings.emulators.bigquery
    credentials = _credentials(host)
    return bigquery.Client(
        project=settings.project,
        credentials=credentials,
        client_options=ClientOptions(api_endpoint=host) if host else None,
        _http=_session(host, credentials),
    )


# gRPC widens its window while the reader is slower than the network, until most of a stream is in
# memory. A fixed window of 1 MiB keeps the reader busy and memory flat (docs/decisions/0014).
_READ_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1024 * 1024),
]


def _bigquery_read(settings: Settings) -> BigQueryReadClient:
    from google.cloud.bigquery_storage_v1 import BigQueryReadClient
    from google.cloud.bigquery_storage_v1.services.big_query_read.transports import (
        BigQueryReadGrpcTransport,
    )

    host = settings.emulators.bigquery_storage
    if host:
        channel = _channel(host, _READ_OPTIONS)
    else:
        channel = BigQueryReadGrpcTransport.create_channel(
            credentials=_credentials(None), options=_READ_OPTIONS
        )
    return BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))


def _publisher(settings: Settings) -> PublisherClient:
    from google.cloud.pubsub_v1 import PublisherClient

    return _over_grpc(PublisherClient, settings.emulators.pubsub)


def _subscriber(settings: Settings) -> SubscriberClient:
    from google.cloud.pubsub_v1 import SubscriberClient

    return _over_grpc(SubscriberClient, settings.emulators.pubsub)


def _jobs(settings: Settings) -> JobsClient:
    from google.cloud.run_v2 import JobsClient

    return _over_grpc(JobsClient, settings.emulators.run)


def _executions(settings: Settings) -> ExecutionsClient:
    from google.cloud.run_v2 import ExecutionsClient

    return _over_grpc(ExecutionsClient, settings.emulators.run)


def _services(settings: Settings) -> ServicesClient:
    from google.cloud.run_v2 import ServicesClient

    return _over_grpc(ServicesClient, settings.emulators.run)


def _revisions(settings: Settings) -> RevisionsClient:
    from google.cloud.run_v2 import RevisionsClient

    return _over_grpc(RevisionsClient, settings.emulators.run)


def _over_grpc(client: Any, emulator: str | None) -> Any:
    """Return a client of the class `client`, of Google Cloud or of a local server."""
    if not emulator:
        return client(credentials=_credentials(None))
    transport = client.get_transport_class("grpc")
    return client(transport=transport(channel=_channel(emulator)))
