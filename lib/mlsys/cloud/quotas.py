"""Which refusals over a quota or a limit pass by waiting, and which do not.

Both have the code RESOURCE_EXHAUSTED in gRPC, and 403 or 429 in HTTP. Decided by what Google sends,
the most exact first:

- `google.rpc.RetryInfo` says when to try again, so the refusal passes
  (https://github.com/googleapis/python-bigquery-storage/pull/366).
- `google.rpc.ErrorInfo`: RATE_LIMIT_EXCEEDED is a quota by time, named in `quota_limit`
  (`ReadDataPlaneRequestsPerMinutePerProject`); RESOURCE_QUOTA_EXCEEDED is one on what exists, which
  waiting does not free (https://github.com/googleapis/googleapis, google/api/error_reason.proto). A
  limit of zero is never met.
- BigQuery's reasons: `rateLimitExceeded` passes within seconds, `quotaExceeded` "after 10 minutes
  or longer" (https://cloud.google.com/bigquery/docs/troubleshoot-quotas). Only its text tells the
  custom quotas by day, which are reset at midnight Pacific time
  (https://cloud.google.com/bigquery/docs/custom-quotas), and the monthly free tier.
- gRPC's own limit on a message; only its text differs from that of a quota
  (https://github.com/grpc/grpc, message_size_filter.cc; grpc-java has the second form).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Reasons of a 403 that are temporary: https://cloud.google.com/bigquery/docs/error-messages
BUSY = frozenset(
    {"quotaExceeded", "rateLimitExceeded", "userRateLimitExceeded", "jobRateLimitExceeded"}
)
_TOO_LARGE = re.compile(r"message larger than max|message exceeds maximum size", re.IGNORECASE)
# `QueryUsagePerDay`, "custom quota", "free query bytes scanned"; not "per day" in a hint
_LASTING = re.compile(r"Usage\w*PerDay|\bcustom quota\b|\bfree (?:query|storage)\b", re.IGNORECASE)
# `DefaultRequestsPerDayPerProject`, `1/d/{project}`
_BY_DAY = re.compile(r"Per(?:Day|Month)|^1/(?:d|mo)\b", re.IGNORECASE)
_RATE, _RESOURCE = "RATE_LIMIT_EXCEEDED", "RESOURCE_QUOTA_EXCEEDED"


def is_too_large(exc: Exception) -> bool:
    """Return whether a message was too large for gRPC, and not a quota exhausted."""
    from google.api_core.exceptions import ResourceExhausted

    exc = _last(exc)
    return isinstance(exc, ResourceExhausted) and _TOO_LARGE.search(str(exc)) is not None


def is_quota(exc: Exception) -> bool:
    """Return whether the exception of Google's clients is about an exhausted quota."""
    from google.api_core.exceptions import Forbidden, TooManyRequests

    exc = _last(exc)
    if isinstance(exc, TooManyRequests):
        return not is_too_large(exc)
    if not isinstance(exc, Forbidden):
        return False
    return bool(reasons_of(exc) & BUSY) or exc.reason in (_RATE, _RESOURCE)


def is_used_up(exc: Exception) -> bool:
    """Return whether the exception is about a quota that does not refill within minutes."""
    from google.api_core.exceptions import GoogleAPICallError

    exc = _last(exc)
    if not isinstance(exc, GoogleAPICallError) or not is_quota(exc) or _says_when(exc):
        return False
    facts = exc.metadata if isinstance(exc.metadata, Mapping) else {}
    limits = [str(facts.get(key, "")) for key in ("quota_limit", "quota_unit")]
    return (
        exc.reason == _RESOURCE
        or facts.get("quota_limit_value") == "0"
        or any(_BY_DAY.search(limit) for limit in limits)
        or _LASTING.search(str(exc)) is not None
    )


def reasons_of(exc: Exception) -> set[Any]:
    """Return the reasons that Google's JSON names for a refusal."""
    errors = getattr(exc, "errors", None)
    listed = errors if isinstance(errors, list | tuple) else ()
    return {error.get("reason") for error in listed if isinstance(error, dict)}


def _last(exc: Exception) -> Exception:
    """Return the last exception of retries that gave up, or the exception itself."""
    from google.api_core.exceptions import RetryError

    cause = exc.cause if isinstance(exc, RetryError) else None
    return cause if isinstance(cause, Exception) else exc


def _says_when(exc: Any) -> bool:
    """Return whether Google says how long to wait, in gRPC's form or JSON's."""
    kinds = [
        detail.get("@type")
        if isinstance(detail, Mapping)
        else getattr(getattr(detail, "DESCRIPTOR", None), "full_name", None)
        for detail in exc.details
    ]
    return any(str(kind).endswith("google.rpc.RetryInfo") for kind in kinds)
