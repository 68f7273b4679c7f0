"""Check the OIDC token that a push subscription, or the mover of an alias, signs in with.

https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions: signature, issuer, audience,
then the e-mail, which Google's own verifier does not check.
"""

from __future__ import annotations

import base64
import functools
import json
import threading
import time
from typing import Any

from flask import request
from werkzeug.exceptions import Forbidden, Unauthorized

from app import service
from mlsys.errors import TryAgain

CLOCK_SKEW = 30  # seconds
FETCH_TIMEOUT = 10  # seconds
MAX_EMAIL = 320  # characters
LAST_TIME = 1e11  # seconds since 1970: no token lives to see the year 5138
CUT_OFF = "SIGNATURE_REMOVED_BY_GOOGLE"  # Cloud Run puts it in place of a verified signature
SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "The OIDC token of the push subscription's service account",
}
ISSUERS = ("https://accounts.google.com", "accounts.google.com")
LOCAL_ACCOUNT = "local-stack@localhost"  # who moves aliases on the local stack
_fetching = threading.Lock()


def check_push() -> None:
    """Let the request through if it comes from the configured push account.

    Raises:
        Unauthorized: no token, or one that is expired, early, forged, or for another audience.
        Forbidden: a valid token of another account.
        TryAgain: Google's certificates cannot be fetched now.
    """
    settings = service().settings
    if settings.push_auth == "off":  # Settings.check_service allows it only on the local stack
        return
    token = _bearer("Push requests carry a bearer token.")
    if settings.push_auth == "platform" and token.endswith(f".{CUT_OFF}"):
        claims = _read_verified(token, settings.push_audience)
    else:
        claims = _verify(token, settings.push_audience)
    if not in_time(claims):
        raise Unauthorized("The token is expired, or not valid yet.")
    verified = claims.get("email_verified") is True
    if not verified or claims.get("email") != settings.push_service_account:
        raise Forbidden("The token is of another account than the push subscription's.")


def caller() -> str | None:
    """Return the e-mail of the account that sent the request, or None if nobody has verified it.

    Cloud Run's IAM check has, where it lets the request through (`platform`). Elsewhere a token may
    be anybody's.
    """
    settings = service().settings
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    is_verified = settings.on_cloud_run and settings.push_auth == "platform"
    if not is_verified or scheme.lower() != "bearer" or not token.endswith(f".{CUT_OFF}"):
        return None
    if "X-Serverless-Authorization" in request.headers:  # then that one was checked
        return None
    try:
        claims = _claims(token)
    except (ValueError, TypeError, IndexError, RecursionError):
        return None
    if not isinstance(claims, dict) or claims.get("iss") not in ISSUERS:
        return None
    email = claims.get("email")
    if not isinstance(email, str) or claims.get("email_verified") is not True:
        return None
    return email[:MAX_EMAIL]


def _claims(token: str) -> Any:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def signed_in() -> str:
    """Return the e-mail of the account that makes the request, by its verified token alone.

    No other header counts: any caller can set them. On Cloud Run, IAM has checked the token's
    signature and that its audience is one that the service accepts; a person's token of gcloud has
    gcloud's own. On the local stack nobody signs in.

    Raises:
        Unauthorized: no token, or one that is expired, early, forged, for another audience, or
            without a verified e-mail.
        TryAgain: Google's certificates cannot be fetched now.
    """
    settings = service().settings
    if settings.push_auth == "off":  # Settings.check_service allows it only on the local stack
        return LOCAL_ACCOUNT
    token = _bearer("Pass an identity token: `gcloud auth print-identity-token` prints one.")
    if settings.push_auth == "platform" and token.endswith(f".{CUT_OFF}"):
        claims = _read_verified(token, None)
    else:
        claims = _verify(token, settings.push_audience)
    if not in_time(claims):
        raise Unauthorized("The token is expired, or not valid yet.")
    email = claims.get("email")
    if claims.get("email_verified") is not True or not isinstance(email, str) or not email:
        raise Unauthorized(
            "The token has no verified e-mail. Pass one with it: `gcloud auth print-identity-token "
            "--include-email` for a service account."
        )
    return email[:MAX_EMAIL]


def _bearer(instead: str) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized(instead)
    return token


def in_time(claims: dict[str, Any]) -> bool:
    """Tell whether now lies between the token's times, which must all be plain numbers.

    Python's JSON also reads NaN and Infinity, numbers of thousands of digits, and true as 1: no
    comparison with them finds a token expired. Google's tokens have `iat` and `exp`, and seldom
    `nbf`, which its verifier does not read.
    """
    times = [claims.get("iat"), claims.get("exp"), claims.get("nbf", 0)]
    if not all(isinstance(t, int | float) and not isinstance(t, bool) for t in times):
        return False
    if not all(0 <= t <= LAST_TIME for t in times):
        return False
    issued, ends, begins = times
    now = time.time()
    return max(issued, begins) - CLOCK_SKEW <= now <= ends + CLOCK_SKEW


def _verify(token: str, audience: str | None) -> dict[str, Any]:
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.oauth2 import id_token

    try:
        return id_token.verify_oauth2_token(
            token, _fetch, audience=audience, clock_skew_in_seconds=CLOCK_SKEW
        )
    except TransportError as exc:
        raise TryAgain("Google's certificates cannot be fetched now: try again") from exc
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, GoogleAuthError) as exc:
        raise Unauthorized("The token is expired, forged, or for another audience.") from exc


def _read_verified(token: str, audience: str | None) -> dict[str, Any]:
    """Read a token whose signature Cloud Run's IAM check has verified, and cut off.

    A private service (no `allUsers` among its invokers) sees no other request, unless the caller
    signed in by X-Serverless-Authorization: then Authorization was not checked
    (https://cloud.google.com/run/docs/authenticating/service-to-service). The audience
    and the e-mail, which IAM does not check, are checked here. `audience` None is any that IAM
    accepted.
    """
    if "X-Serverless-Authorization" in request.headers:
        raise Unauthorized("Sign in only by Authorization, without X-Serverless-Authorization.")
    try:
        claims = _claims(token)
        known = claims["iss"] in ISSUERS and audience in (None, claims["aud"])
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as exc:
        raise Unauthorized("The token cannot be read.") from exc
    if not known:
        raise Unauthorized("The token is for another audience.")
    return claims


def _fetch(url: str, method: str = "GET", **more: Any) -> Any:
    """Fetch the certificates, one thread at a time: the others then read the cached answer."""
    with _fetching:
        return _transport()(url, method=method, timeout=FETCH_TIMEOUT, **more)


@functools.cache
def _transport() -> Any:
    """Return a transport that caches Google's certificates as long as Google's headers allow."""
    import cachecontrol
    import requests
    from google.auth.transport.requests import Request

    return Request(session=cachecontrol.CacheControl(requests.Session()))
