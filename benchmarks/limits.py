"""Limits for processes that are started: memory, by a control group, and cores."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil

_ROOT = Path("/sys/fs/cgroup")
_numbers = itertools.count(1)
REMOVALS = 50  # tries, a tenth of a second apart


class MemoryGroup:
    """A control group with a memory limit, for the processes that are started in `inside`.

    It is created below this process's own group; with version 2, where a group that has processes
    cannot have children, beside it. `remove` removes it.
    """

    def __init__(self, limit: int) -> None:
        """Create the group; `limit` is in bytes, swap included.

        Raises:
            OSError: the system lacks control groups for memory, or denies creating one.
        """
        self._home, self._version = _home()
        beside = self._version == 2 and self._home != _ROOT
        name = f"mlsys-bench-{os.getpid()}-{next(_numbers)}"
        self.folder = (self._home.parent if beside else self._home) / name
        self.folder.mkdir()
        try:
            self._limit(limit)
        except OSError:
            self.remove()
            raise

    @property
    def peak(self) -> int | None:
        """The group's peak in bytes, page cache included; None if the kernel is too old."""
        name = "memory.max_usage_in_bytes" if self._version == 1 else "memory.peak"
        try:
            return int((self.folder / name).read_text())
        except OSError:
            return None

    @property
    def killed(self) -> int:
        """The number of processes that the kernel has killed for want of memory."""
        name = "memory.oom_control" if self._version == 1 else "memory.events"
        lines = (line.split() for line in (self.folder / name).read_text().splitlines())
        return {key: int(value) for key, value in lines}.get("oom_kill", 0)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Put what is started in the block into the group; this process leaves it again."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
        finally:
            (self._home / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self) -> None:
        """Remove the group, whose processes must have ended.

        The kernel takes a moment to forget them.
        """
        for _ in range(REMOVALS - 1):
            with contextlib.suppress(OSError):
                return self.folder.rmdir()
            time.sleep(0.1)
        return self.folder.rmdir()

    def _limit(self, limit: int) -> None:
        if self._version == 2:
            (self.folder / "memory.max").write_text(str(limit))
            (self.folder / "memory.swap.max").write_text("0")
            return
        (self.folder / "memory.limit_in_bytes").write_text(str(limit))
        swap = self.folder / "memory.memsw.limit_in_bytes"
        if swap.exists():
            swap.write_text(str(limit))


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Let what this thread starts in the block use only one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def on_one_core(processes: Callable[[], Iterable[psutil.Process]]) -> Iterator[None]:
    """Let the processes, and what they start in the block, use only one core."""
    before = os.sched_getaffinity(0)
    _allow(processes(), {min(before)})
    try:
        yield
    finally:
        _allow(processes(), before)


def cores() -> int:
    """Return the number of cores that this process may use; 1 where affinity cannot be set."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else 1


def _allow(processes: Iterable[psutil.Process], cores: set[int]) -> None:
    """Let every thread use these cores: each has its own mask, which its children inherit."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            for thread in process.threads():
                with contextlib.suppress(OSError):  # it has ended
                    os.sched_setaffinity(thread.id, cores)


def _home() -> tuple[Path, int]:
    """Return the folder of this process's memory group, and the version of control groups."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    paths = {name: path.lstrip("/") for _, names, path in lines for name in names.split(",")}
    if "memory" in paths:
        return _ROOT / "memory" / paths["memory"], 1
    return _ROOT / paths[""], 2
