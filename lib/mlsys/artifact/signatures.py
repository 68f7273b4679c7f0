"""The signature of a model's input: names and types, taken from the training data.

`upload_model` writes it into `metadata.json`; scoring checks a table's schema against it before it
reads a row. Types are BigQuery's, so they compare directly; the pandas dtype beside each is the one
that the model saw in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from mlsys.arguments import shown
from mlsys.columns import dtypes
from mlsys.columns.features import ACCEPTED, UNKNOWN, Feature, sql_type
from mlsys.columns.names import check_column_names
from mlsys.errors import InvalidRequest, MetadataInvalid
from mlsys.plural import plural

if TYPE_CHECKING:
    import pandas as pd

MAX_COLUMNS = 10_000  # of a table: https://cloud.google.com/bigquery/quotas#standard_tables
MAX_DTYPE = 200  # characters of a dtype

# The default dtype of a hand-written feature: the type's dtype in a column without NULLs.
_USUAL_DTYPES = {
    "INT64": "int64",
    "FLOAT64": "float64",
    "BOOL": "bool",
    "STRING": "str",
    "DATETIME": "datetime64[us]",
    "TIMESTAMP": "datetime64[us, UTC]",
}


@dataclass(frozen=True, slots=True)
class Signature:
    """The input of a model: its features in the order it was trained on.

    `positional`: the training data had no names, so they are made up (`x0`, ...), and columns are
    matched by order. `series`: the model takes its one column as a Series, not as a table.
    """

    features: tuple[Feature, ...]
    positional: bool = False
    series: bool = False

    @property
    def names(self) -> list[str]:
        """The features' names, in order."""
        return [f.name for f in self.features]

    @classmethod
    def from_data(cls, X: Any, names: Sequence[str] | None = None) -> Self:
        """Describe training data: a DataFrame, a 2-d array, or one column as a Series.

        Columns without names (of an array, or numbered in a DataFrame) get `names`, those that the
        model was fitted with, else their position (`x0`, `x1`, ...).

        Raises:
            InvalidRequest: X has neither one nor two dimensions, mixes types, or has duplicate
                names or names that BigQuery does not accept.
        """
        import numpy as np
        import pandas as pd

        series = False
        if not isinstance(X, pd.DataFrame):
            series = not hasattr(X, "toarray") and np.ndim(X) == 1
            X = (
                X.to_frame()
                if series and isinstance(getattr(X, "name", None), str)
                else _unnamed(X)
            )
        positional = all(not isinstance(c, str | tuple) for c in X.columns)
        if positional:
            known = [] if names is None else [str(name) for name in names]
            positional = len(known) != X.shape[1]
            X = X.set_axis(_places(X.shape[1]) if positional else known, axis=1)
        check_column_names(X.columns, "X")
        names = [str(c) for c in X.columns]
        columns = (X.iloc[:, i] for i in range(X.shape[1]))
        features = (Feature.from_series(n, c) for n, c in zip(names, columns, strict=True))
        return cls(tuple(features), positional, series)

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """Parse the `signature` of a `metadata.json`.

        Raises:
            MetadataInvalid: a feature lacks its name or categories, has the name of another one, or
                has an unknown type.
        """
        features = value.get("features") if isinstance(value, Mapping) else None
        if not isinstance(features, list) or not features:
            raise MetadataInvalid("signature: pass {'features': [{'name', 'type', 'dtype'}, ...]}")
        if len(features) > MAX_COLUMNS:
            raise MetadataInvalid(
                f"signature: there are {len(features):,} features, and a BigQuery table has at "
                f"most {MAX_COLUMNS:,} columns"
            )
        out: dict[str, Feature] = {}
        for i, item in enumerate(features):
            if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
                raise MetadataInvalid(f"signature: features[{i}] has no name")
            if item["name"] in out:
                raise MetadataInvalid(f"signature: {shown(item['name'])} is a duplicate: keep one")
            out[item["name"]] = _feature(item)
        series = bool(value.get("series", False))
        if series and len(out) != 1:
            raise MetadataInvalid(f"signature: series needs one feature, and there are {len(out)}")
        return cls(tuple(out.values()), bool(value.get("positional", False)), series)

    def to_dict(self) -> dict[str, Any]:
        """Return the signature as JSON values, as in `metadata.json`."""
        out: dict[str, Any] = {"features": [f.to_dict() for f in self.features]}
        out |= {"positional": True} if self.positional else {}
        return out | {"series": True} if self.series else out


def _feature(item: Mapping[str, Any]) -> Feature:
    """Parse one feature of a signature.

    Raises:
        MetadataInvalid: its type is unknown, or a part has the wrong form.
    """
    name = shown(item["name"])
    kind = sql_type(item["type"]) if isinstance(item.get("type"), str) else None
    if kind not in ACCEPTED:
        raise MetadataInvalid(
            f"signature: {name} has type {shown(item.get('type'))}: pass one of {sorted(ACCEPTED)}"
        )
    categories = item.get("categories")
    if categories is not None and not _scalars(categories):
        raise MetadataInvalid(
            f"signature: {name} has malformed categories: pass a list of distinct texts or numbers"
        )
    usual = "category" if categories else _USUAL_DTYPES.get(kind, "object")
    dtype = item.get("dtype") or usual
    if not isinstance(dtype, str) or len(dtype) > MAX_DTYPE:
        raise MetadataInvalid(f"signature: {name} has dtype {shown(dtype)}: pass one of pandas")
    dtype = dtypes.plain(dtype)
    if dtype != UNKNOWN and not dtypes.is_readable(dtype):
        raise MetadataInvalid(f"signature: {name} has dtype {shown(dtype)}: pass one of pandas")
    if dtype == "category" and categories is None:
        raise MetadataInvalid(f"signature: {name} needs a list of categories")
    for key in ("nullable", "ordered"):
        if not isinstance(item.get(key, False), bool):
            raise MetadataInvalid(f"signature: {name} has {key} {shown(item[key])}: pass a bool")
    return Feature(
        name=item["name"],
        type=kind,
        dtype=dtype,
        nullable=item.get("nullable", True),
        categories=None if categories is None else tuple(categories),
        ordered=item.get("ordered", False),
        missing=spelt if (spelt := item.get("missing")) in ("none", "na") else "nan",
    )


def _scalars(categories: Any) -> bool:
    if not isinstance(categories, list):
        return False
    if not all(isinstance(c, str | int | float) for c in categories):
        return False
    return len({(type(c), c) for c in categories}) == len(categories)


def _places(count: int) -> list[str]:
    return [f"x{i}" for i in range(count)]


def _unnamed(X: Any) -> pd.DataFrame:
    """Return an array, a list or a Series as a frame whose columns have no names.

    Raises:
        InvalidRequest: it has neither one nor two dimensions.
    """
    import numpy as np
    import pandas as pd

    if hasattr(X, "toarray"):
        raise InvalidRequest(("X", "is a sparse matrix: pass the rows as an array, X.toarray()"))
    if isinstance(X, pd.Series):
        return X.to_frame(0)
    array = np.asarray(X)
    if array.ndim not in (1, 2):
        raise InvalidRequest(("X", f"has {plural(array.ndim, 'dimension')}: pass rows x features"))
    return pd.DataFrame(array if array.ndim == 2 else {0: array})
