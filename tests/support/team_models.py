"""Estimators of a team's own: a sandbox imports this module, so it imports only libraries."""

import time
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
