"""Every estimator of scikit-learn that takes a table of numbers, and targets to fit it to."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators

from mlsys.columns.features import Feature

RANDOM = np.random.default_rng(0)
N = 40
X = pd.DataFrame(RANDOM.uniform(0.1, 1, size=(N, 4)), columns=list("abcd"))
TWO = np.where(X["a"] > 0.5, ">50K", "<=50K")
THREE = np.array(["A+", "A", "A-"])[np.arange(N) % 3]
LABELS = np.column_stack([X["a"] > 0.5, X["b"] > 0.5]).astype(int)
CLASSES = np.column_stack([np.arange(N) % 3, np.arange(N) % 2])
PRICE = X["a"] + X["b"]
PRICES = np.column_stack([PRICE, -PRICE, 2 * PRICE])
FEATURES = tuple(Feature(c, "FLOAT64", "float64") for c in X.columns)
TARGETS = {
    "zeros and ones": (X["a"] > 0.5).astype(int),
    "two classes": TWO,
    "three classes": THREE,
    "two labels": LABELS,
    "two classifications": CLASSES,
    "one value": PRICE,
    "three values": PRICES,
}
# Estimators that four columns of numbers do not fit, or that take long; each with the reason.
LEFT_OUT = {
    "MultiLabelBinarizer": "takes lists of labels",
    "DictVectorizer": "takes dictionaries",
    "HashingVectorizer": "takes text",
    "CountVectorizer": "takes text",
    "TfidfVectorizer": "takes text",
    "FeatureHasher": "takes dictionaries",
    "PatchExtractor": "takes images",
    "LabelBinarizer": "takes a target",
    "LabelEncoder": "takes a target",
    "IsotonicRegression": "takes one column",
    "KernelCenterer": "takes a kernel matrix",
}
MADE = {  # the arguments of meta-estimators
    "ClassifierChain": {"estimator": LogisticRegression()},
    "ColumnTransformer": {"transformers": [("x", StandardScaler(), ["a", "b"])]},
    "FeatureUnion": {"transformer_list": [("x", StandardScaler())]},
    "FixedThresholdClassifier": {"estimator": LogisticRegression()},
    "FrozenEstimator": None,
    "GridSearchCV": None,
    "HalvingGridSearchCV": None,
    "HalvingRandomSearchCV": None,
    "MultiOutputClassifier": {"estimator": LogisticRegression()},
    "MultiOutputRegressor": {"estimator": Ridge()},
    "OneVsOneClassifier": {"estimator": LogisticRegression()},
    "OneVsRestClassifier": {"estimator": LogisticRegression()},
    "OrthogonalMatchingPursuitCV": {"max_iter": 2},
    "OutputCodeClassifier": {"estimator": LogisticRegression(), "random_state": 0},
    "Pipeline": None,
    "RFE": {"estimator": LinearRegression()},
    "RFECV": {"estimator": LinearRegression(), "cv": 2},
    "RandomizedSearchCV": None,
    "RegressorChain": {"estimator": Ridge()},
    "SelectFromModel": {"estimator": LinearRegression()},
    "SelfTrainingClassifier": {"estimator": LogisticRegression()},
    "SequentialFeatureSelector": {"estimator": LinearRegression(), "cv": 2},
    "SparseCoder": {"dictionary": np.eye(4)},
    "StackingClassifier": {"estimators": [("x", GaussianNB())], "cv": 2},
    "StackingRegressor": {"estimators": [("x", Ridge())], "cv": 2},
    "TunedThresholdClassifierCV": {"estimator": LogisticRegression(), "cv": 2},
    "VotingClassifier": {"estimators": [("x", GaussianNB())], "voting": "soft"},
    "VotingRegressor": {"estimators": [("x", Ridge())]},
}
SMALL = {  # parameters for a quick fit
    "n_estimators": 3,
    "max_iter": 40,
    "n_components": 2,
    "n_clusters": 2,
    "n_init": 1,
    "n_quantiles": 10,
    "random_state": 0,
    "novelty": True,
    "min_samples_leaf": 2,
}


def estimators() -> Iterator[tuple[str, Any]]:
    """Yield every estimator of scikit-learn that takes a table, not fitted, with its name."""
    for name, kind in all_estimators():
        parameters = MADE.get(name, {})
        if name in LEFT_OUT or parameters is None:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # a few are deprecated
            made = kind(**parameters)
        known = made.get_params(deep=False)
        made.set_params(**{k: v for k, v in SMALL.items() if k in known and k not in parameters})
        yield name, made
