"""Golden rows of a new model, and the proof that scoring will get the same predictions for them.

The rows go through the same steps as in the service: into `metadata.json` and back, into a table of
BigQuery's types, and from there into the form that the model was trained on.
"""

from __future__ import annotations

import json
from typing import Any

from mlsys.artifact.estimators.inputs import model_input
from mlsys.artifact.estimators.randomness import ANSWERS_VARY
from mlsys.artifact.golden import answers_of, replay
from mlsys.artifact.metadata import ModelMetadata, json_value
from mlsys.artifact.signatures import Signature
from mlsys.columns.arrow_types import arrow_type
from mlsys.columns.frames import to_model_frame
from mlsys.errors import InvalidRequest, MetadataInvalid, ModelUnusable, SchemaMismatch
from mlsys.plural import plural

GOLDEN_ROWS = 5


def golden_rows(model: Any, X: Any, signature: Signature) -> dict[str, Any]:
    """Return a few rows, spread over X, with the model's predictions for them.

    Raises:
        InvalidRequest: the model raises, returns another number of predictions, or predicts
            differently when the rows come from a table.
    """
    import numpy as np

    _check_nulls(signature)
    rows = len(X)
    where = np.unique(np.linspace(0, rows - 1, min(GOLDEN_ROWS, rows)).astype(int))
    if not len(where):
        return {"rows": [], "predictions": []}
    sample = X.iloc[where] if hasattr(X, "iloc") else np.asarray(X)[where]
    if hasattr(sample, "columns") or (not hasattr(sample, "iloc") and sample.ndim == 2):
        values = sample.to_numpy(dtype=object) if hasattr(sample, "columns") else sample
    else:
        values = [[value] for value in sample]
    method = "predict" if hasattr(model, "predict") else "transform"
    given = sample if hasattr(sample, "iloc") or signature.positional else _named(sample, signature)
    try:
        answers = answers_of(model, method, model_input(model, given, signature.series))
    except Exception as exc:  # an estimator may raise anything
        form = ""
        if signature.series:
            form = ", given as one column; if it was fitted on a table, pass X=df[['name']]"
        raise InvalidRequest(("model", f"cannot {method} on rows of X{form}: {exc}")) from exc
    if len(answers) != len(where):
        text = f"gives {plural(len(answers), 'answer')} to {plural(len(where), 'row')} of X: pass "
        text += "the X it was fitted on"
        raise InvalidRequest(("model", text))
    golden: dict[str, Any] = {"rows": json_value(values), "predictions": answers}
    if method == "transform":
        golden["method"] = method
    document = {"signature": signature.to_dict(), "golden": golden}
    try:
        different = replay(model, ModelMetadata.parse(json.dumps(document).encode()))
    except (MetadataInvalid, ModelUnusable) as exc:
        raise InvalidRequest(("X", f"cannot be read back from a table: {exc}")) from exc
    if different is not None and different != ANSWERS_VARY:
        dtypes = ", ".join(f"{f.name} ({f.dtype} as {f.type})" for f in signature.features[:10])
        text = (
            f"comes back from a table in another form, so that {different}. Convert the columns "
            f"to BigQuery's types before fit: {dtypes}"
        )
        raise InvalidRequest(("X", text))
    return golden


def _named(sample: Any, signature: Signature) -> Any:
    """Return rows of an array with the names that the model was fitted with."""
    import pandas as pd

    return sample if signature.series else pd.DataFrame(sample, columns=signature.names)


def _check_nulls(signature: Signature) -> None:
    """Check that a NULL in each column can be converted for the model.

    Raises:
        InvalidRequest: it cannot; the message names the column.
    """
    import pyarrow as pa

    read = Signature.from_dict(json.loads(json.dumps(signature.to_dict())))
    for feature in read.features:
        table = pa.table({feature.name: pa.nulls(1, arrow_type(feature.type))})
        try:
            to_model_frame(table, [feature])
        except SchemaMismatch as exc:
            text = f"column {feature.name!r} ({feature.dtype}) cannot be read back from a table"
            raise InvalidRequest(("X", f"{text}: {exc.columns[0][1]}")) from exc
