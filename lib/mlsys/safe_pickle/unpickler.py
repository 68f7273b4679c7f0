"""Load a pickle that is made of nothing but what a fitted scikit-learn model is made of.

Three rules, one after another:

1. Only the exact names of `names` and `constructors`, and those that the settings add, are looked
   up. A module is imported for a listed name alone. The dotted names of `methods` are admitted, but
   not looked up.
2. A listed class is made empty and given a state; it is never called. What must be called has a
   function of ours in `constructors`. Functions that estimators keep are not called here.
3. A state is looked at (`states`) before it is put in.

Python's own unpickler is the base, in its Python form, as joblib's is: there each opcode is a
method. joblib's arrays, which lie between the opcodes, are read here and not by joblib.
"""

from __future__ import annotations

import _compat_pickle
import io
import pickle
import types
from collections import OrderedDict, defaultdict
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

_Base: Any = pickle._Unpickler  # its methods of opcodes are in no stub


class _ArrayHeader:
    """In place of joblib's NumpyArrayWrapper: what it says of the array that follows."""


def loads(content: bytes, trusted: tuple[str, ...] = ()) -> Any:
    """Return the object that `content`, which is not compressed, is the pickle of.

    `trusted` are more names, each a `module.Name`. They may be called with anything.

    Raises:
        UnsafePickle: it asks for more than a model needs; nothing of that was done.
        Exception: what an unpickler raises of bytes that are no pickle: nearly anything.
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
        self._found: dict[str, Any] = {}
        self._classes: dict[type, str] = {}  # what was made of a listed class, by its class
        self.free: dict[int, Any] = {}  # what the settings add, by identity
        self._keys_left = Keys()
        self._lists: dict[int, list[Any]] = {}  # what was a class of its own
        self._left_out = False  # whether something was, so far
        self._work = 20_000_000  # steps that leaving things out may take
        self._built: dict[int, Any] = {}  # what has a state; kept, so that no id is used twice

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for the name on our stack.

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
            return Handle(key)
        listed = key in self._trusted or key in NAMES or key in pickle_left_out.KEYS
        if "." in name or not listed:
            raise Untrusted(key, nested="." in name)
        if key not in self._found:
            self._found[key] = self._look_up(key)
        return self._found[key]

    def _look_up(self, key: str) -> Any:
        if key in self._trusted and key not in NAMES:  # what is listed keeps its rules
            found = resolve(key)
            own = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
            if isinstance(found, types.ModuleType) or is_never_trusted(key):
                raise Untrusted(key)
            if is_never_trusted(own):  # by another name
                raise Untrusted(own)
            self.free[id(found)] = found
            return found
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
        found = resolve(key)
        if key in NAMED | OBJECTS:
            return found
        self._classes[found] = key
        return Handle(key, found)

    # What makes objects.

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
            raise UnsafePickle(f"calls {_told(func)}, which nothing does that a model is made of")

    def load_newobj(self) -> None:
        args = self.stack.pop()
        cls = self.stack[-1]
        if id(cls) in self.free:
            self.stack[-1] = cls.__new__(cls, *args)
        elif type(cls) is Handle and cls.value is StandIn:
            self.stack[-1] = StandIn(cls.left_out)
        else:
            need(type(cls) is Handle and type(args) is tuple, _told(cls))
            self.stack[-1] = made = new(cls, args)
            if cls.key == REMAINDER:
                self._lists[id(made)] = made

    def load_newobj_ex(self) -> None:
        keywords = self.stack.pop()
        args = self.stack.pop()
        cls = self.stack[-1]
        if id(cls) not in self.free:
            raise UnsafePickle(f"makes {_told(cls)} in a way that no library does")
        self.stack[-1] = cls.__new__(cls, *args, **keywords)

    def _instantiate(self, klass: Any, args: Any) -> None:
        if id(klass) not in self.free:
            raise UnsafePickle(f"makes {_told(klass)} in a way that no library does")
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
            raise UnsafePickle(f"changes {_told(inst)} itself, not an object of it")
        elif id(inst) in self._lists:
            columns = state.get("data") if type(state) is dict else None
            need(type(columns) is list and not inst, "a list of columns")
            inst.extend(columns)
        elif id(inst) in self._built:
            raise UnsafePickle(f"changes {_told(inst)} again, after its state was checked")
        elif left_out := self._part_left_out(self._classes.get(type(inst)), state):
            self._replace(inst, left_out)
        else:
            self._built[id(inst)] = inst
            put_state(inst, state, self._classes.get(type(inst)))

    # Objects of parts that are left out are left out themselves.

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

    # What fills containers: the built-in ones, with keys whose hash is their own.

    def _container(self, depth: int, *kinds: type) -> None:
        """Look at the container that lies `depth` below the top, or below the last mark."""
        held = self.metastack[-1] if depth == 0 else self.stack
        inst = held[-max(depth, 1)]
        if type(inst) in kinds or id(type(inst)) in self.free:
            return
        if dict in kinds and self._classes.get(type(inst)) == BUNCH:
            return
        need(type(inst) is StandIn, _told(inst))

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

    # What no model has.

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
        """Read the array that joblib wrote behind its header; allocate what is there, not more."""
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
                f"has an array of {size} bytes, which are not in the file: it was cut off or forged"
            )
        flat = np.empty(size // max(dtype.itemsize, 1), dtype)
        if dtype.itemsize:
            self._file.readinto(flat.view(np.uint8))
        fortran = state["order"] == "F"
        array = flat.reshape(shape[::-1]).transpose() if fortran else flat.reshape(shape)
        if dtype.isnative:
            return array
        return array.byteswap().view(dtype.newbyteorder("="))


def _told(value: Any) -> str:
    """The name of what stands on the stack; nothing of it is called for that."""
    if type(value) is Handle:
        return f"`{value.key}`"
    if isinstance(value, type):
        return f"`{value.__module__}.{value.__qualname__}`"
    return f"an object of `{type(value).__module__}.{type(value).__qualname__}`"
