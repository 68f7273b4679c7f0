"""The dtypes of pandas as texts in a signature, and back.

pandas itself cannot read every dtype that it writes: not those of Arrow with parameters, and not
all sparse ones.
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
    """Return the dtype as a signature names it.

    Sparse columns count as dense, since a table of BigQuery is, and NumPy's long doubles and bytes
    as the nearest that pandas itself can hold.

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
    """Return the name of the dense dtype of a sparse one; any other name as it is."""
    sparse = _SPARSE.fullmatch(text)
    return sparse[1] if sparse else text


def is_arrow(text: str) -> bool:
    """Tell whether this is the name of a dtype of Arrow."""
    return text.endswith(_ARROW)


def arrow_of(text: str) -> pa.DataType:
    """Return the Arrow type that a dtype like `decimal128(38, 9)[pyarrow]` names.

    Raises:
        ValueError: there is no such type.
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
    """Tell whether columns of this dtype can be made from a table of BigQuery."""
    import pandas as pd

    try:
        if is_arrow(text):
            arrow_of(text)
        else:
            pd.api.types.pandas_dtype(text)
    except Exception:  # pandas and pyarrow raise anything, by the text they are given
        return False
    return True
