"""Read a request's body: as bytes, or as the parameters that it holds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from flask import request
from werkzeug.exceptions import (
    BadRequest,
    ClientDisconnected,
    RequestEntityTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
)

from app import MAX_BODY
from mlsys.errors import InvalidRequest

FORM, JSON = "application/x-www-form-urlencoded", "application/json"
MAX_FIELDS = 100


def read_body() -> bytes:
    """Return the whole body or raise: half a message would be quarantined, and so acknowledged.

    Werkzeug cuts a chunked body at the limit, and accepts one that ends before its length.

    Raises:
        RequestEntityTooLarge: it is longer than `MAX_BODY`.
        BadRequest: it ends too early, or its chunks are malformed.
        RequestTimeout: it did not arrive in time.
    """
    from gunicorn.http.errors import ParseException

    request.max_content_length = MAX_BODY + 1
    try:
        body = request.get_data()
    except ParseException as exc:
        raise BadRequest("The body's chunks are malformed.") from exc
    except (TimeoutError, ClientDisconnected) as exc:
        if not isinstance(exc, TimeoutError) and not isinstance(exc.__context__, TimeoutError):
            raise
        raise RequestTimeout("The body did not arrive in time. Send it at once.") from exc
    if len(body) > MAX_BODY:
        raise RequestEntityTooLarge()
    if len(body) < (request.content_length or 0):
        raise BadRequest("The body ends before its Content-Length.")
    return body


def read_parameters() -> dict[str, Any]:
    """Return the parameters that the body holds, as a form or as a JSON object.

    Values of JSON are the texts that a URL would hold; true, false, whole numbers and lists of
    texts are taken as well. A null counts as not given.

    Raises:
        InvalidRequest: the URL has parameters too, one is passed twice, or the body is malformed.
        UnsupportedMediaType: it is neither a form nor JSON.
    """
    if request.args:
        problem = "is in the URL: pass every parameter in the body"
        raise InvalidRequest(*((name[:80], problem) for name in list(request.args)[:MAX_FIELDS]))
    if request.mimetype == JSON:
        return _of_json(read_body())
    if request.mimetype == FORM:
        return _of_form(read_body())
    raise UnsupportedMediaType(f"Pass the parameters as {FORM} or as {JSON}.")


def read_json() -> dict[str, Any]:
    """Return the members of a JSON object as `read_parameters` does; the URL may have others.

    Raises:
        InvalidRequest, UnsupportedMediaType: as `read_parameters`.
    """
    if request.mimetype != JSON:
        raise UnsupportedMediaType(f"Pass the body as {JSON}.")
    return _of_json(read_body())


def read_form() -> dict[str, str]:
    """Return the fields of a form; the URL may have others.

    Raises:
        InvalidRequest, UnsupportedMediaType: as `read_parameters`.
    """
    if request.mimetype != FORM:
        raise UnsupportedMediaType(f"Pass the body as {FORM}.")
    return _of_form(read_body())


def _of_json(body: bytes) -> dict[str, Any]:
    from pydantic_core import from_json

    try:
        parsed = from_json(body, allow_inf_nan=False)
    except ValueError as exc:
        raise InvalidRequest(("body", f"is not JSON: {exc}")) from exc
    if not isinstance(parsed, dict):
        raise InvalidRequest(("body", f"holds a {type(parsed).__name__}: pass an object"))
    json.loads(body, object_pairs_hook=once)
    return {name: _text(value) for name, value in parsed.items() if value is not None}


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object: a hook for `json.loads`, which by default keeps each name's last value.

    Raises:
        InvalidRequest: a name occurs twice.
    """
    refuse_twice([name for name, _ in pairs])
    return dict(pairs)


def refuse_twice(names: Iterable[str]) -> None:
    """Check that no parameter is passed more than once.

    Raises:
        InvalidRequest: naming them.
    """
    counts = Counter(names)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise InvalidRequest(
            *((n[:80], "is passed twice: pass it once") for n in twice[:MAX_FIELDS])
        )


def _of_form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except ValueError as exc:
        raise InvalidRequest(("body", f"is not a form in UTF-8: {exc}")) from exc
    refuse_twice([name for name, _ in pairs])
    return dict(pairs)


def _text(value: Any) -> Any:
    """Return a JSON value as the text that a URL would hold, if that is unambiguous."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) < 10**15:
        return str(value)
    if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        return ",".join(value)
    return value
