"""The parameters of the routes: parsed once, every wrong one named, documented in OpenAPI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from mlsys.bq import TableRef
from mlsys.errors import InvalidRequest
from mlsys.refs import NAME, NAME_RULE, VERSION
from mlsys.settings import Settings
from workers.scoring.request import LATEST, OUTPUTS, RUN_ID, ScoringRequest

Env = Annotated[Literal["dev", "staging", "prod"], Field(description="The environment")]


def _matching(test: Callable[[str], Any], instead: str) -> BeforeValidator:
    """A check of a text by its form, with a sentence for who fails it."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or not test(value):
            raise ValueError(f"{str(value)[:80]!r}: {instead}")
        return value

    return BeforeValidator(check)


def _table(value: Any) -> TableRef:
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:80]!r}: pass project.dataset.table")
    try:
        return TableRef.parse(value)
    except InvalidRequest as exc:
        raise ValueError(exc.problems[0][1]) from exc


def _names(value: Any) -> tuple[str, ...]:
    names = tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else ("",)
    if not all(names) or len(set(names)) != len(names) or len(value) > 100_000:
        raise ValueError(f"{str(value)[:80]!r}: pass names once each, separated by commas")
    return names


def _outputs(value: Any) -> tuple[str, ...]:
    names = _names(value)
    if not set(names) <= set(OUTPUTS):
        raise ValueError(f"{str(value)[:80]!r}: pass any of {', '.join(OUTPUTS)}")
    return tuple(o for o in OUTPUTS if o in names)


def _schema(example: str, description: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "example": example, "description": description})


Table = Annotated[
    TableRef,
    BeforeValidator(_table),
    _schema("my-project.titanic.test", "A BigQuery table, project.dataset.table"),
]
ModelName = Annotated[
    str,
    _matching(NAME.fullmatch, NAME_RULE),
    _schema("titanic-survival", "The model's name"),
]
ModelVersion = Annotated[
    str,
    _matching(lambda v: v == LATEST or VERSION.fullmatch(v), "pass v1, v2, ... or latest"),
    _schema("v1", "The model's version, or latest"),
]
RunId = Annotated[
    str,
    _matching(RUN_ID.fullmatch, "pass lower-case letters, digits, _ and -, at most 128"),
    _schema(
        "titanic-2026-11",
        "Names the run; by default it follows from request, model and the state of the input",
    ),
]
IdColumns = Annotated[
    tuple[str, ...],
    BeforeValidator(_names),
    _schema("PassengerId", "Columns carried over; default: the model's, else all others"),
]


class EnvQuery(BaseModel):
    """The one parameter of the routes that read."""

    model_config = ConfigDict(extra="forbid")
    env: Env


class RunPath(BaseModel):
    """The run that is meant."""

    run_id: RunId


class PredictQuery(BaseModel):
    """What to score, with which model, into what."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    env: Env
    input_table: Table
    output_table: Table
    model_name: ModelName
    model_version: ModelVersion
    run_id: RunId | None = None
    id_columns: IdColumns | None = None
    outputs: Annotated[
        tuple[str, ...],
        BeforeValidator(_outputs),
        _schema("predict,predict_proba", "predict, and predict_proba for a column a class"),
    ] = ("predict",)
    write_disposition: Annotated[
        Literal["WRITE_APPEND", "WRITE_TRUNCATE", "WRITE_EMPTY"],
        Field(description="Append to the output table, replace its rows, or refuse one with rows"),
    ] = "WRITE_APPEND"
    dry_run: Annotated[bool, Field(description="Only say whether it would work")] = False
    wait: Annotated[bool, Field(description="false: answer 202 at once, score later")] = True

    @model_validator(mode="after")
    def _two_tables(self) -> PredictQuery:
        if self.input_table == self.output_table:
            raise ValueError("is the input table: pass another one")
        return self

    def to_request(self, settings: Settings) -> ScoringRequest:
        """The request as the workers take it.

        Raises:
            InvalidRequest: the environment is not served here.
        """
        return ScoringRequest(
            env=settings.require_env(self.env),
            input_table=self.input_table,
            output_table=self.output_table,
            model_name=self.model_name,
            model_version=self.model_version,
            id_columns=self.id_columns,
            outputs=self.outputs,
            write_disposition=self.write_disposition,
        )
