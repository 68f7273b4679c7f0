"""What `GET /models/{name}/compare` takes, and how it answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from app.api.parameters import ModelName
from app.api.queries import EnvQuery
from mlsys.artifact.refs import VERSION, is_alias
from workers.scoring.request.parsed import LATEST


def _version(value: Any) -> str:
    if isinstance(value, str) and (value == LATEST or VERSION.fullmatch(value) or is_alias(value)):
        return value
    raise ValueError(f"{str(value)[:80]!r}: pass v1, v2, ..., latest or an alias")


VersionOrAlias = Annotated[
    str,
    BeforeValidator(_version),
    WithJsonSchema(
        {
            "type": "string",
            "example": "v1",
            "description": "A version of the model, latest or an alias",
            "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$",
        }
    ),
]


class ComparedModel(BaseModel):
    """The name of a model."""

    model_name: ModelName


class CompareQuery(EnvQuery):
    """Two versions of the model."""

    a: VersionOrAlias
    b: VersionOrAlias
    all: Annotated[bool, Field(description="Also what does not differ")] = False


class Fact(BaseModel):
    """A figure or a text of both versions; null: the version does not have it."""

    name: str
    a: Any
    b: Any
    differs: bool
    change: Any = None


class Comparison(BaseModel):
    """What differs between the versions `a` and `b`; with `all` also what does not.

    `change` is `b - a` for numbers. `columns` are those of the input with their types, `contract`
    the clauses, each with its action and limits, `versions` those of the libraries, `profile`
    figures of the training data, `about` the registry's row, `runs` the finished runs. `notes` say
    what is unknown, and why.
    """

    env: str
    model_name: str
    a: str
    b: str
    metrics: list[Fact]
    parameters: list[Fact]
    columns: list[Fact]
    contract: list[Fact]
    versions: list[Fact]
    profile: list[Fact]
    about: list[Fact]
    runs: list[Fact]
    notes: list[str]
