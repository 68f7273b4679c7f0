"""Load a pickle that holds only the parts of a fitted scikit-learn model.

Three rules:

1. Only the exact names of `names` and `constructors`, and those that the settings add, are looked
   up. A module is imported only for a listed name. The dotted names of `methods` are allowed, but
   not looked up.
2. An object of a listed class is created empty and gets a state; the class is never called. Our own
   functions in `constructors` replace what must be called. Functions that estimators keep are not
   called here.
3. A state is checked (`states`) before it is set.

Python's own unpickler is the base, in its Python form, as for joblib's: there each opcode is a
method. joblib's arrays, which lie between the opcodes, are read here and not by joblib.
"""

from __future__ import annotations

import _compat_pickle
import io
import pickle
import types
from collections import OrderedDict, defaultdict
from contextvars import ContextVar
from typing import Any, ClassVar

from mlsys.safe_pickle import graph, names
from mlsys.safe_pickle import left_out as pickle_left_out
from mlsys.safe_pickle.arrays import array_bytes, settled
from mlsys.safe_pickle.constructors import CONSTRUCTORS
from mlsys.safe_pickle.forbidden_names import is_never_trusted
from mlsys.safe_pickle.handles import (
    Handle,
    Keys,
    StandIn,
    UnsafePickle,
    Untrusted,
    need,
    new,
    resolve,
)
from mlsys.safe_pickle.methods import is_bound_function
from mlsys.safe_pickle.states import put_state
from mlsys.safe_pickle.values import MANAGER, Manager

ARRAY = "joblib.numpy_pickle.NumpyArrayWrapper"
REMAINDER = "sklearn.compose._column_transformer._RemainderColsList"  # until 1.8
BUNCH = "sklearn.utils._bunch.Bunch"

CLASSES = names.keys(names.CLASSES)
NAMED = names.keys(names.NAMED)
STAND_INS = names.keys(names.STAND_INS)
OBJECTS = names.keys(names.OBJECTS)
NAMES = CLASSES | NAMED | OBJECTS | STAND_INS | {ARRAY, MANAGER, REMAINDER} | set(CONSTRUCTORS)

# The names that pickles of the context have used, for people who ask what a model is made of
used: ContextVar[set[str] | None] = ContextVar("used", default=None)

_Base: Any = pickle._Unpickler  # stubs lack its opcode methods


class _ArrayHeader:
    """The placeholder for joblib's NumpyArrayWrapper, which describes the array that follows."""


def loads(content: bytes, trusted: tuple[str, ...] = ()) -> Any:
    """Return the object of the uncompressed pickle `content`.

    `trusted` are more names, each a `module.Name`. They may be called with any arguments.

    Raises:
        UnsafePickle: it requests more than a model needs, and the request was not executed.
        Exception: nearly any, for bytes that are not a pickle.
    """
    unpickler = _Unpickler(io.BytesIO(content), len(content), frozenset(trusted))
    model = unpickler.load()
    if type(model) is Handle or isinstance(model, type):
        name = model.key if isinstance(model, Handle) else model.__qualname__
        raise UnsafePickle(
            f"holds the class {name.rpartition('.')[2]}, not a fitted model: pass the fitted object"
        )
    if type(model) is StandIn and model.key:
        raise Untrusted(model.key)
    graph.check(model, [c for c in unpickler.free.values() if isinstance(c, type)])
    return model


class _Unpickler(_Base):
    dispatch: ClassVar = dict(_Base.dispatch)

    def __init__(self, file: io.BytesIO, size: int, trusted: frozenset[str]) -> None:
        super().__init__(file)
        self._file, self._size, self._trusted = file, size, trusted
        self._resolved: dict[str, Any] = {}
        self._classes: dict[type, str] = {}  # names of the listed classes with objects
        self.free: dict[int, Any] = {}  # objects that the settings add, by id
        self._keys_left = Keys()
        self._lists: dict[int, list[Any]] = {}  # lists in place of a removed class's objects
        self._left_out = False  # whether an object has been left out
        self._work = 20_000_000  # steps that leaving objects out may take
        self._built: dict[int, Any] = {}  # objects with a state, kept so that ids stay unique

    def find_class(self, module: str, name: str) -> Any:
        """Return the name's object or placeholder for the stack.

        Raises:
            Untrusted: it is not on the list.
        """
        if self.proto < 3:
            if (module, name) in _compat_pickle.NAME_MAPPING:
                module, name = _compat_pickle.NAME_MAPPING[(module, name)]
            else:
                module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        key = f"{module}.{name}"
        key = names.renamed(key)
        if is_bound_function(key):
            _note(key)
            return Handle(key)
        listed = key in self._trusted or key in NAMES or key in pickle_left_out.KEYS
        if "." in name or not listed:
            raise Untrusted(key, nested="." in name)
        if key not in self._resolved:
            self._resolved[key] = self._look_up(key)
            _note(key)
        return self._resolved[key]

    def _look_up(self, key: str) -> Any:
        if key in self._trusted and key not in NAMES:  # listed names keep their rules
            named = resolve(key)
            own = f"{getattr(named, '__module__', '')}.{getattr(named, '__qualname__', '')}"
            if isinstance(named, types.ModuleType) or is_never_trusted(key):
                raise Untrusted(key)
            if is_never_trusted(own):  # by another name
                raise Untrusted(own)
            self.free[id(named)] = named
            return named
        if key in CONSTRUCTORS:
            return Handle(key, make=CONSTRUCTORS[key])
        if key in STAND_INS:
            return Handle(key, StandIn)
        if key in pickle_left_out.KEYS:
            self._left_out = True
            handle = Handle(key, StandIn)
            handle.left_out = key
            return handle
        if key == ARRAY:
            return Handle(key, _ArrayHeader)
        if key == REMAINDER:
            return Handle(key, list)
        if key == MANAGER:
            self._classes[Manager] = key
            return Handle(key, Manager)
        named = resolve(key)
        if key in NAMED | OBJECTS:
            return named
        self._classes[named] = key
        return Handle(key, named)

    # Opcodes that create objects.

    def load_reduce(self) -> None:
        args = self.stack.pop()
        func = self.stack[-1]
        if type(func) is Handle and func.value is StandIn:
            self.stack[-1] = StandIn(func.left_out)
        elif type(func) is Handle and func.make is not None:
            left_out = self._part_left_out(func.key, args)
            self.stack[-1] = left_out or func.make(*args)
        elif id(func) in self.free:
            self.stack[-1] = func(*args)
        else:
            raise UnsafePickle(f"calls {_shown(func)}, which no part of a model does")

    def load_newobj(self) -> None:
        args = self.stack.pop()
        cls = self.stack[-1]
        if id(cls) in self.free:
            self.stack[-1] = cls.__new__(cls, *args)
        elif type(cls) is Handle and cls.value is StandIn:
            self.stack[-1] = StandIn(cls.left_out)
        else:
            need(type(cls) is Handle and type(args) is tuple, _shown(cls))
            self.stack[-1] = made = new(cls, args)
            if cls.key == REMAINDER:
                self._lists[id(made)] = made

    def load_newobj_ex(self) -> None:
        keywords = self.stack.pop()
        args = self.stack.pop()
        cls = self.stack[-1]
        if id(cls) not in self.free:
            raise UnsafePickle(f"creates {_shown(cls)} in a way that no library does")
        self.stack[-1] = cls.__new__(cls, *args, **keywords)

    def _instantiate(self, klass: Any, args: Any) -> None:
        if id(klass) not in self.free:
            raise UnsafePickle(f"creates {_shown(klass)} in a way that no library does")
        self.append(klass(*args))

    def load_build(self) -> None:
        state = self.stack.pop()
        inst = self.stack[-1]
        if type(inst) is _ArrayHeader:
            self.stack[-1] = self._read_array(state)
        elif id(type(inst)) in self.free:
            self.stack.append(state)
            super().load_build()
        elif type(inst) is Handle or isinstance(inst, type) or id(inst) in self.free:
            raise UnsafePickle(f"changes {_shown(inst)} itself, not an object of it")
        elif id(inst) in self._lists:
            columns = state.get("data") if type(state) is dict else None
            need(type(columns) is list and not inst, "a list of columns")
            inst.extend(columns)
        elif id(inst) in self._built:
            raise UnsafePickle(f"changes {_shown(inst)} again, after its state was checked")
        elif left_out := self._part_left_out(self._classes.get(type(inst)), state):
            self._replace(inst, left_out)
        else:
            self._built[id(inst)] = inst
            put_state(inst, state, self._classes.get(type(inst)))

    # Objects with left-out parts are left out themselves.

    def _part_left_out(self, key: str | None, parts: Any) -> StandIn | None:
        if not self._left_out or key is None or not key.startswith(pickle_left_out.OF_PARTS):
            return None
        held = pickle_left_out.find(parts)
        return StandIn(held.key) if held is not None else None

    def _replace(self, inst: Any, other: Any) -> None:
        self.stack[-1] = other
        self._work -= len(self.memo)
        need(self._work >= 0, "objects of pandas")
        for place, value in self.memo.items():
            if value is inst:
                self.memo[place] = other

    # Opcodes that fill containers: built-in ones, with keys whose hash runs no code.

    def _container(self, depth: int, *kinds: type) -> None:
        """Check the container `depth` below the top of the stack, or below the last mark."""
        held = self.metastack[-1] if depth == 0 else self.stack
        inst = held[-max(depth, 1)]
        if type(inst) in kinds or id(type(inst)) in self.free:
            return
        if dict in kinds and self._classes.get(type(inst)) == BUNCH:
            return
        need(type(inst) is StandIn, _shown(inst))

    def _keys(self, keys: Any) -> None:
        need(all(map(self._keys_left.simple, keys)), "a dictionary or a set")

    def load_append(self) -> None:
        self._container(2, list)
        super().load_append()

    def load_appends(self) -> None:
        self._container(0, list)
        super().load_appends()

    def load_setitem(self) -> None:
        self._container(3, dict, OrderedDict, defaultdict)
        self._keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        self._container(0, dict, OrderedDict, defaultdict)
        self._keys(self.stack[::2])
        super().load_setitems()

    def load_additems(self) -> None:
        self._container(0, set)
        self._keys(self.stack)
        super().load_additems()

    def load_dict(self) -> None:
        self._keys(self.stack[::2])
        super().load_dict()

    def load_frozenset(self) -> None:
        self._keys(self.stack)
        super().load_frozenset()

    # Opcodes that no model has.

    def load_bytearray8(self) -> None:
        size = int.from_bytes(self.read(8), "little")
        need(size <= self._size, "a bytearray")  # before it is allocated
        content = self.read(size)
        need(len(content) == size, "a bytearray")
        self.append(bytearray(content))

    def _never(self) -> None:
        raise pickle.UnpicklingError("an opcode that no library's pickle has")

    for _code, _method in (
        (pickle.REDUCE, load_reduce),
        (pickle.NEWOBJ, load_newobj),
        (pickle.NEWOBJ_EX, load_newobj_ex),
        (pickle.BUILD, load_build),
        (pickle.APPEND, load_append),
        (pickle.APPENDS, load_appends),
        (pickle.SETITEM, load_setitem),
        (pickle.SETITEMS, load_setitems),
        (pickle.ADDITEMS, load_additems),
        (pickle.DICT, load_dict),
        (pickle.FROZENSET, load_frozenset),
        (pickle.BYTEARRAY8, load_bytearray8),
        (pickle.EXT1, _never),
        (pickle.EXT2, _never),
        (pickle.EXT4, _never),
        (pickle.PERSID, _never),
        (pickle.BINPERSID, _never),
        (pickle.NEXT_BUFFER, _never),
        (pickle.READONLY_BUFFER, _never),
    ):
        dispatch[_code[0]] = _method

    def _read_array(self, state: Any) -> Any:
        """Read the array that joblib wrote after its header; allocate no more than the file has."""
        import numpy as np

        what = "an array"
        need(type(state) is dict and {"subclass", "shape", "order", "dtype"} <= set(state), what)
        subclass, shape, dtype = state["subclass"], state["shape"], state["dtype"]
        need(type(subclass) is Handle, what)
        need(subclass.key in ("numpy.ndarray", "numpy.memmap"), what)
        need(isinstance(dtype, np.dtype) and type(shape) is tuple, what)
        dtype = settled(dtype)
        need(state["order"] in ("C", "F"), what)
        size = array_bytes(shape, dtype)
        if dtype.hasobject:
            inner = _Unpickler(self._file, self._size, self._trusted)
            array = inner.load()
            self._left_out = self._left_out or inner._left_out
            need(type(array) is np.ndarray and array.dtype == object, what)
            return array
        if state.get("numpy_array_alignment_bytes") is not None:
            self._file.seek(self._file.read(1)[0], io.SEEK_CUR)
        if size > self._size - self._file.tell():
            raise UnsafePickle(
                f"has an array of {size} bytes, which the file does not have: upload the whole file"
            )
        flat = np.empty(size // max(dtype.itemsize, 1), dtype)
        if dtype.itemsize:
            self._file.readinto(flat.view(np.uint8))
        fortran = state["order"] == "F"
        array = flat.reshape(shape[::-1]).transpose() if fortran else flat.reshape(shape)
        if dtype.isnative:
            return array
        return array.byteswap().view(dtype.newbyteorder("="))


def _note(key: str) -> None:
    if (names_used := used.get()) is not None:
        names_used.add(key)


def _shown(value: Any) -> str:
    """Return the name of an object on the stack, without calling its code."""
    if type(value) is Handle:
        return f"`{value.key}`"
    if isinstance(value, type):
        return f"`{value.__module__}.{value.__qualname__}`"
    return f"an object of `{type(value).__module__}.{type(value).__qualname__}`"
