"""The table that the sweeps of models fill, and their training data."""

import contextlib
import dataclasses
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from sklearn.base import clone
from sklearn.experimental import (  # noqa: F401
    enable_halving_search_cv,
    enable_iterative_imputer,
)

N = 60
RANDOM = np.random.RandomState(0)
ROWS = RANDOM.rand(N, 4)
LABELS = np.tile([0, 1], N // 2)
THREE = np.arange(N) % 3
TARGET = ROWS @ [1, 2, 3, 4] + 0.1 * RANDOM.rand(N) + 1
FRAME = pd.DataFrame(ROWS, columns=list("abcd")).assign(s=RANDOM.choice(["x", "y"], N))


@dataclasses.dataclass(frozen=True)
class Case:
    """How to fit a model, and the text of the refusal if it does not load."""

    fit: Callable[[], tuple[Any, Any]]
    refused: str | None = None


class Table(dict[str, Case]):
    """Models by name."""

    def add(
        self, name: str, model: Any, rows: Any, target: Any = None, *,
        refused: str | None = None, routing: bool = False,
    ) -> None:  # fmt: skip
        """Add an estimator, or a function that makes it, to be fitted on the rows.

        `refused` is the refusal's text.
        """

        def fit() -> tuple[Any, Any]:
            context = sklearn.config_context(enable_metadata_routing=True)
            with context if routing else contextlib.nullcontext(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = clone(model() if inspect.isfunction(model) else model, safe=False)
                return (made.fit(rows) if target is None else made.fit(rows, target)), rows

        self.put(name, fit, refused)

    def put(
        self, name: str, fit: Callable[[], tuple[Any, Any]], refused: str | None = None
    ) -> None:
        """Add a function that returns a fitted model and rows to predict."""
        assert name not in self, name
        self[name] = Case(fit, refused)
