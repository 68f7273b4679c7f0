"""The stack's processes, and how much memory and CPU time they take while something runs."""

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
    """gunicorn with its worker and their scoring processes."""
    port = stack.url.rsplit(":", 1)[1] if stack.url else ""
    return _with_children(
        lambda p: "gunicorn" in " ".join(p.cmdline()) and p.environ().get("PORT") == port
    )


def emulator_processes() -> list[psutil.Process]:
    """The local BigQuery and Cloud Storage, which are Google's business on the cloud."""
    return _with_children(
        lambda p: any(w in " ".join(p.cmdline()) for w in ("bqemulator", "-filesystem-root"))
    )


def process_tree(pid: int) -> list[psutil.Process]:
    """The process with all that it started, and they."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """The CPU seconds of the processes so far, and of their children that have ended."""
    seconds = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def own_seconds(processes: Iterable[psutil.Process]) -> dict[int, tuple[int, float]]:
    """Of each process, by its id: its parent's id, and its own CPU seconds so far."""
    found = {}
    for process in processes:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            found[process.pid] = (process.ppid(), times.user + times.system)
    return found


def busiest(before: Mapping[int, tuple[int, float]], now: Mapping[int, tuple[int, float]]) -> float:
    """The CPU seconds between two looks at `own_seconds` of one process and its ancestors.

    It is the one for which they are the most.
    """
    spent = _spent(before, now)
    return max(sum(_upwards(spent, pid)) for pid in spent)


def all_seconds(
    before: Mapping[int, tuple[int, float]], now: Mapping[int, tuple[int, float]]
) -> float:
    """The CPU seconds of all processes between two looks at `own_seconds`."""
    return sum(seconds for _, seconds in _spent(before, now).values())


def _spent(
    before: Mapping[int, tuple[int, float]], now: Mapping[int, tuple[int, float]]
) -> dict[int, tuple[int, float]]:
    return {
        pid: (parent, seconds - before.get(pid, (0, 0.0))[1])
        for pid, (parent, seconds) in now.items()
    }


def _upwards(found: Mapping[int, tuple[int, float]], pid: int) -> Iterator[float]:
    while pid in found:
        pid, seconds = found[pid]
        yield seconds


def _with_children(wanted: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "mlsys.local.guard" not in process.cmdline() and wanted(process):
                found += [process, *process.children(recursive=True)]
        except psutil.Error:
            continue
    return list(set(found))


class Watch:
    """What some processes take while the block runs: the most bytes, together and each, and CPU.

    `together`, at each sample, is what the processes need as a group: their anonymous memory by
    its proportional set size, so that a page that several share since a fork counts once, and the
    mapped files (the libraries, which all of them share) of the process that maps the most. The
    usual sum of PSS would leave out what other programs of this machine happen to map too. Where
    there is no smaps_rollup (that is, not on Linux) it is the sum of the resident sets.
    """

    def __init__(
        self, processes: Callable[[], list[psutil.Process]], interval: float = INTERVAL
    ) -> None:
        self.together = 0
        self.each: dict[int, int] = {}  # pid: the most bytes resident
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
        """The most bytes resident in any one process."""
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
    """The bytes resident in a process, its share of the anonymous ones, and those of files."""
    rollup = Path(f"/proc/{process.pid}/smaps_rollup")
    if not rollup.exists():
        resident = process.memory_info().rss
        return resident, resident, 0
    lines = (line.split() for line in rollup.read_text().splitlines()[1:])
    kilobytes = {words[0].rstrip(":"): int(words[1]) for words in lines}
    files = kilobytes["Rss"] - kilobytes["Anonymous"]
    return kilobytes["Rss"] * 1024, kilobytes["Pss_Anon"] * 1024, files * 1024
