"""The names that a model's pickle may call while it loads, each with arguments of one form.

An allow-list of names is not enough: `bytes(10**12)` allocates, `functools.partial` later calls its
argument, NumPy trusts any state of a dtype. So nothing is called directly: `CONSTRUCTORS` has our
own function for each name, which checks the arguments first.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

from mlsys.safe_pickle import names as trusted_names
from mlsys.safe_pickle.arrays import (
    encode,
    from_buffer,
    make_array,
    make_dtype,
    make_masked,
    make_scalar,
)
from mlsys.safe_pickle.callables import make_partial, make_pattern
from mlsys.safe_pickle.handles import TRIPLET, Handle, StandIn, need, new, resolve, simple_key
from mlsys.safe_pickle.methods import BUILTIN_TYPE, get_method, make_builtin_type
from mlsys.safe_pickle.values import VALUES

# Arrow types that only the author's own attributes have.
ARROW_TYPES = frozenset(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float double halffloat date32 date64 "
    "binary".split()
)


def _bytes() -> bytes:
    return b""


def _bytearray(content: Any = b"", encoding: Any = "latin-1") -> bytearray:
    if type(content) is str:
        content = encode(content, encoding)
    need(type(content) is bytes, "a bytearray")
    return bytearray(content)


def _members(values: Any = ()) -> Any:
    need(type(values) in (list, tuple, set) and all(map(simple_key, values)), "a set")
    return values


def _slice(*args: Any) -> slice:
    need(len(args) == 3, "a slice")
    return slice(*args)


def _range(*args: Any) -> range:
    need(len(args) in (2, 3) and all(type(a) is int for a in args), "a range")
    return range(*args)


def _complex(real: Any, imag: Any) -> complex:
    need(type(real) is float and type(imag) is float, "a complex number")
    return complex(real, imag)


def _defaultdict(factory: Any = None) -> Any:
    kinds = {"collections.OrderedDict": collections.OrderedDict, "builtins.set": set}
    if type(factory) is Handle:
        factory = kinds.get(factory.key, factory)
    known = (None, list, dict, set, int, float, str, bool, tuple, collections.OrderedDict)
    need(any(factory is k for k in known), "a defaultdict")
    return collections.defaultdict(factory)


def _reconstructor(cls: Any, base: Any, state: Any) -> Any:
    if base is object and state is None:
        # A class that is not a handle is a plain type, or one that the settings add.
        return new(cls) if type(cls) is Handle else object.__new__(cls)
    need(type(cls) is Handle and cls.value is not None, "an object")
    if base is tuple and cls.key == TRIPLET:
        return new(cls, state)
    need(base is dict and type(state) is dict and all(map(simple_key, state)), "an object")
    need(issubclass(cls.value, dict), "an object")
    made = dict.__new__(cls.value)
    dict.update(made, state)
    return made


def _bit_generator(kind: Any = "MT19937") -> Any:
    need(type(kind) in (str, Handle), "a random generator")
    name = kind if type(kind) is str else kind.key.rpartition(".")[2]
    modules = {n: m for m, names in trusted_names.BIT_GENERATORS.items() for n in names.split()}
    need(name in modules, "a random generator")
    return resolve(f"{modules[name]}.{name}")()


def _of_bits(key: str) -> Callable[..., Any]:
    def make(bits: Any = "MT19937", ctor: Any = None) -> Any:
        import numpy as np

        need(ctor is None or (type(ctor) is Handle and ctor.make is _bit_generator), "a generator")
        if not isinstance(bits, np.random.BitGenerator):
            bits = _bit_generator(bits)
        return resolve(key)(bits)

    return make


def _unpickled(key: str) -> Callable[..., Any]:
    """Return a constructor for Cython's form: a class, a checksum, and a state, set later here."""

    def make(cls: Any, checksum: Any, state: Any) -> Any:
        need(type(cls) is Handle and cls.key == key and state in (None, ()), f"`{key}`")
        return new(cls)

    return make


def _of_class(prefix: str) -> Callable[..., Any]:
    def make(cls: Any) -> Any:
        need(type(cls) is Handle and cls.key.startswith(prefix), f"`{prefix}`")
        return new(cls)

    return make


def _of_numbers(key: str) -> Callable[..., Any]:
    def make(*args: Any) -> Any:
        need(len(args) <= 2 and all(type(a) in (int, float) for a in args), f"`{key}`")
        return resolve(key)(*args)

    return make


def _old_loss(key: str) -> Callable[..., Any]:
    """Return a constructor for scikit-learn's compiled losses until 1.6, with numbers as state."""

    def make(cls: Any, checksum: Any, state: Any) -> Any:
        need(type(cls) is Handle and cls.key == key and type(state) in (tuple, type(None)), key)
        return _of_numbers(key)(*(state or ()))

    return make


def _tree(n_features: Any, n_classes: Any, n_outputs: Any) -> Any:
    import numpy as np

    need(type(n_features) is int and type(n_outputs) is int and n_features >= 0, "a tree")
    need(type(n_classes) is np.ndarray and n_classes.dtype.kind == "i", "a tree")
    need(
        n_classes.shape == (n_outputs,) and n_outputs > 0 and bool((n_classes > 0).all()), "a tree"
    )
    return resolve("sklearn.tree._tree.Tree")(n_features, n_classes, n_outputs)


def _index(cls: Any, values: Any) -> Any:
    import pandas as pd

    need(type(cls) is Handle and type(values) is dict, "an index")
    name = values.pop("name", None)
    need(simple_key(name), "an index")
    if cls.value is pd.RangeIndex:
        need(set(values) == {"start", "stop", "step"}, "an index")
        need(all(type(v) is int for v in values.values()), "an index")
        return pd.RangeIndex(**values, name=name)
    need(cls.value is pd.Index and set(values) == {"data"}, "an index")
    data = values["data"]
    need(type(data).__name__ in ("ndarray", "ArrowStringArray") and data.ndim == 1, "an index")
    need(data.dtype != object or all(map(simple_key, data)), "an index")
    return pd.Index(data, dtype=data.dtype, name=name)


def _string_dtype(storage: Any, missing: Any) -> Any:
    import pandas as pd

    need(storage in ("python", "pyarrow"), "a string type")
    need(type(missing) is float or missing is pd.NA, "a string type")
    return pd.StringDtype(storage, missing)


def _arrow_type(alias: Any) -> Any:
    import pyarrow as pa

    if alias in ARROW_TYPES:
        return StandIn("pandas.ArrowDtype")
    need(alias in ("string", "large_string"), "an Arrow type")
    return pa.string() if alias == "string" else pa.large_string()


def _arrow_buffer(content: Any) -> Any:
    import pyarrow as pa

    need(type(content) in (bytes, bytearray), "an Arrow buffer")
    return pa.py_buffer(bytes(content))


def _arrow_array(data: Any) -> Any:
    import pyarrow as pa

    need(type(data) is tuple and len(data) == 7, "an Arrow array")
    kind, length, nulls, offset, buffers, children, dictionary = data
    need(isinstance(kind, pa.DataType) and type(buffers) is list, "an Arrow array")
    need(all(b is None or isinstance(b, pa.Buffer) for b in buffers), "an Arrow array")
    need(len(buffers) == 3 and not children and dictionary is None, "an Arrow array")
    need(all(type(n) is int for n in (length, nulls, offset)), "an Arrow array")
    made = pa.Array.from_buffers(kind, length, buffers, nulls, offset)
    made.validate(full=True)  # offsets point into the buffers
    return made


CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "_codecs.encode": encode,
    "builtins.bytearray": _bytearray,
    "builtins.bytes": _bytes,
    "builtins.complex": _complex,
    "builtins.frozenset": lambda *a: frozenset(_members(*a)),
    "builtins.getattr": get_method,
    "builtins.range": _range,
    "builtins.set": lambda *a: set(_members(*a)),
    "builtins.slice": _slice,
    BUILTIN_TYPE: make_builtin_type,
    "collections.OrderedDict": lambda: collections.OrderedDict(),
    "collections.defaultdict": _defaultdict,
    "copyreg._reconstructor": _reconstructor,
    "functools.partial": make_partial,
    "numpy._core.multiarray._reconstruct": make_array,
    "numpy._core.multiarray.scalar": make_scalar,
    "numpy._core.numeric._frombuffer": from_buffer,
    "numpy.dtype": make_dtype,
    "numpy.ma.core._mareconstruct": make_masked,
    "numpy.random._pickle.__bit_generator_ctor": _bit_generator,
    "numpy.random._pickle.__generator_ctor": _of_bits("numpy.random.Generator"),
    "numpy.random._pickle.__randomstate_ctor": _of_bits("numpy.random.RandomState"),
    "numpy.random.bit_generator.__pyx_unpickle_SeedSequence": _unpickled(
        "numpy.random.bit_generator.SeedSequence"
    ),
    "pandas.StringDtype": _string_dtype,
    "pandas.core.indexes.base._new_Index": _index,
    "pyarrow.lib._restore_array": _arrow_array,
    "pyarrow.lib.py_buffer": _arrow_buffer,
    "pyarrow.lib.type_for_alias": _arrow_type,
    "re._compile": make_pattern,
    "sklearn._loss._loss.__pyx_unpickle_CyHalfMultinomialLoss": _unpickled(
        "sklearn._loss._loss.CyHalfMultinomialLoss"
    ),
    "sklearn.metrics._dist_metrics.newObj": _of_class("sklearn.metrics._dist_metrics."),
    "sklearn.neighbors._ball_tree.newObj": _of_class("sklearn.neighbors._ball_tree.BallTree"),
    "sklearn.neighbors._kd_tree.newObj": _of_class("sklearn.neighbors._kd_tree.KDTree"),
    "sklearn.tree._tree.Tree": _tree,
    **{key: _of_numbers(key) for key in trusted_names.keys(trusted_names.OF_NUMBERS)},
    **{old: _old_loss(key) for old, key in trusted_names.OLD_LOSSES.items()},
    **VALUES,
}
