"""Golden rows: a few rows of the training data, with what the model answered when it was saved.

`upload_model` writes them into `metadata.json`; whoever loads the model elsewhere replays them, to
see that it is still the same model.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from mlsys.errors import MetadataInvalid, SchemaMismatch
from mlsys.frames import arrow_type, to_model_frame
from mlsys.loading import model_input
from mlsys.metadata import ModelMetadata, json_value
from mlsys.signatures import Signature

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# Another release of NumPy or another processor adds in another order.
TOLERANCE = 1e-6  # relative; below 1e-9 absolute

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
    """Return what the model answers otherwise than when it was saved, or None if nothing.

    Without golden rows there is nothing to compare.

    Raises:
        MetadataInvalid: the golden rows cannot be read by the signature.
    """
    pairs = _pairs(metadata)
    if not pairs or metadata.signature is None:
        return None
    frame = golden_frame(metadata.signature, [row for row, _ in pairs])
    try:
        answers = json_value(_array(model.predict(model_input(model, frame))))
    except Exception as exc:  # whatever the estimator raises
        first = (str(exc).splitlines() or [""])[0][:200]
        return f"the model raises {type(exc).__name__} on its golden rows: {first}"
    if len(answers) != len(pairs):
        return f"the model gives {len(answers)} answers to {len(pairs)} golden rows"
    for (row, before), now in zip(pairs, answers, strict=True):
        if not _same(before, now):
            return f"the model answers {now!r} where it answered {before!r} when saved: row {row}"
    return None


def golden_table(metadata: ModelMetadata) -> pa.Table | None:
    """Return the golden rows as a table of BigQuery holds them, or None if there are none.

    Raises:
        MetadataInvalid: they cannot be read by the signature.
    """
    pairs = _pairs(metadata)
    if not pairs or metadata.signature is None:
        return None
    return _table(metadata.signature, [row for row, _ in pairs])


def golden_frame(signature: Signature, rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """Return rows of JSON values as the frame that the model saw in training.

    Raises:
        MetadataInvalid: a value is not one of its feature's type.
    """
    try:
        return to_model_frame(_table(signature, rows), signature.features)
    except SchemaMismatch as exc:
        raise MetadataInvalid(f"golden: the rows cannot be given to the model: {exc}") from exc


def _pairs(metadata: ModelMetadata) -> list[tuple[Any, Any]]:
    """The golden rows that can be replayed, each with the model's answer."""
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
            columns[feature.name] = pa.array(values, arrow_type(feature.type))
        except Exception as exc:  # they may be any JSON
            raise MetadataInvalid(f"golden: {feature.name} is no {feature.type}: {exc}") from exc
    return pa.table(columns)


def _whole(row: Any, signature: Signature) -> bool:
    """Tell whether the row can be replayed: JSON has no infinity, which is null there too."""
    features = signature.features
    if not isinstance(row, list) or len(row) != len(features):
        raise MetadataInvalid(f"golden: a row must have {len(features)} values")
    return all(v is not None or f.nullable for v, f in zip(row, features, strict=True))


def _array(values: Any) -> Any:
    import numpy as np

    return np.asarray(values)


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
