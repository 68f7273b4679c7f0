"""Describe training data by bins and counts: the `profile` that `upload_model` writes."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from mlsys.artifact.edges import edges_of, number
from mlsys.artifact.estimators.importance import importances
from mlsys.artifact.estimators.inputs import model_input
from mlsys.artifact.identifiers import looks_like_identifier
from mlsys.artifact.profile import VERSION, ColumnProfile
from mlsys.artifact.profile_size import MAX_VALUE, MAX_VALUES, fitted, most_bytes
from mlsys.artifact.signatures import Signature
from mlsys.columns.bins import CATEGORY, NUMBER, PLAIN, Bins, Counts, count, is_ordered, numbers
from mlsys.columns.features import precision_of
from mlsys.columns.kinds import ColumnFault
from mlsys.columns.stored import stored
from mlsys.columns.texts import texts

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

MAX_DISTINCT = 20  # numbers of at most as many values are categories
MAX_PREDICTED = 10_000  # training rows that the model predicts for the profile
MAX_CLASSES = 20  # whose probabilities are described
SAME_ANSWER = 1e-9  # the last bits of a prediction may differ on another machine


def build_profile(model: Any, X: Any, signature: Signature) -> dict[str, Any]:
    """Return the profile of a fitted model and its training data X, as JSON values."""
    import pandas as pd

    frame = pd.DataFrame(X)
    columns = [_column(frame.iloc[:, i]) for i in range(frame.shape[1])]
    shares = importances(model, signature.names)
    if shares is not None:
        pairs = zip(columns, shares, strict=True)
        columns = [replace(column, importance=share) for column, share in pairs]
    predicted, predictions = _predictions(model, X, frame, signature)
    document = {
        "version": VERSION,
        "rows": len(frame),
        "columns": columns,
        "predictions": predictions,
        "predicted_rows": predicted,
        "library": f"scikit-learn {version('scikit-learn')}",
        "created_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }
    return fitted(document, most_bytes(len(columns)))


def describe(
    column: pa.Array, *, labels: bool | None = None, precision: float = 0.0
) -> ColumnProfile:
    """Return the bins and counts of a training column.

    `labels` says whether numbers are categories; None: if they have at most 20 distinct values, and
    an identifier has no bins.
    `precision` is how far, as a share of it, a float may differ from the same value in a table.
    """
    import pyarrow as pa

    values = column.drop_null()
    if is_ordered(column.type):
        return _of_numbers(column, values, labels, precision)
    if pa.types.is_binary(column.type):
        return ColumnProfile(Bins(PLAIN), count(Bins(PLAIN), column))
    pairs = _value_counts(values)
    if not pa.types.is_boolean(column.type) and len(pairs) * 2 > len(values) > 0 and not labels:
        bins = Bins(PLAIN)  # over half of the rows are distinct: an identifier, or free text
        return ColumnProfile(bins, count(bins, column), distinct=len(pairs))
    known = [value for value, _ in pairs if _is_short(value)][:MAX_VALUES]
    bins = Bins(CATEGORY, values=tuple(known))
    return ColumnProfile(bins, count(bins, column))


def _of_numbers(
    column: pa.Array, values: pa.Array, labels: bool | None, precision: float
) -> ColumnProfile:
    import numpy as np
    import pyarrow as pa

    held = numbers(values)
    finite = held[np.isfinite(held)] if held.dtype.kind == "f" else held
    plain = not pa.types.is_temporal(column.type)
    about: dict[str, Any] = {}
    if plain and len(finite):
        with np.errstate(over="ignore", invalid="ignore"):
            about = {"mean": _short_number(finite.mean()), "std": _short_number(finite.std())}
    distinct = np.unique(finite)
    if plain and labels is None and looks_like_identifier(finite):
        return ColumnProfile(Bins(PLAIN), count(Bins(PLAIN), column), distinct=len(distinct))
    few = plain and len(distinct) <= MAX_DISTINCT and len(distinct) * 2 <= len(finite)
    if not len(finite) or (few if labels is None else labels):
        bins = Bins(CATEGORY, values=tuple(map(number, distinct[:MAX_VALUES])))
    else:
        bins = Bins(NUMBER, edges=edges_of(finite, column.type, precision))
    return ColumnProfile(bins, count(bins, column), **about)


def _short_number(value: Any) -> int | float | None:
    return number(float(value), 6) if math.isfinite(value) else None


def _value_counts(values: pa.Array) -> list[tuple[Any, int]]:
    """Return the distinct values with their counts, the most frequent first."""
    import pyarrow.compute as pc

    pairs = [(pair["values"], pair["counts"]) for pair in pc.value_counts(values).to_pylist()]
    return sorted(pairs, key=lambda pair: (-pair[1], str(pair[0])))


def _is_short(value: Any) -> bool:
    return not isinstance(value, str) or len(value.encode("utf-8", "replace")) <= MAX_VALUE


def _column(series: Any) -> ColumnProfile:
    """Return the profile of a training column."""
    try:
        return describe(stored(series, "X"), precision=precision_of(str(series.dtype)))
    except ColumnFault:  # a value that no table holds exactly
        return ColumnProfile(Bins(PLAIN), Counts(len(series), int(series.isna().sum())))


def _predictions(
    model: Any, X: Any, frame: Any, signature: Signature
) -> tuple[int, dict[str, list[ColumnProfile]]]:
    """Return how many training rows were predicted, and the columns of each method.

    A model that cannot take some of the rows is asked for those without a missing value.
    """
    import numpy as np

    step = -(-len(frame) // MAX_PREDICTED)
    every = np.arange(0, len(frame), step)
    whole = every[frame.iloc[every].notna().all(axis=1).to_numpy()]
    for places in (every, whole):
        sample: Any = X.iloc[places] if hasattr(X, "iloc") else np.asarray(X)[places]
        if not hasattr(sample, "iloc") and not signature.positional and not signature.series:
            sample = frame.iloc[places].set_axis(signature.names, axis=1)
        given = model_input(model, sample, signature.series)
        answers = {method: _answers(model, method, given) for method in _METHODS}
        out = {m: columns for m, columns in answers.items() if columns is not None}
        if out:
            return len(places), out
    return 0, {}


_METHODS = ("predict", "predict_proba")


def _answers(model: Any, method: str, given: Any) -> list[ColumnProfile] | None:
    """Return the columns of the model's answers, or None if it gives none that can be counted."""
    import numpy as np

    try:
        answers = np.asarray(getattr(model, method)(given))
    except Exception:  # the model lacks the method, or an estimator raises anything
        return None
    columns = answers[:, None] if answers.ndim == 1 else answers
    most = MAX_CLASSES if method == "predict_proba" else MAX_VALUES
    if columns.ndim != 2 or len(columns) != len(given) or not 0 < columns.shape[1] <= most:
        return None
    labels = method == "predict" and hasattr(model, "classes_")
    try:
        arrays = [_as_written(columns[:, i]) for i in range(columns.shape[1])]
    except ColumnFault:  # of no type of BigQuery
        return None
    return [describe(array, labels=labels, precision=SAME_ANSWER) for array in arrays]


def _as_written(answers: np.ndarray) -> pa.Array:
    """Return a column of answers as scoring writes it: flags, numbers, and all else as text."""
    import pandas as pd
    from pyarrow import types

    array = stored(pd.Series(answers), "y")
    as_text = (types.is_temporal, types.is_decimal, types.is_binary)
    return texts(answers) if any(test(array.type) for test in as_text) else array
