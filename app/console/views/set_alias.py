"""Set an alias of a model: a form, what its guard says, and the move, compare and set."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

from flask import request
from pydantic import ValidationError
from werkzeug.wrappers import Response

from app import logs, service
from app.api.alias_queries import MoveBody
from app.api.problems import invalid
from app.console import forms
from app.console.pages import Page, blueprint, env, page, render, see
from mlsys.artifact.refs import AliasRef, ModelRef
from mlsys.errors import ModelNotFound

CHAMPION = "champion"
MAX_VERSIONS = 200
FIELDS = ("alias", "version", "why", "force", "expected", "request_id")
# What was checked: the alias and the version. Other ones in the form are checked before they count.
CHECKED = "checked"


@page("/models/<model_name>/set-alias")
def set_alias(model_name: str) -> Page:
    """Show the form of a move; the URL may fill it in."""
    values = {name: request.args[name] for name in ("alias", "version") if name in request.args}
    return form(model_name, values)


@blueprint.post("/models/<model_name>/set-alias", endpoint="move_alias")
def move(model_name: str) -> Response:
    """Ask the guard; if that was done for this move, move the alias."""
    passed = forms.fields()
    to_be_set, checked = passed.pop("do", "check") == "set", passed.pop(CHECKED, "")
    moves = to_be_set and checked == _about(passed) and "expected" in passed
    return forms.answer(
        lambda: _move(model_name, passed, moves),
        lambda problem: form(model_name, passed, problem=problem),
    )


def _move(model_name: str, passed: dict[str, str], moves: bool) -> Response:
    from workers.registry.move import NONE, MoveRequest, aliases_now, move_alias

    ref = AliasRef(model_name, passed.get("alias", ""))
    clients, name = service().clients, env()
    if not moves:
        now = aliases_now(clients, name, ref.model, ref.alias)
        passed["expected"] = (now[0].version if now else None) or NONE
        passed["request_id"] = secrets.token_hex(16)
    try:
        body = MoveBody.model_validate({k: v for k, v in passed.items() if k != "alias"})
    except ValidationError as exc:
        raise invalid(exc) from exc
    wanted = MoveRequest(
        ref=ref,
        version=body.version,
        who=forms.who(),
        request_id=body.request_id or secrets.token_hex(16),
        expected=body.expected,
        why=body.why,
        force=body.force,
    )
    logs.note(alias=str(ref), version=body.version, who=wanted.who)
    if not moves:
        seen = move_alias(clients, name, replace(wanted, dry_run=True))
        return render(form(model_name, passed, evidence=seen.evidence))
    done = move_alias(clients, name, wanted)
    logs.note(outcome="moved" if done.moved else "not moved")
    return see("console.model", model_name=model_name)


def _about(values: dict[str, str]) -> str:
    return f"{values.get('alias', '')} {values.get('version', '')}"


def form(
    model_name: str,
    values: dict[str, str],
    *,
    evidence: dict[str, Any] | None = None,
    problem: forms.Problem | None = None,
) -> Page:
    """Return the form with these values, and what speaks for or against the move."""
    from workers.registry.move import aliases_now
    from workers.registry.table import list_models

    clients, name = service().clients, env()
    ModelRef(model_name, "v1")  # the name
    rows, _ = list_models(clients, name, model_name=model_name, limit=MAX_VERSIONS)
    if not rows:
        raise ModelNotFound(f"{model_name} is not in the registry of {name}. Look at all models.")
    ready = next((row["model_version"] for row in rows if row["status"] == "ready"), "")
    chosen = {"alias": CHAMPION, "version": ready} | values
    now = {row.alias: row.version for row in aliases_now(clients, name, model_name)}
    clauses = (problem or {}).get("clauses") or (evidence or {}).get("guard") or []
    view = {
        "model_name": model_name,
        "values": {field: chosen.get(field, "") for field in FIELDS},
        "versions": [{"version": row["model_version"], "status": row["status"]} for row in rows],
        "aliases": now,
        "clauses": clauses,
        "evidence": None if evidence is None else {**evidence, "guard": None},
        "checked": _about(chosen) if evidence is not None else None,
        "problem": problem,
        "who": forms.who(),
    }
    return Page(f"Set an alias of {model_name}", "set_alias.html", view)
