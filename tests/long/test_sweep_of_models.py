"""Typical models load with equal answers, or are refused with a helpful reason."""

import io
import pickle
import warnings
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import sweep_of_estimators
import sweep_of_functions
import sweep_of_values
from mlsys.artifact.loading import load_model
from mlsys.errors import ModelUnusable
from pickle_sweep import Case
from samples import sampled

METHODS = ("predict", "predict_proba", "decision_function", "transform", "score_samples")
CASES = {**sweep_of_estimators.TABLE, **sweep_of_functions.TABLE, **sweep_of_values.TABLE}


def compressed(model: Any) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(model, buffer, compress=3)
    return buffer.getvalue()


def unpack(content: bytes) -> Any:
    """Load a model as users of plain scikit-learn do."""
    return joblib.load(io.BytesIO(content))


FORMS = {"pickle": pickle.dumps, "joblib": compressed, "cloudpickle": cloudpickle.dumps}


def answers(model: Any, rows: Any) -> dict[str, Any]:
    outputs: dict[str, Any] = {}
    for name in METHODS:
        try:
            outputs[name] = getattr(model, name)(rows)
        except (AttributeError, NotImplementedError, TypeError, ValueError) as exc:
            outputs[name] = type(exc).__name__
    return outputs


def equal(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            equal(a, b)
    elif isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
    elif scipy.sparse.issparse(one):
        assert one.dtype == other.dtype and one.shape == other.shape and (one != other).nnz == 0
    elif isinstance(one, np.ndarray) and one.dtype == object:
        assert pd.DataFrame(one.reshape(len(one), -1)).equals(
            pd.DataFrame(other.reshape(len(other), -1))
        )
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)  # treats NaN as equal to NaN, and NaT to NaT
    else:
        assert one == other


def check(case: Case) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, rows = case.fit()
        for write in FORMS.values():
            content = write(model)
            if case.refused is not None:
                with pytest.raises(ModelUnusable) as caught:
                    load_model(content)
                assert case.refused in str(caught.value)
                continue
            expected, got = answers(unpack(content), rows), answers(load_model(content).model, rows)
            assert not all(type(v) is str for v in expected.values())
            for name in METHODS:
                equal(expected[name], got[name])


@pytest.mark.parametrize("case", sampled(CASES, 50, __file__, kind=lambda case: case.refused))
def test_a_model_loads_with_equal_answers_or_is_refused_with_the_reason(case: Case) -> None:
    check(case)
