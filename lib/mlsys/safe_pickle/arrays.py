"""NumPy's dtypes, arrays and numbers from a pickle, checked before they are created and filled.

NumPy trusts a pickle's state of a dtype. With forged flags or fields, raw bytes become pointers to
objects. So a dtype's state is rebuilt by NumPy's own constructor from its description, and neither
its size nor whether it holds objects can change.
"""

from __future__ import annotations

import math
import re
from typing import Any

from mlsys.safe_pickle.handles import Handle, need

EMPTY = 10_000_000  # members of an array without bytes
KIND = re.compile(r"[<>|=]?[?A-Za-z]\d{0,9}")  # f8, <U5, V64


def encode(text: Any, encoding: Any) -> bytes:
    """Return the bytes that older pickles write as Latin-1 text."""
    need(type(text) is str and encoding in ("latin1", "latin-1"), "bytes")
    return text.encode("latin1")


def make_dtype(kind: Any, align: Any = False, copy: Any = True) -> Any:
    """Return a new dtype for a simple description such as `f8`."""
    import numpy as np

    need(type(kind) is str and KIND.fullmatch(kind) is not None, "a dtype")
    return np.dtype(kind, False, True)  # always a copy: a state may follow


def make_array(subtype: Any, shape: Any, kind: Any) -> Any:
    """Return an empty array, whose state follows in the pickle."""
    import numpy as np

    need(type(subtype) is Handle and subtype.value is np.ndarray, "an array")
    return np.empty((0,), "b")


def make_masked(subtype: Any, base: Any, shape: Any, kind: Any) -> Any:
    """Return an empty masked array, whose state follows in the pickle."""
    import numpy as np

    need(type(subtype) is Handle and subtype.value is np.ma.MaskedArray, "a masked array")
    return np.ma.MaskedArray(np.empty((0,), "b"), mask=np.empty((0,), "?"))


def from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any, axis_order: Any = None) -> Any:
    """Return an array with a copy of the bytes of protocol 5."""
    import numpy as np

    need(type(buffer) in (bytes, bytearray) and order in ("C", "F", "K"), "an array")
    need(isinstance(dtype, np.dtype) and not dtype.hasobject, "an array")
    need(type(shape) is tuple and array_bytes(shape, dtype) == len(buffer), "an array")
    dtype = settled(dtype)
    buffer = bytearray(buffer)  # a copy: two arrays of one buffer would change each other
    if order != "K" or axis_order is None:
        return np.frombuffer(buffer, dtype).reshape(shape, order="F" if order == "F" else "C")
    need(type(axis_order) is tuple and sorted(axis_order) == [*range(len(shape))], "an array")
    return np.frombuffer(buffer, dtype).reshape(shape).transpose(axis_order)


def settled(dtype: Any) -> Any:
    """Return a copy of the dtype, which the pickle cannot change afterwards."""
    import numpy as np

    return np.dtype(dtype.str) if dtype.kind in "biufc" else np.dtype(dtype, copy=True)


def array_bytes(shape: tuple[Any, ...], dtype: Any) -> int:
    """Return the size of an array in bytes, as a Python integer, which does not overflow."""
    need(all(type(n) is int and n >= 0 for n in shape) and len(shape) <= 32, "an array's shape")
    if not dtype.itemsize or 0 in shape:  # has no bytes in the file, but may need much memory
        need(math.prod(max(n, 1) for n in shape) <= EMPTY, "an array's shape")
    return math.prod(shape) * max(dtype.itemsize, 1)


def make_scalar(dtype: Any, content: Any) -> Any:
    """Return a NumPy number from its bytes."""
    import numpy as np

    need(isinstance(dtype, np.dtype) and not dtype.hasobject, "a NumPy number")
    if type(content) is str:
        content = encode(content, "latin1")
    need(type(content) is bytes and len(content) == dtype.itemsize, "a NumPy number")
    if not content:
        return np.zeros((), settled(dtype))[()]  # an empty string
    return np.frombuffer(content, settled(dtype))[0]


def put_dtype(inst: Any, state: Any) -> None:
    """Set the state that NumPy writes for a dtype of this description, with NumPy's flags."""
    import numpy as np

    what = "a dtype"
    need(type(state) is tuple and 8 <= len(state) <= 9, what)
    order, sub, names, fields = state[1:5]
    need(order in ("<", ">", "|", "=") and sub is None, what)
    made: Any
    if fields is None:
        need(names is None and inst.fields is None, what)
        made = np.dtype(inst.str)
        if inst.kind in "mM" and len(state) == 9:
            unit, count, *_ = state[8][1]
            unit = unit.decode() if type(unit) is bytes else unit
            need(unit in ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as",
                          "generic"), what)  # fmt: skip
            need(type(count) is int and count > 0, what)
            made = inst if unit == "generic" else np.dtype(f"{inst.kind}8[{count}{unit}]")
        if order in "<>" and made.kind not in "OSV":
            made = made.newbyteorder(order)
    else:
        need(inst.kind == "V" and type(names) is tuple and type(fields) is dict, what)
        need(all(type(n) is str for n in names) and set(names) == set(fields), what)
        parts = [fields[n] for n in names]
        need(all(type(p) is tuple and len(p) == 2 and type(p[1]) is int for p in parts), what)
        need(all(isinstance(p[0], np.dtype) and not p[0].hasobject for p in parts), what)
        made = np.dtype(
            {
                "names": list(names),
                "formats": [settled(p[0]) for p in parts],
                "offsets": [p[1] for p in parts],
                "itemsize": inst.itemsize,
            },
            align=bool(state[7] & 0x80) if type(state[7]) is int else False,
        )
    need(made.itemsize == inst.itemsize and made.hasobject == inst.hasobject, what)
    inst.__setstate__(made.__reduce__()[2])


def array_state(state: Any) -> tuple[Any, ...]:
    """Return an array's state after a check of its shape, dtype and content."""
    import numpy as np

    what = "an array"
    need(type(state) is tuple and len(state) == 5, what)
    version, shape, dtype, fortran, content = state
    need(type(version) is int and type(shape) is tuple and isinstance(dtype, np.dtype), what)
    need(type(fortran) in (bool, int), what)
    size = array_bytes(shape, dtype)
    if dtype.hasobject:
        need(dtype.kind == "O" and type(content) is list, what)
        need(len(content) * dtype.itemsize == size, what)
    else:
        if type(content) is str:
            content = content.encode("latin1")
        need(type(content) is bytes and (len(content) == size or dtype.itemsize == 0), what)
    return version, shape, settled(dtype), bool(fortran), content


def put_masked(inst: Any, state: Any) -> None:
    """Set a masked array's state after a check of its shape, content and mask."""
    import numpy as np

    what = "a masked array"
    need(inst.shape == (0,) and type(state) is tuple and len(state) == 7, what)
    version, shape, dtype, fortran, content, mask, fill = state
    need(type(fill) is not Handle, what)
    state = array_state((1, shape, dtype, fortran, content))
    masked = array_state((1, shape, np.dtype("?"), fortran, mask))
    need(dtype.fields is None, what)
    fill = fill if fill is None or np.ndim(fill) == 0 else np.asarray(fill).reshape(-1)[0]
    inst.__setstate__((version, *state[1:], masked[-1], fill))
