"""What runs saw of their columns: `GET /runs/{run_id}/profile`, `GET /models/{name}/drift`."""

from __future__ import annotations

from typing import Annotated, Any

from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field, WithJsonSchema

from app import logs, service
from app.api.parameters import ModelName, _matching
from app.api.problems import documented
from app.api.queries import EnvQuery, RunPath
from mlsys.artifact.refs import VERSION

api = APIBlueprint("drift", __name__, abp_tags=[Tag(name="monitoring")])

MAX_RUNS = 100


class DriftPath(BaseModel):
    """A model."""

    model_name: ModelName


class DriftQuery(EnvQuery):
    """Which of the model's runs."""

    model_version: (
        Annotated[
            str,
            _matching(VERSION.fullmatch, "pass v1, v2, v3, ..."),
            WithJsonSchema(
                {
                    "type": "string",
                    "example": "v3",
                    "description": "Only the runs of this version",
                    "pattern": f"^{VERSION.pattern}$",
                }
            ),
        ]
        | None
    ) = None
    runs: Annotated[int, Field(ge=1, le=MAX_RUNS, description="At most this many, the latest")] = 5


class RunProfile(BaseModel):
    """The columns of a run with their bins, those that drifted first.

    A column's members are those of `prediction_profiles`.
    """

    env: str
    run_id: str
    model_name: str
    model_version: str
    model_generation: int | None
    input_table: str | None
    snapshot_at: str | None
    columns: list[dict[str, Any]]


class DriftList(BaseModel):
    """The columns of a model's runs with their distances, the latest run first.

    `distance` is to the training data, `distance_previous` to the run before, `distance_week` to
    the latest run at least seven days before. `more` says that columns are missing, because the
    answer would be too large: pass smaller `runs`.
    """

    env: str
    model_name: str
    columns: list[dict[str, Any]]
    more: bool


@api.get(
    "/runs/<run_id>/profile",
    summary="Get the columns that a run counted, beside those of the training data",
    responses={200: RunProfile, **documented(400, 403, 404, 409, 503)},
)
def profile(path: RunPath, query: EnvQuery) -> dict[str, Any]:
    from workers.scoring.answers.profile import run_profile

    env = service().settings.require_env(query.env)
    logs.note(run_id=path.run_id)
    return RunProfile(**run_profile(service().clients, env, path.run_id)).model_dump()


@api.get(
    "/models/<model_name>/drift",
    summary="List how far the columns of a model's last runs are from the training data",
    responses={200: DriftList, **documented(400, 403, 404, 503)},
)
def drift(path: DriftPath, query: DriftQuery) -> dict[str, Any]:
    from workers.registry.versions import check_registered
    from workers.scoring.answers.profile import list_drift

    env, name = service().settings.require_env(query.env), path.model_name
    columns, more = list_drift(service().clients, env, name, query.model_version, query.runs)
    if not columns:
        check_registered(service().clients, env, name, query.model_version)
    return DriftList(env=env, model_name=name, columns=columns, more=more).model_dump()
