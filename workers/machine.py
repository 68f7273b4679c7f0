"""The memory and cores that this process may use: a container has less than its host."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
SERVICE_BYTES = 512 * 2**20  # without a model
WORKER_BYTES = 96 * 2**20  # a process of the scoring pool, without its sandbox
SANDBOX_BYTES = 160 * 2**20  # without its model
UNUSED_BYTES = 256 * 2**20  # that a sandbox has mapped and never touched: RLIMIT_DATA counts them
# In memory for each byte of a model's file: three in the sandbox while it loads (measured with
# forests), one in the process that has downloaded it.
MODEL_BYTES = 4
MAX_MODEL_BYTES = 2 * 2**30  # however much memory there is, unless the setting says more
SMALLEST = 8  # a model may have an eighth of the memory, where that is too little for the rest


def memory() -> int:
    """Return the bytes of memory that this process may use."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _memory_limits():
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(path.read_text()))
    return min(limits)


def room_for_models() -> int:
    """Return the bytes that the models of this process may have together."""
    return max(memory() - SERVICE_BYTES, memory() // 2)


def model_memory(size: int) -> int:
    """Return the bytes that a sandbox needs for a model whose file has `size` bytes."""
    return SANDBOX_BYTES + MODEL_BYTES * size


def max_model_bytes(setting: int | None) -> int:
    """Return how large a model's file may be, packed and unpacked.

    Without a setting it is what one sandbox can hold beside the service.
    """
    if setting is not None:
        return setting
    fits = (room_for_models() - SANDBOX_BYTES) // MODEL_BYTES
    return min(MAX_MODEL_BYTES, max(fits, memory() // SMALLEST))


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


def _memory_limits() -> Iterator[Path]:
    """Yield the files with the limits of this process's control group and of those above it.

    In a container its own group is usually the root that it sees; under systemd it is not. A line
    of /proc/self/cgroup is `number:controllers:path`, without controllers for version 2.
    """
    yield CGROUP / "memory.max"
    yield CGROUP / "memory" / "memory.limit_in_bytes"
    with contextlib.suppress(OSError):
        for line in OWN.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            root, name = CGROUP / "memory", "memory.limit_in_bytes"
            if not controllers:
                root, name = CGROUP, "memory.max"
            elif "memory" not in controllers.split(","):
                continue
            folder = root / path.strip("/")
            while folder != root and folder.is_relative_to(root):
                yield folder / name
                folder = folder.parent
