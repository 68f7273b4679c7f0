"""Rules of Google Cloud that the local servers do not keep, kept by a proxy in front of them.

Clients of any process that use `Rules.environment` reach the local servers through it. Each rule
stands with its source in the module that keeps it: over HTTP `cloud_storage` and `bigquery`, over
gRPC `read_api` (the Storage Read API) with `read_checks`, `streams` and `conduct`.

With `faults`, that share of the HTTP calls also fails (`faults.Faulty`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from faults import Faulty
from mlsys.cloud.clients import Clients
from mlsys.settings import Settings
from proxy import TIMEOUT, Proxy
from rules.bigquery import BigQuery, Load
from rules.cloud_storage import CloudStorage
from rules.job_checks import DML, LOADS_A_DAY
from rules.read_api import ReadAPI


@dataclass
class Hold:
    """Calls that are kept waiting; `reached` is set when one has arrived."""

    name: str
    moment: str
    reached: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


def close(clients: Clients) -> None:
    """Close the connections of every client that was made."""
    for client in clients._made.values():
        (client.close if hasattr(client, "close") else client.transport.close)()


class Stack(Protocol):
    """What the layer must know of a local stack."""

    settings: Settings
    clients: Clients
    environment: dict[str, str]


class Rules:
    """The layer over a local stack, for the duration of a `with` block."""

    def __init__(
        self, stack: Stack, job_seconds: float = 0.0, faults: float = 0.0, seed: int = 0
    ) -> None:
        stack = getattr(stack, "bare", stack)  # not a second layer over a `StrictStack`'s
        self.job_seconds = job_seconds
        self.loads_a_day = LOADS_A_DAY  # of one table
        self.statements_at_once = DML  # that change rows of one table
        self.bucket_locations: dict[str, str] = {}  # where other than in Cloud Storage's default
        self.loads: dict[str, Load] = {}
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._holds: list[Hold] = []
        self.running: list[threading.Thread] = []  # load jobs still running
        upstream = stack.settings.emulators
        services = [CloudStorage(self), BigQuery(self)]
        self.faulty = [Faulty(service, faults, seed + n) for n, service in enumerate(services)]
        self._servers = [
            Proxy(url or "", service)
            for url, service in zip((upstream.storage, upstream.bigquery), self.faulty, strict=True)
        ]
        storage, bigquery = (server.url for server in self._servers)
        self.read_api = ReadAPI(stack.clients, self.wait_here)
        here = replace(
            upstream,
            storage=storage,
            bigquery=bigquery,
            bigquery_storage=self.read_api.address,
        )
        self.settings = replace(stack.settings, emulators=here)
        self.clients = Clients(self.settings)
        self.environment = stack.environment | {
            here.VARIABLES["storage"]: storage,
            here.VARIABLES["bigquery"]: bigquery,
            here.VARIABLES["bigquery_storage"]: self.read_api.address,
        }

    def __enter__(self) -> Rules:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Rules:
        """Start the servers; `stop` ends them."""
        self._threads = [
            threading.Thread(target=s.serve_forever, args=(0.05,), daemon=True)
            for s in self._servers
        ]
        for thread in self._threads:
            thread.start()
        self.read_api.start()
        return self

    def stop(self) -> None:
        """End the servers, and wait for load jobs that are running."""
        for hold in self._holds:
            hold.release.set()
        for job in self.running:
            job.join(TIMEOUT)
        self.read_api.stop()
        close(self.clients)
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join(10)

    def succeeded(self, table: str) -> int:
        """Return the number of load jobs into the table that have succeeded."""
        with self._guard:
            return sum(load.succeeded for load in self.loads.values() if load.table == table)

    def location_of(self, bucket: str) -> str:
        """Return the location of a bucket: the US, or the one in `bucket_locations`."""
        return self.bucket_locations.get(bucket, "US")

    @contextlib.contextmanager
    def holding(self, name: str, moment: str = "before") -> Iterator[Hold]:
        """Keep the calls of that name waiting, `before` they are passed on or `after` the answer.

        They continue when `release` is set, when the block ends, or after a minute.
        """
        hold = Hold(name, moment)
        self._holds.append(hold)
        try:
            yield hold
        finally:
            self._holds.remove(hold)
            hold.release.set()

    def wait_here(self, name: str, moment: str) -> None:
        """Wait for as long as a `holding` block keeps this call."""
        for hold in list(self._holds):
            if (hold.name, hold.moment) == (name, moment):
                hold.reached.set()
                hold.release.wait(TIMEOUT)

    def lock(self, name: str) -> threading.Lock:
        """Return the lock of an object or a job."""
        with self._guard:
            return self._locks.setdefault(name, threading.Lock())
