"""Keep libraries working where no process can be started."""

from __future__ import annotations

import ctypes
import sys
import threading
from multiprocessing.context import BaseContext

from workers.sandbox.walls.limits import end_first

# How many functions of C that call Python's can exist at a time, at least. Their code needs memory
# that can be executed, which is refused later. threadpoolctl makes one to list the libraries.
_CALLBACKS = 32


def prepare() -> None:
    """Do what can be done only outside the walls.

    Call it once in the process that others are forked from, before `protect_memory`: they inherit
    the results.
    """
    end_first()
    reserve_callbacks()
    from joblib import cpu_count  # it asks `lscpu`, once; histogram gradient boosting asks it

    cpu_count(only_physical_cores=True)


def reserve_callbacks() -> None:
    """Have libffi reserve its memory for callbacks, which it keeps when they are gone."""
    callback = ctypes.CFUNCTYPE(None)
    made = [callback(lambda: None) for _ in range(_CALLBACKS)]
    del made


def use_threads() -> None:
    """Let joblib use threads where it would start processes, and its pool of threads no semaphores.

    `multiprocessing.pool.ThreadPool` makes a lock that processes could share, which needs a
    semaphore in /dev/shm. As long as there is one process, a lock of its threads is the same.
    """
    names = ("Lock", "RLock", "Semaphore", "BoundedSemaphore", "Event", "Condition")
    for name in names:
        setattr(BaseContext, name, _method(getattr(threading, name)))
    if (parallel := sys.modules.get("joblib.parallel")) is not None:
        for name in ("DEFAULT_BACKEND", "DEFAULT_PROCESS_BACKEND"):
            setattr(parallel, name, "threading")


def _method(made: type) -> object:
    return lambda self, *args, **kwargs: made(*args, **kwargs)
