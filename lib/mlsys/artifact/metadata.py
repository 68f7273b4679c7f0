"""`metadata.json`: what a model's author knows of it, beside its `model.pkl`.

`build` makes the document that `upload_model` writes. `ModelMetadata.parse` reads any such
document, also one written by hand: every part is optional, parts it does not know are kept.
"""

from __future__ import annotations

import datetime as dt
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Self

from mlsys.artifact.documents import read_document, shown_text, unstorable
from mlsys.artifact.loading import crc32c
from mlsys.artifact.signatures import MAX_COLUMNS, Signature
from mlsys.errors import InvalidRequest, MetadataInvalid, ModelUnusable
from mlsys.estimators.inputs import TEXT, one_column

TOP_VALUES = 10


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """The parts of a `metadata.json` that mlsys itself uses; `document` is all of it."""

    document: Mapping[str, Any] = field(default_factory=dict)
    signature: Signature | None = None
    model_class: str | None = None
    feature_names: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    outputs: int | None = None  # how many values predict gives a row, as the golden rows show
    id_columns: tuple[str, ...] = ()
    sklearn_version: str | None = None
    python_version: str | None = None
    artifact_crc32c: str | None = None

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read the bytes of a `metadata.json`.

        Raises:
            MetadataInvalid: see `read_document`; or a part that mlsys uses has a wrong form.
        """
        document = read_document(content)
        signature = None
        if document.get("signature") is not None:
            signature = Signature.from_dict(document["signature"])
        versions = _mapping(document, "versions")
        names = tuple(signature.names) if signature else _texts(document, "feature_names")
        return cls(
            document=document,
            signature=signature,
            model_class=_text(document, "model_class"),
            feature_names=names,
            target=_texts(document, "target"),
            outputs=_outputs(_mapping(document, "golden")),
            id_columns=_texts(document, "id_columns"),
            sklearn_version=_text(versions, "scikit-learn"),
            python_version=_text(versions, "python"),
            artifact_crc32c=_text(_mapping(document, "artifact"), "crc32c"),
        )

    @property
    def versions(self) -> dict[str, str]:
        """The libraries that the model was saved with, and their versions."""
        return {name: shown_text(v) for name, v in _mapping(self.document, "versions").items()}

    def describes(self, crc32c: str | None) -> bool:
        """Tell whether this is about the object with that checksum, as far as it says."""
        return self.artifact_crc32c is None or self.artifact_crc32c == crc32c


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
) -> dict[str, Any]:
    """Return the `metadata.json` of a fitted model, as JSON values.

    X is the training data without the target (rows x features, DataFrame or array; for a model of
    one column of text that column, a Series), y the target (rows, or rows x outputs). It holds the
    signature (names, types), a profile of the training columns, a few golden rows with what the
    model answers for them, the metrics as given, and the versions of the libraries.

    Raises:
        InvalidRequest: X, y or metrics have a form that cannot be described; the model is not
            fitted or cannot predict on X; or it answers rows of X otherwise once they have come
            from a table.
    """
    from mlsys.artifact import training
    from mlsys.artifact.proof import golden_rows

    training.check_model(model)
    X = training.training_table(X)
    training.check_target(y, len(X))
    names = training.target_names(y, target)
    ids = training.id_names(id_columns)
    training.check_description(description)
    described_metrics = _metrics(training.metrics_of(metrics))
    _check_form(model, X)
    signature = Signature.from_data(X, getattr(model, "feature_names_in_", None))
    golden = golden_rows(model, X, signature)
    training.check_outputs(names, _outputs(golden), "y" if target is None else "target")
    document = {
        "model_class": model_class(model),
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
        "profile": _profile(X, signature),
        "golden": golden,
        "created_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }
    return {k: v for k, v in document.items() if v is not None}


_LIBRARIES = ("scikit-learn", "numpy", "pandas", "joblib")


def library_versions() -> dict[str, str]:
    """The versions that decide whether a pickled model loads as it was saved."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def version_warnings(metadata: ModelMetadata) -> list[str]:
    """Where the model was saved by another release than is here; patches are not told."""
    here = library_versions()
    return [
        f"the model was saved with {name} {saved}, and the service has {here[name]}"
        for name, saved in metadata.versions.items()
        if name in here and saved.split(".")[:2] != here[name].split(".")[:2]
    ]


def model_class(model: Any) -> str:
    """The model's class with what it is made of: `Pipeline(ColumnTransformer, Ridge)`.

    Wrappers name what they wrap: `GridSearchCV(Ridge)`.
    """
    name = type(model).__name__
    steps = getattr(model, "steps", None)
    if isinstance(steps, list):
        return f"{name}({', '.join(model_class(step) for _, step in steps)})"
    parameters = model.get_params(deep=False) if hasattr(model, "get_params") else {}
    wrapped = (parameters.get(key) for key in ("estimator", "regressor"))
    inner = next((w for w in wrapped if w is not None), None)  # `or` asks an ensemble for its len
    return f"{name}({model_class(inner)})" if hasattr(inner, "fit") else name


def json_value(value: Any) -> Any:
    """Return `value` as plain JSON values: NumPy scalars unwrapped, NaN, NaT and NA as null."""
    import numpy as np

    if hasattr(value, "to_dict"):  # a Series or DataFrame
        value = value.to_dict()
    if isinstance(value, Mapping):
        return {str(k): json_value(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | np.ndarray):
        return [json_value(v) for v in value]
    if isinstance(value, np.generic):
        return json_value(value.item())
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    if str(value) in ("NaT", "<NA>", "NaN"):
        return None
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    return str(value)


def _profile(X: Any, signature: Signature) -> dict[str, Any]:
    import pandas as pd

    frame = pd.DataFrame(X)
    columns: dict[str, Any] = {}
    for i, feature in enumerate(signature.features):
        values = frame.iloc[:, i]
        column: dict[str, Any] = {"nulls": int(values.isna().sum())}
        if feature.type in ("INT64", "FLOAT64") and feature.categories is None:
            numbers = pd.to_numeric(values).dropna()
            if len(numbers):
                column |= {
                    "min": json_value(numbers.min()),
                    "max": json_value(numbers.max()),
                    "mean": json_value(float(numbers.mean())),
                }
        else:
            counts = values.dropna().astype(object).map(str).value_counts()
            column |= {
                "distinct": len(counts),
                "top": json_value(counts.head(TOP_VALUES).to_dict()),
            }
        columns[feature.name] = column
    return {"rows": len(frame), "columns": columns}


def _check_form(model: Any, X: Any) -> None:
    """Refuse a model that is not fitted, and an X of another form than it takes."""
    from mlsys.estimators.fitted import not_fitted

    if (unfitted := not_fitted(model)) is not None:
        raise InvalidRequest(("model", f"is not fitted: call fit on the {unfitted} first"))
    try:
        column = one_column(model)
    except ModelUnusable as exc:
        raise InvalidRequest(("model", str(exc))) from exc
    if X.ndim == 1 and column is None and hasattr(model, "n_features_in_"):
        raise InvalidRequest(("X", "has 1 dimension(s): pass rows x features, X=df[['name']]"))
    if column == TEXT and X.ndim != 1:
        raise InvalidRequest(
            (
                "X",
                f"is a table of {X.shape[1]} column(s), and the model takes one column of text by "
                "itself: fit it on the Series and pass that, X=df['text']; or fit it on the "
                "DataFrame with ColumnTransformer([('text', TfidfVectorizer(), 'text')])",
            )
        )


def _metrics(metrics: Mapping[Any, Any]) -> Any:
    """Return metrics as JSON values that BigQuery stores.

    Raises:
        InvalidRequest: they contain themselves, or what BigQuery's JSON cannot hold.
    """
    try:
        value = json_value(metrics)
    except RecursionError as exc:
        raise InvalidRequest(
            ("metrics", "are nested too deeply, or contain themselves: pass numbers by name")
        ) from exc
    if problem := unstorable(value):
        raise InvalidRequest(("metrics", f"{problem}: leave it out, or write it otherwise"))
    return value


def _outputs(golden: Mapping[str, Any]) -> int | None:
    predictions = golden.get("predictions")
    if not isinstance(predictions, list) or not predictions or golden.get("method") == "transform":
        return None
    first = predictions[0]
    return max(1, len(first)) if isinstance(first, list) else 1


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key) or {}
    if not isinstance(value, Mapping):
        raise MetadataInvalid(f"metadata.json: {key} must be an object")
    return value


def _text(document: Mapping[str, Any], key: str) -> str | None:
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise MetadataInvalid(f"metadata.json: {key} must be a string")
    return value


def _texts(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = document.get(key)
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise MetadataInvalid(f"metadata.json: {key} must be a string or a list of strings")
    if len(value) > MAX_COLUMNS:
        raise MetadataInvalid(
            f"metadata.json: {key} has {len(value):,} names, and a table of BigQuery has "
            f"{MAX_COLUMNS:,} columns at most"
        )
    return tuple(value)
