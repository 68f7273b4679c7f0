"""Start processes quickly: fork them from a server that has already imported the libraries.

The server never opens a connection or calls gRPC, so its children may: gRPC does not survive a
fork (https://github.com/grpc/grpc/blob/master/doc/fork_support.md). The server ends with the
process that started it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import sys
import threading
from collections.abc import Iterator
from typing import Any

# Modules that scoring and verifying need, and nearly every model.
PRELOAD = (
    "google.cloud.bigquery",
    "google.cloud.bigquery_storage_v1",
    "google.cloud.storage",
    "pyarrow.parquet",
    "sklearn.compose",
    "sklearn.pipeline",
    "workers.inference.host",
    "workers.sandbox.child",
    "workers.scoring.shards.pool_process",
)


# Variables that may hold a secret. The service's processes need none: they are given the settings.
_SECRET = re.compile("TOKEN|SECRET|PASSW|CREDENTIAL|PRIVATE|API_?KEY|ACCESS_?KEY", re.IGNORECASE)
# Arrow's allocator reserves a gigabyte at its first allocation, which RLIMIT_DATA of a sandbox
# counts although no page of it is used: with half of 2 GiB no sandbox would start. In KiB.
ALLOCATOR = {"MIMALLOC_ARENA_RESERVE": "65536"}
NEEDED = ("GOOGLE_APPLICATION_CREDENTIALS",)  # a path, by which scoring processes sign in
_starting = threading.Lock()


def context() -> Any:
    """Return the multiprocessing context to start processes with.

    The fork server runs, and it and its children do not have the secrets of the environment.

    On macOS they are spawned: its libraries have threads of their own
    (https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods).
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    from multiprocessing.forkserver import ensure_running

    forkserver = multiprocessing.get_context("forkserver")
    forkserver.set_forkserver_preload(list(PRELOAD))
    with _environment_of_the_server():
        ensure_running()
    return forkserver


def kill(process: Any) -> None:
    """Kill a process of `context` at once, unless it has ended already.

    The fork server reaps its children as they end, and then the system may reuse a child's PID.
    `Process.kill` would signal the new process; `is_alive` looks at a pipe of the child's.
    """
    if process.is_alive():
        process.kill()


def warm_up() -> None:
    """Start the server; its imports continue for seconds after this returns."""
    if sys.platform == "linux":
        context()


@contextlib.contextmanager
def _environment_of_the_server() -> Iterator[None]:
    """Take the secrets out of the environment in the block, and put `ALLOCATOR` in.

    A process is started with all of it. Nothing reads the secrets at that time: the settings were
    read before the service took a request.
    """
    with _starting:
        names = [name for name in os.environ if name not in NEEDED and _SECRET.search(name)]
        taken = {name: os.environ.pop(name) for name in names}
        added = ALLOCATOR.keys() - os.environ.keys()
        os.environ.update({name: ALLOCATOR[name] for name in added})
        try:
            yield
        finally:
            for name in added:
                del os.environ[name]
            os.environ.update(taken)
