"""The stack's processes, and the memory and CPU time that they take while something runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

import psutil

from mlsys.local.stack import LocalStack

INTERVAL = 0.2  # seconds between two samples


def service_processes(stack: LocalStack) -> list[psutil.Process]:
    """Return gunicorn with its worker and their scoring processes."""
    port = stack.url.rsplit(":", 1)[1] if stack.url else ""
    return _with_children(
        lambda p: "gunicorn" in " ".join(p.cmdline()) and p.environ().get("PORT") == port
    )


def emulator_processes() -> list[psutil.Process]:
    """Return the processes of the local BigQuery and Cloud Storage."""
    return _with_children(
        lambda p: any(
            word in " ".join(p.cmdline()) for word in ("mlsys.local.emulator", "-filesystem-root")
        )
    )


def process_tree(pid: int) -> list[psutil.Process]:
    """Return the process and all its descendants."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """Return the CPU seconds of the processes so far, and of their children that have ended."""
    seconds = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def own_seconds(processes: Iterable[psutil.Process]) -> dict[int, tuple[int, float]]:
    """Return, by PID, each process's parent PID and its own CPU seconds so far."""
    seconds = {}
    for process in processes:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            seconds[process.pid] = (process.ppid(), times.user + times.system)
    return seconds


def busiest(before: Mapping[int, tuple[int, float]], now: Mapping[int, tuple[int, float]]) -> float:
    """Return the CPU seconds of the busiest process and its ancestors, between two `own_seconds`.

    The busiest process is the one for which this sum is the largest.
    """
    spent = _spent(before, now)
    return max(sum(_upwards(spent, pid)) for pid in spent)


def all_seconds(
    before: Mapping[int, tuple[int, float]], now: Mapping[int, tuple[int, float]]
) -> float:
    """Return the CPU seconds of all processes between two results of `own_seconds`."""
    return sum(seconds for _, seconds in _spent(before, now).values())


def _spent(
    before: Mapping[int, tuple[int, float]], now: Mapping[int, tuple[int, float]]
) -> dict[int, tuple[int, float]]:
    return {
        pid: (parent, seconds - before.get(pid, (0, 0.0))[1])
        for pid, (parent, seconds) in now.items()
    }


def _upwards(spent: Mapping[int, tuple[int, float]], pid: int) -> Iterator[float]:
    while pid in spent:
        pid, seconds = spent[pid]
        yield seconds


def _with_children(wanted: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    matches: list[psutil.Process] = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "mlsys.local.guard" not in process.cmdline() and wanted(process):
                matches += [process, *process.children(recursive=True)]
        except psutil.Error:
            continue
    return list(set(matches))


class Watch:
    """A sampler of some processes' memory and CPU time while the block runs.

    `together` is the peak, over the samples, of what the processes need as a group: their anonymous
    memory by its proportional set size, so that a page shared since a fork counts once, plus the
    mapped files of the process that maps the most (all of them share the libraries). The usual sum
    of PSS would leave out the share of other programs that map the same files. Without smaps_rollup
    (that is, not on Linux) it is the sum of the resident sets.
    """

    def __init__(
        self, processes: Callable[[], list[psutil.Process]], interval: float = INTERVAL
    ) -> None:
        self.together = 0
        self.each: dict[int, int] = {}  # PID: peak resident bytes
        self.most_at_once = 0  # processes
        self.own: dict[int, tuple[int, float]] = {}  # `own_seconds`, when last seen
        self._processes = processes
        self._interval = interval
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    @property
    def largest(self) -> int:
        """The peak resident bytes of any one process."""
        return max(self.each.values(), default=0)

    def _watch(self) -> None:
        while True:
            own: list[int] = []
            files = [0]
            processes = self._processes()
            self.own |= own_seconds(processes)
            for process in processes:
                try:
                    resident, anonymous, mapped = _memory(process)
                except (psutil.Error, OSError):
                    continue
                own.append(anonymous)
                files.append(mapped)
                self.each[process.pid] = max(self.each.get(process.pid, 0), resident)
            self.together = max(self.together, sum(own) + max(files))
            self.most_at_once = max(self.most_at_once, len(own))
            if self._done.wait(self._interval):
                return


def _memory(process: psutil.Process) -> tuple[int, int, int]:
    """Return a process's resident bytes, its share of anonymous memory, and its mapped files."""
    rollup = Path(f"/proc/{process.pid}/smaps_rollup")
    if not rollup.exists():
        resident = process.memory_info().rss
        return resident, resident, 0
    lines = (line.split() for line in rollup.read_text().splitlines()[1:])
    kilobytes = {words[0].rstrip(":"): int(words[1]) for words in lines}
    files = kilobytes["Rss"] - kilobytes["Anonymous"]
    return kilobytes["Rss"] * 1024, kilobytes["Pss_Anon"] * 1024, files * 1024
