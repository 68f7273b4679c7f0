"""Pickles that honest libraries never write, each with a canary: a folder that it would create."""

import copyreg
import functools
import io
import operator
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import Bunch

X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
Y = [0, 0, 1, 1]


class Fires:
    """An object that calls anything when it is unpickled."""

    def __init__(self, func: Any, *args: Any, state: Any = None) -> None:
        self.reduced = (func, args) if state is None else (func, args, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


class FiresEx(Fires):
    """The same, by `__reduce_ex__`."""

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return self.reduced


def dumped(obj: Any, **options: Any) -> bytes:
    """Return the bytes that joblib writes."""
    buffer = io.BytesIO()
    joblib.dump(obj, buffer, **options)
    return buffer.getvalue()


def fitted(**attributes: Any) -> Any:
    """Return a fitted classifier with other attributes."""
    model = LogisticRegression().fit(X, Y)
    vars(model).update(attributes)
    return model


def objects(path: str) -> np.ndarray:
    """Return an array of objects that holds a canary."""
    array = np.empty(2, dtype=object)
    array[:] = [1, Fires(os.mkdir, path)]
    return array


# Hand-written opcodes.


def text(value: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(value.encode())) + value.encode()


def glob(module: str, name: str) -> bytes:
    return text(module) + text(name) + pickle.STACK_GLOBAL


def call(module: str, name: str, *args: bytes) -> bytes:
    return glob(module, name) + b"(" + b"".join(args) + b"tR"


def whole(body: bytes, protocol: int = 4) -> bytes:
    return pickle.PROTO + bytes([protocol]) + body + b"."


LINE = ("sklearn.linear_model._base", "LinearRegression")
MADE = glob(*LINE) + b")\x81"  # an estimator without attributes


def built(state: bytes, inst: bytes = MADE) -> bytes:
    return whole(inst + state + b"b")


def attributes(*pairs: tuple[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(k) + v for k, v in pairs) + b"u"


def dtype_state(kind: str, flags: int, fields: bool = False, size: int = -1) -> bytes:
    """Return a dtype whose flags say that it holds no object."""
    dtype = call("numpy", "dtype", text(kind), b"\x89", b"\x88")
    inner = call("numpy", "dtype", text("O8"), b"\x89", b"\x88")
    names = text("a") + b"\x85" if fields else b"N"
    parts = b"}(" + text("a") + inner + b"K\x00\x86u" if fields else b"N"
    sizes = pickle.BININT + struct.pack("<i", size)
    state = b"(K\x03" + text("|") + b"N" + names + parts + sizes * 2
    return dtype + state + b"K" + bytes([flags]) + b"tb"


def pointers(dtype: bytes) -> bytes:
    """Return eight bytes that would be taken for the address of an object."""
    content = b"C\x08" + b"\x41" * 8
    shape = b"K\x01\x85"
    return whole(call("numpy._core.numeric", "_frombuffer", content, dtype, shape, text("C")))


def header(shape: bytes, dtype: str = "f8", subclass: bytes = glob("numpy", "ndarray")) -> bytes:
    """Return joblib's header of an array, without the array."""
    state = attributes(
        ("subclass", subclass),
        ("shape", shape),
        ("order", text("C")),
        ("dtype", call("numpy", "dtype", text(dtype), b"\x89", b"\x88")),
        ("allow_mmap", b"\x88"),
    )
    return whole(glob("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81" + state + b"b")


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def scaler_with(func: Any, **arguments: Any) -> Any:
    return make_pipeline(FunctionTransformer(func, kw_args=arguments or None), StandardScaler())


def instance(path: str) -> bytes:
    """Return protocol 0's own opcode: a class and arguments in one."""
    return b"(V" + path.encode() + b"\niposix\nmkdir\n."


def tree_with(field: str, value: int) -> Any:
    """Return a decision tree that points out of its own arrays."""
    model = DecisionTreeClassifier().fit(X, Y)
    kind, args, state = model.tree_.__reduce__()
    nodes = state["nodes"].copy()
    nodes[field][0] = value
    model.tree_ = Fires(kind, *args, state=state | {"nodes": nodes})
    return model


def mkdir(path: str) -> bytes:
    return call("posix", "mkdir", text(path))


# Each takes a path: a folder of that name proves that foreign code ran.
OBJECTS: dict[str, Callable[[str], Any]] = {
    "a call": lambda p: Fires(os.mkdir, p),
    "a call by reduce_ex": lambda p: FiresEx(os.mkdir, p),
    "os.system": lambda p: Fires(os.system, f"mkdir {p}"),
    "eval": lambda p: Fires(eval, f"__import__('os').mkdir({p!r})"),
    "exec": lambda p: Fires(exec, f"__import__('os').mkdir({p!r})"),
    "an import": lambda p: Fires(__import__, "wsgiref.util"),
    "in a list": lambda p: [Fires(os.mkdir, p)],
    "in a dictionary": lambda p: {"model": Fires(os.mkdir, p)},
    "a key of a dictionary": lambda p: {Fires(os.mkdir, p): 1},
    "in a set": lambda p: {Fires(os.mkdir, p)},
    "in a tuple": lambda p: (1, (2, Fires(os.mkdir, p))),
    "in an array of objects": objects,
    "in an attribute": lambda p: fitted(coef_=Fires(os.mkdir, p)),
    "in an array in an attribute": lambda p: fitted(coef_=objects(p)),
    "in an array in an array": lambda p: fitted(coef_=np.array([[objects(p)], None], dtype=object)),
    "in a step": lambda p: make_pipeline(StandardScaler(), fitted(classes_=Fires(os.mkdir, p))),
    "in a bunch": lambda p: fitted(extra_=Bunch(a=Fires(os.mkdir, p))),
    "as the reconstructor's class": lambda p: Fires(copyreg._reconstructor, os.mkdir, p, None),
    "as the reconstructor's base": lambda p: Fires(
        copyreg._reconstructor, LinearRegression, os.mkdir, p
    ),
    "with a state": lambda p: Fires(LinearRegression, state={"a": Fires(os.mkdir, p)}),
    "a transformer's function": lambda p: scaler_with(os.mkdir),
    "a transformer's function with arguments": lambda p: scaler_with(np.memmap, mode="w+"),
    "a transformer that loads": lambda p: scaler_with(joblib.load),
    "a transformer that reads": lambda p: scaler_with(np.genfromtxt),
    "a transformer that applies": lambda p: scaler_with(np.apply_along_axis, func1d=os.mkdir),
    "a target's function": lambda p: TransformedTargetRegressor(LinearRegression(), func=os.mkdir),
    "a scorer's function": lambda p: GridSearchCV(fitted(), {}, scoring=make_scorer(os.mkdir)),
    "an analyzer": lambda p: CountVectorizer(analyzer=os.listdir),
    "a vectorizer of files": lambda p: CountVectorizer(input="filename").fit([__file__]),
    "a memory on disk": lambda p: make_pipeline(
        StandardScaler(), fitted(), memory=joblib.Memory(p, verbose=0)
    ),
    "a memmap": lambda p: Fires(np.memmap, p, "b", "w+", 0, (1,)),
    "fromfile": lambda p: Fires(np.fromfile, p),
    "numpy.load": lambda p: Fires(np.load, p, None, True),
    "joblib.load": lambda p: Fires(joblib.load, p),
    "getattr": lambda p: Fires(getattr, fitted(), "fit"),
    "vars": lambda p: Fires(vars, fitted()),
    "a partial": lambda p: Fires(functools.partial, os.mkdir, p),
    "a partial of what is listed": lambda p: Fires(functools.partial, np.log1p),
    "a methodcaller": lambda p: Fires(operator.methodcaller, "fit", p),
    "an attrgetter": lambda p: Fires(operator.attrgetter, "__class__"),
    "an estimator called": lambda p: Fires(FunctionTransformer, os.mkdir),
    "an honest estimator called": lambda p: Fires(LogisticRegression),
    "a listed function called": lambda p: Fires(np.log1p, 1.0),
    "a type called": lambda p: Fires(str, "a"),
    "bytes without end": lambda p: Fires(bytes, 10**13),
    "a bytearray without end": lambda p: Fires(bytearray, 10**13),
    "an array of another kind": lambda p: Fires(
        np._core.multiarray._reconstruct, np.memmap, (0,), b"b"
    ),
    "a generator's name": lambda p: Fires(np.random._pickle.__randomstate_ctor, "os"),
    "a generator's maker": lambda p: Fires(np.random._pickle.__randomstate_ctor, p, os.mkdir),
    "a method hidden": lambda p: fitted(predict=np.log1p),
    "a class kept": lambda p: fitted(coef_=LinearRegression),
    "a tree's child beyond its end": lambda p: tree_with("left_child", 10**9),
    "a tree's child before itself": lambda p: tree_with("right_child", 0),
    "a tree's feature beyond its own": lambda p: tree_with("feature", 10**6),
}

BYTES: dict[str, Callable[[str], bytes]] = {
    "a dotted name": lambda p: whole(glob("os", "path.os.mkdir") + text(p) + b"\x85R"),
    "a dotted name of a listed module": lambda p: whole(
        glob("sklearn.linear_model._base", "sp.sys.modules") + b"0N"
    ),
    "a module's name in the name": lambda p: whole(glob("sklearn", "linear_model._base.os")),
    "a name of many lines": lambda p: whole(glob("os\nERROR", "mkdir\x1b[0m" * 1000)),
    "an empty name": lambda p: whole(glob("", "os")),
    "a module": lambda p: whole(glob("sklearn", "linear_model")),
    "names that are not text": lambda p: whole(b"K\x01K\x02\x93"),
    "protocol 0": lambda p: b"cposix\nmkdir\n(V" + p.encode() + b"\ntR.",
    "Python 2's names": lambda p: (
        b"c__builtin__\napply\n(cposix\nmkdir\n(V" + p.encode() + b"\nttR."
    ),
    "INST": instance,
    "OBJ": lambda p: b"(cposix\nmkdir\nV" + p.encode() + b"\no.",
    "OBJ of what is listed": lambda p: whole(b"(" + glob(*LINE) + b"o"),
    "INST of what is listed": lambda p: b"(isklearn.linear_model._base\nLinearRegression\n.",
    "NEWOBJ with arguments": lambda p: whole(glob(*LINE) + text(p) + b"\x85\x81"),
    "NEWOBJ of an object": lambda p: whole(MADE + b")\x81"),
    "NEWOBJ_EX": lambda p: whole(glob(*LINE) + b")" + attributes(("copy_X", b"\x88")) + b"\x92"),
    "an extension": lambda p: whole(b"\x82\x01"),
    "an extension of two bytes": lambda p: whole(b"\x83\x01\x01"),
    "an extension of four bytes": lambda p: whole(b"\x84\x01\x01\x00\x00"),
    "a persistent id": lambda p: b"Pos\n.",
    "a persistent id of a value": lambda p: whole(text(p) + b"Q"),
    "a buffer from elsewhere": lambda p: whole(b"\x97", 5),
    "the state of a class": lambda p: whole(
        glob(*LINE) + b"N" + attributes(("predict", b"N")) + b"\x86b"
    ),
    "the state of a type": lambda p: whole(
        glob("builtins", "str") + attributes(("a", b"N")) + b"b"
    ),
    "the state of a function": lambda p: whole(
        glob("numpy", "mean") + attributes(("a", b"N")) + b"b"
    ),
    "slots": lambda p: built(b"N" + attributes(("__class__", b"N")) + b"\x86"),
    "a class for an attribute": lambda p: built(attributes(("__class__", glob(*LINE)))),
    "a setstate of its own": lambda p: built(attributes(("__setstate__", glob("numpy", "log1p")))),
    "attributes that are not text": lambda p: built(b"}(K\x01K\x02u"),
    "a dtype's flags": lambda p: pointers(dtype_state("O8", 0)),
    "a dtype's fields": lambda p: pointers(dtype_state("V8", 0, fields=True, size=8)),
    "a dtype's size": lambda p: pointers(dtype_state("V8", 0, size=800)),
    "a shared dtype": lambda p: whole(
        call("numpy", "dtype", text("f8"), b"\x89", b"\x89") + text("x") + b"b"
    ),
    "an array's missing bytes": lambda p: header(number(10**6) + b"\x85"),
    "an array without end": lambda p: header(number(10**15) + b"\x85"),
    "an array whose size overflows": lambda p: header(number(2**62) + number(4) + b"\x86"),
    "an array of a negative size": lambda p: header(number(-1) + b"\x85"),
    "an array of nothing without end": lambda p: header(number(10**15) + b"\x85", "V0"),
    "an array of a foreign class": lambda p: header(b"K\x01\x85", subclass=glob("posix", "mkdir")),
    "joblib's array in a file": lambda p: whole(
        glob("joblib.numpy_pickle_compat", "NDArrayWrapper")
        + b")\x81"
        + attributes(("filename", text(p)), ("subclass", b"N"))
        + b"b"
    ),
    "bytes longer than the file": lambda p: whole(b"\x96" + struct.pack("<Q", 2**40), 5),
    "a frame longer than the file": lambda p: whole(b"\x95" + struct.pack("<Q", 2**50)),
    "appended to an object": lambda p: whole(MADE + text(p) + b"a"),
    "items of an object": lambda p: whole(MADE + text(p) + b"Ns"),
    "a key that is hashed without end": lambda p: whole(
        b"K\x01" + b"2\x86" * 200 + b"0}K\x01" + b"2\x86" * 200 + b"Ns"
    ),
    "a call of an object": lambda p: whole(MADE + text(p) + b"\x85R"),
    "a call of a text": lambda p: whole(text(p) + b")R"),
}


def hostile() -> list[tuple[str, Callable[[Path], bytes]]]:
    """Return every shape in every file format: its name, and a function of a canary's path."""
    cases: list[tuple[str, Callable[[Path], bytes]]] = []
    for name, make in OBJECTS.items():
        for protocol in range(6):
            cases.append(
                (
                    f"{name}, pickle {protocol}",
                    lambda p, m=make, n=protocol: pickle.dumps(m(str(p)), protocol=n),
                )
            )
        for compress in (0, *((way, 3) for way in ("zlib", "gzip", "bz2", "lzma", "xz"))):
            way = compress[0] if isinstance(compress, tuple) else "as it is"
            cases.append(
                (
                    f"{name}, joblib {way}",
                    lambda p, m=make, c=compress: dumped(m(str(p)), compress=c),
                )
            )
    for name, make in BYTES.items():
        cases.append((name, lambda p, m=make: m(str(p))))
    return cases
