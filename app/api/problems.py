"""The one table that turns exceptions into answers: RFC 9457 `application/problem+json`.

No stack trace and no raw text of a backend leaves the service; both go to the log.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from flask import Response, g, json, request
from flask_openapi3 import OpenAPI
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import RequestRedirect
from werkzeug.wrappers import Response as BaseResponse

from mlsys import errors
from mlsys.cloud.clients import is_passing
from mlsys.cloud.quotas import is_used_up

log = logging.getLogger(__name__)

# The first class that fits decides. Title and detail are for people, `type` is for programs.
STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (errors.InvalidRequest, 400, "A parameter is missing or malformed"),
    (errors.NotAllowed, 403, "The service does not touch this dataset"),
    (errors.GuardRefused, 403, "The guard of the alias refuses the move"),
    (errors.PermissionMissing, 403, "The service may not do this"),
    (errors.ModelNotFound, 404, "Model not found"),
    (errors.AliasNotFound, 404, "Alias not found"),
    (errors.TableNotFound, 404, "Table not found"),
    (errors.RunNotFound, 404, "Run not found"),
    (errors.ObjectNotFound, 404, "Bucket or object not found"),
    (errors.RunCancelled, 409, "The run was cancelled"),
    (errors.RunPublished, 409, "The run cannot be cancelled any more"),
    (errors.RunUndone, 409, "The run was undone"),
    (errors.PriceLimit, 409, "The run would cost more than the request allows"),
    (errors.Conflict, 409, "The request conflicts with existing data"),
    (errors.SchemaMismatch, 422, "The table does not fit"),
    (errors.ModelUnusable, 422, "The model cannot be used"),
    (errors.AliasInvalid, 422, "The alias cannot be used"),
    (errors.ContractBroken, 422, "The input breaks the model's contract"),
    (errors.PredictionFailed, 422, "The model failed on the table's rows"),
    (errors.InputDrifted, 422, "The input has drifted"),
    (errors.NoProgress, 422, "The run makes no progress"),
    (errors.RunFailed, 422, "The run failed"),
    (errors.TryAgain, 503, "Try again"),
)
BUSY = (503, "Google Cloud did not answer; try again")
FORBIDDEN = (403, "The service may not do this")
USED_UP = (403, "A quota of the Google Cloud project is used up")  # BigQuery's own status for it


class Problem(BaseModel):
    """An error: what is wrong, and what to do (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    parameters: list[dict[str, str]] | None = None
    columns: list[dict[str, str]] | None = None
    rows: list[dict[str, Any]] | None = None
    more: int | None = None  # parameters, columns, rows or clauses that are not listed
    progress: dict[str, Any] | None = None
    clauses: list[dict[str, Any]] | None = None  # of the guard of an alias, or of a contract
    price: dict[str, Any] | None = None  # the estimate of a run, and the limits of its request


def documented(*statuses: int) -> dict[Any, Any]:
    """Return the description of these statuses for a route: a problem, with its media type."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    described: dict[Any, Any] = {}
    for status in statuses:
        described[status] = {"description": HTTPStatus(status).phrase, "content": content}
    if 503 in described:
        described[503]["headers"] = {
            "Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}
        }
    return described


def register(app: OpenAPI) -> None:
    """Answer every exception of the app's routes by the table."""
    app.register_error_handler(Exception, answer)


def validation_answer(exc: ValidationError) -> BaseResponse:
    """Answer 400 to parameters that do not parse, every one of them named."""
    return answer(invalid(exc))


def invalid(exc: ValidationError) -> errors.InvalidRequest:
    """Return the error that names every parameter that does not parse."""
    problems = []
    for error in exc.errors():
        name = ".".join(str(part) for part in error["loc"]) or "output_table"
        text = error["msg"].removeprefix("Value error, ")
        if error["type"] == "missing":
            text = "is missing"
        elif error["type"] == "extra_forbidden":
            text = "is not a parameter of this route"
        elif error["type"] == "string_too_short":
            text = "is empty: pass a value, or leave it out"
        elif not error["msg"].startswith("Value error"):
            text = f"{str(error['input'])[:80]!r}: {text[0].lower()}{text[1:]}"
        problems.append((name, text))
    return errors.InvalidRequest(*problems)


def status_of(exc: Exception) -> tuple[int, str]:
    """Return the status and title for an exception; 500 for an unexpected one."""
    for kind, status, title in STATUS:
        if isinstance(exc, kind):
            return status, title
    if isinstance(exc, HTTPException):
        return exc.code or 500, exc.name
    if not isinstance(exc, errors.MlsysError) and is_passing(exc):
        return BUSY
    if is_used_up(exc):
        return USED_UP
    if _is_forbidden(exc):
        return FORBIDDEN
    return 500, "Something is wrong with the service"


def answer(exc: Exception) -> BaseResponse:
    """Turn any exception into an answer, and log what must not be disclosed."""
    status, title = status_of(exc)
    g.problem = f"{type(exc).__name__}: {exc}"
    if isinstance(exc, RequestRedirect):
        return exc.get_response()  # a redirect to the address with the slash
    known = isinstance(exc, errors.MlsysError)
    if status >= 500 and not known:
        log.error("%s", title, exc_info=exc)
    body: dict[str, Any] = {
        "type": f"urn:mlsys:problem:{_slug(exc) if known else status}",
        "title": title,
        "status": status,
        "detail": errors.bounded(str(exc) if known else _detail(exc, status)),
    }
    listed: dict[str, Sequence[Any]] = {}
    if isinstance(exc, errors.InvalidRequest):
        listed["parameters"] = [{"name": n, "problem": p} for n, p in exc.problems]
    if isinstance(exc, errors.SchemaMismatch) and exc.columns:
        listed["columns"] = [{"name": n, "problem": p} for n, p in exc.columns]
    if isinstance(exc, errors.PredictionFailed) and exc.rows:
        listed["rows"] = exc.rows
    if isinstance(exc, errors.ContractBroken):
        listed["clauses"] = exc.clauses
    for key, items in listed.items():
        body[key] = items[: errors.MAX_LISTED]
        if len(items) > errors.MAX_LISTED:
            body["more"] = len(items) - errors.MAX_LISTED
    if isinstance(exc, errors.TryAgain) and exc.progress:
        body["progress"] = exc.progress
    if isinstance(exc, errors.PriceLimit):
        body["price"] = exc.price
    if isinstance(exc, errors.GuardRefused):
        body["clauses"] = exc.clauses
    response = Response(
        json.dumps(body, indent=2) + "\n", status, mimetype="application/problem+json"
    )
    if isinstance(exc, MethodNotAllowed) and exc.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(exc.valid_methods))
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if status == 503:
        response.headers["Retry-After"] = str(getattr(exc, "retry_after", 5))
    return response


def _detail(exc: Exception, status: int) -> str:
    if isinstance(exc, HTTPException):
        return _unknown_route() if isinstance(exc, NotFound) else exc.description or exc.name
    if is_used_up(exc):
        return (
            "A quota does not refill within minutes; the service's log names it. Wait until it is "
            "reset (daily ones at midnight Pacific time), or ask for a higher one."
        )
    return {
        403: "The service's account lacks a permission on this table or bucket; its log names it.",
        503: "A Google Cloud service did not answer in time. The same request can succeed later.",
    }.get(status, "The request could not be answered. The service's log has the reason.")


def _unknown_route() -> str:
    if request.method == "POST" and request.path == "/":
        return (
            "Events go to /events/storage or /events/predictions: set the path of the trigger or "
            "of the push subscription."
        )
    return "This route does not exist: GET /docs lists all routes."


def _slug(exc: Exception) -> str:
    """Return an exception's name for a URN: `table-not-found` for `TableNotFound`."""
    name = type(exc).__name__
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")


def _is_forbidden(exc: Exception) -> bool:
    from google.api_core import exceptions

    return isinstance(exc, exceptions.Forbidden | exceptions.Unauthorized)
