"""Static files, compressed, and kept by the browser until their content changes."""

from __future__ import annotations

from flask import request
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from app.console.assets import asset
from app.console.pages import blueprint

FOR_GOOD = "public, max-age=31536000, immutable"


@blueprint.get("/static/<digest>/<path:name>")
def static_file(digest: str, name: str) -> Response:
    """Answer with a static file. Under a digest of another release it is not kept."""
    if (known := asset(name)) is None:
        raise NotFound
    squeezed = bool(request.accept_encodings["gzip"])
    response = Response(known.compressed if squeezed else known.content)
    response.content_type = known.content_type
    response.headers["Cache-Control"] = FOR_GOOD if digest == known.digest else "no-cache"
    if squeezed:
        response.headers["Content-Encoding"] = "gzip"
    return response
