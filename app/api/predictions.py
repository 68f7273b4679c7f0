"""Score a table by `GET` or `POST /predict`."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import flask
from flask import url_for
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, RootModel, ValidationError

from app import logs, service
from app.api.bodies import FORM, JSON, read_parameters
from app.api.predict_queries import PredictOrPreviewQuery
from app.api.previews import Preview
from app.api.problems import documented, validation_answer
from app.continuations import publish_request

if TYPE_CHECKING:
    from workers.scoring.planning.find_run import Prepared
    from workers.scoring.request.parsed import ScoringRequest

api = APIBlueprint("predictions", __name__, abp_tags=[Tag(name="predictions")])

MARGIN = 60.0  # seconds before the request's limit at which the work is suspended


class RunResult(BaseModel):
    """A run that is done: its rows are in the output table."""

    run_id: str
    state: str
    env: str
    model_name: str
    model_version: str
    model_generation: int
    model_alias: str | None = None
    loader: str = "listed"
    input_table: str
    output_table: str
    rejects_table: str | None
    write_disposition: str
    rows: int
    rows_read: int
    rows_rejected: int
    max_rejects: str
    bytes_read: int
    path: str = ""
    shards: int
    streams: int = 0
    streams_requested: int = 0
    attempts: int
    seconds: float
    predicted_at: str
    snapshot_at: str
    job_id: str
    output_created: str | None
    output_modified: str | None = None
    finished_at: str
    labels: dict[str, str] = {}
    warnings: list[str]
    engine: str = "service"
    engine_reason: str = ""
    shadow: dict[str, Any] | None = None
    drift: dict[str, Any] | None = None
    contract: dict[str, Any] | None = None
    loads: list[dict[str, Any]] = []
    bytes_billed: int | None = None
    estimated_cost: float | None = None
    vcpu_seconds: float | None = None
    incremental: str | None = None
    watermark_before: str | None = None
    watermark: str | None = None
    rows_below: int | None = None
    rows_late: int | None = None
    reused: bool


class DryRun(BaseModel):
    """The result of `dry_run=true`: whether the run would start, and if not, why."""

    ok: bool
    problems: list[dict[str, Any]]
    warnings: list[str] = []
    run_id: str
    run_exists: bool
    run_is_done: bool
    run_id_required: bool
    model_name: str
    model_version: str
    model_generation: int
    model_alias: str | None
    loader: str
    engine: str
    engine_reason: str
    versions: list[dict[str, str]]
    rows: int | None
    bytes: int | None = None
    price_usd: float | None = None
    price_basis: str | None = None
    nulls: dict[str, int] | None = None
    duplicate_ids: int | None = None
    reads: list[str] = []
    writes: list[dict[str, str]] = []
    output_table_exists: bool | None = None
    rejects_table: str | None = None
    shadow: dict[str, Any] | None = None
    drift: dict[str, Any] | None = None
    contract: dict[str, Any] | None = None
    incremental: dict[str, Any] | None = None


class Answer(RootModel[RunResult | DryRun | Preview]):
    """The result, the verdict of `dry_run=true`, or the rows of `preview`."""


class Accepted(BaseModel):
    """The run is planned and will be worked on; `status_url` shows its progress."""

    run_id: str
    state: str
    status_url: str


ABOUT = (
    "Repeat the same request after a failure or a 503: it resumes, and never duplicates a row. "
    "`dry_run=true` checks whether it would work; `preview=10` answers with ten rows, and writes "
    "nothing."
)
SCHEMA = {"schema": PredictOrPreviewQuery.model_json_schema()}
BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {FORM: SCHEMA, JSON: SCHEMA}},
}


@api.get(
    "/predict",
    summary="Score a BigQuery table into another, exactly once",
    description=ABOUT,
    responses={
        200: Answer,
        202: Accepted,
        **documented(400, 403, 404, 409, 422, 503),
    },
)
def predict(query: PredictOrPreviewQuery) -> Any:
    return _predict(query)


@api.post(
    "/predict",
    summary="The same, for parameters that are too long for a URL",
    description=ABOUT,
    responses={
        200: Answer,
        202: Accepted,
        **documented(400, 403, 404, 409, 413, 415, 422, 503),
    },
    openapi_extensions=BODY,
)
def predict_by_body() -> Any:
    try:
        query = PredictOrPreviewQuery.model_validate(read_parameters())
    except ValidationError as exc:
        return validation_answer(exc)
    return _predict(query)


def _predict(query: PredictOrPreviewQuery) -> Any:
    from workers.admission import admitted
    from workers.scoring.answers.dry_run import preflight
    from workers.scoring.answers.preview import preview
    from workers.scoring.planning.find_run import prepare

    clients = service().clients
    request = query.to_request(service().settings)
    logs.note(model=f"{query.model_name}/{query.model_version}")
    with admitted(service().settings.max_runs):
        if query.dry_run:
            verdict = preflight(clients, request, query.run_id, query.check_ids)
            logs.note(run_id=verdict["run_id"], outcome="dry run")
            return DryRun(**verdict).model_dump()
        if query.preview is not None:
            rows = preview(clients, request, query.preview, writes=query.writes)
            logs.note(outcome="preview")
            return Preview(**rows).model_dump()
        with closing(prepare(clients, request, query.run_id)) as prepared:
            return _run(query, request, prepared)


def _run(query: PredictOrPreviewQuery, request: ScoringRequest, prepared: Prepared) -> Any:
    from workers.scoring.engines.perform import perform

    clients = service().clients
    run_id = prepared.plan.run_id
    logs.note(run_id=run_id)
    if not query.wait and prepared.result is None:
        publish_request(request.for_version(prepared.plan.model.version), run_id)
        status_url = _address(url_for("runs.run", run_id=run_id), env=request.env)
        accepted = {"run_id": run_id, "state": "accepted", "status_url": status_url}
        return Accepted(**accepted).model_dump(), 202, {"Location": status_url}
    deadline = time.monotonic() + max(service().settings.request_timeout - MARGIN, 1.0)
    result = perform(clients, prepared, deadline=deadline, stopping=service().stopping.is_set)
    logs.note(outcome="reused" if result.reused else f"{result.rows} rows scored")
    result = replace(result, warnings=(*result.warnings, *prepared.notes))
    return RunResult(**result.to_dict()).model_dump()


def _address(path: str, **params: str) -> str:
    """Return the full address of a route, for a caller who knows only this answer.

    The host comes from the settings. Without it, it is the one that the caller sent the request to:
    only the caller reads the answer.
    """
    url = urlsplit(service().settings.url or "")
    base = f"{url.scheme}://{url.netloc}" if url.netloc else _base_of_request()
    return f"{base}{path}?{urlencode(params)}"  # the path of the settings' address is in `path`


def _base_of_request() -> str:
    host = urlsplit(flask.request.host_url)
    # Cloud Run is reached by TLS only, and ends it before the request arrives.
    scheme = "https" if service().settings.on_cloud_run else host.scheme
    return f"{scheme}://{host.netloc or ':'.join(map(str, flask.request.server or ()))}"
