"""The service over HTTP: its address, requests and answers.

On Cloud Run the service is private, so every request carries an identity token for its address. A
service on this machine needs no token and gets none.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from mlsys import __version__
from mlsys.cloud.loopback import is_loopback
from mlsys.errors import MlsysError, SettingsError, TryAgain
from mlsys.remote.answers import Fields, detail, missing, progress, sentence
from mlsys.remote.identity_token import IdentityToken
from mlsys.settings.reading import variable

if TYPE_CHECKING:
    import requests

# Temporary failures: too many concurrent requests, an instance that ended, a request that timed out
# (https://cloud.google.com/run/docs/troubleshooting).
TEMPORARY = (429, 502, 503, 504)
CONNECT_TIMEOUT = 10.0  # seconds
MAX_WAIT = 600  # seconds; a longer Retry-After is cut
MAX_URL = 4_000  # characters; longer parameters go in a body, which no proxy limits


class RefusedByService(MlsysError):
    """The service refuses a request; `body` is its JSON answer, if it gave one.

    `status` is that of an answer that is not the service's own: Cloud Run's, or a proxy's.
    """

    def __init__(
        self, message: str, body: Mapping[str, Any] | None = None, status: int | None = None
    ) -> None:
        self.body = body
        self.status = status
        super().__init__(message)


class Unreachable(TryAgain):
    """The connection to the service failed, broke or took too long."""


def service_url(given: str | None = None) -> str:
    """Return the service's address: `given`, else `MLSYS_URL` of the environment or `.env`.

    >>> service_url("http://127.0.0.1:8080/")
    'http://127.0.0.1:8080'

    Raises:
        SettingsError: it is not set, is malformed, or would receive a token unencrypted.
    """
    url = (given or variable("MLSYS_URL") or "").strip().rstrip("/")
    if not url:
        raise SettingsError(
            "the service's address is not known: pass it (--url, in a notebook url=), or set "
            "MLSYS_URL in the environment or in a .env in the working folder or above it (`make "
            "local` prints that of the local stack)"
        )
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or ""), parts.port  # raises if it is not a number
        host.encode("idna")
    except ValueError as exc:
        raise _malformed_address(url, f" ({exc})") from exc
    if parts.scheme not in ("http", "https") or not host or re.search(r"[^\w.:%-]", host):
        raise _malformed_address(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise SettingsError(
            "the service's address has a user, a query or a fragment: pass https://HOST only"
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise SettingsError(
            f"{url} would receive your identity token unencrypted: pass https://{parts.netloc}"
        )
    return url


def _malformed_address(url: str, why: str = "") -> SettingsError:
    return SettingsError(
        f"{url!r} is not the address of a service{why}: pass https://HOST or http://127.0.0.1:PORT"
    )


class Service:
    """A client of the service at an address, one per thread; clients can share a `token`."""

    def __init__(self, url: str, token: IdentityToken | None = None) -> None:
        """Send nothing yet. The default `token` is one for `url`, if that needs one."""
        self.url = url
        self._local = is_loopback(urlsplit(url).hostname)
        self._token = None if self._local else token or IdentityToken(url)
        self._session: requests.Session | None = None

    def copy(self) -> Service:
        """Return a client of the same service, for another thread."""
        return Service(self.url, self._token)

    def address(self, path: str, params: Mapping[str, str] | None = None) -> str:
        """Return the full address of a route."""
        return f"{self.url}{path}" + (f"?{urlencode(params)}" if params else "")

    def ask(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        timeout: float = 60.0,
        fields: Sequence[Fields] = (),
        form: bool = False,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the JSON answer to `GET path`, after at most `timeout` seconds.

        With `form` the parameters are sent as one; so are those of a `GET` that are too long for a
        URL, by `POST path`. `body` is sent as JSON. The answer has all the members of one of
        `fields`.

        Raises:
            TryAgain: the service says that the same request can succeed later.
            Unreachable: the connection failed, broke or took too long.
            RefusedByService: the service refuses the request; or another service answered.
            CredentialsMissing: an identity token cannot be fetched.
        """
        import requests

        if self._session is None:
            self._session = requests.Session()
            self._session.trust_env = not self._local  # this machine is reached without a proxy
            self._session.headers["User-Agent"] = f"mlsys/{__version__}"
        headers = {"Authorization": f"Bearer {self._token.get()}"} if self._token else {}
        long = method == "GET" and len(self.address(path, params)) > MAX_URL
        in_body = form or long
        try:
            answer = self._session.request(
                "POST" if long else method,
                f"{self.url}{path}",
                params=None if in_body else params,
                data=params if in_body else None,
                json=body,
                headers=headers,
                timeout=(CONNECT_TIMEOUT, timeout),
                allow_redirects=False,  # the token is only for this address
            )
        except requests.exceptions.SSLError as exc:
            raise RefusedByService(
                f"the TLS certificate of {self.url} is not trusted: check the address, or behind a "
                f"proxy set REQUESTS_CA_BUNDLE. {exc}"
            ) from exc
        except (
            requests.exceptions.ConnectionError,
            requests.exceptions.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as exc:
            late = isinstance(exc, requests.exceptions.Timeout)
            fault = "did not answer in time" if late else "cannot be reached, or hung up"
            if self._local and not late:
                fault += " (is `make local` up, and MLSYS_URL its address?)"
            raise Unreachable(f"{self.url} {fault}") from exc
        except (requests.exceptions.RequestException, OSError, UnicodeError) as exc:
            # An OSError is about a file that the environment names, as REQUESTS_CA_BUNDLE does.
            raise RefusedByService(f"The request to {self.url}{path} failed: {exc}") from exc
        return self.checked(_body(self.url, answer), path, fields)

    def checked(
        self, body: Mapping[str, Any], path: str, fields: Sequence[Fields]
    ) -> dict[str, Any]:
        """Return `body` if it has the fields of an mlsys answer.

        Raises:
            RefusedByService: it does not: another service or another release sent it.
        """
        lacking = [missing(body, each) for each in fields]
        if lacking and all(lacking):
            raise RefusedByService(
                f"{self.url}{path} answered JSON that lacks {', '.join(lacking[-1])}: is it the "
                "address of mlsys, and of this release?"
            )
        return dict(body)


def _body(url: str, answer: requests.Response) -> dict[str, Any]:
    """Return the answer's JSON, or raise the error that the answer reports."""
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        body = None
    if answer.ok and answer.status_code < 300 and isinstance(body, dict):
        return body
    ours = isinstance(body, dict) and str(body.get("type")).startswith("urn:mlsys:")
    # Cloud Run itself answers 500 when an instance ran out of memory.
    if answer.status_code in TEMPORARY or (answer.status_code == 500 and not ours):
        text = detail(body) if ours else f"{url} answered {answer.status_code}"
        error = TryAgain(text, progress(body.get("progress")) if ours else None)
        error.retry_after = _seconds(answer.headers.get("Retry-After"), error.retry_after)
        raise error
    if ours:
        raise RefusedByService(sentence(body), body)
    reason = {
        401: "refuses your identity token: run `gcloud auth login`, or check the address",
        403: "denies access to your account: ask for roles/run.invoker on it",
        413: "or a proxy refuses a request of this size: pass shorter parameters",
        414: "or a proxy refuses a URL of this length: pass shorter parameters",
        431: "or a proxy refuses headers of this size: check what the proxy adds",
    }.get(answer.status_code, f"answered {answer.status_code}: is it the address of mlsys?")
    raise RefusedByService(f"{url} {reason}", status=answer.status_code)


def _seconds(text: str | None, default: int) -> int:
    """Return the seconds of a Retry-After: a number, or a date.

    https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
    """
    text = (text or "").strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:9]), MAX_WAIT)
    try:
        at = parsedate_to_datetime(text)
        left = (at - dt.datetime.now(at.tzinfo or dt.UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return default
    return min(max(math.ceil(left), 0), MAX_WAIT)
