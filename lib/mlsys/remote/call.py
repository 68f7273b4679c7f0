"""One call of `/predict` from start to result: repeated until it is answered, with progress."""

from __future__ import annotations

import concurrent.futures as cf
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from mlsys.cloud.partitions import concrete
from mlsys.errors import MlsysError, TryAgain
from mlsys.remote.answers import ACCEPTED, RESULT, STATUS, VERDICT
from mlsys.remote.patience import Patience
from mlsys.remote.progress import Progress
from mlsys.remote.service import RefusedByService, Service, Unreachable

ANSWER_TIMEOUT = 3900.0  # seconds; a request to Cloud Run lasts at most an hour
POLL, POLL_MOST = 1.0, 30.0  # seconds between two status requests
POLL_SHARE = (
    10  # status requests take at most a tenth of the time: the service counts rows for each
)
LOST_AFTER = 30.0  # seconds after a run's end until its answer counts as lost


class Call:
    """One request for a prediction, with its repetitions."""

    def __init__(
        self, service: Service, params: Mapping[str, str], *, check_ids: bool = False
    ) -> None:
        self.service = service
        # A request that is repeated after midnight is about the partition of the first one.
        tables = {k: concrete(v) for k, v in params.items() if k.endswith("_table")}
        self.params = dict(params) | tables
        self.run_id = self.params.get("run_id")  # the run, once it is known
        self.sent = False  # whether more than a dry run was requested
        self._dry = {"dry_run": "true"} | ({"check_ids": "true"} if check_ids else {})

    def resume(self, run_id: str) -> bool:
        """Let the call be about this run from now on, and return whether the service knows it."""
        before, self.run_id = self.run_id, run_id
        if self._status():
            self.params["run_id"] = run_id
            return True
        self.run_id = before
        return False

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

    def score(self, progress: Progress | None = None) -> dict[str, Any]:
        """Repeat the request until the run is done, showing its progress, and return the result.

        The progress is a bar of its own, unless the caller shows it in another way.

        Raises:
            RefusedByService, CredentialsMissing: see `Service.ask`. The run may be cancelled.
            TryAgain: the service kept postponing the request, and the run made no progress.
        """
        self.sent = True
        before = self._status()
        progress = progress or Progress()
        try:
            patience = Patience(before, progress.note)
            while True:
                try:
                    return self._ask_once(before, progress)
                except TryAgain as exc:
                    self._name_run(exc)
                    patience.wait(exc, progress.latest)
                    # Without a run_id, the repeated request would be another run.
                    if (error := _without_rows(self._status())) is not None:
                        raise error from exc
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
            error = _without_rows(status)
            if status.get("result") is None and error is None:
                ended_at = None
            elif ended_at is None:
                ended_at = time.monotonic()
            elif time.monotonic() - ended_at > LOST_AFTER:
                # The answer was lost.
                if error is not None:
                    raise error
                return self.service.checked(status["result"], "/runs", [RESULT])
        return answer.result()

    def _status(self) -> dict[str, Any]:
        """Return the run's status, or an empty dictionary if it cannot be read."""
        if self.run_id is None:
            return {}
        try:
            path = f"/runs/{self.run_id}"
            return self.service.ask(path, {"env": self.params["env"]}, timeout=30, fields=[STATUS])
        except MlsysError:
            return {}

    def _name_run(self, exc: TryAgain) -> None:
        if run_id := exc.progress.get("run_id"):
            self.run_id = self.params["run_id"] = run_id


def _without_rows(status: Mapping[str, Any]) -> RefusedByService | None:
    """Return the error for a run that somebody cancelled or undid, None for any other.

    `status` is the answer of `GET /runs/{run_id}`.
    """
    state, run_id = status.get("state"), status.get("run_id")
    if state == "undone":
        return RefusedByService(f"{run_id} was undone: its rows were removed", status)
    if state != "cancelled":
        return None
    about = status.get("cancellation")
    detail = about.get("detail") if isinstance(about, Mapping) else None
    return RefusedByService(str(detail or f"{run_id} was cancelled"), status)


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
