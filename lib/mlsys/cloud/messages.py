"""What each kind of failure of a call to Google says: the resource, the reason, what to do.

A `Use` describes the call. `mlsys.cloud.errors` maps the exceptions of Google's clients to these
functions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from mlsys.cloud.credentials import rejected, unusable, words
from mlsys.cloud.quotas import is_quota, is_too_large, is_used_up, reasons_of
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
    """The service and the resource of a call, and the permissions that it needs."""

    service: str  # its product name: Cloud Storage
    resource: str  # gs://bucket/path, project.dataset.table, or another name
    permissions: tuple[str, ...]
    parameter: str = "request"  # the one that the error of a malformed request names
    missing: type[MlsysError] = ObjectNotFound  # raised if the resource does not exist


# The smallest predefined role that has a permission:
# https://cloud.google.com/storage/docs/access-control/iam-roles,
# https://cloud.google.com/bigquery/docs/access-control
ROLES = {
    "storage.objects.get": "roles/storage.objectViewer",
    "storage.objects.list": "roles/storage.objectViewer",
    "storage.objects.create": "roles/storage.objectUser",  # includes delete, to replace objects
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
# `storage.objects.get` in Google's message, but not an e-mail address, host or table
_PERMISSION = re.compile(
    r"(?<![\w.@:/-])((?:bigquery|storage|serviceusage|pubsub|run)\.(?!googleapis)"
    r"[A-Za-z]+\.[A-Za-z]+)(?!\.?\w)"
)
# https://cloud.google.com/bigquery/docs/error-messages: reasons of a 403 about permissions. Others
# are about quotas, or (billing, an API that is not enabled) say what to do.
_DENIED = {"accessDenied", "forbidden", "insufficientPermissions"}


def denied(exc: Exception, use: Use) -> MlsysError:
    """Return the error for a 403: a missing permission, an exhausted quota, or missing set-up."""
    if is_quota(exc):
        return busy(exc, use)
    if reasons_of(exc) - _DENIED - {None}:
        return refused(exc, use)
    message = words_of(exc)
    needed = tuple(dict.fromkeys(_PERMISSION.findall(message))) or use.permissions
    roles = ", ".join(dict.fromkeys(ROLES[name] for name in needed if name in ROLES))
    lacks = " or ".join(needed) or "the permission"
    ask = f"Ask for the role {roles}" if roles else "Ask the project's owner for it"
    return PermissionMissing(
        f"{use.service} denies access to {use.resource}: the account lacks "
        f"{lacks}. {ask}. Google says: {message}"
    )


def names_permission(exc: Exception) -> bool:
    """Return whether Google's message names a missing permission."""
    return _PERMISSION.search(words_of(exc)) is not None


def busy(exc: Exception, use: Use) -> MlsysError:
    """Return the error for an exhausted quota or rate limit, or a message that is too large."""
    if is_too_large(exc):
        return refused(exc, use)
    if is_used_up(exc):
        return CloudRefused(
            f"A quota of {use.service} is used up for {use.resource}, and does not refill within "
            f"minutes: wait until it is reset, or ask for a higher one ({words_of(exc)})"
        )
    return CloudUnavailable(
        f"{use.service} has too many requests or an exhausted quota for {use.resource}: try again "
        f"in a minute ({words_of(exc)})"
    )


def unavailable(exc: Exception, use: Use) -> MlsysError:
    """Return the error for a connection that failed or broke."""
    return CloudUnavailable(
        f"{use.service} did not answer for {use.resource}: check the network and try again "
        f"({type(exc).__name__}: {words_of(exc)})"
    )


def failed(exc: Exception, use: Use) -> MlsysError:
    """Return the error for a failure on Google's side, which may be temporary."""
    return CloudUnavailable(
        f"{use.service} failed for {use.resource}: try again in a minute "
        f"({type(exc).__name__}: {words_of(exc)})"
    )


def late(exc: Exception, use: Use) -> MlsysError:
    """Return the error for a call that timed out."""
    return CloudUnavailable(
        f"{use.service} did not finish in time with {use.resource}, and may still be working: look "
        f"before you try again ({type(exc).__name__}: {words_of(exc)})"
    )


def damaged(exc: Exception, use: Use) -> MlsysError:
    """Return the error for bytes that changed on the way."""
    return CloudUnavailable(f"{use.resource} arrived damaged: its checksum differs. Try again")


def by_proxy(exc: Exception, use: Use) -> MlsysError:
    """Return the error for a proxy that does not let the call through."""
    return CloudUnavailable(
        f"{use.service} cannot be reached for {use.resource} through the proxy: check HTTPS_PROXY "
        f"and NO_PROXY ({words_of(exc)})"
    )


def untrusted(exc: Exception, use: Use) -> MlsysError:
    """Return the error for an untrusted TLS certificate, usually that of a company's proxy."""
    return CloudUnavailable(
        f"{use.service} cannot be reached for {use.resource}: the TLS connection fails. Behind a "
        f"proxy with a certificate of its own, set REQUESTS_CA_BUNDLE ({words_of(exc)})"
    )


def not_there(exc: Exception, use: Use) -> MlsysError:
    """Return the error for a resource that does not exist, or that the account may not see."""
    return use.missing(f"{use.resource} does not exist: {words_of(exc)}")


def taken(exc: Exception, use: Use) -> MlsysError:
    """Return the error for a name that exists already."""
    query = use.parameter == "query"
    instead = "write CREATE OR REPLACE or IF NOT EXISTS" if query else "look, and try again"
    return Conflict(f"{words_of(exc)}: pass another name, or {instead}")


def changed(exc: Exception, use: Use) -> MlsysError:
    """Return the error for a precondition that a concurrent change broke."""
    return Conflict(f"Somebody else just changed {use.resource}: look and try again")


def malformed(exc: Exception, use: Use) -> MlsysError:
    """Return the error for a malformed request."""
    return InvalidRequest((use.parameter, words_of(exc)))


def refused(exc: Exception, use: Use) -> MlsysError:
    """Return the error for any other refusal, in Google's own words."""
    return CloudRefused(
        f"{use.service} refuses the call for {use.resource} ({type(exc).__name__}): {words_of(exc)}"
    )


def expired(exc: Exception, use: Use) -> MlsysError:
    """Return the error for credentials that Google does not accept."""
    return unavailable(exc, use) if getattr(exc, "retryable", False) else rejected(exc)


def without_credentials(exc: Exception, use: Use) -> MlsysError:
    """Return the error for credentials that were not found, or that cannot be loaded or used."""
    return unusable(exc)


def words_of(exc: Exception) -> str:
    """Return Google's own message, once, in one line, without the client's additions."""
    texts = [e["message"] for e in _errors(exc) if isinstance(e, dict) and e.get("message")]
    message = texts[0] if texts else getattr(exc, "message", None)
    return words(Exception(message)) if isinstance(message, str) else words(exc)


def _errors(exc: Exception) -> list[Any]:
    errors = getattr(exc, "errors", None)
    return list(errors) if isinstance(errors, list | tuple) else []
