"""One check, and how many of them run: each within its time, none hiding another.

The service checks what its own account needs (`workers.checks`), `mlsys doctor` checks what its
caller sees. Both give findings of the same form.
"""

from __future__ import annotations

import concurrent.futures as cf
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mlsys.cloud.clients import bigquery_retry
from mlsys.cloud.credentials import words
from mlsys.cloud.errors import translated
from mlsys.cloud.messages import Use
from mlsys.cloud.quotas import reasons_of
from mlsys.errors import CloudUnavailable, PermissionMissing
from mlsys.settings import Settings

if TYPE_CHECKING:
    from google.api_core.retry import Retry

State = Literal["ok", "warning", "failed", "skipped"]

SECONDS = 15.0  # of one check
CALL = 10.0  # seconds of one call to a Google API within a check
AGAIN = "Run it again; if it persists, check the network and https://status.cloud.google.com"
APIS = "apis"  # the finding about APIs that are not enabled
# By the name that a `Use` has for the service, where Google's answer does not name the API
_API_OF = {
    "BigQuery": "bigquery.googleapis.com",
    "BigQuery Storage Read API": "bigquerystorage.googleapis.com",
    "Cloud Monitoring": "monitoring.googleapis.com",
    "Cloud Run": "run.googleapis.com",
    "Cloud Storage": "storage.googleapis.com",
    "Pub/Sub": "pubsub.googleapis.com",
}
_API = re.compile(r"\b[a-z]+\.googleapis\.com\b")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a check: what was seen, and what to do."""

    state: State
    seen: str
    fix: str | None = None


def ok(seen: str) -> Outcome:
    """Return the outcome of a check that passed."""
    return Outcome("ok", seen)


def warning(seen: str, fix: str) -> Outcome:
    """Return the outcome of a check that found what works, and should be changed."""
    return Outcome("warning", seen, fix)


def failed(seen: str, fix: str) -> Outcome:
    """Return the outcome of a check that found what does not work."""
    return Outcome("failed", seen, fix)


def skipped(why: str) -> Outcome:
    """Return the outcome of a check that could not be made."""
    return Outcome("skipped", why)


@dataclass(frozen=True, slots=True)
class Check:
    """A check that calls `ask`.

    If `ask` raises, `fix` is what to do, and `use` describes the call. `needs` are the ids of
    checks without which this one cannot pass: it is skipped if they fail. `denied` is the state if
    the account may not see what it asks for, and `seconds` its time if it needs more.
    """

    id: str
    ask: Callable[[], Outcome]
    use: Use
    fix: str
    needs: tuple[str, ...] = ()
    denied: State = "failed"
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of the check with this id."""

    id: str
    state: State
    seen: str
    fix: str | None = None


def apply(settings: Settings, env: str) -> str:
    """Return the command that creates what is missing, and corrects what was changed by hand."""
    if settings.emulators:
        return "mlsys local up  # restart the local stack"
    return f"terraform -chdir=infrastructure/envs/{env} apply"


def retry() -> Retry:
    """Return a retry of BigQuery's calls that ends within `CALL` seconds."""
    return bigquery_retry().with_timeout(CALL)


def explain(exc: Exception, check: Check) -> str:
    """Return what an exception of a check means, with Google's own words."""
    return str(translated(exc, check.use) or f"{type(exc).__name__}: {words(exc)}")


def run_checks(
    checks: Sequence[Check],
    project: str,
    *,
    seconds: float = SECONDS,
    explain: Callable[[Exception, Check], str] = explain,
) -> list[Finding]:
    """Run the checks, those that need no other at the same time, and return their findings.

    The first finding is `APIS`: calls that Google refused because an API is not enabled. The checks
    that made them are skipped.
    """
    outcomes: dict[str, Outcome] = {}
    disabled: set[str] = set()
    waiting = list(checks)
    ids = {check.id for check in checks}
    while waiting:
        ready = [c for c in waiting if not (ids & set(c.needs)) - outcomes.keys()]
        if not ready:
            raise ValueError(f"checks need each other: {', '.join(c.id for c in waiting)}")
        waiting = [check for check in waiting if check not in ready]
        running: dict[str, tuple[Check, cf.Future[Outcome]]] = {}
        for check in ready:
            broken = [
                need
                for need in check.needs
                if need in outcomes and outcomes[need].state in ("failed", "skipped")
            ]
            if broken:
                outcomes[check.id] = skipped(f"It needs `{broken[0]}`.")
            else:
                running[check.id] = check, _in_thread(check.ask)
        began = time.monotonic()
        for check, future in running.values():
            most = check.seconds or seconds
            left = max(0.0, began + most - time.monotonic())
            if not cf.wait([future], left).done:
                outcomes[check.id] = _late(check, most)
            else:
                outcomes[check.id] = _outcome(check, future, explain, disabled)
    findings = [Finding(APIS, **_fields(_apis(disabled, project)))]
    return findings + [Finding(check.id, **_fields(outcomes[check.id])) for check in checks]


def _outcome(
    check: Check,
    future: cf.Future[Outcome],
    explain: Callable[[Exception, Check], str],
    disabled: set[str],
) -> Outcome:
    exc = future.exception()
    if exc is None:
        return future.result()
    if not isinstance(exc, Exception):
        raise exc
    if isinstance(exc, ModuleNotFoundError):
        return skipped(f"{exc.name} is not installed: pip install 'mlsys[service]'.")
    if (api := disabled_api(exc, check.use.service)) is not None:
        disabled.add(api)
        return skipped(f"{api} is not enabled: see `{APIS}`.")
    error = translated(exc, check.use)
    if isinstance(error, PermissionMissing) and check.denied != "failed":
        return Outcome(check.denied, explain(exc, check))
    return failed(explain(exc, check), AGAIN if isinstance(error, CloudUnavailable) else check.fix)


def disabled_api(exc: Exception, service: str) -> str | None:
    """Return the API that is not enabled, if Google refused a call for that reason, else None.

    gRPC says it by SERVICE_DISABLED (https://cloud.google.com/apis/design/errors#error_info), the
    JSON APIs of Cloud Storage and BigQuery by `accessNotConfigured`.
    """
    reasons = reasons_of(exc) | {getattr(exc, "reason", None)}
    if not reasons & {"SERVICE_DISABLED", "accessNotConfigured"}:
        return None
    about = getattr(exc, "metadata", None) or {}
    in_text = _API.search(str(exc))
    named = about.get("service") or (in_text[0] if in_text else None)
    return named or _API_OF.get(service, service)


def _late(check: Check, seconds: float) -> Outcome:
    return failed(
        f"No answer about {check.use.resource} within {seconds:.0f} s.",
        AGAIN,
    )


def _apis(disabled: set[str], project: str) -> Outcome:
    if not disabled:
        return ok("No call was refused because an API is not enabled.")
    names = " ".join(sorted(disabled))
    return failed(
        f"Not enabled in {project}: {', '.join(sorted(disabled))}.",
        f"gcloud services enable {names} --project={project}",
    )


def _fields(outcome: Outcome) -> dict[str, Any]:
    return {"state": outcome.state, "seen": outcome.seen, "fix": outcome.fix}


def _in_thread(ask: Callable[[], Outcome]) -> cf.Future[Outcome]:
    """Run `ask` in a daemon thread, which does not keep the process alive as a pool's would."""
    future: cf.Future[Outcome] = cf.Future()

    def work() -> None:
        try:
            future.set_result(ask())
        except BaseException as exc:
            future.set_exception(exc)

    threading.Thread(target=work, daemon=True, name="check").start()
    return future
