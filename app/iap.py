"""Check the header that Identity-Aware Proxy signs, and return who passed it.

https://cloud.google.com/iap/docs/signed-headers-howto: the algorithm ES256, a key of Google's list,
audience, issuer and times. The headers beside it (`X-Goog-Authenticated-User-Email`) are not
signed, and are not read.
"""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Mapping
from typing import Any

from flask import request
from werkzeug.exceptions import Unauthorized

from app import auth, service
from mlsys.errors import TryAgain

HEADER = "X-Goog-IAP-JWT-Assertion"
ISSUER = "https://cloud.google.com/iap"
KEYS_URL = "https://www.gstatic.com/iap/verify/public_key"
KEPT = 3600.0  # seconds that the keys are used; a key that was withdrawn ends with them
LOOK_AGAIN = 60.0  # seconds before an unknown key's name has the keys fetched again
REFUSED = "Identity-Aware Proxy did not sign this request. Open the console's address in a browser."


class Keys:
    """Google's public keys, by name, which are fetched on demand."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: Mapping[str, str] = {}
        self._fetched_at = -KEPT

    def get(self, name: str) -> str:
        """Return the key of this name, in PEM form.

        Raises:
            Unauthorized: Google has no such key.
            TryAgain: the keys cannot be fetched now.
        """
        with self._lock:  # of concurrent requests one fetches, and the others wait for it
            age = time.monotonic() - self._fetched_at
            if age >= KEPT or (name not in self._keys and age >= LOOK_AGAIN):
                self._keys = self._fetch()
                self._fetched_at = time.monotonic()
            if name not in self._keys:
                raise Unauthorized(REFUSED)
            return self._keys[name]

    def _fetch(self) -> Mapping[str, str]:
        import requests

        try:
            answer = requests.get(KEYS_URL, timeout=auth.FETCH_TIMEOUT, allow_redirects=False)
            keys = json.loads(answer.content)
            if answer.status_code != 200 or not keys or not all(map(_is_key, keys.items())):
                raise ValueError(f"{KEYS_URL} answered {answer.status_code} without keys")
        except (requests.RequestException, ValueError, AttributeError, RecursionError) as exc:
            raise TryAgain(
                "The keys of Identity-Aware Proxy cannot be fetched now: try again"
            ) from exc
        return keys


def _is_key(item: tuple[object, object]) -> bool:
    return all(isinstance(part, str) and part for part in item)


def email(assertion: str | None, audience: str, keys: Keys) -> str:
    """Return the e-mail of the person whom Identity-Aware Proxy let through to this audience.

    Raises:
        Unauthorized: the assertion is missing, expired, early, forged, or for another audience.
        TryAgain: Google's keys cannot be fetched now.
    """
    claims = _verified(assertion or "", audience, keys)
    person = claims.get("email")
    if claims.get("iss") != ISSUER or claims.get("aud") != audience or not auth.in_time(claims):
        raise Unauthorized(REFUSED)
    if not isinstance(person, str) or not person or not person.isprintable():
        raise Unauthorized(REFUSED)
    return person[: auth.MAX_EMAIL]


def _verified(assertion: str, audience: str, keys: Keys) -> dict[str, Any]:
    from google.auth import jwt
    from google.auth.exceptions import GoogleAuthError

    try:
        header = jwt.decode_header(assertion)
        name = header.get("kid")
        if header.get("alg") != "ES256" or not isinstance(name, str):
            raise Unauthorized(REFUSED)
        return jwt.decode(
            assertion,
            certs={name: keys.get(name)},
            audience=audience,
            clock_skew_in_seconds=auth.CLOCK_SKEW,
        )
    except (
        *(ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError),
        GoogleAuthError,
    ) as exc:
        raise Unauthorized(REFUSED) from exc


@functools.cache
def google_keys() -> Keys:
    """Return the keys of this process."""
    return Keys()


def signed_in() -> str:
    """Return the e-mail of the person who makes a request to the console.

    Behind Identity-Aware Proxy its assertion alone counts. Without it, it is the account whose
    token Cloud Run has checked (`gcloud run services proxy`), or the local stack's.

    Raises:
        Unauthorized, TryAgain: see `email` and `auth.signed_in`.
    """
    audience = service().settings.iap_audience
    if audience is None:
        return auth.signed_in()
    return email(request.headers.get(HEADER), audience, google_keys())
