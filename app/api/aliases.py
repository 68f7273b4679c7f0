"""`/models/{name}/aliases`: which version an alias names, who moved it when, and moving it.

Moving is POST and DELETE. Who moves it is the verified account of the request
(`app.auth.signed_in`).
"""

from __future__ import annotations

import secrets
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ValidationError
from werkzeug.wrappers import Response

from app import auth, logs, service
from app.api.alias_queries import (
    AliasPath,
    HistoryQuery,
    ModelPath,
    MoveBody,
    Reasons,
    RemoveQuery,
)
from app.api.bodies import JSON, read_json
from app.api.problems import documented, validation_answer
from app.api.queries import EnvQuery
from mlsys.artifact.refs import AliasRef
from mlsys.errors import AliasNotFound

if TYPE_CHECKING:
    from workers.registry.alias_history import AliasRow

api = APIBlueprint("aliases", __name__, abp_tags=[Tag(name="aliases")])


class AliasNow(BaseModel):
    """What an alias names now. `who` is null if somebody changed the bucket past the service.

    `broken` is true, with the `problem`, if nothing can be scored by it: its version was deleted,
    was uploaded again after its guard judged it, or its object names none. `guarded` is true
    if the alias's guard allowed the move, false if the bucket was changed past it, and null if the
    alias had no guard.
    """

    model_name: str
    alias: str
    version: str | None
    previous_version: str | None
    who: str | None
    why: str | None
    forced: bool | None
    guarded: bool | None
    evidence: Any
    moved_at: str
    generation: int
    source: str
    broken: bool
    problem: str | None


class AliasAnswer(AliasNow):
    """What an alias names now, in an environment."""

    env: str


class AliasList(BaseModel):
    """A model's aliases, by name."""

    env: str
    aliases: list[AliasNow]


class MoveAnswer(BaseModel):
    """A move: `moved` is false if the alias named that version already, or on a dry run.

    `logged` is false if the history does not show the move yet: its event will add it.
    """

    env: str
    model_name: str
    alias: str
    version: str | None
    previous_version: str | None
    moved: bool
    dry_run: bool
    who: str
    why: str | None
    forced: bool
    evidence: dict[str, Any]
    generation: int | None
    moved_at: str | None
    logged: bool


class AliasHistory(BaseModel):
    """The versions that an alias named, the latest first; `valid_to` is null for the present one.

    `more` says that earlier ones are missing: pass `next` as `after`.
    """

    env: str
    model_name: str
    alias: str
    history: list[dict[str, Any]]
    more: bool
    next: str | None


BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {JSON: {"schema": MoveBody.model_json_schema()}}},
}


@api.get(
    "/models/<model_name>/aliases",
    summary="List a model's aliases",
    responses={200: AliasList, **documented(400, 403, 404, 503)},
)
def aliases(path: ModelPath, query: EnvQuery) -> dict[str, Any]:
    from workers.registry.move import aliases_now
    from workers.registry.versions import check_registered

    env = service().settings.require_env(query.env)
    rows = aliases_now(service().clients, env, path.model_name)
    if not rows:
        check_registered(service().clients, env, path.model_name)
    return AliasList(env=env, aliases=[AliasNow(**row) for row in _shown(env, rows)]).model_dump()


@api.get(
    "/models/<model_name>/aliases/<alias>",
    summary="Get what an alias names now, and who moved it",
    responses={200: AliasAnswer, **documented(400, 403, 404, 503)},
)
def alias(path: AliasPath, query: EnvQuery) -> dict[str, Any]:
    from workers.registry.move import aliases_now

    env = service().settings.require_env(query.env)
    rows = aliases_now(service().clients, env, path.model_name, path.alias)
    if not rows:
        others = [row.alias for row in aliases_now(service().clients, env, path.model_name)]
        known = f": it has {', '.join(others[:20])}" if others else ", and no other"
        raise AliasNotFound(f"{path.model_name} has no alias {path.alias} in {env}{known}")
    [shown] = _shown(env, rows[:1])
    return AliasAnswer(env=env, **shown).model_dump()


@api.post(
    "/models/<model_name>/aliases/<alias>",
    summary="Move an alias to a version, if it names the expected one",
    responses={200: MoveAnswer, **documented(400, 401, 403, 404, 409, 413, 415, 422, 503)},
    openapi_extensions=BODY,
)
def move(path: AliasPath, query: EnvQuery) -> Any:
    who = auth.signed_in()
    try:
        body = MoveBody.model_validate(read_json())
    except ValidationError as exc:
        return validation_answer(exc)
    return _move(path, query.env, body.version, body, who)


@api.delete(
    "/models/<model_name>/aliases/<alias>",
    summary="Remove an alias; its history stays",
    responses={200: MoveAnswer, **documented(400, 401, 403, 404, 409, 422, 503)},
)
def remove(path: AliasPath, query: RemoveQuery) -> Any:
    return _move(path, query.env, None, query, auth.signed_in())


@api.get(
    "/models/<model_name>/aliases/<alias>/history",
    summary="List which versions an alias named, when, who moved it and why",
    responses={200: AliasHistory, **documented(400, 403, 404, 503)},
)
def history(path: AliasPath, query: HistoryQuery) -> dict[str, Any]:
    from workers.registry.alias_table import list_history
    from workers.registry.versions import check_registered

    env = service().settings.require_env(query.env)
    rows, more = list_history(
        *(service().clients, env, path.model_name, path.alias),
        limit=query.limit,
        after=query.after,
    )
    if not rows and query.after is None:
        check_registered(service().clients, env, path.model_name)
        raise AliasNotFound(
            f"{path.model_name} has never had an alias {path.alias} in {env}: "
            f"GET /models/{path.model_name}/aliases lists those it has"
        )
    return AliasHistory(
        env=env,
        model_name=path.model_name,
        alias=path.alias,
        history=rows,
        more=more,
        next=rows[-1]["valid_from"].replace("+00:00", "Z") if more else None,
    ).model_dump()


def _move(
    path: AliasPath, env: str, version: str | None, reasons: Reasons, who: str
) -> Response | dict[str, Any]:
    from workers.registry.move import MoveRequest, move_alias

    env = service().settings.require_env(env)
    request = MoveRequest(
        ref=AliasRef(path.model_name, path.alias),
        version=version,
        who=who,
        request_id=reasons.request_id or secrets.token_hex(16),
        expected=reasons.expected,
        why=reasons.why,
        force=reasons.force,
        dry_run=reasons.dry_run,
    )
    logs.note(alias=str(request.ref), version=version, who=who)
    done = move_alias(service().clients, env, request)
    logs.note(outcome="moved" if done.moved else "not moved")
    return MoveAnswer(
        env=env,
        model_name=path.model_name,
        alias=path.alias,
        version=done.version,
        previous_version=done.previous_version,
        moved=done.moved,
        dry_run=request.dry_run,
        who=who,
        why=request.why,
        forced=request.force,
        evidence=done.evidence,
        generation=done.generation,
        moved_at=done.row.moved_at.isoformat() if done.row else None,
        logged=done.row is not None or not done.moved,
    ).model_dump()


def _shown(env: str, rows: list[AliasRow]) -> list[dict[str, Any]]:
    from workers.registry.broken import broken

    why = broken(service().clients, env, rows)
    shown = []
    for row in rows:
        values = asdict(row) | {"moved_at": row.moved_at.isoformat(), "broken": row.name in why}
        values["problem"] = why.get(row.name)
        shown.append({name: values[name] for name in AliasNow.model_fields})
    return shown
