"""Checks for models of another scikit-learn release that load here but cannot be used.

scikit-learn does not promise that a model works in another release. Two things go wrong. The
installed release reads an attribute that the model lacks, and every call raises. Or the meaning of
an attribute has changed, and the predictions are wrong. The second fault is silent, so `CHANGED`
lists the known cases: `tests/support/old_models_compare.py` compared releases 1.3 to 1.8.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from mlsys.artifact.estimators.parts import parts_of

METHODS = ("predict", "predict_proba", "decision_function", "transform", "score_samples")
TRIED = 3  # parts of each class
MAX_FEATURES = 10_000
OLDEST = (1, 9)  # the oldest release that pyproject.toml allows
WRONG = "its answers would be wrong"


def advice(releases: str) -> str:
    """Return what to do about a model that scikit-learn `releases` saved."""
    import sklearn

    train = f"Train and upload it with scikit-learn {sklearn.__version__}"
    if any(release(then) < OLDEST for then in releases.split(", ")):
        return train
    return f"{train}, or build the service's image with scikit-learn {releases}"


def differs(releases: str) -> str:
    """Return the sentence that names the saving and the installed scikit-learn releases."""
    import sklearn

    then = ascii(releases)[1:-1]
    return f"saved with scikit-learn {then}, and the service has {sklearn.__version__}"


def release(text: str) -> tuple[int, ...]:
    """Return a release's numbers for comparison; (0,) for what is not a release."""
    match = re.match(r"\d{1,4}(\.\d{1,4}){0,3}", text)
    return tuple(int(n) for n in match[0].split(".")) if match else (0,)


def unusable(model: Any, releases: str) -> str | None:
    """Return why a model saved by scikit-learn `releases` (by comma) cannot be used, or None.

    Each fitted estimator in the model is inspected, and called with made-up rows.
    """
    oldest = min(map(release, releases.split(", ")))
    tried: Counter[type] = Counter()
    for part in parts_of(model):
        if not type(part).__module__.startswith("sklearn."):
            continue
        for kinds, changed in CHANGED:
            if {k.__name__ for k in type(part).__mro__} & set(kinds):
                if (how := _safely(changed, part, oldest)) is not None:
                    return how
        tried[type(part)] += 1
        if tried[type(part)] <= TRIED and (lacking := _lacking(part)) is not None:
            return lacking
    return None


def _safely(changed: Callable[[Any, Any], str | None], part: Any, oldest: Any) -> str | None:
    try:
        return changed(part, oldest)
    except Exception:  # the state may be anything
        return None


# Attributes whose meaning has changed.


def _tree(part: Any, oldest: Any) -> str | None:
    """Check node values: until 1.3 a classification tree held counts, since 1.4 shares."""
    import numpy as np

    sums = part.tree_.value.sum(axis=2)
    if np.allclose(sums, 1):
        return None
    return f"{WRONG}: its {type(part).__name__} holds counts, which would be read as shares"


def _idf(part: Any, oldest: Any) -> str | None:
    """Check the weights: until 1.4 they were in `_idf_diag`; without `idf_` they are ignored."""
    if not part.use_idf or "idf_" in vars(part) or "_idf_diag" not in vars(part):
        return None
    return f"{WRONG}: its {type(part).__name__} would leave out the inverse document frequencies"


def _pls(part: Any, oldest: Any) -> str | None:
    """Check the coefficients: until 1.4 they were those of scaled columns."""
    import numpy as np

    if oldest >= (1, 5) or np.all(part._x_std == 1):
        return None
    return f"{WRONG}: its {type(part).__name__} has coefficients of columns that are not scaled now"


def _ada(part: Any, oldest: Any) -> str | None:
    """Check the algorithm: SAMME.R, the default until 1.5, was removed in 1.6."""
    if vars(part).get("algorithm") != "SAMME.R":
        return None
    return f"{WRONG}: its AdaBoostClassifier was fitted with algorithm='SAMME.R', which was removed"


def _logistic(part: Any, oldest: Any) -> str | None:
    """Check `multi_class`, removed in 1.8: two classes are one-versus-rest, more multinomial."""
    fitted_with, classes = vars(part).get("multi_class"), len(part.classes_)
    other = (fitted_with == "ovr" and classes > 2 and part.solver != "liblinear") or (
        fitted_with == "multinomial" and classes == 2
    )
    if not other:
        return None
    kind = type(part).__name__
    return f"{WRONG}: its {kind} was fitted with multi_class={fitted_with!r}, which was removed"


def _nmf(part: Any, oldest: Any) -> str | None:
    """Check `n_components`: "warn", the default of 1.4 and 1.5, was removed in 1.6."""
    if vars(part).get("n_components") != "warn":
        return None
    return "its NMF raises: it was fitted with n_components='warn', which was removed"


def _columns(part: Any, oldest: Any) -> str | None:
    """Check passed-through columns: until 1.3 marked by a word, since 1.4 by an estimator."""
    steps = [step for _, step, columns in part.transformers_ if len(columns)]
    if not any(isinstance(step, str) and step == "passthrough" for step in steps):
        return None
    return "its ColumnTransformer raises: it has the word 'passthrough' in place of an estimator"


CHANGED: list[tuple[tuple[str, ...], Callable[[Any, Any], str | None]]] = [
    (("DecisionTreeClassifier", "ExtraTreeClassifier"), _tree),
    (("TfidfTransformer",), _idf),
    (("_PLS",), _pls),
    (("AdaBoostClassifier",), _ada),
    (("LogisticRegression",), _logistic),
    (("NMF",), _nmf),
    (("ColumnTransformer",), _columns),
]


# Models that raise.


def _lacking(part: Any) -> str | None:
    """Return what an estimator lacks, if one of its methods raises because of it."""
    if not _fitted(part):
        return None
    for method in METHODS:
        fault = None
        try:
            if not hasattr(part, method):
                continue
        except Exception:
            continue
        for rows in _rows(part):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    getattr(part, method)(rows)
            except MemoryError:
                raise
            except Exception as exc:  # an estimator may raise anything
                fault = fault or _state_fault(exc)
                continue
            fault = None
            break
        if fault is not None:
            return f"its {type(part).__name__} raises in {method}: {fault}"
    return None


def _fitted(part: Any) -> bool:
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if not isinstance(part, BaseEstimator):
        return False
    try:
        check_is_fitted(part)
    except (NotFittedError, TypeError):
        return False
    except Exception:  # the check itself reads a missing attribute
        return True
    return True


def _rows(part: Any) -> Iterator[Any]:
    """Yield inputs of two rows for an estimator: numbers, words, its known categories, texts."""
    import numpy as np
    import pandas as pd

    try:
        count = part.n_features_in_
    except Exception:  # the attribute may be missing or broken
        count = 1
    count = count if isinstance(count, int) and 0 < count <= MAX_FEATURES else 1
    names = vars(part).get("feature_names_in_")
    known = vars(part).get("categories_")
    tables = [np.full((2, count), 0.5), np.full((2, count), "one", dtype=object)]
    if isinstance(known, list) and len(known) == count and all(len(c) for c in known):
        tables.insert(0, np.array([[c[0] for c in known]] * 2, dtype=object))
    for table in tables:
        if names is not None and len(names) == count:
            yield pd.DataFrame(table, columns=list(names))
        else:
            yield table
    yield ["one", "two"]


def _state_fault(exc: Exception) -> str | None:
    """Return an estimator's error message if its state, and not a row, is the cause."""
    message = (str(exc).splitlines() or [""])[0][:200]
    if isinstance(exc, AttributeError):
        own = type(exc.obj).__module__.startswith("sklearn.")
        name_for_step = isinstance(exc.obj, str) and exc.name in METHODS  # 'passthrough'
        return message if own or name_for_step else None
    if isinstance(exc, TypeError) and ("unexpected keyword" in message or "'NoneType'" in message):
        return message
    return None
