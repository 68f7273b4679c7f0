"""Check every request before its route sees it, and serve the service under a path.

- `HEAD` is answered where `GET` only reads. `GET /predict`, `/evaluate` and `/model-registry` act:
  405.
- A parameter is passed once, and by `GET` and `DELETE` only in the URL: others would be ignored
  silently.
- Behind a proxy that serves it under a path, that of `MLSYS_URL`, links have that path.
  `X-Forwarded-Prefix` is not read: any caller can send it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, request

from app.api.bodies import refuse_twice
from mlsys.errors import InvalidRequest

ACTING = ("predictions.predict", "evaluation.evaluate", "registry.model_registry")
# Whose GET and DELETE take parameters of the URL
BY_PARAMETERS = frozenset(
    ("aliases", "checks", "drift", "evaluation", "predictions", "registry", "runs")
)
BY_URL = ("GET", "HEAD", "DELETE")
EVENTS = "events"  # Eventarc adds parameters of its own, which do not matter


def register(app: Flask, url: str | None) -> None:
    """Check every request, and serve under the path of `url`."""
    app.before_request(check)
    for rule in app.url_map.iter_rules():
        if rule.endpoint in ACTING and rule.methods is not None:
            rule.methods.discard("HEAD")
    if prefix := path_of(url):
        app.wsgi_app = Under(app.wsgi_app, prefix)  # type: ignore[method-assign]


def path_of(url: str | None) -> str:
    """Return the path that the service lies under: `/mlsys`, or nothing."""
    return urlsplit(url or "").path.rstrip("/")


def check() -> None:
    """Check for parameters that would be ignored.

    Raises:
        InvalidRequest: one is passed twice, or a GET or DELETE has a body.
    """
    if request.endpoint is None or request.blueprint == EVENTS:
        return
    refuse_twice(name for name, _ in request.args.items(multi=True))
    has_body = bool(request.content_length) or "Transfer-Encoding" in request.headers
    if has_body and request.blueprint in BY_PARAMETERS and request.method in BY_URL:
        by_post = ", or the body by POST" if request.path == "/predict" else ""
        raise InvalidRequest(
            ("body", f"of a {request.method} is not read: pass parameters in the URL{by_post}")
        )


class Under:
    """A WSGI application under a path, whether the proxy cuts the path off or not."""

    def __init__(self, application: Callable[..., Iterable[bytes]], prefix: str) -> None:
        self._application = application
        self._prefix = prefix

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Handle a request."""
        path = environ.get("PATH_INFO", "")
        if path == self._prefix or path.startswith(f"{self._prefix}/"):
            environ["PATH_INFO"] = path[len(self._prefix) :] or "/"
        environ["SCRIPT_NAME"] = self._prefix
        return self._application(environ, start_response)
