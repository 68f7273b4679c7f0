"""Models of listed names that would make scikit-learn run foreign code are refused before use."""

from __future__ import annotations

import pickle
import re
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
from scipy.sparse import csr_matrix
from scipy.spatial.distance import seuclidean
from sklearn._loss.loss import HalfTweedieLoss
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestRegressor,
    VotingRegressor,
)
from sklearn.feature_selection import RFE
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as K
from sklearn.linear_model import LassoLars, PoissonRegressor, Ridge, TweedieRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    PolynomialFeatures,
    SplineTransformer,
    StandardScaler,
)
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeRegressor

import hostile_callees
from hostile_models import ROWS, THREE, TWO, VALUES, changed, hostile, line, writer
from mlsys.artifact.loading import load_model
from mlsys.errors import ModelUnusable
from mlsys.safe_pickle import graph

HOSTILE = hostile()


def test_the_corpus_has_enough_hostile_models() -> None:
    assert len(HOSTILE) >= 60


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in HOSTILE])
def test_a_hostile_model_is_refused(make: Any, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = make(str(tmp_path / "canary"))
    start = time.process_time()
    with pytest.raises(ModelUnusable, match=r"^m/v1/model\.pkl ") as caught:
        load_model(content, "m/v1/model.pkl", max_bytes=1 << 24)
    assert time.process_time() - start < 2
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000
    assert not list(tmp_path.iterdir())


def test_without_the_walk_a_model_of_listed_names_writes_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The walk refuses the same bytes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(graph, "check", lambda model, trusted: None)
    model = load_model(pickle.dumps(writer())).model
    with pytest.raises(AttributeError):
        model.predict(ROWS)  # the file counts, not the answer
    assert (tmp_path / "7.0").read_bytes() == bytes(8)


def loaded(model: Any) -> Any:
    return load_model(pickle.dumps(model)).model


def test_without_the_walk_a_models_stored_callables_are_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the walk a metric writes, a type answers, and a kernel is called 4,096 times."""
    monkeypatch.setattr(graph, "check", lambda model, trusted: None)
    writer_ = loaded(hostile_callees.distances(np.add, out=np.zeros(4)))
    with pytest.raises(ValueError, match="sequence"):
        writer_.transform(ROWS)
    assert writer_.effective_metric_params_["out"].any()
    assert type(loaded(changed(line(), predict_proba=np.str_)).predict_proba(ROWS)) is np.str_
    wide = loaded(hostile_callees.clipped(a_min=np.zeros((50, 1, 1)), a_max=1))
    assert wide.transform(ROWS).shape == (50, *ROWS.shape)

    calls = []

    def call(*args: Any, **options: Any) -> Any:
        calls.append(args)
        return np.ones((30, 30))

    kernel = loaded(hostile_callees.gaussian(hostile_callees.repeated(K.Sum, 12)))
    monkeypatch.setattr(K.RBF, "__call__", call)
    kernel.predict(ROWS)
    assert len(calls) == 2**12


def zero_vectors() -> Any:
    return SVR(epsilon=100.0).fit(csr_matrix(ROWS), VALUES)


HONEST = {
    "a cache on disk": lambda: Pipeline([("r", Ridge())], memory="cache").fit(ROWS, VALUES),
    "no support vectors": zero_vectors,
    "reshaped": lambda: FunctionTransformer(np.reshape, kw_args={"shape": (-1, 2)}).fit(ROWS),
    "boosting from a pipeline": lambda: GradientBoostingRegressor(
        n_estimators=2, init=make_pipeline(StandardScaler(), Ridge())
    ).fit(ROWS, VALUES),
    "isolation over half the columns": lambda: IsolationForest(
        n_estimators=3, max_features=0.5
    ).fit(ROWS),
    "rare categories, the first dropped": lambda: OneHotEncoder(max_categories=2, drop="first").fit(
        [["a"]] * 3 + [["b"], ["c"]]
    ),
    "a getter of a step": lambda: RFE(
        make_pipeline(StandardScaler(), Ridge()), importance_getter="named_steps.ridge.coef_"
    ).fit(ROWS, VALUES),
    "powers of products alone": lambda: PolynomialFeatures(
        (2, 3), interaction_only=True, include_bias=False
    ).fit(ROWS),
    "splines of a period": lambda: SplineTransformer(
        extrapolation="periodic", include_bias=False
    ).fit(ROWS),
    "an encoder of short texts": lambda: changed(OneHotEncoder().fit([["a"]]), dtype="S10"),
    "distances with arguments": lambda: KNeighborsRegressor(
        metric="minkowski", p=3, metric_params={"w": np.ones(4)}
    ).fit(ROWS, VALUES),
    "distances by a function with arguments": lambda: KNeighborsRegressor(
        algorithm="brute", metric=seuclidean, metric_params={"V": np.ones(4)}
    ).fit(ROWS, VALUES),
    "a process of a kernel with arguments": lambda: GaussianProcessRegressor(
        K.PairwiseKernel(metric="polynomial", pairwise_kernels_kwargs={"degree": 2}), optimizer=None
    ).fit(ROWS, VALUES),
    "a parameter that the class names, too": lambda: LassoLars(positive=True).fit(ROWS, VALUES),
    "bounds by column": lambda: FunctionTransformer(
        np.clip, kw_args={"a_min": [0.0] * 4, "a_max": np.ones((1, 4))}
    ).fit(ROWS),
    "neighbours of sparse rows": lambda: KNeighborsRegressor().fit(csr_matrix(ROWS), VALUES),
    "an attribute of one's own": lambda: changed(line(), note_={"trained": "today"}),
    "what it was trained on": lambda: changed(line(), data_=load_iris(), link="a", loss_=[0.5]),
    "regression of counts": lambda: PoissonRegressor().fit(ROWS, VALUES),
    "regression by powers": lambda: TweedieRegressor(power=0).fit(ROWS, VALUES),
    "boosting by a loss of its own": lambda: HistGradientBoostingRegressor(
        loss=HalfTweedieLoss(power=1.2), max_iter=2
    ).fit(ROWS, VALUES),
    "boosting of three classes": lambda: GradientBoostingClassifier(n_estimators=2).fit(
        ROWS, THREE
    ),
    "boosting by Huber's loss": lambda: GradientBoostingRegressor(loss="huber", n_estimators=2).fit(
        ROWS, VALUES
    ),
    "boosting by the exponential loss": lambda: GradientBoostingClassifier(
        loss="exponential", n_estimators=2
    ).fit(ROWS, TWO),
    "votes": lambda: VotingRegressor([("a", Ridge()), ("b", Ridge())]).fit(ROWS, VALUES),
}


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in HONEST.items()])
def test_an_unusual_honest_model_loads(make: Any) -> None:
    loaded = load_model(pickle.dumps(make())).model
    assert vars(loaded).get("memory") is None


def test_a_parameter_value_of_an_older_release_is_kept() -> None:
    model = changed(line(), positive="auto")
    with pytest.raises(ModelUnusable, match="'positive' parameter"):
        load_model(pickle.dumps(model))
    content = pickle.dumps(model).replace(sklearn.__version__.encode(), b"1.3.2")
    assert load_model(content).model.positive == "auto"


class Start(Ridge):
    """A class that a team trusts by MLSYS_TRUSTED_GLOBALS."""


class Member(DecisionTreeRegressor):
    """A team's own tree."""


def own_metric(x: Any, y: Any, alpha: float = 1.0) -> float:
    """Return a distance: a team's own metric with an argument."""
    return float(alpha * abs(x - y).sum())


def test_a_trusted_metric_may_have_its_own_arguments() -> None:
    model = KNeighborsRegressor(
        algorithm="brute", metric=own_metric, metric_params={"alpha": 2.0}
    ).fit(ROWS, VALUES)
    loaded_ = load_model(pickle.dumps(model), trusted=(f"{__name__}.own_metric",)).model
    assert np.array_equal(loaded_.predict(ROWS), model.predict(ROWS))


def test_trusted_classes_are_accepted_in_ensembles() -> None:
    boosted = GradientBoostingRegressor(n_estimators=2, init=Start()).fit(ROWS, VALUES)
    forest = RandomForestRegressor(2).fit(ROWS, VALUES)
    forest.estimators_[0] = Member().fit(ROWS, VALUES)
    for model, name in ((boosted, "Start"), (forest, "Member")):
        with pytest.raises(ModelUnusable):
            load_model(pickle.dumps(model))
        loaded = load_model(pickle.dumps(model), trusted=(f"{__name__}.{name}",)).model
        assert np.array_equal(loaded.predict(ROWS), model.predict(ROWS))


def steps(**options: Any) -> Any:
    return make_pipeline(FunctionTransformer(**options), Ridge())


def target(transformer: Any) -> Any:
    return TransformedTargetRegressor(Ridge(), transformer=transformer, check_inverse=False)


STARTS = [
    pytest.param(steps(func=np.nan_to_num, kw_args={"nan": [0.0] * 4}), "with kw_args", id="kw"),
    pytest.param(
        steps(func=partial(np.clip, a_min=0, a_max=np.ones((1, 1, 4)))),
        "`functools.partial`",
        id="more dimensions",
    ),
    pytest.param(
        steps(func=partial(np.nan_to_num, nan=[0.0] * 4)), "`functools.partial`", id="by column"
    ),
    pytest.param(steps(func=np.unique), "`unique`", id="a function of other rows"),
    pytest.param(target(SplineTransformer()), "a SplineTransformer as", id="another transformer"),
]


@pytest.mark.parametrize(("init", "reason"), STARTS)
def test_boosting_accepts_only_an_init_that_keeps_its_rows(init: Any, reason: str) -> None:
    model = GradientBoostingRegressor(n_estimators=2).fit(ROWS, VALUES)
    model.init_ = init
    if isinstance(init, TransformedTargetRegressor):
        init.regressor_ = Ridge().fit(ROWS, VALUES)
        init.transformer_ = init.transformer.fit(ROWS[:, :1])
        init._training_dim = 1
    else:
        init[-1].fit(ROWS, VALUES)
    with pytest.raises(ModelUnusable, match=re.escape(reason)) as caught:
        load_model(pickle.dumps(model))
    assert "the `init_` of a GradientBoostingRegressor" in str(caught.value)
    vars(model)["init_"] = Ridge().fit(ROWS, VALUES)
    assert load_model(pickle.dumps(model)).model.init_ is not None
