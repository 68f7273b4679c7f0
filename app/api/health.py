"""`GET /health`: the process is up. Touches no backend, and waits for no heavy import."""

from __future__ import annotations

from typing import Any, Literal

from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel

import mlsys
from app import service

api = APIBlueprint("health", __name__, abp_tags=[Tag(name="health")])


class Health(BaseModel):
    """The service is up."""

    status: Literal["healthy"]
    version: str
    envs: list[str]


@api.get("/health", summary="Tell whether the service is up", responses={200: Health})
def health() -> dict[str, Any]:
    envs = list(service().settings.envs)
    return Health(status="healthy", version=mlsys.__version__, envs=envs).model_dump()
