"""A scoring request: its parameters, how they fit together, and the request of the workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from app.api.description import as_passed
from app.api.parameters import (
    ClassColumns,
    Env,
    IdColumns,
    Incremental,
    InputTable,
    MaxBytes,
    MaxCost,
    MaxDrift,
    ModelName,
    ModelVersion,
    Outputs,
    OutputTable,
    PredictionColumn,
    Rejects,
    RunId,
    Shadow,
)
from mlsys.settings import Settings
from workers.scoring.planning.engine_choice import check_engine
from workers.scoring.request.parsed import MaxRejects, ScoringRequest

MAX_WHERE = 10_000  # characters; a URL should not hold more
MAX_PREVIEW = 100  # rows


class ScoringQuery(BaseModel):
    """What decides the rows of a run: the input, the model, the output, and how it is scored."""

    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, json_schema_extra=as_passed
    )

    env: Env
    input_table: InputTable
    output_table: OutputTable
    model_name: ModelName
    model_version: ModelVersion
    id_columns: IdColumns | None = None
    prediction_column: PredictionColumn | None = None
    class_columns: ClassColumns | None = None
    outputs: Outputs = ("predict",)
    where: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=MAX_WHERE,
            description="Score only the rows of this SQL condition on the input's columns",
            json_schema_extra={"example": "age > 30"},
        ),
    ] = None
    max_rejects: Rejects = MaxRejects()
    allow_rejected: Annotated[
        bool, Field(description="Use the model although its golden rows no longer match")
    ] = False
    allow_version_mismatch: Annotated[
        bool, Field(description="Use the model although another scikit-learn saved it")
    ] = False
    engine: Annotated[
        Literal["auto", "service", "job"],
        Field(
            description="Score in the service, or by the tasks of a Cloud Run job; auto uses the "
            "job, if one is configured, for what the service cannot score in time"
        ),
    ] = "auto"
    shadow: Shadow | None = None
    max_drift: MaxDrift | None = None
    profile: Annotated[
        bool,
        Field(
            description="Count the columns, compare them with the training data, and keep the "
            "counts in prediction_profiles"
        ),
    ] = True
    contract: Annotated[
        Literal["enforce", "warn", "off"],
        Field(
            description="What follows from the model's contract: enforce its clauses, only warn, "
            "or do not look at it. A run that a clause stopped is published by a repeat with warn"
        ),
    ] = "enforce"
    max_bytes: MaxBytes | None = None
    max_cost: MaxCost | None = None
    incremental: Incremental | None = None

    @model_validator(mode="after")
    def _two_tables(self) -> Self:
        if self.input_table.base == self.output_table.base:
            raise ValueError("is the input table: pass another one")
        return self

    @field_validator("profile")
    @classmethod
    def _for_max_drift(cls, value: bool, info: ValidationInfo) -> bool:
        if not value and info.data.get("max_drift") is not None:
            raise ValueError("counts nothing that max_drift could look at: pass one of them")
        return value

    @property
    def writes(self) -> bool:
        """Whether the request names a table to write."""
        return True

    def to_request(self, settings: Settings) -> ScoringRequest:
        """Return the request as the workers take it.

        Raises:
            InvalidRequest: the environment is not served here, or it has no job.
            NotAllowed: a table is in a dataset that the service does not touch.
        """
        env = settings.require_env(self.env)
        settings.check_input(self.input_table.project, self.input_table.dataset)
        if self.writes:
            settings.check_output(self.output_table.project, self.output_table.dataset)
        return ScoringRequest(
            env=env,
            input_table=self.input_table,
            output_table=self.output_table,
            model_name=self.model_name,
            model_version=self.model_version,
            id_columns=self.id_columns,
            outputs=self.outputs,
            prediction_column=self.prediction_column,
            class_columns=self.class_columns,
            where=self.where,
            max_rejects=self.max_rejects,
            allow_rejected=self.allow_rejected,
            allow_version_mismatch=self.allow_version_mismatch,
            engine=check_engine(settings, self.engine),
            shadow=self.shadow,
            max_drift=self.max_drift,
            profile=self.profile,
            contract=self.contract,
            max_bytes=self.max_bytes,
            max_cost=self.max_cost,
            incremental=self.incremental,
        )


class PredictQuery(ScoringQuery):
    """A scoring request, and how it is answered."""

    run_id: RunId | None = None
    write_disposition: Annotated[
        Literal["WRITE_APPEND", "WRITE_TRUNCATE", "WRITE_EMPTY"],
        Field(description="Append to the output table, replace its rows, or refuse one with rows"),
    ] = "WRITE_APPEND"
    dry_run: Annotated[bool, Field(description="Only check whether it would work")] = False
    check_ids: Annotated[
        bool, Field(description="With dry_run: also count rows with duplicate ids, by a query")
    ] = False
    wait: Annotated[bool, Field(description="false: answer 202 at once, score later")] = True

    @field_validator("write_disposition")
    @classmethod
    def _appends(cls, value: str, info: ValidationInfo) -> str:
        if value != "WRITE_APPEND" and info.data.get("incremental") is not None:
            raise ValueError("incremental adds rows to those of earlier runs: pass WRITE_APPEND")
        return value

    @field_validator("check_ids")
    @classmethod
    def _for_a_dry_run(cls, value: bool, info: ValidationInfo) -> bool:
        if value and not info.data.get("dry_run"):
            raise ValueError("works only with dry_run=true: pass both")
        return value

    def to_request(self, settings: Settings) -> ScoringRequest:
        """Return the request as the workers take it, as `ScoringQuery.to_request` does."""
        request = super().to_request(settings)
        return replace(request, write_disposition=self.write_disposition)


# A preview needs no output table: this stands for it, and is neither looked up nor written.
NOWHERE = "mlsys-preview.preview.preview"


def _without_output(schema: dict[str, Any], model: type[BaseModel]) -> None:
    as_passed(schema, model)
    schema["required"].remove("output_table")
    about = schema["properties"]["output_table"]
    about["description"] += "; required, except for a preview"


class PredictOrPreviewQuery(PredictQuery):
    """A scoring request, or a preview of one, which is answered with rows and writes nothing."""

    model_config = ConfigDict(json_schema_extra=_without_output)

    preview: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_PREVIEW,
            description="Only score this many rows, the first ones, and answer with them; nothing "
            "is written, and output_table may be left out",
        ),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _nowhere(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("preview") is None:
            return values
        return {"output_table": NOWHERE} | dict(values)

    @field_validator("preview")
    @classmethod
    def _alone(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is None:
            return value
        given = info.data
        wrong = [
            name for name in ("run_id", "shadow", "incremental") if given.get(name) is not None
        ]
        wrong += ["dry_run"] if given.get("dry_run") else []
        wrong += ["wait"] if given.get("wait") is False else []
        if wrong:
            raise ValueError(f"has no run: pass it without {', '.join(wrong)}")
        return value

    @property
    def writes(self) -> bool:
        """Whether the request names a table to write."""
        return str(self.output_table) != NOWHERE
