"""The parameters and queries of the routes of aliases."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.api.description import as_passed
from app.api.parameters import ModelName, _matching, _reading, _schema
from app.api.queries import MAX_RUNS, EnvQuery
from mlsys.artifact.aliases import MAX_WHY, read_why
from mlsys.artifact.refs import ALIAS_RULE, VERSION, is_alias
from workers.registry.move import NONE, REQUEST_ID


def _time(value: object) -> dt.datetime:
    try:
        at = dt.datetime.fromisoformat(str(value))
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError(f"{str(value)[:80]!r}: pass the next of the page before")
    return at


AliasName = Annotated[
    str,
    _matching(is_alias, ALIAS_RULE),
    _schema(
        "champion",
        "The alias: a name like a model's, but not latest, a number, or v and digits",
        pattern="^[a-z0-9]+(-[a-z0-9]+)*$",
        maxLength=63,
    ),
]
AliasVersion = Annotated[
    str,
    _matching(VERSION.fullmatch, "pass v1, v2, v3, ..."),
    _schema("v3", "The version that the alias names from now on", pattern=f"^{VERSION.pattern}$"),
]
Expected = Annotated[
    str,
    _matching(lambda v: v == NONE or VERSION.fullmatch(v), "pass v1, v2, v3, ... or none"),
    _schema(
        "v2",
        "The version that the alias names now, or none; the move is refused if it is another",
        pattern=f"^({VERSION.pattern}|{NONE})$",
    ),
]
Why = Annotated[
    str,
    _reading(read_why, f"pass a text of at most {MAX_WHY:,} characters"),
    _schema("2 points better on March", "The reason; the history keeps it", maxLength=MAX_WHY),
]
RequestId = Annotated[
    str,
    _matching(REQUEST_ID.fullmatch, "pass 32 hexadecimal digits"),
    _schema(
        "0" * 32,
        "Names the request: repeated with the same one, it moves the alias once",
        pattern=f"^{REQUEST_ID.pattern}$",
    ),
]


HistoryAfter = Annotated[
    dt.datetime,
    BeforeValidator(_time),
    _schema("2026-03-01T08:00:00Z", "Go on after this: the `next` of the page before"),
]


class AliasPath(BaseModel):
    """An alias of a model."""

    model_name: ModelName
    alias: AliasName


class ModelPath(BaseModel):
    """A model."""

    model_name: ModelName


class HistoryQuery(EnvQuery):
    """How much of an alias's history."""

    limit: Annotated[int, Field(ge=1, le=MAX_RUNS, description="At most this many, the latest")] = (
        100
    )
    after: HistoryAfter | None = None


class Reasons(BaseModel):
    """What a move and a removal take."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=as_passed)

    expected: Expected | None = None
    why: Why | None = None
    force: Annotated[
        bool,
        Field(description="Move although the version is not ready: needs a reason, lifts no guard"),
    ] = False
    request_id: RequestId | None = None
    dry_run: Annotated[bool, Field(description="Only ask whether it would be moved")] = False


class MoveBody(Reasons):
    """Where an alias is moved to, and why."""

    version: AliasVersion


class RemoveQuery(EnvQuery, Reasons):
    """Why an alias is removed."""
