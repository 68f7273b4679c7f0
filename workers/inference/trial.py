"""Trial predictions while a run is planned, on rows that a model should be able to answer."""

from __future__ import annotations

import copy
import datetime as dt
import warnings
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from mlsys.artifact.estimators.parts import parts_of
from mlsys.artifact.estimators.set_output import restore_output
from mlsys.artifact.golden import golden_method, golden_table
from mlsys.artifact.metadata import ModelMetadata
from mlsys.artifact.refusals import not_in_the_image
from mlsys.columns.arrow_types import arrow_type
from mlsys.columns.features import Feature
from mlsys.errors import MetadataInvalid, ModelUnusable
from mlsys.plural import plural
from workers.inference.plain_path import ask

if TYPE_CHECKING:
    import pyarrow as pa

_MOMENT = dt.datetime(2024, 1, 2, 3, 4, 5)
# One is in the domain of logarithms and roots, and no column is constant with two.
_VALUES = {
    "INT64": (1, 2),
    "FLOAT64": (1.0, 2.0),
    "BOOL": (True, False),
    "STRING": ("one", "two"),
    "BYTES": (b"one", b"two"),
    "DATE": (_MOMENT.date(), _MOMENT.date().replace(day=3)),
    "TIME": (_MOMENT.time(), _MOMENT.time().replace(hour=4)),
    "DATETIME": (_MOMENT, _MOMENT.replace(day=3)),
    "TIMESTAMP": (_MOMENT.replace(tzinfo=dt.UTC), _MOMENT.replace(day=3, tzinfo=dt.UTC)),
    "NUMERIC": (Decimal(1), Decimal(2)),
    "BIGNUMERIC": (Decimal(1), Decimal(2)),
}


def valid_rows(model: Any, features: Sequence[Feature]) -> pa.Table:
    """Return rows of the features' types without NULLs, of categories that the model knows.

    Their number differs from that of the features, so that one answer a column is noticed.
    """
    import pyarrow as pa

    rows = valid_row_count(features)
    known = _categories(model, features)
    columns = {}
    for feature in features:
        kind = arrow_type(feature.type)
        column = None
        for values in (feature.categories, known.get(feature.name), _VALUES[feature.type]):
            some = list(values or ())[:2]
            try:
                column = (
                    pa.array([some[i % len(some)] for i in range(rows)], kind) if some else None
                )
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                continue
            if column is not None and not column.null_count:
                break
        columns[feature.name] = column
    return pa.table(columns)


def valid_row_count(features: Sequence[Feature]) -> int:
    """Return how many rows `valid_rows` returns."""
    return 3 if len(features) != 3 else 4


def golden_rows(metadata: ModelMetadata, features: Sequence[Feature]) -> pa.Table | None:
    """Return the model's golden rows under the names that the features have in this run."""
    try:
        table = golden_table(metadata)
    except MetadataInvalid:  # the verification reports it
        return None
    if table is None or table.num_columns != len(features):
        return None
    return table.rename_columns([f.name for f in features])


def check_answers(
    model: Any,
    features: Sequence[Feature],
    methods: Sequence[str],
    metadata: ModelMetadata,
    series: bool,
) -> None:
    """Check that the model gives one answer a row, on its golden rows or else on valid ones.

    One method has been replayed on the golden rows already; the others are tried here. An error on
    made-up rows may be caused by those rows, so it counts only if no row can be its cause.

    Raises:
        ModelUnusable: it gives another number of answers, or raises whatever it is given.
    """
    table = golden_rows(metadata, features)
    if table is None:
        table = valid_rows(model, features)
    else:  # the verdict on the model has replayed this one
        methods = [method for method in methods if method != golden_method(metadata)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = ask(model, features, table, methods, series) if methods else {}
    except ModuleNotFoundError as exc:
        raise ModelUnusable(f"The model {not_in_the_image(exc)}") from exc
    except MemoryError:
        raise  # it ends the sandbox
    except Exception as exc:  # whatever the estimator raises
        if _is_of_the_model(exc):
            raise ModelUnusable(
                f"The model raises {type(exc).__name__} whatever it is given: {first_line(exc)}. "
                "Fit it again with the service's releases, check that it predicts in a new Python "
                "process, and upload it"
            ) from exc
        if _answers_with_frames(model, features, table, methods, series):
            raise ModelUnusable(
                "The model was fitted under sklearn.set_config(transform_output=...), which a "
                f"pickle does not keep, and raises {type(exc).__name__} without it: "
                f"{first_line(exc)}. Upload it with upload_model(..., X=...) while that setting is "
                'active; or call set_output(transform="pandas") on it and upload it again'
            ) from exc
        return
    for method, answers in given.items():
        if (count := _count(answers)) != table.num_rows:
            given_answers = "a single answer" if count is None else plural(count, "answer")
            raise ModelUnusable(
                f"The model's {method} gives {given_answers} to "
                f"{plural(table.num_rows, 'row')}: it does not take a table of these columns. "
                "Upload it with upload_model(..., X=...), passing the data it was fitted on"
            )


def first_line(exc: Exception) -> str:
    """Return the first line of an estimator's error, at most 300 characters of it."""
    return (str(exc).splitlines() or [""])[0][:300].rstrip(". ")


def _is_of_the_model(exc: Exception) -> bool:
    """Tell whether no row can be the cause: an estimator lacks a part, or code is not installed."""
    from sklearn.exceptions import NotFittedError

    if isinstance(exc, NotFittedError | ImportError):
        return True
    return isinstance(exc, AttributeError) and hasattr(exc.obj, "get_params")


def _answers_with_frames(
    model: Any, features: Sequence[Feature], table: pa.Table, methods: Sequence[str], series: bool
) -> bool:
    """Tell whether the model can answer once its steps give frames to each other."""
    try:
        restored = copy.deepcopy(model)
        if not restore_output(restored):
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ask(restored, features, table, methods, series)
    except Exception:  # whatever the estimator raises
        return False
    return True


def _count(answers: Any) -> int | None:
    """Return how many rows the answer is for, None if it is one value without a length.

    Several outputs have a list of arrays.
    """
    if isinstance(answers, list) and answers and hasattr(answers[0], "shape"):
        answers = answers[0]
    if hasattr(answers, "shape"):
        return int(answers.shape[0]) if answers.shape else None
    return len(answers) if hasattr(answers, "__len__") else None


def _categories(model: Any, features: Sequence[Feature]) -> dict[str, Sequence[Any]]:
    """Return the categories that the model's encoders know, by the features' names."""
    names = [f.name for f in features]
    known: dict[str, Sequence[Any]] = {}
    for columns, encoder in _encoders(model, names):
        try:
            listed = list(encoder.categories_)
        except (AttributeError, TypeError):
            continue
        if len(listed) == len(columns):
            for name, categories in zip(columns, listed, strict=True):
                present = [c.item() if hasattr(c, "item") else c for c in categories]
                known.setdefault(name, [c for c in present if c is not None and c == c])
    return known


def _encoders(model: Any, names: list[str]) -> Iterator[tuple[list[str], Any]]:
    """Yield the model's parts with the features that each one may have been fitted on."""
    for part in parts_of(model):
        for _, step, columns in getattr(part, "transformers_", ()):
            try:
                chosen = [columns] if isinstance(columns, str) else list(columns)
                own = [names[c] if isinstance(c, int) else str(c) for c in chosen]
            except (TypeError, IndexError):  # a slice or a mask
                continue
            yield from ((own, inner) for inner in parts_of(step))
    for part in parts_of(model):
        yield [str(n) for n in getattr(part, "feature_names_in_", names)], part
