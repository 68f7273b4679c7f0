"""One call of `/predict` from start to result: repeated until it is answered, with progress."""

from __future__ import annotations

import concurrent.futures as cf
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from mlsys.errors import MlsysError, TryAgain
from mlsys.remote.answers import ACCEPTED, RESULT, STATUS, VERDICT
from mlsys.remote.service import Service, Unreachable

TRIES = 10  # in a row, without a new row or shard
PLAIN_TRIES = 2  # without progress; later messages count the tries
STALLED = 900.0  # seconds without progress, after which a third try is the last
ANSWER_TIMEOUT = 3900.0  # seconds; a request to Cloud Run lasts at most an hour
POLL, POLL_MOST = 1.0, 30.0  # seconds between two status requests
POLL_SHARE = (
    10  # status requests take at most a tenth of the time: the service counts rows for each
)
LOST_AFTER = 30.0  # seconds after a run's end until its answer counts as lost
LINE_EVERY = 10.0  # seconds between two lines of progress without a terminal


def say(line: str) -> None:
    """Print a line on stderr."""
    print(line, file=sys.stderr, flush=True)


class Call:
    """One request for a prediction, with its repetitions."""

    def __init__(
        self, service: Service, params: Mapping[str, str], *, check_ids: bool = False
    ) -> None:
        self.service = service
        self.params = dict(params)
        self.run_id = self.params.get("run_id")  # the run, once it is known
        self.sent = False  # whether more than a dry run was requested
        self._dry = {"dry_run": "true"} | ({"check_ids": "true"} if check_ids else {})

    def verdict(self) -> dict[str, Any]:
        """Return the result of a dry run. If only its run_id identifies the run, keep passing that.

        Raises:
            RefusedByService, TryAgain, CredentialsMissing: see `Service.ask`.
        """
        patience = Patience()
        while True:
            try:
                params = self.params | self._dry
                verdict = self.service.ask("/predict", params, timeout=600, fields=[VERDICT])
                break
            except Unreachable:
                raise  # no run has started that would be worth waiting for
            except TryAgain as exc:
                patience.wait(exc)
        if verdict.get("run_id_required"):
            self.params["run_id"] = verdict["run_id"]
        self.run_id = verdict["run_id"]
        return verdict

    def start(self) -> dict[str, Any]:
        """Start the run without waiting, and return the answer: accepted, or the result if done."""
        self.sent = True
        patience = Patience()
        while True:
            try:
                return self.service.ask(
                    "/predict",
                    self.params | {"wait": "false"},
                    timeout=600,
                    fields=[ACCEPTED, RESULT],
                )
            except TryAgain as exc:
                self._name_run(exc)
                patience.wait(exc)

    def score(self) -> dict[str, Any]:
        """Repeat the request until the run is done, showing its progress, and return the result.

        Raises:
            RefusedByService, CredentialsMissing: see `Service.ask`.
            TryAgain: the service kept postponing the request, and the run made no progress.
        """
        self.sent = True
        before = self._status()
        progress = Progress()
        try:
            patience = Patience(before, progress.note)
            while True:
                try:
                    return self._ask_once(before, progress)
                except TryAgain as exc:
                    self._name_run(exc)
                    patience.wait(exc, progress.latest)
        finally:
            progress.close()

    def _ask_once(self, before: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Send one request in its own thread, and show the run's progress until it answers."""
        service, params = self.service.copy(), dict(self.params)
        answer = _in_thread(
            lambda: service.ask("/predict", params, timeout=ANSWER_TIMEOUT, fields=[RESULT])
        )
        ended_at, pause = None, POLL
        while not _wait_for(answer, pause):
            began = time.monotonic()
            status = self._status()
            pause = min(POLL_MOST, max(POLL, POLL_SHARE * (time.monotonic() - began)))
            if not status or before.get("result"):
                continue  # not planned yet; or done earlier, and this run has another run_id
            # With the run_id, a repeated request resumes this run, even if the input changes.
            self.params.setdefault("run_id", status["run_id"])
            progress.show(status)
            # A failure may be another caller's, with a smaller max_rejects: ours still runs.
            if status.get("result") is None:
                ended_at = None
            elif ended_at is None:
                ended_at = time.monotonic()
            elif time.monotonic() - ended_at > LOST_AFTER:
                # The answer was lost.
                return self.service.checked(status["result"], "/runs", [RESULT])
        return answer.result()

    def _status(self) -> dict[str, Any]:
        """Return the run's status, or an empty dictionary if it cannot be read."""
        try:
            path = f"/runs/{self.run_id}"
            return self.service.ask(path, {"env": self.params["env"]}, timeout=30, fields=[STATUS])
        except MlsysError:
            return {}

    def _name_run(self, exc: TryAgain) -> None:
        if run_id := exc.progress.get("run_id"):
            self.run_id = self.params["run_id"] = run_id


class Progress:
    """Progress of a run on stderr: a bar in a terminal, otherwise a line every `LINE_EVERY`."""

    def __init__(self) -> None:
        self.latest: Mapping[str, Any] = {}
        self._bar: Any = None
        self._began = self._printed = time.monotonic()

    def show(self, status: Mapping[str, Any]) -> None:
        """Show the answer of `GET /runs/{run_id}`."""
        self.latest = status
        total = status.get("rows_total")  # None: unknown for a view or a filter
        shards, of = status["shards_done"], status.get("shards_total")
        shards_text = f"{shards} of {of} shards" if of else ""
        if sys.stderr.isatty():
            self._draw(total, shards_text)
        elif time.monotonic() - self._printed >= LINE_EVERY:
            self._printed = time.monotonic()
            rows = f"{_rows(self.latest):,}" + (f" of {total:,}" if total else "") + " rows"
            seconds = f"{self._printed - self._began:.0f} s"
            say(", ".join(filter(None, (rows, shards_text, seconds))))

    def note(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        if self._bar is None:
            say(line)
        else:
            self._bar.write(line, file=sys.stderr)

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def _draw(self, total: int | None, shards_text: str) -> None:
        from tqdm import tqdm

        if self._bar is None:  # `initial`: rows of an earlier try do not count for the rate
            self._bar = tqdm(
                total=total,
                initial=_rows(self.latest),
                unit=" rows",
                unit_scale=True,
                dynamic_ncols=True,
                leave=False,  # the result is printed afterwards
                file=sys.stderr,
            )
        self._bar.total = total
        self._bar.set_postfix_str(shards_text, refresh=False)
        self._bar.update(_rows(self.latest) - self._bar.n)
        self._bar.refresh()


class Patience:
    """The limit on repeating a postponed request: it holds while rows or shards are added."""

    def __init__(
        self, before: Mapping[str, Any] | None = None, note: Callable[[str], None] = say
    ) -> None:
        self._done = _done(before or {})
        self._note = note
        self._tries = 0
        self._since = time.monotonic()

    def wait(self, exc: TryAgain, status: Mapping[str, Any] | None = None) -> None:
        """Wait as long as the service asks for; `status` is the run's latest known status.

        Raises:
            TryAgain: nothing was added for `TRIES` tries, or for `STALLED` seconds; the message
                quotes the service.
        """
        counts = [_done(exc.progress), _done(status or {})]
        if any(new > old for done in counts for new, old in zip(done, self._done, strict=True)):
            self._tries, self._since = 0, time.monotonic()
        self._done = tuple(max(column) for column in zip(self._done, *counts, strict=True))
        self._tries += 1
        seconds = time.monotonic() - self._since
        stalled = self._tries > PLAIN_TRIES and seconds > STALLED
        if self._tries >= TRIES or stalled:
            raise TryAgain(
                f"gave up after {self._tries} tries in {seconds:.0f} s without progress: try again "
                f"later. The service says: {exc}",
                exc.progress,
            ) from exc
        if self._tries <= PLAIN_TRIES:
            self._note(f"{exc}; trying again in {exc.retry_after} s")
        else:
            self._note(
                f"{self._tries} of {TRIES} tries made no progress; trying again in "
                f"{exc.retry_after} s. The service says: {exc}"
            )
        time.sleep(exc.retry_after)


def _in_thread(ask: Callable[[], dict[str, Any]]) -> cf.Future[dict[str, Any]]:
    """Run `ask` in a daemon thread, which does not keep the process alive as a pool's would."""
    future: cf.Future[dict[str, Any]] = cf.Future()

    def work() -> None:
        try:
            future.set_result(ask())
        except BaseException as exc:
            future.set_exception(exc)

    threading.Thread(target=work, daemon=True).start()
    return future


def _wait_for(answer: cf.Future[dict[str, Any]], seconds: float) -> bool:
    return bool(cf.wait([answer], seconds).done)


def _rows(status: Mapping[str, Any]) -> int:
    return int(status.get("rows_done") or 0)


def _done(status: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the rows and the shards of a run that are done."""
    return _rows(status), int(status.get("shards_done") or 0)
