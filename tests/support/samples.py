"""A sample of a table of cases for each push, the others for `make test-long`."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest


def chosen(
    number: int, count: int, file: str, kinds: Iterable[Hashable] | None = None
) -> frozenset[int]:
    """Return `count` of the numbers below `number`, and at least one of each kind.

    The choice stays the same until the content of the file changes, so that it is the same in every
    process, and no case is left out for good.
    """
    shuffled = list(range(number))
    random.Random(crc32(Path(file).read_bytes())).shuffle(shuffled)
    kind_of = list(kinds) if kinds is not None else [None] * number
    first: dict[Hashable, int] = {}
    for n in shuffled:
        first.setdefault(kind_of[n], n)
    some = list(first.values())
    others = [n for n in shuffled if n not in some]
    return frozenset(some + others[: max(0, count - len(some))])


def sampled(
    cases: Collection[Any],
    count: int,
    file: str,
    *,
    kind: Callable[[Any], Hashable] | None = None,
    ids: Iterable[str] | None = None,
) -> list[Any]:
    """Return the cases for `parametrize`, all but a sample of them marked `long`.

    Args:
        cases: values, tuples of values, `pytest.param`s, or values by their ids.
        count: the size of the sample, if no kind needs more.
        file: the test module's `__file__`: the sample changes when the module does.
        kind: returns the kind of a case; each kind is in the sample.
        ids: the cases' ids.
    """
    if isinstance(cases, Mapping):
        ids, cases = cases.keys(), cases.values()
    listed = list(cases)
    names = list(ids) if ids is not None else [None] * len(listed)
    kinds = None if kind is None else [kind(case) for case in listed]
    some = chosen(len(listed), count, file, kinds)
    return [
        _param(case, name, () if n in some else (pytest.mark.long,))
        for n, (case, name) in enumerate(zip(listed, names, strict=True))
    ]


def _param(case: Any, name: str | None, marks: tuple[Any, ...]) -> Any:
    if isinstance(case, type(pytest.param())):
        return pytest.param(*case.values, marks=(*case.marks, *marks), id=name or case.id)
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=marks, id=name)
