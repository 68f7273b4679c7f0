"""Describe a fitted model: the `metadata.json` that `upload_model` writes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from mlsys.artifact import training
from mlsys.artifact.checksum import crc32c
from mlsys.artifact.documents import unstorable
from mlsys.artifact.estimators.inputs import TEXT, one_column
from mlsys.artifact.metadata import json_value, library_versions, model_class, outputs_of
from mlsys.artifact.output_names import check_distinct
from mlsys.artifact.parameters import parameters_of
from mlsys.artifact.profiling import build_profile
from mlsys.artifact.proof import golden_rows
from mlsys.artifact.signatures import Signature
from mlsys.errors import InvalidRequest, ModelUnusable
from mlsys.plural import plural


def build(
    model: Any,
    *,
    X: Any,
    y: Any = None,
    target: str | Sequence[str] | None = None,
    id_columns: str | Sequence[str] = (),
    metrics: Mapping[str, Any] | None = None,
    description: str | None = None,
    artifact: bytes = b"",
    profile: bool = True,
    golden: bool = True,
) -> dict[str, Any]:
    """Return the `metadata.json` of a fitted model, as JSON values.

    X is the training data without the target (rows x features, DataFrame or array; for a model of
    one column of text that column, a Series), y the target (rows, or rows x outputs). The document
    has the signature (names, types), with `profile` bins and counts of the training columns, with
    `golden` a few rows with the model's predictions for them, the metrics as given, and the
    versions of the libraries.

    Raises:
        InvalidRequest: X, y or metrics cannot be described; two columns of the output would have
            one name; the model is not fitted or cannot predict on X; or its predictions for rows of
            X change when they come from a table.
    """
    training.check_model(model)
    X = training.training_table(X)
    training.check_target(y, len(X))
    names = training.target_names(y, target)
    ids = training.id_names(id_columns)
    training.check_description(description)
    described_metrics = _metrics(training.metrics_of(metrics))
    _check_form(model, X)
    signature = Signature.from_data(X, getattr(model, "feature_names_in_", None))
    rows = golden_rows(model, X, signature)
    parameter = "y" if target is None else "target"
    training.check_outputs(names, outputs_of(rows), parameter)
    check_distinct(names, parameter, ids, outputs_of(rows))
    document = {
        "model_class": model_class(model),
        "parameters": parameters_of(model) or None,
        "signature": signature.to_dict(),
        "target": names[0] if len(names) == 1 else list(names) or None,
        "id_columns": list(ids),
        "metrics": described_metrics,
        "description": description,
        "versions": library_versions() | {"mlsys": version("mlsys")},
        "artifact": {
            "crc32c": crc32c(artifact),
            "size_bytes": len(artifact),
        },
        "profile": build_profile(model, X, signature) if profile else None,
        "golden": rows if golden else None,
        "created_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }
    return {k: v for k, v in document.items() if v is not None}


def _check_form(model: Any, X: Any) -> None:
    """Refuse a model that is not fitted, and an X with the wrong number of dimensions."""
    from mlsys.artifact.estimators.fitted import not_fitted

    if (unfitted := not_fitted(model)) is not None:
        raise InvalidRequest(("model", f"is not fitted: call fit on the {unfitted} first"))
    try:
        column = one_column(model)
    except ModelUnusable as exc:
        raise InvalidRequest(("model", str(exc))) from exc
    if X.ndim == 1 and column is None and hasattr(model, "n_features_in_"):
        raise InvalidRequest(("X", "has 1 dimension: pass rows x features, X=df[['name']]"))
    if column == TEXT and X.ndim != 1:
        raise InvalidRequest(
            (
                "X",
                f"is a table of {plural(X.shape[1], 'column')}, and the model takes one column "
                "of text as a Series: fit it on the Series and pass that, X=df['text']; or fit it "
                "on the "
                "DataFrame with ColumnTransformer([('text', TfidfVectorizer(), 'text')])",
            )
        )


def _metrics(metrics: Mapping[Any, Any]) -> Any:
    """Return metrics as JSON values that BigQuery stores.

    Raises:
        InvalidRequest: they contain themselves, or a value that BigQuery's JSON cannot hold.
    """
    try:
        value = json_value(metrics)
    except RecursionError as exc:
        raise InvalidRequest(
            ("metrics", "are nested too deeply, or contain themselves: pass numbers by name")
        ) from exc
    if problem := unstorable(value):
        raise InvalidRequest(("metrics", f"{problem}: leave it out, or pass it as text"))
    return value
