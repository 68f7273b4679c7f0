"""What this process may use of the machine: a container has less than the machine it runs on."""

import contextlib
import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def memory() -> int:
    """The bytes of memory that there are."""
    there = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("memory.max", "memory/memory.limit_in_bytes"):  # control groups 2 and 1
        with contextlib.suppress(OSError, ValueError):
            there.append(int((CGROUP / path).read_text()))
    return min(there)


def cores() -> int:
    """The cores that this process may keep busy, a part of one counting as one."""
    there = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        there.append(len(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError, ValueError):  # control groups 2; "max" is no number
        quota, period = (CGROUP / "cpu.max").read_text().split()
        there.append(math.ceil(int(quota) / int(period)))
    return max(1, min(there))
