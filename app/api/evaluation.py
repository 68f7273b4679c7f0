"""`GET /evaluate`: the metrics of runs whose labels are known now."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from flask_openapi3 import APIBlueprint, Tag
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from app import logs, service
from app.api.comparison import VersionOrAlias
from app.api.parameters import IdColumns, ModelName, RunId, Table
from app.api.problems import documented
from app.api.queries import EnvQuery
from mlsys.columns.names import name_fault
from mlsys.settings import Settings
from workers.evaluation.evaluate import EvaluationRequest

api = APIBlueprint("evaluation", __name__, abp_tags=[Tag(name="evaluation")])

ABOUT = (
    "Joins the predictions of a run, or of a model's runs within a period, with labels by their id "
    "columns, in BigQuery. The metrics are those of scikit-learn on the same rows, and are kept in "
    "`prediction_evaluations`."
)
OF_A_MODEL = ("model_name", "model_version", "since", "until")


def _column(value: Any) -> str:
    if not isinstance(value, str) or name_fault(value) is not None:
        raise ValueError(f"{str(value)[:80]!r}: pass the name of a column")
    return value


def _moment(value: Any) -> dt.datetime:
    try:
        at = dt.datetime.fromisoformat(str(value))
        return at.astimezone(dt.UTC) if at.tzinfo else at.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError) as exc:
        text = f"{str(value)[:80]!r}: pass a date or a time, 2026-11-28 or 2026-11-28T18:00:00Z"
        raise ValueError(text) from exc


def _described(example: str, description: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "example": example, "description": description})


ColumnName = BeforeValidator(_column)
Moment = BeforeValidator(_moment)


class EvaluateQuery(EnvQuery):
    """Predictions and labels: one run, or a model's runs within a period."""

    labels_table: Table
    label_column: Annotated[str, ColumnName, _described("Survived", "Its column with the labels")]
    run_id: RunId | None = None
    model_name: ModelName | None = None
    model_version: VersionOrAlias | None = None
    since: (
        Annotated[
            dt.datetime,
            Moment,
            _described("2026-11-01", "Only runs that finished then or later, in UTC"),
        ]
        | None
    ) = None
    until: (
        Annotated[
            dt.datetime, Moment, _described("2026-12-01", "Only runs that finished before, in UTC")
        ]
        | None
    ) = None
    id_columns: IdColumns | None = None
    prediction_column: (
        Annotated[
            str,
            ColumnName,
            _described("prediction", "The predicted column, if the run predicted several"),
        ]
        | None
    ) = None
    task: Annotated[
        Literal["classification", "regression"] | None,
        Field(description="By default regression for FLOAT64 that is not of classes"),
    ] = None
    shadow: Annotated[
        bool, Field(description="Evaluate the challenger that scored the same rows")
    ] = False

    @field_validator(*OF_A_MODEL)
    @classmethod
    def _one_or_several(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("run_id") is not None:
            raise ValueError("chooses among a model's runs: pass it without run_id")
        return value

    def to_request(self, settings: Settings) -> EvaluationRequest:
        """Return the request as the workers take it.

        Raises:
            InvalidRequest: the environment is not served here.
            NotAllowed: the labels are in a dataset that the service does not read.
        """
        env = settings.require_env(self.env)
        table = self.labels_table
        settings.check_input(table.project, table.dataset, "labels_table")
        own = self.model_dump(exclude={"env", "labels_table"})
        return EvaluationRequest(env=env, labels_table=table, **own)


class Evaluations(BaseModel):
    """The rows of `prediction_evaluations`, and the runs that could not be evaluated, with why."""

    env: str
    evaluations: list[dict[str, Any]]
    not_evaluated: list[dict[str, str]]


@api.get(
    "/evaluate",
    summary="Measure how right predictions were, by their labels",
    description=ABOUT,
    responses={200: Evaluations, **documented(400, 403, 404, 409, 422, 503)},
)
def evaluate(query: EvaluateQuery) -> dict[str, Any]:
    from workers.evaluation.evaluate import evaluate

    request = query.to_request(service().settings)
    logs.note(run_id=query.run_id or query.model_name)
    answer = evaluate(service().clients, request)
    logs.note(outcome=f"{len(answer['evaluations'])} runs evaluated")
    return Evaluations(**answer).model_dump()
