"""Who may push: the OIDC token that a push subscription signs in with.

https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions: signature, issuer, audience,
then the e-mail, which Google's own verifier does not look at.
"""

from __future__ import annotations

import functools
from typing import Any

from flask import request
from werkzeug.exceptions import Forbidden, Unauthorized

from app import service
from mlsys.errors import TryAgain

CLOCK_SKEW = 30  # seconds


def check_push() -> None:
    """Let the request through if it comes from the configured push account.

    Raises:
        Unauthorized: no token, or one that is expired, forged, or for another audience.
        Forbidden: a good token of somebody else.
        TryAgain: Google's certificates cannot be fetched now.
    """
    settings = service().settings
    if settings.push_auth == "off":  # Settings.check_service allows it on the local stack alone
        return
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("Push requests carry a bearer token.")
    claims = _verify(token, settings.push_audience)
    verified = claims.get("email_verified") is True
    if not verified or claims.get("email") != settings.push_service_account:
        raise Forbidden("The token is of another account than the push subscription's.")


def _verify(token: str, audience: str | None) -> dict[str, Any]:
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.oauth2 import id_token

    try:
        return id_token.verify_oauth2_token(
            token, _transport(), audience=audience, clock_skew_in_seconds=CLOCK_SKEW
        )
    except TransportError as exc:
        raise TryAgain("Google's certificates cannot be fetched now") from exc
    except (ValueError, TypeError, GoogleAuthError) as exc:
        raise Unauthorized("The token is expired, forged, or for another audience.") from exc


@functools.cache
def _transport() -> Any:
    """A transport that keeps Google's certificates as long as Google says they are good."""
    import cachecontrol
    import requests
    from google.auth.transport.requests import Request

    return Request(session=cachecontrol.CacheControl(requests.Session()))
