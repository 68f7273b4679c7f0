"""`/backfill`: a table scored partition by partition, a run each."""

from __future__ import annotations

from typing import Any

from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ValidationError

from app import logs, service
from app.api.backfill_queries import BackfillQuery, StartQuery
from app.api.bodies import FORM, JSON, read_parameters
from app.api.problems import documented, validation_answer
from app.continuations import publish_requests

api = APIBlueprint("backfill", __name__, abp_tags=[Tag(name="predictions")])

SCHEMA = {"schema": StartQuery.model_json_schema()}
BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {FORM: SCHEMA, JSON: SCHEMA}},
}


class PartitionState(BaseModel):
    """A partition: its state, why, and the run that the state is about."""

    partition: str
    label: str
    state: str
    reason: str | None
    run_id: str | None
    model_name: str | None
    model_version: str | None
    model_alias: str | None
    rows: int | None
    finished_at: str | None
    input_rows: int | None


class Board(BaseModel):
    """The partitions of a range, in their order, with how many are in each state.

    `done`: scored by the version that the request names, from the rows that the input has now.
    `stale`: scored by another version or request, or the input was written since. `failed`: the
    last try failed or was cancelled. `running`: planned, and not at its end. `missing`: not scored.
    `empty`: the input has no rows in it. `published` are the partitions whose runs were started.
    """

    env: str
    model_name: str
    model_version: str
    model_generation: int
    model_alias: str | None
    input_table: str
    output_table: str
    by: str
    column: str | None
    first: str
    last: str
    totals: dict[str, int]
    partitions: list[PartitionState]
    published: list[str] = []


ABOUT = (
    "Each partition of the input is one run of `/predict`, from `input_table$P` into "
    "`output_table$P` by WRITE_TRUNCATE (WRITE_APPEND if `incremental` is passed). The parameters "
    "say what such a run would be."
)


@api.get(
    "/backfill",
    summary="Show which partitions of a table are scored, and by which version",
    description=ABOUT,
    responses={200: Board, **documented(400, 403, 404, 409, 422, 503)},
)
def board(query: BackfillQuery) -> dict[str, Any]:
    return show(query)


@api.post(
    "/backfill",
    summary="The same; with start=true, also start the runs of partitions that are not done",
    description=f"{ABOUT} `start=true` requests them by Pub/Sub, as `wait=false` of `/predict`.",
    responses={200: Board, 202: Board, **documented(400, 403, 404, 409, 413, 415, 422, 503)},
    openapi_extensions=BODY,
)
def board_by_body() -> Any:
    try:
        query = StartQuery.model_validate(read_parameters())
    except ValidationError as exc:
        return validation_answer(exc)
    return (start(query), 202) if query.start else show(query)


def show(query: BackfillQuery) -> dict[str, Any]:
    """Return the board of a backfill."""
    from workers.scoring.backfill.board import board

    settings = service().settings
    logs.note(model=f"{query.model_name}/{query.model_version}")
    return Board(**board(service().clients, query.to_backfill(settings)).to_dict()).model_dump()


def start(query: StartQuery) -> dict[str, Any]:
    """Publish a message for each partition in the states of the query, and return the board.

    Each message names its run, so that it stays that run whenever it is delivered. Publishing it
    again is harmless.
    """
    from workers.scoring.backfill.board import board, runs_of

    clients = service().clients
    logs.note(model=f"{query.model_name}/{query.model_version}")
    shown = board(clients, query.to_backfill(service().settings))
    runs = runs_of(clients, shown, query.only.split(","))
    inputs = {partition: shown.inputs[partition] for partition in runs}
    publish_requests(
        (inputs[partition].request.for_version(inputs[partition].model.version), run.store.run_id)
        for partition, run in runs.items()
    )
    logs.note(outcome=f"{len(runs)} partitions requested")
    return Board(**shown.to_dict(), published=list(runs)).model_dump()
