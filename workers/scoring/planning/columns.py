"""The columns that a run reads, decided from names and types alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING

from mlsys.artifact.estimators.inputs import TEXT
from mlsys.artifact.metadata import ModelMetadata
from mlsys.artifact.signatures import Signature
from mlsys.columns.features import UNKNOWN, Feature, sql_type
from mlsys.columns.names import duplicates, fold, is_plain, name_fault, similar_names
from mlsys.errors import SchemaMismatch
from mlsys.plural import plural
from workers.inference.description import Description

if TYPE_CHECKING:
    from google.cloud.bigquery import SchemaField

PARQUET_TYPES = frozenset(
    "INT64 FLOAT64 BOOL STRING BYTES DATE TIME DATETIME TIMESTAMP NUMERIC BIGNUMERIC".split()
)
ALL = ("*",)  # id_columns=*: every column of the input


@dataclass(frozen=True, slots=True)
class Column:
    """A column by its name and BigQuery type.

    `label` is the class, component or feature that a written column is about, if any.
    """

    name: str
    type: str
    label: str | None = dataclass_field(default=None, compare=False)
    description: str | None = dataclass_field(default=None, compare=False)


def columns_of(schema: Iterable[SchemaField]) -> list[Column]:
    """Return the columns of a table, with the type ARRAY for repeated ones."""
    return [
        Column(f.name, "ARRAY" if f.mode == "REPEATED" else sql_type(f.field_type)) for f in schema
    ]


def choose_features(
    table: Sequence[Column],
    model: Description,
    metadata: ModelMetadata,
    id_columns: Sequence[str] | None,
) -> tuple[list[Feature], list[str]]:
    """Return the model's features as the table offers them, and warnings about the matching.

    By the signature of metadata.json, checked by name and type; else by the names the model was
    fitted with; else, for a model fitted on an array, the table's columns in their order, if
    there are as many as it needs.

    Raises:
        SchemaMismatch: columns are missing or have a type the model cannot be given; each named.
    """
    known = {fold(c.name): c for c in table}
    signature = metadata.signature
    if signature is not None and not signature.positional:
        features = list(signature.features)
        _check(features, known)
        return features, []
    if signature is None and model.feature_names is not None:
        features = [_untyped(name, known.get(fold(name))) for name in model.feature_names]
        _check(features, known)
        return features, [
            "the model has no signature (upload_model writes one): columns were matched by the "
            "names the model was fitted with, and their types were not checked"
        ]
    kind: str | None = model.one_column
    count = len(signature.features) if signature else model.feature_count
    if kind is not None and count is None:
        count = 1
    named = id_columns if id_columns and tuple(id_columns) != ALL else metadata.id_columns
    ids = {fold(c) for c in named}
    rest = [c for c in table if fold(c.name) not in ids]
    if len(rest) != count:  # a table for validation holds the target as well
        targets = {fold(name) for name in metadata.target}
        rest = [c for c in rest if fold(c.name) not in targets]
    if takes_series(model, signature):
        kind = signature.features[0].type if signature else "STRING" if kind == TEXT else None
        rest = _the_column(rest, kind)
    if count is None or len(rest) != count:
        needs = "an unknown number of columns" if count is None else plural(count, "column")
        raise SchemaMismatch(
            f"The model was fitted without column names and needs {needs}; the table has "
            f"{len(rest)} besides the id columns. Pass id_columns so that the columns left are the "
            "features in their order, or upload it with upload_model(..., X=...) and a DataFrame "
            "that has the table's column names."
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


def takes_series(model: Description, signature: Signature | None) -> bool:
    """Return whether the model is given its one column as a Series, and not as a table."""
    return (signature is not None and signature.series) or model.one_column is not None


def choose_ids(
    table: Sequence[Column],
    features: Sequence[Feature],
    metadata: ModelMetadata,
    id_columns: Sequence[str] | None,
) -> list[Column]:
    """Return the columns that are carried over to the output, to tell its rows apart.

    `id_columns` names them, or is `*` for every column; None means those of metadata.json, else
    every column that is not a feature.

    Raises:
        SchemaMismatch: a named column does not exist, or a column's type is not flat.
    """
    known = {fold(c.name): c for c in table}
    wanted = id_columns or metadata.id_columns
    if tuple(wanted) == ALL:
        ids = list(table)
    elif wanted:
        if missing := [c for c in wanted if fold(c) not in known]:
            raise SchemaMismatch(
                "The table lacks id columns.", [(c, "is not in the input table") for c in missing]
            )
        ids = [known[fold(c)] for c in wanted]
    else:
        used = {fold(f.name) for f in features}
        ids = [c for c in table if fold(c.name) not in used]
    if nested := [c for c in ids if c.type not in PARQUET_TYPES]:
        raise SchemaMismatch(
            "Columns of these types cannot be carried over: pass id_columns without them.",
            [(c.name, f"is {c.type}") for c in nested],
        )
    return ids


def columns_to_read(
    table: Sequence[Column], features: Sequence[Feature], ids: Sequence[Column]
) -> tuple[str, ...]:
    """Return the names of the features and ids, each once, as and in the order the table has them.

    Raises:
        SchemaMismatch: BigQuery does not allow a name; the local BigQuery does.
    """
    read = {fold(n) for n in [f.name for f in features] + [c.name for c in ids]}
    names = tuple(c.name for c in table if fold(c.name) in read)
    if faults := [(name, fault) for name in names if (fault := name_fault(name)) is not None]:
        raise SchemaMismatch("Rename columns of the input table.", faults)
    return names


def check_output_names(columns: Iterable[Column]) -> None:
    """Check the names of the output's columns, which BigQuery would refuse only at the load.

    Raises:
        SchemaMismatch: it names each of them.
    """
    faults = [(c.name, fault) for c in columns if (fault := name_fault(c.name)) is not None]
    if faults:
        raise SchemaMismatch(
            "The output would have columns whose names BigQuery does not allow: pass "
            "prediction_column, or upload the model with another target.",
            faults,
        )


def needs_aliases(table: Sequence[Column], read: Sequence[str], where: str | None) -> bool:
    """Tell whether the columns must be copied under plain names before they are read.

    The Storage Read API asks for special handling of names beyond ASCII letters, digits and
    underscores, and documents it only for Avro
    (https://cloud.google.com/bigquery/docs/schemas#flexible-column-names); in SQL they work.
    """
    filtered = fold(where or "")
    unusual = [c.name for c in table if not is_plain(c.name)]
    return any(name in read or fold(name) in filtered for name in unusual)


def _the_column(rest: Sequence[Column], kind: str | None) -> list[Column]:
    """Return the one column that a model of one unnamed column can mean, by its type.

    Raises:
        SchemaMismatch: none of the columns besides the ids is of that type, or several are.
    """
    fit = [c for c in rest if kind is None or c.type == kind]
    if len(fit) == 1:
        return fit
    what = "text (STRING)" if kind == "STRING" else kind or "any type"
    matches = plural(len(fit), "such column") if fit else "no such column"
    names = f" ({', '.join(c.name for c in fit[:10])})" if fit else ""
    raise SchemaMismatch(
        f"The model takes one column of {what}, and does not know its name; besides the id columns "
        f"the table has {matches}{names}. Upload it with upload_model(..., X=df['text']), which "
        "keeps the name, or pass id_columns with every column but that one."
    )


def _untyped(name: str, column: Column | None) -> Feature:
    """Return a feature of known name and unknown dtype: it takes the column's type."""
    return Feature(name, column.type if column else "STRING", UNKNOWN)


def _check(features: Sequence[Feature], known: dict[str, Column]) -> None:
    faults = []
    for name in duplicates(f.name for f in features):
        faults.append((name, "is one column to BigQuery, which ignores case, and two to the model"))
    for feature in features:
        column = known.get(fold(feature.name))
        if column is None:
            kind = "" if feature.dtype == UNKNOWN else f", the model needs it as {feature.type}"
            fault = name_fault(feature.name)
            never = f"; the name {fault}: rename the feature and fit again" if fault else ""
            other = similar_names([feature.name, *(c.name for c in known.values())])
            close = (
                f"; the table's {other[feature.name]!r} is another name, whose case differs beyond "
                "ASCII"
                if feature.name in other
                else ""
            )
            faults.append((feature.name, f"is missing{kind}{close}{never}"))
        elif column.type not in PARQUET_TYPES:
            faults.append((feature.name, f"is {column.type}, which cannot be passed to a model"))
        elif feature.dtype != UNKNOWN and not feature.accepts(column.type):
            faults.append((feature.name, f"is {column.type}, and was {feature.type} in training"))
    if faults:
        raise SchemaMismatch("The input table does not fit the model.", faults)
