"""Pickle a model together with the code that it uses and no package has: a notebook's own.

pickle writes a class or a function as a name, to be imported where the file is loaded. cloudpickle
can write it as code ("by value"): so it does here with what `__main__` defines, with lambdas and
classes inside functions, and with modules that lie beside the notebook or script.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import io
import os
import site
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle

MAX_NAMES = 5  # in a message
_lock = threading.Lock()  # cloudpickle's list of modules belongs to the process


def may_need_code(content: bytes) -> bool:
    """Tell whether a pickle may refer to code that no package has. It may also be a mere word."""
    return any(name.encode() in content for name in ("__main__", *_modules_beside()))


def dumps_by_value(obj: Any) -> tuple[bytes, list[str]]:
    """Return `obj` as a pickle with its own code in it, and the names of that code.

    Raises:
        Exception: whatever its objects raise as they are asked for their state.
    """
    buffer = io.BytesIO()
    known = _distributed()
    with _lock, _by_value([name for name in _modules_beside() if name not in known]):
        pickler = _Pickler(buffer)
        pickler.dump(obj)
    return buffer.getvalue(), list(pickler.names)


def stored(names: list[str]) -> str:
    """Return the names as the subject of a sentence.

    >>> stored(["Ratio", "a lambda"])
    'Ratio, a lambda are stored'
    """
    more = len(names) - MAX_NAMES
    subject = ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
    return f"{subject} {'is' if len(names) == 1 else 'are'} stored"


class _Pickler(cloudpickle.Pickler):
    """cloudpickle's, which notes what it writes as code."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.names: dict[str, None] = {}

    def reducer_override(self, obj: Any) -> Any:
        reduced = super().reducer_override(obj)
        # A type of Python's own is reduced to two parts: how to find it.
        if isinstance(obj, FunctionType | type) and isinstance(reduced, tuple) and len(reduced) > 2:
            self.names[_name(obj)] = None
        return reduced


def _name(obj: FunctionType | type) -> str:
    """Return the name that its author gave it; of a method, the class's."""
    name = obj.__qualname__
    if obj.__name__ == "<lambda>":
        return "a lambda"
    if ".<locals>." in name:
        name = name.rpartition(".<locals>.")[2]
    module = "" if obj.__module__ in (None, "__main__") else f"{obj.__module__}."
    return module + name.partition(".")[0]


def _modules_beside() -> list[str]:
    """Return the imported modules, top-level ones, that lie beside the notebook or script."""
    main = vars(sys.modules["__main__"])
    started = [main.get("__file__"), main.get("__vsc_ipynb_file__")]
    folders = {Path(path).resolve().parent for path in started if isinstance(path, str)}
    with contextlib.suppress(OSError):  # the working directory may have been deleted
        folders.add(Path.cwd().resolve())
    beside = [
        name
        for name, module in list(sys.modules.items())
        if name != "__main__" and "." not in name and _folder(module) in folders
    ]
    if not beside:
        return []
    installed = _installed()
    return [name for name in beside if _folder(sys.modules[name]) not in installed]


@functools.cache
def _distributed() -> frozenset[str]:
    """Return the modules of installed packages, by name; an editable one lies anywhere."""
    return frozenset(importlib.metadata.packages_distributions())


def _folder(module: ModuleType | None) -> Path | None:
    """Return the folder from which a top-level module is imported."""
    try:
        paths = list(getattr(module, "__path__", ())) or [getattr(module, "__file__", None)]
        return _parent(os.path.abspath(paths[0])) if isinstance(paths[0], str) else None
    except Exception:  # a stand-in among the modules may raise anything
        return None


@functools.cache  # each upload looks at some hundred modules
def _parent(path: str) -> Path:
    return Path(path).resolve().parent


def _installed() -> set[Path]:
    """Return the folders of Python's and of installed packages, also of those in development."""
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    paths = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    for folder in map(Path, folders):
        paths.add(folder)
        for file in folder.glob("*.pth"):
            lines = file.read_text(errors="replace").splitlines()
            paths |= {folder / line for line in lines if line and not line.startswith(("#", "imp"))}
    return {path.resolve() for path in paths}


@contextlib.contextmanager
def _by_value(names: list[str]) -> Iterator[None]:
    known = cloudpickle.list_registry_pickle_by_value()
    modules = [sys.modules[name] for name in names if name not in known]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
