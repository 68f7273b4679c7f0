"""Names of pandas dtypes in a signature, and back.

pandas cannot parse every dtype name that it writes: not Arrow's with parameters, and not all sparse
ones.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_ARROW = "[pyarrow]"
_DECIMAL = re.compile(r"decimal(32|64|128|256)\((\d{1,2}), (-?\d{1,2})\)")
_TIMESTAMP = re.compile(r"timestamp\[(s|ms|us|ns)(?:, tz=([^\]]{1,60}))?\]")
_DICTIONARY = re.compile(r"dictionary<values=(.{1,100}), indices=(u?int\d{1,2}), ordered=([01])>")
_SPARSE = re.compile(r"Sparse\[(\w{1,20}), .{1,40}\]")
_ALIASES = {
    "date32[day]": "date32",
    "date64[ms]": "date64",
    "string_view": "string_view",
    "large_string": "large_string",
    "large_binary": "large_binary",
}


def name_of(dtype: Any) -> str:
    """Return the dtype's name for a signature.

    Sparse columns count as dense, like those of a BigQuery table, and NumPy's long doubles and
    bytes as the nearest dtype that pandas can hold.

    >>> import pandas as pd
    >>> name_of(pd.SparseDtype("float64", 0))
    'float64'
    """
    text = plain(str(dtype))
    kind = getattr(dtype, "kind", "")
    if kind == "f" and text in ("float128", "longdouble", "float96"):
        return "float64"
    return "object" if kind in "SV" and text.startswith("|") else text


def plain(text: str) -> str:
    """Return the dense dtype's name for a sparse one, and any other name unchanged."""
    sparse = _SPARSE.fullmatch(text)
    return sparse[1] if sparse else text


def is_arrow(text: str) -> bool:
    """Return whether this is the name of an Arrow dtype."""
    return text.endswith(_ARROW)


def arrow_of(text: str) -> pa.DataType:
    """Return the Arrow type that a dtype like `decimal128(38, 9)[pyarrow]` names.

    Raises:
        ValueError: the type is unknown.
    """
    import pyarrow as pa

    text = text.removesuffix(_ARROW)
    if match := _DECIMAL.fullmatch(text):
        make = getattr(pa, f"decimal{match[1]}")
        return make(int(match[2]), int(match[3]))
    if match := _TIMESTAMP.fullmatch(text):
        return pa.timestamp(match[1], tz=match[2])
    if match := _DICTIONARY.fullmatch(text):
        return pa.dictionary(pa.type_for_alias(match[2]), arrow_of(match[1]), match[3] == "1")
    return pa.type_for_alias(_ALIASES.get(text, text))


def is_readable(text: str) -> bool:
    """Return whether a column of this dtype can be made from a BigQuery table."""
    import pandas as pd

    try:
        if is_arrow(text):
            arrow_of(text)
        else:
            pd.api.types.pandas_dtype(text)
    except Exception:  # pandas and pyarrow may raise anything
        return False
    return True
