"""Start processes quickly: fork them from a server that has already imported the libraries.

The server never opens a connection or calls gRPC, so its children may: gRPC does not survive a
fork (https://github.com/grpc/grpc/blob/master/doc/fork_support.md). The server ends with the
process that started it.
"""

from __future__ import annotations

import multiprocessing
import sys
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
    "workers.scoring.shards.pool",
)


def context() -> Any:
    """Return the multiprocessing context to start processes with.

    On macOS they are spawned: its libraries have threads of their own
    (https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods).
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    forkserver = multiprocessing.get_context("forkserver")
    forkserver.set_forkserver_preload(list(PRELOAD))
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
        from multiprocessing.forkserver import ensure_running

        context()
        ensure_running()
