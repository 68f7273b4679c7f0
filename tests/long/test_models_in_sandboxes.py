"""A model in a sandbox gives the same bits, descriptions and refusals as in this process."""

import multiprocessing
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.base import is_classifier, is_regressor

import sweep_of_estimators
import sweep_of_functions
import sweep_of_values
from both_sides import compare
from every_estimator import TARGETS, X, estimators
from pickle_sweep import Case
from samples import chosen, sampled
from workers.scoring.request.parsed import OUTPUTS

CASES = {**sweep_of_estimators.TABLE, **sweep_of_functions.TABLE, **sweep_of_values.TABLE}
ESTIMATORS = dict(estimators())
NEITHER = "has no predict and no transform"


@pytest.fixture(scope="module", autouse=True)
def no_other_process() -> Iterator[None]:
    """Leave no sandbox behind."""
    before = {child.pid for child in multiprocessing.active_children()}
    yield
    from workers.sandbox import nursery

    nursery.close()
    assert {child.pid for child in multiprocessing.active_children()} <= before


def check_case(case: Case) -> None:
    model, rows = case.fit()
    compare(model, rows, case.refused)


def check_estimator(made: Any, kinds: int = len(TARGETS)) -> None:
    """Compare the estimator fitted to each kind of target that it accepts, or to the first ones."""
    fits = 0
    supervised = is_classifier(made) or is_regressor(made)
    for target in TARGETS.values():
        if is_regressor(made) and np.asarray(target).dtype.kind in "UO":
            continue  # a few accept it, and then cannot predict
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                model = made.__class__(**made.get_params(deep=False)).fit(X, target)
            except (ValueError, TypeError, AttributeError, IndexError, NotImplementedError):
                continue  # not a target for this estimator
            able = any(callable(getattr(model, m, None)) for m in ("predict", "transform"))
        answers = compare(model, X, None if able else NEITHER)
        assert answers or not supervised
        fits += 1
        if fits == kinds or not supervised:
            break
    assert fits or not any(hasattr(made, method) for method in OUTPUTS)


@pytest.mark.parametrize("case", sampled(CASES, 12, __file__))
def test_a_model_of_the_sweep(case: Case) -> None:
    check_case(case)


@pytest.mark.parametrize("number", sorted(chosen(len(ESTIMATORS), 8, __file__)))
def test_an_estimator_with_one_kind_of_target(number: int) -> None:
    check_estimator(list(ESTIMATORS.values())[number], kinds=1)


@pytest.mark.long
@pytest.mark.parametrize("made", ESTIMATORS.values(), ids=ESTIMATORS)
def test_every_estimator(made: Any) -> None:
    check_estimator(made)
