"""`metadata.json`: the author's description of a model, beside its `model.pkl`.

`ModelMetadata.parse` reads any such document, even if written by hand: every part is optional, and
unknown parts are kept. `mlsys.artifact.describe` writes it.
"""

from __future__ import annotations

import datetime as dt
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Self

from mlsys.arguments import shown_text
from mlsys.artifact.documents import read_document
from mlsys.artifact.signatures import MAX_COLUMNS, Signature
from mlsys.errors import MetadataInvalid


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """The parts of a `metadata.json` that mlsys itself uses; `document` is all of it."""

    document: Mapping[str, Any] = field(default_factory=dict)
    signature: Signature | None = None
    model_class: str | None = None
    feature_names: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    outputs: int | None = None  # values that predict returns per row, from the golden rows
    output_types: tuple[str | None, ...] = ()  # `types_of`, of the same values
    id_columns: tuple[str, ...] = ()
    sklearn_version: str | None = None
    python_version: str | None = None
    artifact_crc32c: str | None = None

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Parse the bytes of a `metadata.json`.

        Raises:
            MetadataInvalid: see `read_document`; or a part that mlsys uses has the wrong form.
        """
        return cls.from_document(read_document(content))

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Return the parts of a document that `read_document` has accepted.

        Raises:
            MetadataInvalid: a part that mlsys uses has the wrong form.
        """
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
            outputs=outputs_of(_mapping(document, "golden")),
            output_types=types_of(_mapping(document, "golden")),
            id_columns=_texts(document, "id_columns"),
            sklearn_version=_text(versions, "scikit-learn"),
            python_version=_text(versions, "python"),
            artifact_crc32c=_text(_mapping(document, "artifact"), "crc32c"),
        )

    @property
    def versions(self) -> dict[str, str]:
        """The libraries and versions that the model was saved with."""
        return {name: shown_text(v) for name, v in _mapping(self.document, "versions").items()}

    def describes(self, crc32c: str | None) -> bool:
        """Return whether this describes the object with that checksum; True if it names none."""
        return self.artifact_crc32c is None or self.artifact_crc32c == crc32c


_LIBRARIES = ("scikit-learn", "numpy", "pandas", "joblib")


def library_versions() -> dict[str, str]:
    """Return the versions on which loading a pickled model depends."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def version_warnings(metadata: ModelMetadata) -> list[str]:
    """Return a warning for each library whose release differs, patch releases aside."""
    here = library_versions()
    return [
        f"the model was saved with {name} {saved}, and the service has {here[name]}"
        for name, saved in metadata.versions.items()
        if name in here and saved.split(".")[:2] != here[name].split(".")[:2]
    ]


def model_class(model: Any) -> str:
    """Return the model's class with its parts: `Pipeline(ColumnTransformer, Ridge)`.

    Wrappers name the wrapped estimator: `GridSearchCV(Ridge)`.
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


def outputs_of(golden: Mapping[str, Any]) -> int | None:
    """Return how many values predict returns per row, from the golden rows; None if unknown."""
    predictions = golden.get("predictions")
    if not isinstance(predictions, list) or not predictions or golden.get("method") == "transform":
        return None
    first = predictions[0]
    return max(1, len(first)) if isinstance(first, list) else 1


def types_of(golden: Mapping[str, Any]) -> tuple[str | None, ...]:
    """Return the BigQuery type of each value that predict returns per row, from the golden rows.

    None for what they do not tell: a value of another type, or none at all.
    """
    if (count := outputs_of(golden)) is None:
        return ()
    rows = [row if isinstance(row, list) else [row] for row in golden["predictions"]]
    columns = [[row[i] for row in rows if i < len(row)] for i in range(min(count, MAX_COLUMNS))]
    return tuple(
        _TYPES.get(kinds.pop())
        if len(kinds := {type(v) for v in some if v is not None}) == 1
        else None
        for some in columns
    )


_TYPES = {str: "STRING", bool: "BOOL", int: "INT64", float: "FLOAT64"}


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
            f"metadata.json: {key} has {len(value):,} names, and a BigQuery table has at most "
            f"{MAX_COLUMNS:,} columns"
        )
    return tuple(value)
