"""`GET /model-registry`, the manual full rescan; `GET /models`, its rows; two versions compared."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel

from app import logs, service
from app.api.comparison import ComparedModel, CompareQuery, Comparison
from app.api.problems import documented
from app.api.queries import EnvQuery, ModelsQuery

api = APIBlueprint("registry", __name__, abp_tags=[Tag(name="registry")])


MAX_ALIASES = 10_000  # that are looked through
MAX_BROKEN = 100  # of them, of an answer
MAX_SKIPPED = 100  # objects of an answer; an object's name has up to 1,024 bytes


class Skipped(BaseModel):
    """An object of the bucket that is not part of a model version."""

    object: str
    reason: str


class RescanResult(BaseModel):
    """The result of a rescan: the bucket's objects, and the changes of the registry.

    `aliases` counts the objects of aliases, `alias_moves` the moves that their log lacked, and
    `runs_recorded` the runs that the ledger lacked because the process that ended them died.
    `skipped` names the first 100 objects that are not part of a model version, `skipped_count`
    counts them all.
    """

    env: str
    scanned: int
    registered: int
    updated: int
    unchanged: int
    removed: int
    aliases: int
    alias_moves: int
    runs_recorded: int
    skipped: list[Skipped]
    skipped_count: int


class BrokenAlias(BaseModel):
    """An alias that names a version which is not in the registry."""

    model_name: str
    alias: str
    version: str


class ModelList(BaseModel):
    """The registry's rows, newest version of each model first.

    `features` counts a model's columns, `feature_names` holds the first 100; `more` says that rows
    are missing, for `limit` or because the answer would be too large: pass `next` as `after`. A
    row's `left_out` names columns whose value is too large. `aliases` of a row are those that name
    the version; `broken_aliases` are the first 100 that name a version which is not there.
    """

    env: str
    models: list[dict[str, Any]]
    broken_aliases: list[BrokenAlias]
    more: bool
    next: str | None


@api.get(
    "/model-registry",
    summary="Compare the buckets with the registry and the ledger, and repair what differs",
    responses={200: RescanResult, **documented(400, 403, 404, 503)},
)
def model_registry(query: EnvQuery) -> dict[str, Any]:
    from workers.registry.sync import RESERVE, rescan
    from workers.scoring.engines.unrecorded import record_ended

    clients, env = service().clients, service().settings.require_env(query.env)
    until = time.monotonic() + max(60.0, service().settings.request_timeout - RESERVE)
    result = asdict(rescan(clients, env))
    result["runs_recorded"] = record_ended(clients, env, until=until)
    skipped = result.pop("skipped")
    result["skipped_count"] = len(skipped)
    logs.note(outcome=result)
    return RescanResult(env=env, **result, skipped=skipped[:MAX_SKIPPED]).model_dump()


@api.get(
    "/models",
    summary="List the registry",
    responses={200: ModelList, **documented(400, 403, 503)},
)
def models(query: ModelsQuery) -> dict[str, Any]:
    from workers.registry.alias_table import current
    from workers.registry.table import list_models

    env = service().settings.require_env(query.env)
    rows, more = list_models(
        service().clients,
        env,
        model_name=query.model_name,
        status=query.status,
        limit=query.limit,
        metadata=query.metadata,
        after=query.after,
    )
    aliases = current(service().clients, env, query.model_name or "", limit=MAX_ALIASES)
    for row in rows:
        version = row["model_name"], row["model_version"]
        row["aliases"] = [a["alias"] for a in aliases if (a["model_name"], a["version"]) == version]
    last = rows[-1] if more else None
    return ModelList(
        env=env,
        models=rows,
        broken_aliases=[BrokenAlias(**each) for each in aliases if each["broken"]][:MAX_BROKEN],
        more=more,
        next=f"{last['model_name']}/v{last['version_number']}" if last else None,
    ).model_dump()


@api.get(
    "/models/<model_name>/compare",
    summary="Compare two versions of a model",
    responses={200: Comparison, **documented(400, 403, 404, 422, 503)},
)
def compare_versions(path: ComparedModel, query: CompareQuery) -> dict[str, Any]:
    from workers.registry.compare import compare

    env = service().settings.require_env(query.env)
    name, clients = path.model_name, service().clients
    answer = compare(clients, env, name, query.a, query.b, everything=query.all)
    return Comparison(**answer).model_dump()
