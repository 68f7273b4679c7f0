"""What every request to the console passes first, and the headers of every answer.

A browser sends who it signed in as with every request, also with one that another site makes it
send. So a request that acts is POST, and is refused unless the browser says that it comes from the
console itself: docs/decisions/0120. Sessions, cookies and secret keys are not used.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from flask import Flask, Response, g, redirect, request, url_for
from werkzeug.exceptions import Forbidden

from app import iap, service

PATH = re.compile(r"/+ui(/|$)")  # a path with more slashes is redirected
SAFE = ("GET", "HEAD", "OPTIONS")
OWN = ("same-origin", "none")  # none: the person typed the address, or reloads the page
ORIGIN = re.compile(r"https?://([^/@\s]+)", re.IGNORECASE)
LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?", re.IGNORECASE)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: with it a browser sends `Origin: null` from the console's own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def register(app: Flask) -> None:
    """Protect every route below `/ui`, also those that do not exist."""
    app.before_request(check)
    app.after_request(finish)
    if app.extensions["mlsys"].settings.role == "web":
        app.add_url_rule("/", "root", lambda: redirect(url_for("console.overview")))


def is_console() -> bool:
    """Tell whether the request is one to the console."""
    return PATH.match(request.path) is not None


def check() -> None:
    """Let the request through if it may see the console, and act if it acts.

    `g.who` is then the person who makes it.

    Raises:
        Unauthorized: nobody has signed in.
        Forbidden: it comes from another site, or for another host.
        TryAgain: the keys of Identity-Aware Proxy cannot be fetched now.
    """
    if not is_console():
        return
    check_host()
    g.who = iap.signed_in()
    if request.method not in SAFE:
        check_origin()


def check_origin() -> None:
    """Refuse a request that another site may have made the browser send.

    The rule of Go's http.CrossOriginProtection, but for a request with neither header, which no
    browser sends: programs call the API.

    Raises:
        Forbidden: it comes from another site, or says nothing about where it comes from.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        own = site in OWN
    else:
        origin = ORIGIN.fullmatch(request.headers.get("Origin", ""))
        own = origin is not None and origin[1].lower() == request.host.lower()
    if not own:
        raise Forbidden(
            "The request does not come from the console itself. Open the console's page in a "
            "browser and repeat it there; programs call the API."
        )


def check_host() -> None:
    """Refuse another host's name where nobody signs in: any site can give its name this address.

    Raises:
        Forbidden: it is neither this machine's name nor the host of `MLSYS_URL`.
    """
    settings = service().settings
    if settings.push_auth != "off":
        return
    host = request.headers.get("Host", "")
    if not LOOPBACK.fullmatch(host) and host != urlsplit(settings.url or "").netloc:
        raise Forbidden(
            "The local stack's console answers only at its own address. Open the one that `mlsys "
            "local up` printed, or set MLSYS_URL to the address that you use."
        )


def finish(response: Response) -> Response:
    """Add the headers; nothing but an asset with its content's hash in its address is cached."""
    if is_console():
        response.headers.update(HEADERS)
        if "immutable" not in response.headers.get("Cache-Control", ""):
            response.headers["Cache-Control"] = "no-store"
    return response
