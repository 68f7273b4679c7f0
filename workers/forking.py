"""Processes that start at once: forked from a server that has the imports behind it.

The server has never opened a connection nor called gRPC, so that its children may: gRPC does not
survive a fork (https://github.com/grpc/grpc/blob/master/doc/fork_support.md). It ends with the
process that started it.
"""

from __future__ import annotations

import multiprocessing
import sys
from typing import Any

# What a process that scores or verifies needs, and nearly every model.
PRELOAD = (
    "google.cloud.bigquery",
    "google.cloud.bigquery_storage_v1",
    "google.cloud.storage",
    "pyarrow.parquet",
    "sklearn.compose",
    "sklearn.pipeline",
    "workers.scoring.shards.pool",
    "workers.verification.verifier",
)


def context() -> Any:
    """What to start processes with.

    On macOS they are spawned: its libraries have threads of their own
    (https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods).
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(list(PRELOAD))
    return found


def kill(process: Any) -> None:
    """Kill a process of `context` at once, unless it has gone by itself.

    The server lets its children go as they end, and then the system may give a child's number to
    somebody else. `Process.kill` would signal that one; `is_alive` looks at a pipe of the child's.
    """
    if process.is_alive():
        process.kill()


def warm_up() -> None:
    """Start the server; its imports go on for seconds after this returns."""
    if sys.platform == "linux":
        from multiprocessing.forkserver import ensure_running

        context()
        ensure_running()
