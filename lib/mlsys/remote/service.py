"""The service over HTTP: where it is, and what it answers.

On Cloud Run the service is private, so every request carries an identity token for its address;
a service on this machine asks for none, and gets none.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from mlsys import __version__, settings
from mlsys.cloud.loopback import is_loopback
from mlsys.errors import MlsysError, SettingsError, TryAgain
from mlsys.remote.answers import Fields, detail, missing, progress, sentence
from mlsys.remote.identity_token import IdentityToken

if TYPE_CHECKING:
    import requests

# What may pass: too many requests at once, an instance that ended, a request that took too long
# (https://cloud.google.com/run/docs/troubleshooting).
PASSING = (429, 502, 503, 504)
CONNECT_TIMEOUT = 10.0  # seconds
MAX_WAIT = 600  # seconds; a Retry-After that asks for more is cut
MAX_URL = 4_000  # characters; what is longer goes as a body, which no server before it limits


class RefusedByService(MlsysError):
    """The service will not do what it was asked; `body` is its JSON answer, if it gave one."""

    def __init__(self, message: str, body: Mapping[str, Any] | None = None) -> None:
        self.body = body
        super().__init__(message)


class Unreachable(TryAgain):
    """The connection to the service failed, broke or took too long."""


def service_url(given: str | None = None) -> str:
    """Return the service's address: `given`, else `MLSYS_URL` of the environment or `.env`.

    >>> service_url("http://127.0.0.1:8080/")
    'http://127.0.0.1:8080'

    Raises:
        SettingsError: there is none, or a token would travel to it unencrypted.
    """
    url = (given or settings.variable("MLSYS_URL") or "").strip().rstrip("/")
    if not url:
        raise SettingsError(
            "the service's address is not known: pass --url, or set MLSYS_URL in the environment "
            "or in .env (`make local` prints that of the local stack)"
        )
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or ""), parts.port  # raises if it is not a number
        host.encode("idna")
    except ValueError as exc:
        raise _no_address(url, f" ({exc})") from exc
    if parts.scheme not in ("http", "https") or not host or re.search(r"[^\w.:%-]", host):
        raise _no_address(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise SettingsError(
            "the service's address has a user, a query or a fragment: pass https://HOST alone"
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise SettingsError(
            f"{url} would carry your identity token unencrypted: pass https://{parts.netloc}"
        )
    return url


def _no_address(url: str, why: str = "") -> SettingsError:
    return SettingsError(
        f"{url!r} is no address of a service{why}: pass https://HOST, or http://127.0.0.1:PORT"
    )


class Service:
    """The service at an address. One object for each thread; they can share a `token`."""

    def __init__(self, url: str, token: IdentityToken | None = None) -> None:
        """Ask nothing yet. The token is `token`, or one for `url` where that needs one."""
        self.url = url
        self._local = is_loopback(urlsplit(url).hostname)
        self._token = None if self._local else token or IdentityToken(url)
        self._session: requests.Session | None = None

    def twin(self) -> Service:
        """The same service, for another thread."""
        return Service(self.url, self._token)

    def address(self, path: str, params: Mapping[str, str] | None = None) -> str:
        """The full address of a route, to show or to call."""
        return f"{self.url}{path}" + (f"?{urlencode(params)}" if params else "")

    def ask(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        timeout: float = 60.0,
        fields: Sequence[Fields] = (),
    ) -> dict[str, Any]:
        """Return the JSON answer to `GET path`, waiting `timeout` seconds for it at most.

        Parameters that are too long for a URL go as the form of `POST path`. The answer has all
        that one of `fields` names.

        Raises:
            TryAgain: the service says that the same request can succeed later.
            Unreachable: the connection failed, broke or took too long.
            RefusedByService: the service says no; or another service answers there.
            CredentialsMissing: there is no identity token to show.
        """
        import requests

        if self._session is None:
            self._session = requests.Session()
            self._session.trust_env = not self._local  # no proxy leads to this machine
            self._session.headers["User-Agent"] = f"mlsys/{__version__}"
        headers = {"Authorization": f"Bearer {self._token.get()}"} if self._token else {}
        long = len(self.address(path, params)) > MAX_URL
        try:
            answer = self._session.request(
                "POST" if long else "GET",
                f"{self.url}{path}",
                params=None if long else params,
                data=params if long else None,
                headers=headers,
                timeout=(CONNECT_TIMEOUT, timeout),
                allow_redirects=False,  # the token is for this address alone
            )
        except requests.exceptions.SSLError as exc:
            raise RefusedByService(f"{self.url} does not prove who it is: {exc}") from exc
        except (
            requests.exceptions.ConnectionError,
            requests.exceptions.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as exc:
            late = isinstance(exc, requests.exceptions.Timeout)
            what = "did not answer in time" if late else "cannot be reached, or hung up"
            if self._local and not late:
                what += " (is `make local` up, and MLSYS_URL its address?)"
            raise Unreachable(f"{self.url} {what}") from exc
        except (requests.exceptions.RequestException, OSError, UnicodeError) as exc:
            # An OSError is of a file that the environment names, as REQUESTS_CA_BUNDLE does.
            raise RefusedByService(f"{self.url}{path} cannot be asked: {exc}") from exc
        return self.checked(_body(self.url, answer), path, fields)

    def checked(
        self, body: Mapping[str, Any], path: str, fields: Sequence[Fields]
    ) -> dict[str, Any]:
        """Return an answer that has the fields of mlsys.

        Raises:
            RefusedByService: it has not, so that another service gave it, or another release.
        """
        wrong = [missing(body, each) for each in fields]
        if wrong and all(wrong):
            raise RefusedByService(
                f"{self.url}{path} answered JSON that mlsys does not ({', '.join(wrong[-1])}): is "
                "it the address of mlsys, and of this release?"
            )
        return dict(body)


def _body(url: str, answer: requests.Response) -> dict[str, Any]:
    """The answer's JSON, or the exception that it stands for."""
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        body = None
    if answer.ok and answer.status_code < 300 and isinstance(body, dict):
        return body
    ours = isinstance(body, dict) and str(body.get("type")).startswith("urn:mlsys:")
    # Cloud Run answers 500 itself where an instance ran out of memory.
    if answer.status_code in PASSING or (answer.status_code == 500 and not ours):
        said = detail(body) if ours else f"{url} answered {answer.status_code}"
        error = TryAgain(said, progress(body.get("progress")) if ours else None)
        error.retry_after = _seconds(answer.headers.get("Retry-After"), error.retry_after)
        raise error
    if ours:
        raise RefusedByService(sentence(body), body)
    reason = {
        401: "does not take your identity token: is it for another service? `gcloud auth login`",
        403: "does not let your account in: ask for roles/run.invoker on it",
        413: "or a proxy before it takes no request of this size: pass shorter parameters",
        414: "or a proxy before it takes no URL of this length: pass shorter parameters",
        431: "or a proxy before it takes no headers of this size",
    }.get(answer.status_code, f"answered {answer.status_code}: is it the address of mlsys?")
    raise RefusedByService(f"{url} {reason}")


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
