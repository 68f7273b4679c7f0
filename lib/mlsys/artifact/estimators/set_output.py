"""DataFrames between the steps of a model, as `sklearn.set_config` set them during fitting.

`set_config(transform_output="pandas")` is a setting of the process and not in the pickle;
`set_output` on an estimator is. A step that was fitted on frames needs frames: a ColumnTransformer
selects columns by name. Its `feature_names_in_` shows that the step before returned frames.
"""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from typing import Any

from mlsys.artifact.estimators.parts import parts_of
from mlsys.artifact.estimators.row_width import row_width


def restore_output(model: Any) -> bool:
    """Make each step return frames whose successor was fitted on frames of its output.

    Return whether the model has such a step.
    """
    from sklearn.pipeline import Pipeline

    restored = [_restore(part) for part in parts_of(model) if isinstance(part, Pipeline)]
    return any(restored)


def without_polars(model: Any) -> None:
    """Make steps that return polars frames return pandas ones if polars is not installed."""
    if importlib.util.find_spec("polars") is not None:
        return
    for part in parts_of(model):
        config = vars(part).get("_sklearn_output_config")
        if isinstance(config, dict) and config.get("transform") == "polars":
            config["transform"] = "pandas"


def _restore(pipeline: Any) -> bool:
    steps = [step for _, step in pipeline.steps if step is not None and step != "passthrough"]
    restored = False
    for before, after in pairwise(steps):
        names = getattr(after, "feature_names_in_", None)
        if names is None or vars(before).get("_sklearn_output_config"):
            continue
        if row_width(before) > 2 * len(names) + 10_000:  # its names would not fit into memory
            continue
        try:
            if list(before.get_feature_names_out()) == list(names):
                before.set_output(transform="pandas")
                restored = True
        except Exception:  # it cannot name its outputs, or has no set_output
            continue
    return restored
