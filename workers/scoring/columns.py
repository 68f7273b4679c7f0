"""Which columns a run reads, and which it writes: decided from names and types alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlsys.errors import InvalidRequest, SchemaMismatch
from mlsys.frames import arrow_type
from mlsys.metadata import ModelMetadata
from mlsys.signatures import UNKNOWN, Feature, sql_type

if TYPE_CHECKING:
    import pyarrow as pa
    from google.cloud.bigquery import SchemaField

STAMPS = {
    "predicted_at": "TIMESTAMP",
    "model_name": "STRING",
    "model_version": "STRING",
    "run_id": "STRING",
}
PARQUET_TYPES = frozenset(
    "INT64 FLOAT64 BOOL STRING BYTES DATE TIME DATETIME TIMESTAMP NUMERIC BIGNUMERIC".split()
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column by its name and BigQuery type."""

    name: str
    type: str


def columns_of(schema: Iterable[SchemaField]) -> list[Column]:
    """The columns of a table, with the type ARRAY for repeated ones."""
    return [
        Column(f.name, "ARRAY" if f.mode == "REPEATED" else sql_type(f.field_type)) for f in schema
    ]


def choose_features(
    table: Sequence[Column],
    model: Any,
    metadata: ModelMetadata,
    id_columns: Sequence[str] | None,
) -> tuple[list[Feature], list[str]]:
    """Return the model's features as the table offers them, and warnings about how they were found.

    By the signature of metadata.json, checked by name and type; else by the names the model was
    fitted with; else, for a model fitted on an array, the table's columns in their order, if
    there are as many as it needs.

    Raises:
        SchemaMismatch: columns are missing or have a type the model cannot be given; each named.
    """
    known = {c.name.casefold(): c for c in table}
    signature = metadata.signature
    if signature is not None and not signature.positional:
        features = list(signature.features)
        _check(features, known)
        return features, []
    names = getattr(model, "feature_names_in_", None)
    if signature is None and names is not None:
        features = [_untyped(str(n), known.get(str(n).casefold())) for n in names]
        _check(features, known)
        return features, [
            "there is no signature (upload_model writes one): columns were matched by the names "
            "the model was fitted with, and their types were not checked"
        ]
    count = len(signature.features) if signature else getattr(model, "n_features_in_", None)
    ids = {c.casefold() for c in (id_columns or metadata.id_columns)}
    rest = [c for c in table if c.name.casefold() not in ids]
    if count is None or len(rest) != count:
        needs = "an unknown number of" if count is None else str(count)
        raise SchemaMismatch(
            f"The model was fitted without column names and needs {needs} columns; the table has "
            f"{len(rest)} besides the id columns. Upload it with upload_model(..., X=...), or pass "
            "id_columns so that the columns left are the features in their order."
        )
    if signature is not None:
        pairs = zip(signature.features, rest, strict=True)
        features = [replace(feature, name=column.name) for feature, column in pairs]
        _check(features, known)
    else:
        features = [_untyped(c.name, c) for c in rest]
    return features, [
        "the model was fitted without column names: the table's columns were taken in their "
        f"order: {', '.join(c.name for c in rest)}"
    ]


def choose_ids(
    table: Sequence[Column],
    features: Sequence[Feature],
    metadata: ModelMetadata,
    id_columns: Sequence[str] | None,
) -> list[Column]:
    """Return the columns that are carried over to the output, to tell its rows apart.

    Raises:
        SchemaMismatch: a named column is not there, or a column has no flat type.
    """
    known = {c.name.casefold(): c for c in table}
    wanted = id_columns or metadata.id_columns
    if wanted:
        if missing := [c for c in wanted if c.casefold() not in known]:
            raise SchemaMismatch(
                "The table lacks id columns.", [(c, "is not in the input table") for c in missing]
            )
        ids = [known[c.casefold()] for c in wanted]
    else:
        used = {f.name.casefold() for f in features}
        ids = [c for c in table if c.name.casefold() not in used]
    if nested := [c for c in ids if c.type not in PARQUET_TYPES]:
        raise SchemaMismatch(
            "Columns of these types cannot be carried over: pass id_columns without them.",
            [(c.name, f"is {c.type}") for c in nested],
        )
    return ids


def output_columns(
    ids: Sequence[Column],
    model: Any,
    targets: Sequence[str],
    outputs: Sequence[str],
    count: int | None = None,
) -> tuple[list[Column], list[str]]:
    """Return the columns a run writes, and the names among them that hold the predictions.

    `count` is how many values the model predicts a row, where its metadata says so.

    Raises:
        InvalidRequest: the model cannot give what `outputs` asks for.
        SchemaMismatch: two columns would have the same name.
    """
    predictions = _prediction_columns(model, targets, count)
    names = [c.name for c in predictions]
    columns = [*ids, *predictions]
    if "predict_proba" in outputs:
        columns += [Column(n, "FLOAT64") for n in probability_names(model, names)]
    columns += [Column(n, t) for n, t in STAMPS.items()]
    folded = [c.name.casefold() for c in columns]
    if doubled := sorted({c.name for c in columns if folded.count(c.name.casefold()) > 1}):
        raise SchemaMismatch(
            "The output would have two columns of the same name: pass id_columns without it, or "
            "upload the model with another target name.",
            [(name, "is doubled") for name in doubled],
        )
    return columns, names


def fit_output(columns: Sequence[Column], table: Iterable[SchemaField], name: str) -> list[Column]:
    """Return the existing table's columns, in its order, if the output fits them.

    Raises:
        SchemaMismatch: naming every column that is missing there, has another type, or is
            required there and not written.
    """
    fields = {f.name.casefold(): f for f in table}
    types = {c.name.casefold(): c.type for c in columns_of(fields.values())}
    mine = {c.name.casefold() for c in columns}
    wrong = []
    for column in columns:
        there = types.get(column.name.casefold())
        if there is None:
            wrong.append((column.name, "is not in the output table"))
        elif there != column.type:
            wrong.append((column.name, f"is {column.type}, and {there} there"))
    for folded, field in fields.items():
        if folded not in mine and field.mode == "REQUIRED":
            wrong.append((field.name, "is required there, and the run does not write it"))
    if wrong:
        raise SchemaMismatch(
            f"The output does not fit the table {name}: pass another output_table.",
            wrong,
        )
    return [c for c in columns_of(fields.values()) if c.type in PARQUET_TYPES]


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    """The columns as the parts hold them."""
    import pyarrow as pa

    return pa.schema([pa.field(c.name, arrow_type(c.type)) for c in columns])


def probability_names(model: Any, predictions: Sequence[str]) -> list[str]:
    """The names `probability_<class>` (with the output's name between, if there are several).

    Raises:
        InvalidRequest: the model has no predict_proba.
    """
    classes = getattr(model, "classes_", None)
    if classes is None or not hasattr(model, "predict_proba"):
        raise InvalidRequest(
            ("outputs", f"{type(model).__name__} has no predict_proba: pass outputs=predict")
        )
    if not isinstance(classes, list):
        return [f"probability_{_word(c)}" for c in classes]
    return [
        f"probability_{name}_{_word(c)}"
        for name, own in zip(predictions, classes, strict=True)
        for c in own
    ]


def _word(value: Any) -> str:
    """A class as a part of a column name, which takes letters, digits and underscores."""
    return "".join(ch if ch.isalnum() or ch == "_" else "_" for ch in str(value))


def _untyped(name: str, column: Column | None) -> Feature:
    """A feature of which only the name is known: it is whatever the column is."""
    return Feature(name, column.type if column else "STRING", UNKNOWN)


def _check(features: Sequence[Feature], known: dict[str, Column]) -> None:
    wrong = []
    for feature in features:
        column = known.get(feature.name.casefold())
        if column is None:
            kind = "" if feature.dtype == UNKNOWN else f", the model needs it as {feature.type}"
            wrong.append((feature.name, f"is missing{kind}"))
        elif column.type not in PARQUET_TYPES:
            wrong.append((feature.name, f"is {column.type}, which no model can be given"))
        elif feature.dtype != UNKNOWN and not feature.accepts(column.type):
            wrong.append((feature.name, f"is {column.type}, and {feature.type} in training"))
    if wrong:
        raise SchemaMismatch("The input table does not fit the model.", wrong)


def _prediction_columns(model: Any, targets: Sequence[str], count: int | None) -> list[Column]:
    types = _prediction_types(model, count or len(targets))
    if len(targets) == len(types):
        names = list(targets)
    elif len(types) == 1:
        names = ["prediction"]
    else:
        names = [f"prediction_{i}" for i in range(len(types))]
    return [Column(n, t) for n, t in zip(names, types, strict=True)]


def _prediction_types(model: Any, count: int) -> list[str]:
    """The BigQuery type of each output, from what the fitted model says of itself."""
    from sklearn.utils import get_tags

    classes = getattr(model, "classes_", None)
    if classes is not None:
        if isinstance(classes, list):
            return [_class_type(c) for c in classes]
        return [_class_type(classes)] * max(1, count)  # several: multilabel, a 0 or 1 a label
    try:
        kind = get_tags(model).estimator_type
    except (AttributeError, TypeError):  # something that predicts and is no scikit-learn estimator
        kind = None
    if kind in ("clusterer", "outlier_detector", "density_estimator"):
        return ["INT64"]
    return ["FLOAT64"] * (count if count > 1 else _outputs(model))


def _class_type(classes: Any) -> str:
    import numpy as np

    kind = np.asarray(classes).dtype.kind
    return {"b": "BOOL", "i": "INT64", "u": "INT64", "f": "FLOAT64"}.get(kind, "STRING")


def _outputs(model: Any) -> int:
    """How many values a regressor predicts a row: scikit-learn has no one attribute for it."""
    inner: Any = model
    outer: Any = None
    while inner is not outer:  # searches, TransformedTargetRegressor and pipelines, in any order
        outer = inner
        inner = getattr(inner, "best_estimator_", inner)
        inner = getattr(inner, "regressor_", inner)
        inner = inner[-1] if hasattr(inner, "steps") else inner
    if hasattr(inner, "n_outputs_"):
        return int(inner.n_outputs_)
    if type(inner).__name__ in ("MultiOutputRegressor", "RegressorChain"):
        return len(inner.estimators_)
    shape: tuple[int, ...] = getattr(getattr(inner, "coef_", None), "shape", ())
    return int(shape[0]) if len(shape) == 2 else 1
