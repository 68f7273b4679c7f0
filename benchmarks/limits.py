"""Start processes within a limit: of memory, by a control group, and of cores."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil

_ROOT = Path("/sys/fs/cgroup")
_numbers = itertools.count(1)


class MemoryGroup:
    """A control group with a limit, for what is started within `inside`.

    It is made below the group that this process is in (with version 2, where a group with
    processes can have none below it, beside it), and gone with `remove`.
    """

    def __init__(self, limit: int) -> None:
        """Make the group; `limit` is in bytes, swap included.

        Raises:
            OSError: this system has no control groups for memory, or they are not ours to make.
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
        """The most bytes that the group held, page cache included; None: the kernel is too old."""
        name = "memory.max_usage_in_bytes" if self._version == 1 else "memory.peak"
        try:
            return int((self.folder / name).read_text())
        except OSError:
            return None

    @property
    def killed(self) -> int:
        """How many processes the kernel has ended for want of memory."""
        name = "memory.oom_control" if self._version == 1 else "memory.events"
        lines = (line.split() for line in (self.folder / name).read_text().splitlines())
        return {key: int(value) for key, value in lines}.get("oom_kill", 0)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """What is started in this block belongs to the group; this process leaves it again."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
        finally:
            (self._home / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self) -> None:
        """Remove the group, whose processes must have ended."""
        self.folder.rmdir()

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
    """What this thread starts in the block may use one core alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def on_one_core(processes: Callable[[], Iterable[psutil.Process]]) -> Iterator[None]:
    """The processes may use one core alone in the block, and so may what they start."""
    before = os.sched_getaffinity(0)
    _allow(processes(), {min(before)})
    try:
        yield
    finally:
        _allow(processes(), before)


def cores() -> int:
    """The cores that this process may use; 1 where processes cannot be kept to one."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else 1


def _allow(processes: Iterable[psutil.Process], cores: set[int]) -> None:
    """Let every thread use these cores: each has a mask of its own, and hands it on."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            for thread in process.threads():
                with contextlib.suppress(OSError):  # it has ended
                    os.sched_setaffinity(thread.id, cores)


def _home() -> tuple[Path, int]:
    """The folder of this process's group for memory, and the version of control groups."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    paths = {name: path.lstrip("/") for _, names, path in lines for name in names.split(",")}
    if "memory" in paths:
        return _ROOT / "memory" / paths["memory"], 1
    return _ROOT / paths[""], 2
