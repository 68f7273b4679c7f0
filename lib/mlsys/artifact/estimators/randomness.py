"""Models whose predictions for the same rows differ from call to call."""

from __future__ import annotations

from typing import Any

ANSWERS_VARY = (
    "its predictions for the same rows differ from call to call, because it draws them at random. "
    "Set random_state to a number and fit it again"
)


def draws_answers(model: Any) -> bool:
    """Return whether the model draws its predictions at random: a DummyClassifier without a seed.

    Only the last estimator within pipelines and searches is checked.
    """
    from sklearn.dummy import DummyClassifier

    inner: Any = model
    outer: Any = None
    while inner is not outer:
        outer = inner
        inner = getattr(inner, "best_estimator_", inner)
        steps = getattr(inner, "steps", None)
        inner = steps[-1][1] if isinstance(steps, list) and steps else inner
    drawn = isinstance(inner, DummyClassifier) and inner.strategy in ("uniform", "stratified")
    return drawn and not isinstance(inner.random_state, int)
