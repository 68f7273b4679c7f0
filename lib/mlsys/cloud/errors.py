"""The one table that turns the exceptions of Google's clients into the library's own.

A public function of the library does its work in `with cloud_errors(use)`. What Google's clients,
google-auth, requests, urllib3 and gRPC raise there leaves it as an error of `mlsys.errors`, in one
sentence that names the resource and, where access is denied, the permission and a role that has it.

The table is by name, so that nothing is imported for it. `tests/lib/test_cloud_errors.py` sees that
every name exists, and raises every one of them at every public function.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mlsys.cloud.credentials import rejected, unusable, words
from mlsys.errors import (
    CloudRefused,
    CloudUnavailable,
    Conflict,
    InvalidRequest,
    MlsysError,
    ObjectNotFound,
    PermissionMissing,
)


@dataclass(frozen=True, slots=True)
class Use:
    """What a call is about: the service, the resource, and the permissions that it needs."""

    service: str  # as a person calls it: Cloud Storage
    resource: str  # gs://bucket/path, project.dataset.table, or what else it is about
    permissions: tuple[str, ...]
    parameter: str = "request"  # that a malformed request is blamed on
    missing: type[MlsysError] = ObjectNotFound  # what a resource that is not there raises


# The smallest predefined role that has a permission:
# https://cloud.google.com/storage/docs/access-control/iam-roles,
# https://cloud.google.com/bigquery/docs/access-control
ROLES = {
    "storage.objects.get": "roles/storage.objectViewer",
    "storage.objects.list": "roles/storage.objectViewer",
    "storage.objects.create": "roles/storage.objectUser",  # with delete, which replacing needs
    "storage.objects.delete": "roles/storage.objectUser",
    "storage.objects.update": "roles/storage.objectUser",
    "bigquery.jobs.create": "roles/bigquery.jobUser",
    "bigquery.readsessions.create": "roles/bigquery.readSessionUser",
    "bigquery.readsessions.getData": "roles/bigquery.readSessionUser",
    "bigquery.datasets.create": "roles/bigquery.user",
    "bigquery.datasets.get": "roles/bigquery.dataViewer",
    "bigquery.tables.get": "roles/bigquery.dataViewer",
    "bigquery.tables.getData": "roles/bigquery.dataViewer",
    "bigquery.tables.create": "roles/bigquery.dataEditor",
    "bigquery.tables.delete": "roles/bigquery.dataEditor",
    "bigquery.tables.update": "roles/bigquery.dataEditor",
    "bigquery.tables.updateData": "roles/bigquery.dataEditor",
    "pubsub.topics.publish": "roles/pubsub.publisher",
    "serviceusage.services.use": "roles/serviceusage.serviceUsageConsumer",
}
# `storage.objects.get` in Google's sentence, and no e-mail address, host or table
_PERMISSION = re.compile(
    r"(?<![\w.@:/-])((?:bigquery|storage|serviceusage|pubsub|run)\.(?!googleapis)"
    r"[A-Za-z]+\.[A-Za-z]+)(?!\.?\w)"
)
# https://cloud.google.com/bigquery/docs/error-messages: reasons of a 403 that may pass, and the one
# that is about rights. The others (billing, an API that is not enabled) say what to do themselves.
_BUSY = {"quotaExceeded", "rateLimitExceeded", "userRateLimitExceeded", "jobRateLimitExceeded"}
_DENIED = {"accessDenied", "forbidden", "insufficientPermissions"}


def denied(exc: Exception, use: Use) -> MlsysError:
    """A 403: a right that is missing, a quota that is used up, or a service that is not set up."""
    reasons = {e.get("reason") for e in _errors(exc) if isinstance(e, dict)}
    if reasons & _BUSY:
        return busy(exc, use)
    if reasons - _DENIED - {None}:
        return refused(exc, use)
    said = words_of(exc)
    needed = tuple(dict.fromkeys(_PERMISSION.findall(said))) or use.permissions
    roles = ", ".join(dict.fromkeys(ROLES[name] for name in needed if name in ROLES))
    lacks = " or ".join(needed) or "the permission"
    ask = f"Ask for the role {roles}" if roles else "Ask the project's owner for it"
    return PermissionMissing(
        f"{use.service} denies access to {use.resource}: the account lacks "
        f"{lacks}. {ask}. Google says: {said}"
    )


def busy(exc: Exception, use: Use) -> MlsysError:
    """A quota or a rate that is used up for now."""
    return CloudUnavailable(
        f"{use.service} has too many requests or a used-up quota for {use.resource}: try again in "
        f"a minute ({words_of(exc)})"
    )


def unavailable(exc: Exception, use: Use) -> MlsysError:
    """A connection that failed or broke."""
    return CloudUnavailable(
        f"{use.service} did not answer for {use.resource}: check the network and try again "
        f"({type(exc).__name__}: {words_of(exc)})"
    )


def failed(exc: Exception, use: Use) -> MlsysError:
    """A failure on Google's side, which may pass."""
    return CloudUnavailable(
        f"{use.service} failed for {use.resource}: try again in a minute "
        f"({type(exc).__name__}: {words_of(exc)})"
    )


def late(exc: Exception, use: Use) -> MlsysError:
    """A call that took longer than the library waits."""
    return CloudUnavailable(
        f"{use.service} did not finish in time with {use.resource}, and may still be at work: look "
        f"before you try again ({type(exc).__name__}: {words_of(exc)})"
    )


def damaged(exc: Exception, use: Use) -> MlsysError:
    """Bytes that are not those that were sent."""
    return CloudUnavailable(
        f"{use.resource} arrived damaged: its checksum is another one. Try again"
    )


def by_proxy(exc: Exception, use: Use) -> MlsysError:
    """A proxy between this machine and Google that does not let the call through."""
    return CloudUnavailable(
        f"{use.service} cannot be reached for {use.resource} through the proxy: check HTTPS_PROXY "
        f"and NO_PROXY ({words_of(exc)})"
    )


def untrusted(exc: Exception, use: Use) -> MlsysError:
    """A TLS certificate that this machine does not trust, mostly that of a company's proxy."""
    return CloudUnavailable(
        f"{use.service} cannot be reached for {use.resource}: the TLS connection fails. Behind a "
        f"proxy with a certificate of its own, set REQUESTS_CA_BUNDLE ({words_of(exc)})"
    )


def not_there(exc: Exception, use: Use) -> MlsysError:
    """A resource that does not exist, or that the account may not see."""
    return use.missing(f"{use.resource} is not there: {words_of(exc)}")


def taken(exc: Exception, use: Use) -> MlsysError:
    """Something of that name exists already."""
    query = use.parameter == "query"
    instead = "write CREATE OR REPLACE or IF NOT EXISTS" if query else "look, and try again"
    return Conflict(f"{words_of(exc)}: pass another name, or {instead}")


def changed(exc: Exception, use: Use) -> MlsysError:
    """A precondition that others made wrong meanwhile."""
    return Conflict(f"{use.resource} was changed by somebody else just now: look and try again")


def malformed(exc: Exception, use: Use) -> MlsysError:
    """A request that the service does not accept as it is."""
    return InvalidRequest((use.parameter, words_of(exc)))


def refused(exc: Exception, use: Use) -> MlsysError:
    """Whatever else the service says no to, in its own words."""
    return CloudRefused(
        f"{use.service} refuses the call for {use.resource} ({type(exc).__name__}): {words_of(exc)}"
    )


def expired(exc: Exception, use: Use) -> MlsysError:
    """Credentials that were found and do not count."""
    return unavailable(exc, use) if getattr(exc, "retryable", False) else rejected(exc)


def without_credentials(exc: Exception, use: Use) -> MlsysError:
    """Credentials that were not found, or that cannot be loaded or used."""
    return unusable(exc)


def by_cause(exc: Exception, use: Use) -> MlsysError:
    """Retries that ended: what the last of them failed with."""
    cause = getattr(exc, "cause", None)
    return (translated(cause, use) if isinstance(cause, Exception) else None) or late(exc, use)


def by_response(exc: Exception, use: Use) -> MlsysError:
    """An HTTP response or gRPC status that no client has made an exception of."""
    from google.api_core import exceptions

    response: Any = getattr(exc, "response", None)
    code = getattr(response, "status_code", None)
    if isinstance(code, int):
        found = exceptions.from_http_status(code, words(exc), response=response)
    elif callable(status := getattr(exc, "code", None)):  # gRPC's
        details = getattr(exc, "details", None)
        said = details() if callable(details) else None
        found = exceptions.from_grpc_status(status(), said or words(exc))
    else:
        return unavailable(exc, use)
    return translated(found, use) or unavailable(exc, use)


Row = Callable[[Exception, Use], MlsysError]

_AUTH, _API = "google.auth.exceptions", "google.api_core.exceptions"
_REQUESTS, _URLLIB3 = "requests.exceptions", "urllib3.exceptions"
_STORAGE, _MEDIA = "google.cloud.storage.exceptions", "google.resumable_media.common"

# The first class in the exception's own order of classes that is here decides.
TABLE: dict[str, Row] = {
    f"{_AUTH}.GoogleAuthError": without_credentials,
    f"{_AUTH}.RefreshError": expired,
    f"{_AUTH}.TransportError": unavailable,
    f"{_AUTH}.TimeoutError": unavailable,
    f"{_AUTH}.ResponseError": unavailable,
    f"{_API}.Aborted": busy,
    f"{_API}.BadRequest": malformed,
    f"{_API}.Conflict": taken,
    f"{_API}.Forbidden": denied,
    f"{_API}.GatewayTimeout": late,
    f"{_API}.GoogleAPIError": refused,
    f"{_API}.MethodNotImplemented": refused,
    f"{_API}.NotFound": not_there,
    f"{_API}.PreconditionFailed": changed,
    f"{_API}.ResumableTransferError": unavailable,
    f"{_API}.RetryError": by_cause,
    f"{_API}.ServerError": failed,
    f"{_API}.TooManyRequests": busy,
    f"{_API}.Unauthorized": expired,
    f"{_STORAGE}.DataCorruption": damaged,
    f"{_STORAGE}.InvalidResponse": by_response,
    f"{_MEDIA}.DataCorruption": damaged,
    f"{_MEDIA}.InvalidResponse": by_response,
    "grpc.RpcError": by_response,
    f"{_REQUESTS}.ConnectTimeout": unavailable,
    f"{_REQUESTS}.HTTPError": by_response,
    f"{_REQUESTS}.InvalidProxyURL": by_proxy,
    f"{_REQUESTS}.InvalidSchema": by_proxy,  # socks5://, and no package for it
    f"{_REQUESTS}.ProxyError": by_proxy,
    f"{_REQUESTS}.RequestException": unavailable,
    f"{_REQUESTS}.SSLError": untrusted,
    f"{_REQUESTS}.Timeout": late,
    f"{_URLLIB3}.HTTPError": unavailable,
    f"{_URLLIB3}.ProxyError": by_proxy,
    f"{_URLLIB3}.ProxySchemeUnknown": by_proxy,
    f"{_URLLIB3}.ProxySchemeUnsupported": by_proxy,
    f"{_URLLIB3}.SSLError": untrusted,
    f"{_URLLIB3}.TimeoutError": late,
    "http.client.HTTPException": unavailable,
    "ssl.SSLError": untrusted,
    "socket.gaierror": unavailable,
    "builtins.ConnectionError": unavailable,
    "builtins.TimeoutError": late,
}


@contextlib.contextmanager
def cloud_errors(use: Use) -> Iterator[None]:
    """Raise what Google's clients raise within as an error of the library.

    Raises:
        MlsysError: by `TABLE`; everything else leaves as it is.
    """
    try:
        yield
    except MlsysError:
        raise
    except Exception as exc:
        said = translated(exc, use)
        if said is None:
            raise
        raise said from exc


def translated(exc: Exception, use: Use) -> MlsysError | None:
    """Return the library's error for an exception of Google's clients, or None for any other."""
    if isinstance(exc, MlsysError):
        return exc
    for kind in type(exc).__mro__:
        if row := TABLE.get(f"{kind.__module__}.{kind.__qualname__}"):
            return row(exc, use)
    return None


def words_of(exc: Exception) -> str:
    """Return what Google itself says, once, in one line, without what the client adds."""
    texts = [e["message"] for e in _errors(exc) if isinstance(e, dict) and e.get("message")]
    said = texts[0] if texts else getattr(exc, "message", None)
    return words(Exception(said)) if isinstance(said, str) else words(exc)


def _errors(exc: Exception) -> list[Any]:
    found = getattr(exc, "errors", None)
    return list(found) if isinstance(found, list | tuple) else []
