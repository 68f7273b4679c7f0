"""A backfill by the service: its board, and the runs of its partitions, several at a time."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlsys.arguments import kind_of
from mlsys.cloud.partitions import concrete_day
from mlsys.errors import InvalidRequest, TryAgain
from mlsys.remote.answers import Fields, faults
from mlsys.remote.call import Call
from mlsys.remote.patience import Patience
from mlsys.remote.progress import Progress, say
from mlsys.remote.service import RefusedByService, Service, Unreachable
from mlsys.remote.verdict import row_count

BOARD: Fields = {"totals": dict, "partitions": list, "published": (list, type(None))}
ENTRY = ("partition", "label", "state")
STATES = ("failed", "missing", "stale", "running")  # that a repeat can change
MAX_PARALLEL = 100
BOARD_TIMEOUT = 600.0  # seconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the request of one partition ended: with the run's result, or with what is wrong."""

    label: str
    seconds: float
    result: Mapping[str, Any] | None = None
    problem: str | None = None

    def __str__(self) -> str:
        if self.result is None:
            return f"failed: {self.problem}"
        rejected = self.result.get("rows_rejected")
        rows = row_count(self.result["rows"]) + (f", {rejected:,} rejected" if rejected else "")
        return f"{rows}, {'done already' if self.result.get('reused') else f'{self.seconds:.1f} s'}"


class Backfill:
    """The partitions of a table from one to another, each scored by a run of its own."""

    def __init__(self, service: Service, params: Mapping[str, str], first: str, last: str) -> None:
        """`params` are those of `/predict`, of the whole tables."""
        self.service = service
        self.params = dict(params)
        self._range = {"from": concrete_day(first), "to": concrete_day(last)}
        self._stop = threading.Event()
        self._began = False

    def board(self) -> dict[str, Any]:
        """Return the state of each partition, as `GET /backfill` does.

        Raises:
            RefusedByService, TryAgain, CredentialsMissing: see `Service.ask`.
        """
        return self._ask({})

    def start(self, only: Sequence[str]) -> dict[str, Any]:
        """Have the service score the partitions in the states of `only`, and return the board."""
        return self._ask({"start": "true", "only": ",".join(only)}, method="POST", form=True)

    def call(self, partition: str, service: Service | None = None) -> Call:
        """Return the call of `/predict` that scores one partition."""
        tables = {k: f"{self.params[k]}${partition}" for k in ("input_table", "output_table")}
        disposition = "WRITE_APPEND" if self.params.get("incremental") else "WRITE_TRUNCATE"
        params = self.params | tables | {"write_disposition": disposition}
        return Call(service or self.service, params)

    def score(self, entries: Sequence[Mapping[str, Any]], parallel: int) -> Iterator[Outcome]:
        """Score these partitions of the board, `parallel` at a time, and yield how each ended.

        A partition that fails does not stop the others; a service that is gone for long does.

        Raises:
            MlsysError: what concerns all of them, such as missing credentials.
        """
        self._began = True
        waiting: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        ended: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        for entry in entries:
            waiting.put(entry)
        for _ in range(min(parallel, len(entries))):
            threading.Thread(target=self._work, args=(waiting, ended), daemon=True).start()
        try:
            for _ in entries:
                outcome = ended.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                yield outcome
        finally:
            self._stop.set()

    def _work(self, waiting: queue.SimpleQueue[Any], ended: queue.SimpleQueue[Any]) -> None:
        service = self.service.copy()  # one a thread
        while True:
            try:
                entry = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                ended.put(self._one(service, entry))
            except BaseException as exc:
                ended.put(exc)
                return

    def _one(self, service: Service, entry: Mapping[str, Any]) -> Outcome:
        began, label = time.monotonic(), entry["label"]

        def outcome(**how: Any) -> Outcome:
            return Outcome(label, time.monotonic() - began, **how)

        if self._stop.is_set():
            return outcome(problem="not tried: the service cannot be reached")
        try:
            result = self.call(entry["partition"], service).score(_Lines(label, self._stop))
        except RefusedByService as exc:
            return outcome(problem="; ".join([str(exc), *faults(exc.body)]))
        except TryAgain as exc:
            if isinstance(exc, Unreachable) or isinstance(exc.__cause__, Unreachable):
                self._stop.set()
            return outcome(problem=str(exc))
        return outcome(result=result)

    def _ask(self, more: Mapping[str, str], **how: Any) -> dict[str, Any]:
        params = self.params | self._range | dict(more)
        patience = Patience()
        while True:
            try:
                board = self.service.ask(
                    "/backfill", params, timeout=BOARD_TIMEOUT, fields=[BOARD], **how
                )
                break
            except TryAgain as exc:
                if isinstance(exc, Unreachable) and not self._began:
                    raise
                patience.wait(exc)
        for entry in board["partitions"]:
            self.service.checked(entry, "/backfill", [dict.fromkeys(ENTRY, str)])
        return board


class _Lines(Progress):
    """The progress of one partition among several: a line for what it waits for, and no bar.

    Nothing is said once the backfill has `stopped`: its threads may still wait for answers.
    """

    def __init__(self, label: str, stopped: threading.Event) -> None:
        super().__init__()
        self._label = label
        self._stopped = stopped

    def show(self, status: Mapping[str, Any]) -> None:
        self.latest = status

    def note(self, line: str) -> None:
        if not self._stopped.is_set():
            say(f"{self._label}: {line}")


def selected(board: Mapping[str, Any], only: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the partitions of a board in the states of `only`."""
    return [entry for entry in board["partitions"] if entry["state"] in only]


def read_only(value: str | Sequence[str]) -> tuple[str, ...]:
    """Return the states that are to be scored, of a text with commas or a list.

    Raises:
        InvalidRequest: one of them is not a state that a run can change.
    """
    names = value.split(",") if isinstance(value, str) else list(value)
    names = [name.strip() if isinstance(name, str) else name for name in names]
    if not names or not set(names) <= set(STATES):
        raise InvalidRequest(("only", f"{value!r:.80}: pass any of {', '.join(STATES)}"))
    return tuple(names)


def check_parallel(value: object) -> int:
    """Return how many partitions are scored at a time, if it is a number that makes sense.

    Raises:
        InvalidRequest: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_PARALLEL:
        given = value if isinstance(value, int) else f"is {kind_of(value)}"
        raise InvalidRequest(("parallel", f"{given}: pass a number from 1 to {MAX_PARALLEL}"))
    return value
