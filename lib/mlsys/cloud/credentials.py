"""Google's Application Default Credentials, and errors that say why they cannot be used."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mlsys.errors import CredentialsMissing

VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
MAX_WORDS = 600  # characters of Google's own words in one of our sentences
SIGN_IN = "run `gcloud auth application-default login`"
_SIGN_IN = f"R{SIGN_IN[1:]}"
_INSTEAD = f"Unset it and {SIGN_IN}, or set it to the JSON file of a service account's key."


def default_credentials() -> Any:
    """Return the Application Default Credentials of this process.

    Raises:
        CredentialsMissing: none were found, or the file that GOOGLE_APPLICATION_CREDENTIALS names
            does not hold any.
    """
    import google.auth

    check_file()
    try:
        return google.auth.default(scopes=list(SCOPES))[0]
    except Exception as exc:  # a malformed file may raise any exception
        raise unusable(exc) from exc


def signed_in() -> str:
    """Return the account that Google accepts the credentials of, and call them once for that.

    Raises:
        CredentialsMissing: none were found, or Google does not accept them.
        GoogleAuthError: Google did not answer.
    """
    from google.auth.transport.requests import Request

    credentials = default_credentials()
    credentials.refresh(Request())
    return str(
        getattr(credentials, "service_account_email", None)
        or getattr(credentials, "account", None)
        or "a person"
    )


def unusable(exc: Exception) -> CredentialsMissing:
    """Return the error for credentials that were not found or cannot be loaded."""
    if path := os.environ.get(VARIABLE):
        return CredentialsMissing(
            f"{VARIABLE} names {path}, which holds no usable credentials ({words(exc)}). {_INSTEAD}"
        )
    if type(exc).__name__ == "DefaultCredentialsError" and not _login_file():
        return CredentialsMissing(
            f"No Google credentials were found. {_SIGN_IN}; to work without a cloud, run "
            "`mlsys local up` and export the variables that it prints."
        )
    return CredentialsMissing(
        f"The Google credentials of this machine cannot be used ({words(exc)}). {_SIGN_IN} again, "
        f"or set {VARIABLE} to the JSON file of a service account's key."
    )


def check_file() -> None:
    """Refuse a file in GOOGLE_APPLICATION_CREDENTIALS that cannot hold credentials.

    Raises:
        CredentialsMissing: the file is missing, a folder, unreadable, or not a JSON object.
    """
    path = os.environ.get(VARIABLE)
    if path and (fault := _fault(path)):
        raise CredentialsMissing(f"{VARIABLE} names {path}, which {fault}. {_INSTEAD}")


def rejected(exc: Exception) -> CredentialsMissing:
    """Return the error for credentials that were found and that Google does not accept."""
    path = os.environ.get(VARIABLE)
    if path:
        return CredentialsMissing(
            f"Google does not accept the credentials in {path}, which {VARIABLE} names: they "
            f"have expired or were revoked ({words(exc)}). {_INSTEAD}"
        )
    return CredentialsMissing(
        f"Google does not accept the credentials of this machine: they have expired or were "
        f"revoked ({words(exc)}). {_SIGN_IN}, or set {VARIABLE} to the "
        "JSON file of a service account's key."
    )


def words(exc: BaseException) -> str:
    """Return an exception's message as one line of bounded length."""
    message = exc.args[0] if exc.args and isinstance(exc.args[0], str) else str(exc)
    line = " ".join(message.split()) or type(exc).__name__
    return line if len(line) <= MAX_WORDS else f"{line[: MAX_WORDS - 3]}..."


def _fault(path: str) -> str | None:
    """Return what is wrong with the file, as the end of a sentence."""
    file = Path(path)
    try:
        if file.is_dir():
            return "is a folder"
        if not file.exists():
            home = " (~ is not expanded in a variable)" if path.startswith("~") else ""
            return f"does not exist{home}"
        value = json.loads(file.read_text(encoding="utf-8"))
    except OSError as exc:
        return f"cannot be read ({exc.strerror or type(exc).__name__})"
    except (ValueError, RecursionError):
        return "is not a JSON file"
    return None if isinstance(value, dict) else "is not a JSON file of credentials"


def _login_file() -> bool:
    """Return whether the file that `gcloud auth application-default login` writes exists."""
    from google.auth import _cloud_sdk

    return os.path.isfile(_cloud_sdk.get_application_default_credentials_path())
