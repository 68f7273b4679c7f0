"""What a rescan would change, and having it done: by a hint for each version that differs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field
from werkzeug.wrappers import Response

from app import logs, service
from app.api.queries import EnvQuery
from app.console import forms
from app.console.pages import Page, blueprint, env, page, query, see

MAX_NAMED = 200  # of each kind
MAX_HINTS = 1_000  # of one request


class Hinted(EnvQuery):
    """How many hints were published."""

    hinted: Annotated[int, Field(ge=0, le=MAX_HINTS)] | None = None


@page("/rescan")
def rescan() -> Page:
    """Show how bucket and registry differ."""
    return form(query(Hinted).hinted)


@blueprint.post("/rescan", endpoint="send_hints")
def confirmed() -> Response:
    """Have the service look at each version that differs."""
    forms.fields()
    return forms.answer(_hint, lambda problem: form(None, problem))


def _hint() -> Response:
    from workers.registry.difference import difference
    from workers.registry.hints import hint

    clients, name = service().clients, env()
    differs = difference(clients, name)
    keys = (*differs.missing, *differs.outdated, *differs.gone)[:MAX_HINTS]
    logs.note(who=forms.who())
    hinted = hint(clients, name, keys)
    logs.note(outcome=f"{hinted} hints")
    return see("console.rescan", hinted=hinted)


def form(hinted: int | None, problem: forms.Problem | None = None) -> Page:
    """Return the page with the difference."""
    from workers.registry.difference import difference

    differs = difference(service().clients, env())
    view: dict[str, Any] = {name: list(keys)[:MAX_NAMED] for name, keys in asdict(differs).items()}
    view["skipped"] = [{"object": path, "reason": why} for path, why in view["skipped"]]
    view |= {"total": differs.total, "hinted": hinted, "problem": problem, "who": forms.who()}
    return Page(f"Rescan of {env()}", "rescan.html", view)
