"""Single parameters of the routes: how each is parsed, refused, and documented in OpenAPI."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from app.api.due import due_at
from mlsys.artifact.refs import NAME, NAME_RULE, VERSION, is_alias
from mlsys.cloud.partitions import concrete
from mlsys.cloud.tables import TableRef
from mlsys.columns.names import name_fault
from mlsys.errors import InvalidRequest
from workers.scoring.journal.store import RUN_ID, check_run_id
from workers.scoring.planning.labels import read_class_columns
from workers.scoring.request.limits import read_max_bytes, read_max_cost
from workers.scoring.request.parsed import (
    LATEST,
    OUTPUTS,
    MaxRejects,
    read_incremental,
    read_max_drift,
)

Env = Annotated[Literal["dev", "staging", "prod"], Field(description="The environment")]


def _matching(test: Callable[[str], Any], instead: str) -> BeforeValidator:
    """Return a validator of a text by `test`, with the advice `instead` for one that fails."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or not test(value):
            raise ValueError(f"{str(value)[:80]!r}: {instead}")
        return value

    return BeforeValidator(check)


def _reading(read: Callable[[str], Any], instead: str) -> BeforeValidator:
    """Return a validator that parses a text by one of the workers' own parsers."""

    def parse(value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError(f"{str(value)[:80]!r}: {instead}")
        try:
            return read(value)
        except InvalidRequest as exc:
            raise ValueError(exc.problems[0][1]) from exc

    return BeforeValidator(parse)


def _table_or_partition(text: str) -> TableRef:
    return TableRef.parse(concrete(text, due_at()), partition=True)


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


def _column_names(value: Any) -> tuple[str, ...]:
    names = _names(value)
    if faults := [f"{name[:80]!r} {fault}" for name in names if (fault := name_fault(name))]:
        raise ValueError(f"{'; '.join(faults)}: pass another name")
    return names


def _id_columns(value: Any) -> tuple[str, ...]:
    names = _names(value)
    if "*" in names and len(names) > 1:
        raise ValueError(f"{value[:80]!r}: pass * alone for every column, or names")
    return names


def _models_after(value: Any) -> tuple[str, int]:
    name, _, number = str(value).rpartition("/v")
    if not name or not number.isascii() or not number.isdigit() or len(number) > 18:
        raise ValueError(f"{str(value)[:80]!r}: pass the `next` of an answer of this route")
    return name, int(number)


def _runs_after(value: Any) -> tuple[int, str]:
    place, _, run_id = str(value).partition(".")
    if not run_id or not place.isascii() or not place.isdigit() or len(place) > 17:
        raise ValueError(f"{str(value)[:80]!r}: pass the `next` of an answer of this route")
    return int(place), run_id


def _schema(example: str, description: str, **more: Any) -> WithJsonSchema:
    about = {"type": "string", "example": example, "description": description}
    return WithJsonSchema(about | more)


Table = Annotated[
    TableRef,
    _reading(TableRef.parse, "pass project.dataset.table"),
    _schema("my-project.titanic.test", "A BigQuery table or view, project.dataset.table"),
]
_TABLE_OR_PARTITION = _reading(_table_or_partition, "pass project.dataset.table")
InputTable = Annotated[
    TableRef,
    _TABLE_OR_PARTITION,
    _schema(
        "my-project.titanic.test",
        "A BigQuery table or view, project.dataset.table; followed by $20261122 or $yesterday, one "
        "of its partitions",
    ),
]
OutputTable = Annotated[
    TableRef,
    _TABLE_OR_PARTITION,
    _schema(
        "my-project.titanic.predictions",
        "A BigQuery table, project.dataset.table; followed by $20261122 or $yesterday, one of its "
        "partitions",
    ),
]
ModelName = Annotated[
    str,
    _matching(NAME.fullmatch, NAME_RULE),
    _schema(
        "titanic-survival",
        "The model's name",
        pattern="^[a-z0-9]+(-[a-z0-9]+)*$",
        maxLength=63,
    ),
]
_VERSION = _matching(
    lambda v: v == LATEST or VERSION.fullmatch(v) or is_alias(v),
    "pass v1, v2, ..., latest or an alias",
)
ModelVersion = Annotated[
    str,
    _VERSION,
    _schema(
        "v1",
        "The model's version, latest, or an alias such as champion: the version that it names when "
        "the run is planned",
        pattern=f"^{NAME.pattern}$",
        maxLength=63,
    ),
]
Shadow = Annotated[
    str,
    _VERSION,
    _schema(
        "challenger",
        "Another version of the model, latest or an alias, that scores the same rows beside it: "
        "its rows go to {output_table}_shadow, and the result says how far the two agree",
        pattern=f"^{NAME.pattern}$",
        maxLength=63,
    ),
]
RunId = Annotated[
    str,
    _reading(check_run_id, "pass at most 128 lower-case letters, digits, _ and -"),
    _schema(
        "titanic-2026-11",
        "Names the run; by default derived from the request, the model and the input's state",
        pattern=f"^{RUN_ID.pattern}$",
    ),
]
IdColumns = Annotated[
    tuple[str, ...],
    BeforeValidator(_id_columns),
    _schema(
        "PassengerId",
        "Columns carried over, or * for all; default: the model's, else all but the features",
    ),
]
PredictionColumn = Annotated[
    tuple[str, ...],
    BeforeValidator(_column_names),
    _schema(
        "predicted_survival",
        "The name of the column that predict fills, or a name for each value that the model "
        "predicts a row; default: the target's name if the model has it, else prediction",
    ),
]
Outputs = Annotated[
    tuple[str, ...],
    BeforeValidator(_outputs),
    _schema("predict,predict_proba", f"The model's methods to write: any of {', '.join(OUTPUTS)}"),
]
ClassColumns = Annotated[
    str,
    _reading(read_class_columns, 'pass a name for each class, low,high, or {"<=50K": "low"}'),
    _schema(
        '{"<=50K": "low", ">50K": "high"}',
        "Names for the model's classes, used in column names in place of the labels: a "
        "JSON object of label to name, or names separated by commas in the order of the classes; "
        "dry_run shows the labels",
    ),
]
Incremental = Annotated[
    str,
    _reading(read_incremental, "pass a column of the input, or ids"),
    _schema(
        "updated_at",
        "Score only what is new, with WRITE_APPEND: the rows above the last watermark of this "
        "column, or, by ids, those whose ids the output lacks for this version",
    ),
]
Rejects = Annotated[
    MaxRejects,
    _reading(MaxRejects.parse, "pass a number of rows or a share of them: 100, 0.01 or 1%"),
    _schema(
        "1%",
        "How many rows may be set aside in {output_table}_rejects because the model cannot score "
        "them: a count, 100, or a share of the rows, 0.01 or 1%; with more the run fails and "
        "publishes nothing",
    ),
]


ModelsAfter = Annotated[
    tuple[str, int],
    BeforeValidator(_models_after),
    _schema("titanic-survival/v3", "The rows after this one: the last answer's `next`"),
]
RunsAfter = Annotated[
    tuple[int, str],
    BeforeValidator(_runs_after),
    _schema(
        "1796000000000000.titanic-2026-11", "The runs after this one: the last answer's `next`"
    ),
]
MaxDrift = Annotated[
    float,
    _reading(read_max_drift, "pass a distance from 0 to 1: 0.3"),
    _schema(
        "0.3",
        "Publish nothing if a column is further from the training data, by the Jensen-Shannon "
        "distance and beyond chance; the repeated request with a larger value scores nothing again",
    ),
]
MaxBytes = Annotated[
    int,
    _reading(read_max_bytes, "pass a number of bytes: 500000, 10GB or 5GiB"),
    _schema(
        "10GB",
        "Refuse the run if BigQuery would charge for more bytes, by the estimate of dry_run: a "
        "number, or one with a unit, KB to PB (powers of 1000) or KiB to PiB (powers of 1024)",
    ),
]
MaxCost = Annotated[
    decimal.Decimal,
    _reading(read_max_cost, "pass an amount of US dollars: 0.5"),
    _schema(
        "0.5",
        "Refuse the run if BigQuery would charge more US dollars for reading the input, by the "
        "estimate of dry_run",
    ),
]
