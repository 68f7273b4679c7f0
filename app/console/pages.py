"""A page: its route and its JSON twin, its environment and query, its errors."""

from __future__ import annotations

import functools
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, jsonify, redirect, request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter
from werkzeug.wrappers import Response

from app import service
from app.api import problems
from app.console import rendering

TWIN = ".json"
SMALL = 600  # bytes of an answer that is not compressed
COMPRESSED = ("text/html", "application/json", "application/problem+json")

blueprint = Blueprint("console", __name__, url_prefix="/ui")


class _TableId(BaseConverter):
    """A whole table id: the address of the table `p.d.json` is not that of a twin."""

    regex = r"(?:[^/:]+:)?[^/.:]+\.[^/.:]+\.[^/.:]+"  # a domain may stand before the project


blueprint.record_once(lambda state: state.app.url_map.converters.update(table=_TableId))


@dataclass(frozen=True, slots=True)
class Page:
    """A page: what its title says, the template that shows it, and the values that it shows.

    `view` holds JSON values by name: the twin answers with them, the template has them as its
    variables.
    """

    title: str
    template: str
    view: dict[str, Any]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def page[**P, R: Page | Response](
    rule: str,
    *,
    of_twin: str | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Register a function as the page at `rule` below `/ui`, and at `rule`.json its twin.

    It may return a redirect in place of the page, as `lead` does. `of_twin` is the twin's rule
    where it has to differ.
    """

    def register(view: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(view)
        def html(*args: P.args, **kwargs: P.kwargs) -> Response:
            shown = view(*args, **kwargs)
            return render(shown) if isinstance(shown, Page) else shown

        @functools.wraps(view)
        def twin(*args: P.args, **kwargs: P.kwargs) -> Response:
            shown = view(*args, **kwargs)
            if not isinstance(shown, Page):
                return shown
            response = jsonify({"title": shown.title, "env": env(), **shown.view})
            response.status_code = shown.status
            return response

        name = view.__name__
        blueprint.add_url_rule(rule, name, html)
        beside = of_twin or (rule if rule != "/" else f"/{name}")
        blueprint.add_url_rule(beside + TWIN, f"{name}{TWIN_ENDPOINT}", twin)
        return view

    return register


TWIN_ENDPOINT = "_json"


def env() -> str:
    """Return the environment that the page is about: `?env=`, else the service's first.

    Raises:
        InvalidRequest: the service does not serve it.
    """
    settings = service().settings
    return settings.require_env(request.args.get("env") or settings.envs[0])


def query[Q: BaseModel](model: type[Q], **more: Any) -> Q:
    """Return the page's query, parsed as the API's; an empty field of a form counts as not passed.

    Raises:
        InvalidRequest: a parameter does not parse.
    """
    passed = {name: value for name, value in request.args.items() if value}
    try:
        return model.model_validate({"env": env()} | passed | more)
    except ValidationError as exc:
        raise problems.invalid(exc) from exc


def render(shown: Page) -> Response:
    """Return the page as HTML; where htmx asks for a part, without what surrounds the content."""
    html = rendering.render(shown.template, shown.title, env(), shown.view, part=_is_part())
    headers = {"Vary": "HX-Request", "Cache-Control": "no-cache"} | shown.headers
    return Response(html, shown.status, headers, content_type="text/html; charset=utf-8")


def see(endpoint: str, **values: Any) -> Response:
    """Return a redirect to a page, after a POST."""
    return redirect(rendering.link(endpoint, **values), 303)


def lead(endpoint: str, **values: Any) -> Response:
    """Return a redirect from a page to another, and from its twin to the other's."""
    twin = (request.endpoint or "").endswith(TWIN_ENDPOINT)
    return redirect(rendering.link(endpoint + (TWIN_ENDPOINT if twin else ""), **values), 302)


@blueprint.errorhandler(Exception)
def failed(exc: Exception) -> Response:
    """Answer an exception by a page with what is wrong and what to do; a twin by a problem."""
    answer = problems.answer(exc)
    if _is_twin() or answer.status_code < 400:
        return answer
    problem = json.loads(answer.get_data())
    settings = service().settings
    html = rendering.render(
        "error.html", problem["title"], settings.envs[0], {"problem": problem}, part=_is_part()
    )
    answer.set_data(html)
    answer.content_type = "text/html; charset=utf-8"
    return answer


@blueprint.route("/<path:unknown>")
def missing(unknown: str) -> Response:
    """Answer an address below `/ui` that is not a page."""
    raise NotFound


@blueprint.after_request
def compress(response: Response) -> Response:
    """Compress an answer for clients that take it so."""
    response.vary.add("Accept-Encoding")
    if (
        response.mimetype in COMPRESSED
        and "Content-Encoding" not in response.headers
        and request.accept_encodings["gzip"]
        and len(response.get_data()) >= SMALL
    ):
        response.set_data(gzip.compress(response.get_data(), 6, mtime=0))
        response.headers["Content-Encoding"] = "gzip"
    return response


def _is_twin() -> bool:
    if (request.endpoint or "").endswith(TWIN_ENDPOINT):
        return True
    table = (request.view_args or {}).get("table", "")
    return request.path.endswith(TWIN) and not re.fullmatch(_TableId.regex, table)


def _is_part() -> bool:
    return request.headers.get("HX-Request") == "true"
