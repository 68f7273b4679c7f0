"""Walk over everything that a loaded model reaches, after loading has ended.

A pickle may give an object a checked state and change it afterwards, so the decisive checks run
here, on the final objects: `roles` for what is called, `shapes` and `trees` for arrays. The walk is
iterative, because the pickle decides how deep a model is nested.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Collection
from typing import Any

from mlsys.safe_pickle import left_out, roles, shapes, trees
from mlsys.safe_pickle.functions import is_function
from mlsys.safe_pickle.handles import Handle, StandIn, UnsafePickle, need

DEPTH = 100  # of estimators in estimators
REPEATS = 100  # how often an estimator may be used through others, on average
SPREAD = 4  # members that nested containers may expand to, per member in the file
FREE = 1_000_000  # members that any container may expand to
RANGE = 1_000_000


def check(model: Any, trusted: Collection[type] = ()) -> None:
    """Refuse a loaded model that would call, read or allocate what no fitted estimator does.

    Objects of the classes in `trusted` may be anything; their contents are still walked.

    Raises:
        UnsafePickle: the message says what is wrong.
    """
    free = frozenset(trusted)
    walk = _Walk(free)
    walk.run(model)
    _bounded(walk.contents, walk.calls)


class _Walk:
    def __init__(self, free: frozenset[type]) -> None:
        self.free = free
        self.kept: list[Any] = []  # keeps ids unique
        self.left_out = False
        self.bunches: list[Any] = []  # those that may hold only data
        self.contents: dict[int, list[int]] = {}  # of containers: the containers inside
        self.calls: dict[int, list[int]] = {}  # of estimators: the estimators they call

    def run(self, model: Any) -> None:
        seen: set[int] = set()
        left = [model]
        instances = []
        while left:
            value = left.pop()
            if id(value) in seen or type(value) in LEAVES:
                continue
            seen.add(id(value))
            self.kept.append(value)
            inside = self.inside(value)
            left += inside
            self.bunches += self.bunches_of(value, inside)
            if type(value) not in CONTAINERS and not isinstance(value, type) and _has_dict(value):
                instances.append(value)
        for value in instances:
            if type(value) in self.free or not _ours(type(value)):
                continue
            roles.check(value, self.free)
            if self.left_out:
                left_out.check(value)
            self.calls[id(value)] = [id(e) for e in roles.called(value)]
        self.check_bunches()
        for value in self.kept:
            if type(value) not in self.free:
                shapes.check(value)
        for value in instances:  # after all arrays have been checked
            if type(value) not in self.free:
                trees.check(value, self.free)

    def inside(self, value: Any) -> list[Any]:
        """Return the object's contents, and check that such an object is allowed at all."""
        kind = type(value)
        if kind is StandIn:
            self.left_out = self.left_out or bool(value.key)
            return []
        if kind is Handle:
            raise UnsafePickle(f"keeps `{value.key}` itself, not an object of it")
        if isinstance(value, type | types.ModuleType):  # SciPy's splines keep NumPy itself
            return []
        if kind in CONTAINERS or isinstance(value, dict):
            held = list(value.values()) if isinstance(value, dict) else list(value)
            if isinstance(value, dict):
                held += [k for k in value if type(k) not in LEAVES]
                if kind not in PLAIN_DICTS and kind not in self.free:
                    need(not any(map(is_function, held)), "a function in a Bunch")
            self.contents[id(value)] = [id(v) for v in held if type(v) not in LEAVES]
            return held
        if kind is range:
            need(len(value) <= RANGE, "a range")
            return []
        if kind.__module__ == "pandas" and kind.__name__ == "RangeIndex":
            need(len(value) <= RANGE, "a range")
            return []
        if _is_array(value):
            if value.dtype != object:
                return []
            held = value.ravel().tolist() if value.size else []
            self.contents[id(value)] = [id(v) for v in held if type(v) not in LEAVES]
            return held
        if isinstance(value, functools.partial):
            return [*value.args, *value.keywords.values()]
        if isinstance(value, types.MethodType):
            return [value.__self__]
        if is_function(value):
            return []
        try:
            return list(vars(value).values())
        except TypeError:
            return []

    def bunches_of(self, value: Any, inside: list[Any]) -> list[Any]:
        """Return the object's Bunches in places where scikit-learn does not keep estimators."""
        if type(value) in self.free:
            return []
        if _ours(type(value)) and not isinstance(value, dict) and _has_dict(value):
            inside = [v for name, v in vars(value).items() if name != "named_estimators_"]
        return [v for v in inside if _is_bunch(v)]

    def check_bunches(self) -> None:
        """Refuse a Bunch with anything that can be called, or that scikit-learn could use.

        Its members are its attributes, so it could pass for an object with any method.
        """
        seen: set[int] = set()
        left = list(self.bunches)
        while left:
            value = left.pop()
            kind = type(value)
            if kind in LEAVES or kind is StandIn or kind in self.free or id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, dict) or kind in CONTAINERS:
                left += value.values() if isinstance(value, dict) else value
            elif _is_array(value) and value.dtype == object:
                left += value.ravel().tolist()
            elif callable(value) or _ours(kind):
                name = getattr(value, "__name__", kind.__name__)
                raise UnsafePickle(f"keeps `{name}` in a Bunch, which may hold only data")


LEAVES = frozenset((type(None), bool, int, float, complex, str, bytes, bytearray))
CONTAINERS = frozenset((list, tuple, set, frozenset))
PLAIN_DICTS = frozenset((dict,))


def _has_dict(value: Any) -> bool:
    try:
        vars(value)
    except TypeError:
        return False
    return not is_function(value) and not isinstance(value, types.ModuleType)


def _ours(kind: type) -> bool:
    return kind.__module__.startswith("sklearn.")


def _is_bunch(value: Any) -> bool:
    return isinstance(value, dict) and type(value).__module__ == "sklearn.utils._bunch"


def _is_array(value: Any) -> bool:
    import numpy as np

    return isinstance(value, np.ndarray)


def _bounded(contents: dict[int, list[int]], calls: dict[int, list[int]]) -> None:
    """Refuse containers and estimators that, shared inside one another, expand exponentially."""
    sizes = _spread(contents, None)
    limit = FREE + SPREAD * sum(len(c) + 1 for c in contents.values())
    if any(size > limit for size in sizes):
        raise UnsafePickle("holds lists inside one another that expand beyond any model's size")
    sizes = _spread(calls, DEPTH)
    if any(size > 10_000 + REPEATS * len(calls) for size in sizes):
        raise UnsafePickle("uses the same estimators inside one another more often than any model")


def _spread(edges: dict[int, list[int]], depth: int | None) -> list[int]:
    """Return how many nodes each node reaches, counted once per path.

    Raises:
        UnsafePickle: a node reaches itself, or lies deeper than `depth`.
    """
    size: dict[int, int] = {}
    level: dict[int, int] = {}
    open_: set[int] = set()
    for root in edges:
        stack = [(root, False)]
        while stack:
            node, done = stack.pop()
            if done:
                open_.discard(node)
                inner = [n for n in edges[node] if n in edges]
                size[node] = len(edges[node]) + 1 + sum(size[n] for n in inner)
                level[node] = 1 + max((level[n] for n in inner), default=0)
                if depth is not None and level[node] > depth:
                    raise UnsafePickle(f"nests estimators more than {depth} levels deep")
                continue
            if node in size:
                continue
            if node in open_:
                raise UnsafePickle("holds an object that contains itself")
            open_.add(node)
            stack.append((node, True))
            for inner_node in edges[node]:
                if inner_node in edges and inner_node not in size:
                    if inner_node in open_:
                        raise UnsafePickle("holds an object that contains itself")
                    stack.append((inner_node, False))
    return list(size.values())
