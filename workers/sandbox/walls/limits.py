"""Limits of the kernel on what the process may use. It cannot raise them again."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

# Address space beyond memory: libraries that are loaded later, reserves of malloc for each thread
_ADDRESS_SPACE = 2 * 2**30
# RLIMIT_NPROC counts all threads of the user, in other processes too. The first that allows one
# more thread is taken.
_THREADS = (4096, 32768)


@dataclass(frozen=True)
class Limits:
    """What the process may use.

    Args:
        memory: bytes of data, stacks of its threads included (RLIMIT_DATA).
        cpu_seconds: of the processors in its whole life, a backstop behind the deadlines of calls:
            as long as Cloud Run lets a task run. None: no limit.
        open_files: at the same time; lazy imports open one after the other.
    """

    memory: int
    cpu_seconds: int | None = 7 * 24 * 3600
    open_files: int = 64


def set_limits(limits: Limits) -> tuple[str, ...]:
    """Set the limits and return the names of those that hold on this system.

    Call it in a process with one thread. Threads are limited coarsely, and for root not at all:
    the stacks of Python's threads count as memory.
    """
    values = {
        "memory": ("RLIMIT_DATA", limits.memory),
        "address space": ("RLIMIT_AS", _address_space() + limits.memory + _ADDRESS_SPACE),
        "cpu": ("RLIMIT_CPU", limits.cpu_seconds),
        "file size": ("RLIMIT_FSIZE", 0),
        "open files": ("RLIMIT_NOFILE", limits.open_files),
        "core": ("RLIMIT_CORE", 0),
        "locked memory": ("RLIMIT_MEMLOCK", 0),
        "message queues": ("RLIMIT_MSGQUEUE", 0),
        "nice": ("RLIMIT_NICE", 0),
        "real time": ("RLIMIT_RTPRIO", 0),
    }
    if sys.platform != "linux":  # macOS takes these and does not keep to them
        del values["memory"], values["address space"]
    held = [
        name for name, (limit, value) in values.items() if value is not None and _set(limit, value)
    ]
    if sys.platform == "linux":
        end_first()
        if _limit_threads():
            held.append("threads")
    return tuple(held)


def end_first() -> None:
    """Have the kernel end this process, and those forked from it, first when memory runs out."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a process that is not dumpable may not
            Path("/proc/self/oom_score_adj").write_text("500")


def _set(name: str, value: int) -> bool:
    """Set a limit for good, or keep the stricter one that stands."""
    if (number := getattr(resource, name, None)) is None:
        return False
    hard = resource.getrlimit(number)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(number, (value, value))
    except (OSError, ValueError):
        return False
    return True


def _address_space() -> int:
    """Return the bytes of address space that the process has now."""
    if sys.platform != "linux":
        return 0
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _limit_threads() -> bool:
    """Limit the user's threads, and return whether that holds this process."""
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    for most in _THREADS:
        if hard != resource.RLIM_INFINITY and hard <= most:
            break
        try:
            resource.setrlimit(resource.RLIMIT_NPROC, (most, hard))
            thread = threading.Thread(target=int)
            thread.start()
        except RuntimeError:  # the user has more in other processes
            continue
        except (OSError, ValueError):  # the system does not know the limit
            return False
        thread.join()
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
        return os.getuid() != 0
    resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
    return hard != resource.RLIM_INFINITY and os.getuid() != 0
