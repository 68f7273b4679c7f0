"""Golden rows: a few rows of the training data, with the model's predictions when it was saved.

`upload_model` writes them into `metadata.json`; the service replays them when it loads the model,
to verify that its predictions are unchanged.
"""

from __future__ import annotations

import datetime as dt
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from mlsys.arguments import kind_of
from mlsys.artifact.estimators.inputs import model_input, one_column
from mlsys.artifact.estimators.randomness import ANSWERS_VARY
from mlsys.artifact.metadata import ModelMetadata, json_value
from mlsys.artifact.signatures import Signature
from mlsys.columns.arrow_types import arrow_type
from mlsys.columns.frames import to_model_frame
from mlsys.errors import MetadataInvalid, SchemaMismatch
from mlsys.plural import plural

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# Another NumPy release or processor may add in another order.
TOLERANCE = 1e-6  # relative; below 1e-9 absolute
MAX_TRANSFORMED = 50  # values of a transformed row that are kept
REPEATS = 8  # predictions, to see whether a model that differs predicts at random

_READ: Mapping[str, Callable[[Any], Any]] = {
    "INT64": int,
    "FLOAT64": float,
    "BYTES": bytes.fromhex,
    "DATE": lambda text: dt.date.fromisoformat(text[:10]),
    "TIME": dt.time.fromisoformat,
    "DATETIME": dt.datetime.fromisoformat,
    "TIMESTAMP": dt.datetime.fromisoformat,
    "NUMERIC": Decimal,
    "BIGNUMERIC": Decimal,
}


def replay(model: Any, metadata: ModelMetadata) -> str | None:
    """Return how the model's predictions differ from when it was saved, or None if they do not.

    Without golden rows the result is None.

    Raises:
        MetadataInvalid: the golden rows do not fit the signature.
        MemoryError: the model needs more memory than there is.
    """
    pairs = _pairs(metadata)
    if not pairs or metadata.signature is None:
        return None
    frame = golden_frame(metadata.signature, [row for row, _ in pairs])
    series = takes_series(model, metadata.signature)
    method = golden_method(metadata)
    try:
        answers = answers_of(model, method, model_input(model, frame, series))
        again = answers
        if len(answers) == len(pairs) == frame.shape[1] and not series:
            # One answer per column would also be this many: predict with one more row.
            more = frame.iloc[[0, *range(len(frame))]].reset_index(drop=True)
            again = answers_of(model, method, model_input(model, more))[1:]
    except MemoryError:  # the caller knows whose memory it is
        raise
    except Exception as exc:  # an estimator may raise anything
        first = (str(exc).splitlines() or [""])[0][:200].rstrip(". ")
        return f"the model raises {type(exc).__name__} on its golden rows: {first}"
    for given in (answers, again):
        if len(given) != len(pairs):
            return (
                f"the model gives {plural(len(given), 'answer')} to "
                f"{plural(len(pairs), 'golden row')}"
            )
    for (row, before), now in zip(pairs, answers, strict=True):
        if not _same(before, now):
            if _varies(model, method, model_input(model, frame, series), answers):
                return ANSWERS_VARY
            return f"the model predicts {now!r}, and predicted {before!r} when saved: row {row}"
    return None


def golden_table(metadata: ModelMetadata) -> pa.Table | None:
    """Return the golden rows as a BigQuery table holds them, or None without golden rows.

    Raises:
        MetadataInvalid: they do not fit the signature.
    """
    pairs = _pairs(metadata)
    if not pairs or metadata.signature is None:
        return None
    return _table(metadata.signature, [row for row, _ in pairs])


def golden_frame(signature: Signature, rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """Return rows of JSON values as the frame that the model saw in training.

    Raises:
        MetadataInvalid: a value does not have its feature's type.
    """
    try:
        return to_model_frame(_table(signature, rows), signature.features)
    except SchemaMismatch as exc:
        raise MetadataInvalid(f"golden: the rows do not fit the model: {exc}") from exc


def _pairs(metadata: ModelMetadata) -> list[tuple[Any, Any]]:
    """Return the golden rows that can be replayed, each with the model's prediction."""
    golden = metadata.document.get("golden")
    if metadata.signature is None or not isinstance(golden, Mapping):
        return []
    rows, expected = golden.get("rows"), golden.get("predictions")
    if not isinstance(rows, list) or not isinstance(expected, list) or len(rows) != len(expected):
        raise MetadataInvalid("golden: rows and predictions must be lists of the same length")
    return [(r, e) for r, e in zip(rows, expected, strict=True) if _whole(r, metadata.signature)]


def _table(signature: Signature, rows: Sequence[Sequence[Any]]) -> pa.Table:
    import pyarrow as pa

    columns = {}
    for i, feature in enumerate(signature.features):
        read = _READ.get(feature.type, lambda value: value)
        try:
            values = [None if row[i] is None else read(row[i]) for row in rows]
            columns[feature.name] = _array(values, feature.type)
        except Exception as exc:  # they may be any JSON
            raise MetadataInvalid(f"golden: {feature.name} is not {feature.type}: {exc}") from exc
    return pa.table(columns)


def _array(values: list[Any], kind: str) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values, arrow_type(kind))
    except pa.ArrowInvalid:
        if kind != "NUMERIC":
            raise
        return pa.array(values, arrow_type("BIGNUMERIC"))  # which a NUMERIC feature takes, too


def _whole(row: Any, signature: Signature) -> bool:
    """Return whether the row can be replayed: in JSON an infinity is null, too."""
    features = signature.features
    if not isinstance(row, list) or len(row) != len(features):
        raise MetadataInvalid(f"golden: a row must have {plural(len(features), 'value')}")
    return all(v is not None or f.nullable for v, f in zip(row, features, strict=True))


def golden_method(metadata: ModelMetadata) -> str:
    """Return the method of the golden predictions: `predict`, or `transform` without it."""
    golden = metadata.document.get("golden")
    method = golden.get("method") if isinstance(golden, Mapping) else None
    return "transform" if method == "transform" else "predict"


def answers_of(model: Any, method: str, X: Any) -> Any:
    """Return the method's result for X as JSON values, of a transformed row the first few."""
    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in scoring
        given = getattr(model, method)(X)
    array = np.asarray(given.toarray() if hasattr(given, "toarray") else given)
    if not array.ndim:
        raise TypeError(f"{method} gives {kind_of(given)} and not a value for each row")
    if method == "transform" and array.ndim == 2:
        array = array[:, :MAX_TRANSFORMED]
    return json_value(array)


def _varies(model: Any, method: str, X: Any, answers: Any) -> bool:
    """Return whether the model's predictions for the same rows differ from call to call."""
    return any(not _same(answers, answers_of(model, method, X)) for _ in range(REPEATS))


def _same(before: Any, now: Any) -> bool:
    if isinstance(before, list) and isinstance(now, list):
        return len(before) == len(now) and all(map(_same, before, now))
    if isinstance(before, bool) or isinstance(now, bool):
        return before == now
    if isinstance(before, int | float) and isinstance(now, int | float):
        try:
            return math.isclose(before, now, rel_tol=TOLERANCE, abs_tol=1e-9)
        except OverflowError:  # an integer that no double holds
            return before == now
    return before == now


def takes_series(model: Any, signature: Signature | None = None) -> bool:
    """Return whether the model takes its one column as a Series, and not as a table.

    Raises:
        ModelUnusable: as `one_column`.
    """
    return (signature is not None and signature.series) or one_column(model) is not None
