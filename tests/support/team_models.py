"""Estimators of a team's own: a sandbox imports this module, so it imports only libraries."""

import os
import re
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression


class TooFew:
    """Returns one value for any number of rows."""

    n_features_in_ = 1

    def predict(self, rows: Any) -> np.ndarray:
        return np.zeros(1)


class WrongShape(BaseEstimator):
    """Returns one value for any number of rows."""

    n_features_in_ = 2

    def predict(self, X: Any) -> np.ndarray:
        return np.zeros(1)


class Broken(BaseEstimator):
    """Lacks an attribute that another release would have set."""

    n_features_in_ = 2
    feature_names_in_ = np.array(["a", "b"], dtype=object)

    def fit(self, X: Any, y: Any = None) -> "Broken":
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.full(len(X), self._fill_dtype)


class Picky(Broken):
    """Accepts only rows that nobody would make up."""

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        if (X["a"] < 1000).any():
            raise ValueError("a is too small")
        return np.zeros(len(X))


class Doubling(RegressorMixin, BaseEstimator):
    """Returns twice the first column, as integers although it is a regressor."""

    def fit(self, X: Any, y: Any = None) -> "Doubling":
        self.fitted_ = True
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        return (X.iloc[:, 0] * 2).to_numpy().astype("int64")


class Slow(LinearRegression):
    """Takes long to predict."""

    def predict(self, X: Any) -> Any:
        time.sleep(60)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _eat() -> None:
    eaten = []
    while True:
        eaten.append(np.zeros(2**24))


def _spin() -> None:
    re.match(r"(a+)+$", "a" * 60 + "b")  # does not release the interpreter's lock


ENDS: dict[str, Callable[[], Any]] = {
    "dies": _die,
    "exits": lambda: os._exit(0),
    "spins": _spin,
    "sleeps": lambda: time.sleep(3600),
    "eats memory": _eat,
}


class Ending(BaseEstimator):
    """Doubles the column a, and ends each process but the one that it was fitted in.

    `at` is the value of a that it cannot take; None: any.
    """

    def __init__(self, end: str = "dies", at: float | None = None) -> None:
        self.end = end
        self.at = at

    def fit(self, X: pd.DataFrame, y: Any = None) -> "Ending":
        self.feature_names_in_ = np.array(X.columns, dtype=object)
        self.n_features_in_ = X.shape[1]
        self.fitted_in_ = os.getpid()
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        if os.getpid() != self.fitted_in_ and (self.at is None or (X["a"] == self.at).any()):
            ENDS[self.end]()
        return (X["a"] * 2).to_numpy()


class EndingAtLoad(Ending):
    """Ends each process that loads it but the one that it was fitted in."""

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        if os.getpid() != self.fitted_in_:
            ENDS[self.end]()
