"""`GET /health`: the process is up. Touches no backend, and waits for no heavy import."""

from __future__ import annotations

from typing import Any, Literal

from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field

import mlsys
from app import service
from workers.sandbox import walls

api = APIBlueprint("health", __name__, abp_tags=[Tag(name="health")])


class HealthQuery(BaseModel):
    """The parameters of `GET /health`."""

    model_config = ConfigDict(extra="forbid")

    detail: bool = Field(False, description="Tell also how models are kept apart.")


class Sandboxes(BaseModel):
    """How models are kept apart, and what became of the processes that held them."""

    walls: str
    deaths: dict[str, int]  # since the service started, by cause


class Health(BaseModel):
    """The service is up."""

    status: Literal["healthy"]
    version: str
    envs: list[str]
    sandboxes: Sandboxes | None = None  # with detail=true


@api.get("/health", summary="Tell whether the service is up", responses={200: Health})
def health(query: HealthQuery) -> dict[str, Any]:
    envs = list(service().settings.envs)
    answer = Health(status="healthy", version=mlsys.__version__, envs=envs)
    if query.detail:
        from workers.sandbox.died import deaths

        counts: dict[str, int] = {cause: number for cause, number in deaths().items() if number}
        answer.sandboxes = Sandboxes(walls=str(walls.available()), deaths=counts)
    return answer.model_dump(exclude_none=True)
