"""The memory and cores that this process may use: a container has less than its host."""

import contextlib
import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def memory() -> int:
    """Return the bytes of memory that this process may use."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("memory.max", "memory/memory.limit_in_bytes"):  # control groups 2 and 1
        with contextlib.suppress(OSError, ValueError):
            limits.append(int((CGROUP / path).read_text()))
    return min(limits)


def cores() -> int:
    """Return the number of cores that this process may use, a fraction rounded up."""
    limits = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        limits.append(len(os.sched_getaffinity(0)))
    for paths in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # groups 2, 1
        with contextlib.suppress(OSError, ValueError):
            words = " ".join((CGROUP / path).read_text() for path in paths).split()
            quota, period = map(int, words)  # no limit is "max", or -1
            limits += [math.ceil(quota / period)] if quota > 0 else []
    return max(1, min(limits))
