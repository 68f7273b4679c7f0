"""The queries of the routes that list, cancel and undo: which parameters each takes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from app.api.description import as_passed
from app.api.parameters import Env, ModelName, ModelsAfter, RunId, RunsAfter

MAX_WHY = 500  # characters
MAX_RUNS = 1000
MAX_MONTHS = 120
MAX_MODELS = 1000


class EnvQuery(BaseModel):
    """The environment, which every route takes."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=as_passed)
    env: Env


def _reason(text: str) -> str:
    """Return a reason without the spaces around it."""
    why = text.strip()
    if not why:
        raise ValueError("is empty: pass the reason")
    if len(why) > MAX_WHY:
        raise ValueError(f"has {len(why):,} characters: pass at most {MAX_WHY}")
    return why


Why = Annotated[
    str, AfterValidator(_reason), WithJsonSchema({"type": "string", "maxLength": MAX_WHY})
]


class CancelQuery(EnvQuery):
    """Why a run is cancelled."""

    why: Annotated[
        Why | None,
        Field(description="Why, for those who wait for the run and for its row in the ledger"),
    ] = None


class UndoQuery(EnvQuery):
    """Why a run is undone."""

    why: Annotated[
        Why,
        Field(description="Why, for those who look for its rows and for its row in the ledger"),
    ]
    dry_run: Annotated[bool, Field(description="Only say what would be removed")] = False


class RunPath(BaseModel):
    """The id of a run."""

    run_id: RunId


class RunsQuery(EnvQuery):
    """The filter of the runs, and their order."""

    model_name: ModelName | None = None
    sum: Annotated[
        Literal["month"] | None,
        Field(description="Answer with what the runs cost by month and model, not with a list"),
    ] = None
    state: Annotated[
        Literal["running", "succeeded", "failed", "cancelled", "undone"] | None,
        Field(description="Only these; without it those that have ended"),
    ] = None
    sort: Annotated[
        Literal["finished", "rows", "seconds"],
        Field(description="The latest first, or the most rows scored, or the most seconds"),
    ] = "finished"
    limit: Annotated[int, Field(ge=1, le=MAX_RUNS, description="At most this many")] = 100
    after: RunsAfter | None = None
    months: Annotated[
        int, Field(ge=1, le=MAX_MONTHS, description="With sum: the last months, this one too")
    ] = 12

    @field_validator("state", "sort", "limit", "after")
    @classmethod
    def _of_a_list[V](cls, value: V, info: ValidationInfo) -> V:
        if info.data.get("sum") is not None:
            raise ValueError("sum=month adds up the runs in every state: leave it out")
        return value

    @field_validator("sort", "after")
    @classmethod
    def _one_page[V](cls, value: V, info: ValidationInfo) -> V:
        if info.data.get("state") == "running" and value not in (None, "finished"):
            raise ValueError("runs that work are on one page, the latest first: leave it out")
        return value

    @field_validator("months")
    @classmethod
    def _of_a_sum(cls, value: int, info: ValidationInfo) -> int:
        if "sum" in info.data and info.data["sum"] is None:
            raise ValueError("works only with sum=month: pass both")
        return value


class ModelsQuery(EnvQuery):
    """The filter of the registry's rows."""

    model_name: ModelName | None = None
    status: Annotated[Literal["ready", "rejected"] | None, Field(description="Only these")] = None
    limit: Annotated[int, Field(ge=1, le=MAX_MODELS, description="At most this many")] = MAX_MODELS
    metadata: Annotated[bool, Field(description="With all of each metadata.json")] = False
    after: ModelsAfter | None = None
