"""The one table that maps the exceptions of Google's clients to the library's own.

A public function of the library does its work in `with cloud_errors(use)`. Exceptions of Google's
clients, google-auth, requests, urllib3 and gRPC leave it as an error of `mlsys.errors`, which names
the resource and, if access is denied, the permission and a role that grants it.

The table is by name, so that nothing is imported for it. `tests/lib/cloud/test_cloud_errors.py`
checks that every name exists, and raises each of them at every public function.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from mlsys.cloud.credentials import words
from mlsys.cloud.messages import (
    Use,
    busy,
    by_proxy,
    changed,
    damaged,
    denied,
    expired,
    failed,
    late,
    malformed,
    not_there,
    refused,
    taken,
    unavailable,
    untrusted,
    without_credentials,
)
from mlsys.errors import MlsysError


def by_cause(exc: Exception, use: Use) -> MlsysError:
    """Return the error for the last exception of retries that gave up."""
    cause = getattr(exc, "cause", None)
    return (translated(cause, use) if isinstance(cause, Exception) else None) or late(exc, use)


def by_response(exc: Exception, use: Use) -> MlsysError:
    """Return the error for an HTTP or gRPC status that the client did not convert."""
    from google.api_core import exceptions

    response: Any = getattr(exc, "response", None)
    code = getattr(response, "status_code", None)
    if isinstance(code, int):
        converted = exceptions.from_http_status(code, words(exc), response=response)
    elif callable(status := getattr(exc, "code", None)):  # gRPC's
        details = getattr(exc, "details", None)
        message = details() if callable(details) else None
        converted = exceptions.from_grpc_status(status(), message or words(exc))
    else:
        return unavailable(exc, use)
    return translated(converted, use) or unavailable(exc, use)


Row = Callable[[Exception, Use], MlsysError]

_AUTH, _API = "google.auth.exceptions", "google.api_core.exceptions"
_REQUESTS, _URLLIB3 = "requests.exceptions", "urllib3.exceptions"
_STORAGE, _MEDIA = "google.cloud.storage.exceptions", "google.resumable_media.common"

# The first class of the exception's MRO that is in the table decides.
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
    f"{_REQUESTS}.InvalidSchema": by_proxy,  # socks5:// without its package
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
    """Convert exceptions of Google's clients in the block to the library's errors.

    Raises:
        MlsysError: according to `TABLE`; any other exception leaves unchanged.
    """
    try:
        yield
    except MlsysError:
        raise
    except Exception as exc:
        error = translated(exc, use)
        if error is None:
            raise
        raise error from exc


def translated(exc: Exception, use: Use) -> MlsysError | None:
    """Return the library's error for an exception of Google's clients, or None for any other."""
    if isinstance(exc, MlsysError):
        return exc
    for kind in type(exc).__mro__:
        if row := TABLE.get(f"{kind.__module__}.{kind.__qualname__}"):
            return row(exc, use)
    return None
