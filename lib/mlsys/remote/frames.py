"""The service's JSON rows as DataFrames, with the types that `bq_get` would give them.

`workers.json_values` is the other direction: numbers that JSON cannot hold come as strings.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsys.columns.arrow_types import arrow_type
from mlsys.columns.frames import to_frame

if TYPE_CHECKING:
    import pandas as pd

SCHEMAS = Path(__file__).parents[1] / "schemas"
_READ: dict[str, Callable[[Any], Any]] = {
    "INT64": int,
    "FLOAT64": float,  # also "NaN" and "Infinity"
    "BYTES": base64.b64decode,
    "DATE": dt.date.fromisoformat,
    "TIME": dt.time.fromisoformat,
    "DATETIME": dt.datetime.fromisoformat,
    "TIMESTAMP": dt.datetime.fromisoformat,
    "NUMERIC": lambda value: decimal.Decimal(str(value)),
    "BIGNUMERIC": lambda value: decimal.Decimal(str(value)),
}
_TYPES = {"INTEGER": "INT64", "FLOAT": "FLOAT64"}  # the API's older names


def frame_of(rows: Sequence[Mapping[str, Any]], columns: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Return a frame of `rows` with these columns, each a name and a type of BigQuery.

    A column of another type keeps the values of the JSON.
    """
    import pandas as pd

    series = [_series([row.get(name) for row in rows], kind) for name, kind in columns]
    frame = pd.concat(series, axis=1) if series else pd.DataFrame(index=range(len(rows)))
    frame.columns = pd.Index([name for name, _ in columns])
    return frame


def listed(rows: Sequence[Mapping[str, Any]], table: str) -> pd.DataFrame:
    """Return a frame of the rows of one of mlsys's tables, in the order of its schema.

    Columns that the service does not send are left out, unless the list is empty; those that only
    the service has follow.
    """
    fields = json.loads((SCHEMAS / f"{table}.json").read_text())
    kinds = {f["name"]: _kind(f) for f in fields}
    sent = {name: None for row in rows for name in row} if rows else dict.fromkeys(kinds)
    names = [name for name in kinds if name in sent] + [name for name in sent if name not in kinds]
    return frame_of(rows, [(name, kinds.get(name, "")) for name in names])


def _kind(field: Mapping[str, Any]) -> str:
    repeated = field.get("mode") == "REPEATED"
    return "" if repeated else _TYPES.get(field["type"], field["type"])


def _series(values: Sequence[Any], kind: str) -> pd.Series:
    import pandas as pd
    import pyarrow as pa

    try:
        arrow = arrow_type(kind)
    except KeyError:
        return pd.Series(list(values), dtype="object")
    read = _READ.get(kind, lambda value: value)
    typed = [None if value is None else read(value) for value in values]
    return to_frame(pa.table({"column": pa.array(typed, arrow)}))["column"]
