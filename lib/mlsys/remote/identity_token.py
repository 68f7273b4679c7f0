"""Identity tokens for requests to a private service."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

from mlsys.cloud.credentials import check_file
from mlsys.errors import CredentialsMissing

TOKEN = "MLSYS_ID_TOKEN"  # the variable with a token that somebody else has got
GCLOUD_TIMEOUT = 60.0  # seconds
TOKEN_MARGIN = 300.0  # seconds before its expiry from which a token is replaced


class IdentityToken:
    """The caller's identity token for `audience`, renewed before it expires."""

    def __init__(self, audience: str) -> None:
        self._audience = audience
        self._token = ""
        self._until = 0.0
        self._lock = threading.Lock()

    def get(self) -> str:
        """Return a token that is valid for at least `TOKEN_MARGIN` seconds.

        Raises:
            CredentialsMissing: nobody is signed in.
        """
        with self._lock:
            if time.time() > self._until:
                self._token = identity_token(self._audience)
                self._until = _expiry(self._token) - TOKEN_MARGIN
            return self._token


def identity_token(audience: str) -> str:
    """Return `MLSYS_ID_TOKEN`, else a token of this machine's service account or gcloud's account.

    The variable is for a job of GitHub Actions: neither Google's library nor gcloud gets an
    identity token by workload identity federation, and the action that signs in does.
    A service account's token is valid only for `audience`. A person's token has no audience of its
    own, and Cloud Run accepts it (https://cloud.google.com/run/docs/authenticating/developers).

    Raises:
        CredentialsMissing: nobody is signed in.
    """
    if given := os.environ.get(TOKEN):
        if _expiry(given) <= time.time():
            raise CredentialsMissing(f"{TOKEN} has expired: set another one, or unset it")
        return given
    if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS") or _on_google_cloud():
        import google.auth.transport.requests
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
        from google.oauth2 import id_token

        check_file()
        try:
            request = google.auth.transport.requests.Request()
            return str(id_token.fetch_id_token(request, audience))
        except DefaultCredentialsError:
            pass  # a person's credentials give no token for an audience; gcloud has one
        except GoogleAuthError as exc:
            raise CredentialsMissing(
                f"this machine's service account got no identity token for {audience}: check the "
                f"account and its key. Google says: {exc}"
            ) from exc
    return _gcloud_token()


def _gcloud_token() -> str:
    key = "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account's key"
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        raise CredentialsMissing(
            f"no identity token: gcloud is not installed. Install it and run `gcloud auth login`, "
            f"or {key}"
        )
    try:
        done = subprocess.run(
            [gcloud, "auth", "print-identity-token"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GCLOUD_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise CredentialsMissing(
            f"no identity token: gcloud did not answer ({exc}). Try again, or {key}"
        ) from exc
    if done.returncode != 0:
        message = (done.stderr.strip().splitlines() or ["nothing"])[0]
        raise CredentialsMissing(
            f"no identity token: run `gcloud auth login`, or {key}. gcloud says: {message}"
        )
    return done.stdout.strip()


def _on_google_cloud() -> bool:
    """Return whether this machine has a metadata server; looking for one takes ten seconds."""
    product = Path("/sys/class/dmi/id/product_name")
    try:
        return bool(os.environ.get("K_SERVICE")) or product.read_text().startswith("Google")
    except OSError:
        return False


def _expiry(token: str) -> float:
    from google.auth import jwt

    try:
        return float(jwt.decode(token, verify=False)["exp"])
    except (ValueError, KeyError) as exc:
        raise CredentialsMissing(
            f"{TOKEN}, gcloud or Google gave an invalid identity token: unset {TOKEN}, run `gcloud "
            "auth login` and try again"
        ) from exc
