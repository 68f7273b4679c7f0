"""One column of a model's input: its name, its BigQuery type, and the dtype that the model saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from mlsys.columns import dtypes
from mlsys.columns.arrow_types import sql_name
from mlsys.columns.kinds import ColumnFault, Objects, one_kind
from mlsys.errors import InvalidRequest

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# Signature type -> column types that the model can read without a change of meaning. Widening a
# number is allowed (and checked for exactness during scoring); a string of digits, or a float where
# the model saw whole numbers, is not.
ACCEPTED = {
    "INT64": ("INT64",),
    "FLOAT64": ("FLOAT64", "INT64", "NUMERIC", "BIGNUMERIC"),
    "NUMERIC": ("NUMERIC", "BIGNUMERIC"),
    "BIGNUMERIC": ("BIGNUMERIC",),
    "BOOL": ("BOOL",),
    "STRING": ("STRING",),
    "BYTES": ("BYTES",),
    "DATE": ("DATE",),
    "TIME": ("TIME",),
    "DATETIME": ("DATETIME",),
    "TIMESTAMP": ("TIMESTAMP",),
}

# The dtype of a feature whose training dtype is not known: its column is passed as `to_frame` has
# it.
UNKNOWN = "unknown"

# The API returns legacy names: https://cloud.google.com/bigquery/docs/reference/rest/v2/tables
_LEGACY = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}


# Floats of these dtypes differ from the same value in FLOAT64, at most by this share
_PRECISIONS = {"float16": 2.0**-10, "halffloat": 2.0**-10, "float32": 2.0**-23, "float": 2.0**-23}


def precision_of(dtype: str) -> float:
    """Return how far a float of the dtype may differ from the same value as FLOAT64, as a share."""
    return _PRECISIONS.get(dtype.lower().removesuffix("[pyarrow]"), 0.0)


def sql_type(field_type: str) -> str:
    """Return the standard SQL name for the API's name of a type: `INTEGER` becomes `INT64`."""
    return _LEGACY.get(field_type.upper(), field_type.upper())


@dataclass(frozen=True, slots=True)
class Feature:
    """One input column: its name, BigQuery type, and the pandas dtype the model saw."""

    name: str
    type: str
    dtype: str
    nullable: bool = True
    categories: tuple[Any, ...] | None = None
    ordered: bool = False
    missing: str = "nan"  # the missing value in an object column: "nan", "none" or "na"

    @classmethod
    def from_series(cls, name: str, series: pd.Series) -> Self:
        """Describe a training column.

        Raises:
            InvalidRequest: the column mixes types, or BigQuery does not have its type.
        """
        import pandas as pd

        if isinstance(series.dtype, pd.SparseDtype):
            series = pd.Series(series.to_numpy(), name=series.name)
        categories = None
        if isinstance(series.dtype, pd.CategoricalDtype):
            values = series.cat.categories.to_series()
            categories = tuple(series.cat.categories.tolist())
        else:
            values = series
        try:
            kind = _sql_type_of(values, f"X[{name!r}]")
        except ColumnFault as exc:
            raise InvalidRequest(("X", f"column {name!r} {exc}")) from exc
        dtype = dtypes.name_of(series.dtype) if categories is None else "category"
        if not dtypes.is_readable(dtype):
            text = f"column {name!r} is {dtype}, which cannot be read back from a table: convert it"
            raise InvalidRequest(("X", f"{text} with astype before fit"))
        if not all(isinstance(c, bool | int | float | str) for c in categories or ()):
            text = f"column {name!r} has {kind} values as categories: make them text or numbers"
            raise InvalidRequest(("X", text))
        return cls(
            name=name,
            type=kind,
            dtype=dtype,
            nullable=bool(series.isna().any()),
            categories=categories,
            ordered=bool(categories is not None and series.cat.ordered),
            missing=_spelling(series),
        )

    def accepts(self, column_type: str) -> bool:
        """Return whether the model can read a column of this BigQuery type."""
        return sql_type(column_type) in ACCEPTED[self.type]

    def to_dict(self) -> dict[str, Any]:
        """Return the feature as JSON values, without defaults."""
        out: dict[str, Any] = {"name": self.name, "type": self.type, "dtype": self.dtype}
        out["nullable"] = self.nullable
        if self.categories is not None:
            out |= {"categories": list(self.categories), "ordered": self.ordered}
        if self.missing != "nan":
            out["missing"] = self.missing
        return out


def _sql_type_of(series: pd.Series, column: str) -> str:
    """Return the BigQuery type for the values.

    Raises:
        ColumnFault: they have two types, or one that BigQuery does not have.
    """
    import pandas as pd

    dtype = series.dtype
    is_type = pd.api.types
    if isinstance(dtype, pd.ArrowDtype):
        return _sql_type_of_arrow(dtype.pyarrow_dtype)
    if is_type.is_bool_dtype(dtype):
        return "BOOL"
    if is_type.is_integer_dtype(dtype):
        return "INT64"
    if is_type.is_float_dtype(dtype):
        return "FLOAT64"
    if isinstance(dtype, pd.DatetimeTZDtype):
        return "TIMESTAMP"
    if is_type.is_datetime64_dtype(dtype):
        return "DATETIME"
    return one_kind(Objects.from_series(series.astype(object)), column) or "STRING"


def _sql_type_of_arrow(kind: pa.DataType) -> str:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    try:
        return sql_name(kind)
    except InvalidRequest as exc:
        text = f"holds {kind}[pyarrow] values: convert it to a type that BigQuery has"
        raise ColumnFault(text) from exc


def _spelling(series: pd.Series) -> str:
    """Return an object column's missing value: a model may treat None, NaN and NA differently."""
    import pandas as pd

    if series.dtype != object:
        return "nan"
    first = series[series.isna()].head(1).tolist()
    return "none" if first == [None] else "na" if first and first[0] is pd.NA else "nan"
