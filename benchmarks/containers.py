"""Build the image and run it as Cloud Run does: its own user, a read-only root, a memory limit."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlsys.local.processes import answers

ROOT = Path(__file__).parent.parent
TAG = "mlsys:local"
ENGINE = os.environ.get("CONTAINER_ENGINE", "podman")
START_SECONDS = 60.0

# Settings without a backend behind them: enough for the service to start and answer /health.
UNCONNECTED = {
    "GCP_PROJECT_ID": "example-project",
    "MLSYS_PUSH_AUDIENCE": "https://mlsys.example.com",
    "MLSYS_PUSH_SERVICE_ACCOUNT": "push@example-project.iam.gserviceaccount.com",
}


Done = subprocess.CompletedProcess[str]


class NoImages(Exception):
    """Images cannot be built here; the message says why."""


class BuildFailed(Exception):
    """The Dockerfile does not build; the message has the log's end."""


@dataclass(frozen=True, slots=True)
class Container:
    """A running container."""

    id: str
    url: str

    def execute(self, *command: str) -> Done:
        """Run a command in the container, as its own user."""
        return engine("exec", self.id, *command, check=False)

    def stop(self) -> tuple[int, float]:
        """Send SIGTERM; return the exit code and the seconds until the container ended."""
        began = time.monotonic()
        engine("kill", "--signal=TERM", self.id)
        code = int(engine("wait", self.id).stdout)
        return code, time.monotonic() - began

    def logs(self) -> str:
        """Return the container's output so far."""
        done = engine("logs", self.id)
        return done.stdout + done.stderr


def engine(*arguments: str, check: bool = True, seconds: float = 60.0) -> Done:
    """Run podman, or the engine that CONTAINER_ENGINE names."""
    command = [ENGINE, *arguments]
    return subprocess.run(command, check=check, capture_output=True, text=True, timeout=seconds)


def bases(dockerfile: str) -> list[str]:
    """Return the images that a Dockerfile builds on.

    >>> bases("FROM a:1 AS builder" + chr(10) + "FROM b:2")
    ['a:1', 'b:2']
    """
    return re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)


def require_bases() -> None:
    """Return once the images that the Dockerfile builds on are present.

    IMAGE_BASES may name a command that makes them, for a machine that cannot reach a registry.

    Raises:
        NoImages: no engine is installed, or an image cannot be pulled.
    """
    if shutil.which(ENGINE) is None:
        raise NoImages(f"{ENGINE} is not installed")
    names = bases((ROOT / "Dockerfile").read_text())
    missing = [n for n in names if engine("image", "inspect", n, check=False).returncode]
    if missing and (command := os.environ.get("IMAGE_BASES")):
        try:
            subprocess.run(shlex.split(command), check=True, capture_output=True, timeout=240)
        except (OSError, subprocess.SubprocessError) as exc:
            raise NoImages(f"IMAGE_BASES did not make {', '.join(missing)}: {exc}") from exc
        return
    for name in missing:
        try:
            pulled = engine("pull", "--quiet", name, check=False, seconds=120)
        except subprocess.TimeoutExpired as exc:
            raise NoImages(f"{name} could not be pulled within {exc.timeout:.0f} seconds") from exc
        if pulled.returncode:
            lines = pulled.stderr.strip().splitlines() or [""]
            raise NoImages(f"{name} could not be pulled: {lines[-1]}")


def build() -> None:
    """Build the image as TAG, reusing cached layers.

    Raises:
        BuildFailed: the engine failed; the message has the end of its output.
    """
    command = [ENGINE, "build", "--tag", TAG, str(ROOT)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=280
    )
    if done.returncode:
        raise BuildFailed("\n".join(done.stdout.splitlines()[-30:]))


def size(image: str) -> int:
    """Return the bytes that an image takes, its base included."""
    return int(engine("image", "inspect", "--format={{.Size}}", image).stdout)


@contextlib.contextmanager
def run(port: int, environment: Mapping[str, str], memory: str = "1g") -> Iterator[Container]:
    """Run the image's own command at `port` of this machine, and yield once /health answers.

    It uses the host's network, so that it reaches the local stack.

    Raises:
        RuntimeError: the container ended or did not answer; the message has its log.
    """
    with started(port, environment, memory) as container:
        wait_until_ready(container)
        yield container


@contextlib.contextmanager
def started(port: int, environment: Mapping[str, str], memory: str = "1g") -> Iterator[Container]:
    """Do the same as `run`, without waiting for the first answer."""
    variables = [f"--env={k}={v}" for k, v in ({**environment, "PORT": str(port)}).items()]
    done = engine(
        *("run", "--detach", "--network=host", f"--memory={memory}", f"--memory-swap={memory}"),
        *("--read-only", "--tmpfs=/tmp", "--cap-drop=all", "--security-opt=no-new-privileges"),
        # An engine that runs in a container itself requests more than it may have.
        *("--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000"),
        *(*variables, TAG),
    )
    container = Container(done.stdout.strip(), f"http://127.0.0.1:{port}")
    try:
        yield container
    finally:
        engine("rm", "--force", container.id, check=False)


def wait_until_ready(container: Container) -> None:
    """Return once /health answers.

    Raises:
        RuntimeError: the container ended or did not answer; the message has its log.
    """
    deadline = time.monotonic() + START_SECONDS
    while not answers(f"{container.url}/health"):
        state = engine("inspect", "--format={{.State.Running}}", container.id).stdout.strip()
        if state != "true" or time.monotonic() > deadline:
            raise RuntimeError(f"the container does not answer: {container.logs()}")
        time.sleep(0.05)
