"""Templates: their environment, which escapes everything, and what each of them may use."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jinja2
from flask import current_app, request, url_for

import mlsys
from app import service
from app.console import assets, charts, formats

FOLDER = Path(__file__).parent / "templates"


@functools.cache
def templates() -> jinja2.Environment:
    """Return the console's environment of Jinja: everything is escaped, a missing name raises."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(FOLDER),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= formats.FILTERS
    environment.globals |= {
        "asset": assets.address,
        "geometry": charts,
        "has": has,
        "link": link,
        "with_query": with_query,
    }
    return environment


def render(template: str, title: str, env: str, view: dict[str, Any], *, part: bool) -> str:
    """Return a page as HTML; as a part, only its content."""
    return (
        templates()
        .get_template(template)
        .render(
            {
                **formats.whole(view),
                "layout": "part.html" if part else "base.html",
                "title": formats.whole(title),
                "env": env,
                "envs": service().settings.envs,
                "twin": _twin(),
                "active": request.endpoint or "",
                "release": mlsys.__version__,
            }
        )
    )


def link(endpoint: str, **values: Any) -> str:
    """Return the address of a page, in the environment of this one. None is left out."""
    settings = service().settings
    env = request.args.get("env")
    if env in settings.envs and env != settings.envs[0]:
        values.setdefault("env", env)
    return url_for(endpoint, **{k: v for k, v in values.items() if v is not None})


def with_query(**changes: Any) -> str:
    """Return this page's address with some parameters changed; None removes one."""
    values = {**(request.view_args or {}), **request.args.to_dict(), **changes}
    return url_for(request.endpoint or "", **{k: v for k, v in values.items() if v is not None})


def has(endpoint: str) -> bool:
    """Tell whether the service has a page."""
    return endpoint in current_app.view_functions


def _twin() -> str | None:
    """Return the address of this page's JSON."""
    endpoint = f"{request.endpoint}_json"
    if not has(endpoint):
        return None
    return url_for(endpoint, **{**(request.view_args or {}), **request.args.to_dict()})
