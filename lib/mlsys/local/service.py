"""The service on this machine: gunicorn over the source tree, as the image runs it."""

import contextlib
import http.client
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from mlsys.errors import SettingsError
from mlsys.local.addresses import HOST
from mlsys.local.processes import Server, answers

START_SECONDS = 60.0

# As in the Dockerfile: otherwise glibc keeps what each thread once needed, and the memory of a long
# run grows with it (docs/decisions/0014 and 0022).
MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "67108864",
}
SOURCE_ROOT = Path(__file__).parents[3]


def walls(url: str) -> str:
    """Return what keeps models apart on this machine, as the service at `url` says it."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or HOST, parts.port, timeout=10)
    try:
        connection.request("GET", "/health?detail=true")
        return json.loads(connection.getresponse().read())["sandboxes"]["walls"]
    finally:
        connection.close()


def require_service() -> None:
    """Check that the service can be started.

    Raises:
        SettingsError: the source tree or a package is missing.
    """
    if not (SOURCE_ROOT / "app" / "__init__.py").is_file():
        raise SettingsError(
            "the service runs from the source tree, and this mlsys is installed without it: clone "
            "the repository, or pass --no-service to start only Google Cloud"
        )
    if missing := [n for n in ("flask", "gunicorn") if importlib.util.find_spec(n) is None]:
        raise SettingsError(
            f"the service needs packages that are not installed ({', '.join(missing)}): "
            "pip install 'mlsys[service]', or pass --no-service"
        )


def source_paths() -> dict[str, str]:
    """Return the variable with which a process imports the source tree."""
    paths = [str(SOURCE_ROOT), str(SOURCE_ROOT / "lib"), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def start_service(
    *,
    port: int,
    environment: Mapping[str, str],
    log_file: Path,
    pid_file: Path,
    lock: IO[str] | None = None,
) -> Server:
    """Start the service at `port` with its settings in `environment`; wait for it yourself.

    No other service uses `pid_file`: an existing one was left by a service that was killed, and
    its PID may be another process's by now.

    Raises:
        SettingsError: the source tree or a package is missing.
    """
    require_service()
    pid_file.unlink(missing_ok=True)
    command = [
        *(sys.executable, "-m", "gunicorn", "--config", "python:app.gunicorn_conf"),
        *("--bind", f"{HOST}:{port}", "--pid", str(pid_file), "app:create_app()"),
    ]
    own = {"PORT": str(port), "K_SERVICE": "", **source_paths()}
    return Server(
        "The service",
        command,
        ready=lambda: answers(f"http://{HOST}:{port}/health"),
        seconds=START_SECONDS,
        log_file=log_file,
        environment={**environment, **own, **MEMORY},
        folder=SOURCE_ROOT,
        lock=lock,
    )


def kill_service(pid_file: Path) -> None:
    """End the service and all its workers at once, as a power cut would (SIGKILL)."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        # The guard gave it its own process group, so its PID is the group's.
        os.killpg(int(pid_file.read_text()), signal.SIGKILL)
