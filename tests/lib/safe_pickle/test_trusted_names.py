"""The list of names is complete, every name exists, and none is dangerous."""

import builtins
import inspect
import types
from pathlib import Path

import numpy as np
import pytest
from sklearn.utils import all_estimators

from mlsys.safe_pickle import compiled, constructors, left_out, names
from mlsys.safe_pickle.handles import resolve
from mlsys.safe_pickle.methods import BUILTIN_TYPE
from mlsys.safe_pickle.names import BIT_GENERATORS, CLASSES, NAMED, OF_NUMBERS, STAND_INS, keys
from mlsys.safe_pickle.unpickler import ARRAY, BUNCH, MANAGER, NAMES, REMAINDER

# Modules that open files, use the network, run code or resolve names.
NEVER = (
    "code", "codecs", "commands", "ctypes", "dill", "cloudpickle", "http", "importlib", "inspect",
    "io", "marshal", "multiprocessing", "nt", "ntpath", "operator", "os", "pathlib", "pickle",
    "pkgutil", "platform", "posix", "posixpath", "pty", "runpy", "shutil", "site", "socket",
    "subprocess", "sys", "tempfile", "threading", "timeit", "types", "urllib", "webbrowser",
    "joblib.memory", "numpy.f2py", "numpy.lib", "numpy.testing", "pandas.io", "sklearn.callback",
    "sklearn.datasets", "sklearn.externals", "sklearn.utils._testing", "sklearn.utils.fixes",
)  # fmt: skip
# Words that the source of an array function never needs.
WORDS = ("eval(", "exec(", "open(", "import_module", "__import__", "pickle", "subprocess", "os.")

# Functions of numbers and texts, which call nothing that a model can pass to them.
OF_THE_STANDARD_LIBRARY = frozenset(
    "builtins.abs builtins.max builtins.min builtins.sorted html.escape "
    "html.unescape re.findall re.split re.sub unicodedata.normalize".split()
)


def test_every_estimator_is_listed() -> None:
    missing = {f"{k.__module__}.{k.__name__}" for _, k in all_estimators()} - keys(CLASSES)
    assert not missing


@pytest.mark.parametrize("key", sorted(keys(CLASSES) | keys(OF_NUMBERS)))
def test_a_listed_class_exists_and_is_a_class(key: str) -> None:
    value = resolve(key)
    assert isinstance(value, type)
    assert not issubclass(value, types.ModuleType | BaseException)
    assert value.__name__ == key.rpartition(".")[2]


@pytest.mark.parametrize("key", sorted(keys(NAMED)))
def test_a_name_that_may_be_stored_is_a_type_or_a_function_of_arrays(key: str) -> None:
    value = resolve(key)
    assert callable(value) and not isinstance(value, types.ModuleType)
    if isinstance(value, type):
        assert value.__module__ in ("builtins", "numpy")
        assert not issubclass(value, np.memmap | np.ndarray)
        return
    if key in OF_THE_STANDARD_LIBRARY:
        return
    assert key.split(".")[0] in ("numpy", "pandas", "scipy", "sklearn")
    if isinstance(value, types.FunctionType):
        source = inspect.getsource(value)
        code = source.replace(inspect.getdoc(value) or "\0", "")
        body = code.split('"""')[0] + code.split('"""')[-1]
        assert not [word for word in WORDS if word in body]
        assert not {"func", "callable", "metric"} & set(inspect.signature(value).parameters)


@pytest.mark.parametrize(
    "key", sorted(set(constructors.CONSTRUCTORS) | {ARRAY, BUNCH} | set(compiled.STATES))
)
def test_every_name_that_a_function_of_ours_replaces_exists(key: str) -> None:
    if key in names.OLD_LOSSES:
        return  # an older release had this one
    assert resolve(key) is not None


@pytest.mark.parametrize("key", sorted(keys(STAND_INS)))
def test_every_stand_in_replaces_an_existing_or_removed_class(key: str) -> None:
    if key in names.GONE:
        with pytest.raises(AttributeError):
            resolve(key)
    else:
        assert isinstance(resolve(key), type)


def test_states_are_checked_only_of_listed_names() -> None:
    assert set(compiled.STATES) | set(compiled.AFTERWARDS) <= NAMES
    assert keys(BIT_GENERATORS) <= keys(CLASSES)
    assert set(names.RENAMED.values()) <= NAMES | left_out.KEYS
    assert not set(names.RENAMED) & (NAMES | left_out.KEYS)
    assert not NAMES & left_out.KEYS


def test_no_name_is_listed_twice_with_different_rights() -> None:
    tables = [keys(CLASSES), keys(NAMED), keys(STAND_INS), frozenset(constructors.CONSTRUCTORS)]
    tables += [keys(names.OBJECTS), frozenset((ARRAY, MANAGER, REMAINDER))]
    assert sum(map(len, tables)) == len(NAMES)


def test_no_name_of_a_dangerous_module_is_listed() -> None:
    # _builtin_type is replaced by a function of ours, which accepts bound methods only
    assert constructors.CONSTRUCTORS[BUILTIN_TYPE].__module__ == "mlsys.safe_pickle.methods"
    listed = NAMES - {BUILTIN_TYPE}
    assert not [k for k in listed if k.startswith(tuple(f"{m}." for m in NEVER))]
    assert all(k.count("..") == 0 and "*" not in k for k in NAMES)


def test_only_builtins_that_hold_values_are_listed() -> None:
    listed = {k.removeprefix("builtins.") for k in NAMES if k.startswith("builtins.")}
    # getattr is replaced by a function of ours, which accepts stand-ins only
    assert constructors.CONSTRUCTORS["builtins.getattr"] is not builtins.getattr
    assert listed == {
        "abs", "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "getattr",
        "int", "list", "max", "min", "object", "range", "set", "slice", "sorted", "str",
        "tuple",
    }  # fmt: skip


def test_loading_calls_only_functions_of_ours() -> None:
    for key, make in constructors.CONSTRUCTORS.items():
        assert make.__module__ in (
            "mlsys.safe_pickle.constructors",
            "mlsys.safe_pickle.arrays",
            "mlsys.safe_pickle.callables",
            "mlsys.safe_pickle.methods",
            "mlsys.safe_pickle.values",
        ), key


def test_the_list_has_no_estimator_of_scikit_learns_tests() -> None:
    assert not [k for k in NAMES if "mock" in k.lower() or "test" in k.lower()]
    assert Path(names.__file__).stat().st_size < 40_000
