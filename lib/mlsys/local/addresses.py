"""The local stack's addresses, and the environment that points clients at them."""

import contextlib
import dataclasses
import json
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlsys.errors import SettingsError
from mlsys.settings import Emulators

HOST = "127.0.0.1"  # the local stack authenticates nobody, so only this machine may reach it
PROJECT = "mlsys-local"

# The job's tasks share this machine's cores.
JOB = {"MLSYS_JOB": "mlsys-score-local", "MLSYS_JOB_TASKS": "4", "MLSYS_JOB_CPUS": "1"}


@dataclass(frozen=True, slots=True)
class Ports:
    """The requested ports; None: a free one is chosen."""

    service: int | None = None
    bigquery: int | None = None
    bigquery_storage: int | None = None
    storage: int | None = None
    pubsub: int | None = None
    run: int | None = None


@dataclass(frozen=True, slots=True)
class Addresses:
    """The chosen ports, and the addresses that follow from them."""

    service: int
    bigquery: int
    bigquery_storage: int
    storage: int
    pubsub: int
    run: int

    @property
    def service_url(self) -> str:
        """The service's URL."""
        return f"http://{HOST}:{self.service}"

    @property
    def emulators(self) -> Emulators:
        """The addresses of the emulators."""
        return Emulators(
            storage=f"http://{HOST}:{self.storage}",
            bigquery=f"http://{HOST}:{self.bigquery}",
            bigquery_storage=f"{HOST}:{self.bigquery_storage}",
            pubsub=f"{HOST}:{self.pubsub}",
            run=f"{HOST}:{self.run}",
        )

    def environment(self, envs: Sequence[str], with_service: bool) -> dict[str, str]:
        """Return the variables that a process, also the service, needs to use the stack."""
        emulators = self.emulators
        values = {
            "GCP_PROJECT_ID": PROJECT,
            "MLSYS_ENVS": ",".join(envs),
            "MLSYS_ROLE": "all",
            "MLSYS_PUSH_AUTH": "off",
            # Set although they are the defaults: a .env file may name the cloud's.
            **buckets(envs),
            **{variable: getattr(emulators, k) for k, variable in Emulators.VARIABLES.items()},
        }
        if with_service:  # whose source the tasks of the job need too
            values |= {"MLSYS_URL": self.service_url, **JOB}
        return values


def buckets(envs: Sequence[str]) -> dict[str, str]:
    """Return the environments' buckets, by the variable that names each."""
    return {
        f"GCS_BUCKET_{kind.upper()}_{env.upper()}": f"mlsys-{kind}-{env}"
        for env in envs
        for kind in ("models", "runs")
    }


def choose_addresses(ports: Ports, known: Path | None = None) -> Addresses:
    """Choose a port for every server: the requested one, else last time's (in `known`) if free.

    Raises:
        SettingsError: a requested port is taken.
    """
    try:
        last = json.loads(known.read_text()) if known else {}
    except (OSError, ValueError):
        last = {}

    def choose(name: str) -> int:
        requested = getattr(ports, name)
        if requested is None and isinstance(last.get(name), int):
            with contextlib.suppress(SettingsError):
                return choose_port(last[name], name)
        return choose_port(requested, name)

    return Addresses(**{field.name: choose(field.name) for field in dataclasses.fields(ports)})


def choose_port(wanted: int | None, what: str) -> int:
    """Return `wanted` if nothing listens on it, or a free port of the loopback if it is None.

    The port stays reserved for a server as long as this process runs (on Linux).

    Raises:
        SettingsError: the port is taken; without this check the other server would answer for
            ours.
    """
    probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # As servers do: a port whose last connections are only waiting to time out is free.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((HOST, wanted or 0))
    except (OSError, OverflowError) as exc:
        probe.close()
        raise SettingsError(
            f"port {wanted} for {what} cannot be used ({exc}): pass another one, or none to "
            "have a free one chosen"
        ) from exc
    port = int(probe.getsockname()[1])
    if sys.platform == "linux" and port not in _reserved:
        _reserved.add(port)
        probe.detach()  # its descriptor stays open
    else:
        probe.close()
    return port


# Bound and not listening. A server takes some seconds until it listens, in which the system would
# give its port to any connection. On Linux, servers, which set SO_REUSEADDR, can still bind to it.
_reserved: set[int] = set()
