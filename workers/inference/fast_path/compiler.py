"""Compile a model to turn Arrow columns into the estimator's matrix without Python strings.

`compile_model` inspects a fitted model once. The steps that take the columns themselves (encoders,
imputers, scalers, ColumnTransformers, Pipelines of them) are supported here one by one; later steps
are called unchanged, because they get the same matrix as without compiling. A column that is not
text, and a branch of a ColumnTransformer that is not supported, go to scikit-learn as the pandas
columns that it would have got anyway.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlsys.artifact.estimators.inputs import fitted_on_array
from mlsys.columns.features import UNKNOWN, Feature
from workers.inference.fast_path.blocks import hstack, to_matrix
from workers.inference.fast_path.encoders import (
    Lookup,
    encode,
    is_text,
    lookups,
    missing_value,
)
from workers.inference.fast_path.model import Batch, Compiled, Node
from workers.inference.fast_path.scikit import (
    NotCompiled,
    check_names,
    check_output,
    is_plain_passthrough,
    known,
    name_of,
    steps_of,
)

if TYPE_CHECKING:
    pass


def compile_model(model: Any, features: Sequence[Feature]) -> Compiled | str:
    """Return the model in a form that takes Arrow columns, or why it has none."""
    compiler = _Compiler({f.name: f for f in features})
    try:
        estimator, head = compiler.model(model)
    except NotCompiled as exc:
        return str(exc)
    except Exception as exc:  # a model may have any form; whether it predicts is seen elsewhere
        return f"{type(exc).__name__} while its steps were inspected"
    if not compiler.gains:
        return compiler.reasons[0] if compiler.reasons else "nothing to gain"
    text = {f.name for f in features if is_text(f)}
    return Compiled(estimator, tuple(features), frozenset(text - compiler.framed), head)


class _Compiler:
    """Makes nodes, and records what they need."""

    def __init__(self, features: dict[str, Feature]) -> None:
        self.features = features
        self.framed: set[str] = set()  # features that a step gets as pandas columns
        self.gains = False
        self.reasons: list[str] = []

    def model(self, model: Any) -> tuple[Any, Node]:
        """Return the last step, and the node that feeds it."""
        from sklearn.model_selection import GridSearchCV, RandomizedSearchCV

        names = list(self.features)
        on_array = fitted_on_array(model)
        if type(model) in (GridSearchCV, RandomizedSearchCV):
            model = model.best_estimator_  # _search.BaseSearchCV.predict and its like
        *steps, estimator = steps_of(model)
        if not hasattr(estimator, "predict") and not hasattr(estimator, "transform"):
            raise NotCompiled(f"the last step is {estimator!r}")
        if on_array:
            return estimator, _then(self.numbers(names), steps)
        if steps:
            return estimator, self.chain(steps, names)
        if type(estimator) not in known()["estimators"]:
            raise NotCompiled(f"{name_of(estimator)} gets the columns themselves")
        if getattr(estimator, "_preprocessor", None) is not None:
            raise NotCompiled(f"{name_of(estimator)} encodes columns itself")
        check_names(estimator, names)
        return estimator, self.numbers(names)

    def chain(self, steps: Sequence[Any], names: Sequence[str]) -> Node:
        """Compile the steps up to the first matrix; later ones are called unchanged."""
        if not (steps := [s for s in steps if s is not None and s != "passthrough"]):
            raise NotCompiled("a Pipeline has no steps")
        first, *rest = steps
        kind = type(first)
        classes = known()
        if kind is classes["columns"]:
            node = self.columns(first, names)
        elif kind in classes["encoders"]:
            node = self.encoder(first, names, [None] * len(names))
            check_names(first, names)
        elif kind is classes["imputer"] and all(is_text(self.features[n]) for n in names):
            if not rest or type(rest[0]) not in classes["encoders"]:
                raise NotCompiled("SimpleImputer passes strings to a step that is not an encoder")
            node = self.encoder(rest.pop(0), names, self.fills(first, names))
        elif kind in classes["numeric"] and is_plain_passthrough(first):
            check_output(first)
            check_names(first, names)
            if getattr(getattr(first, "_fit_dtype", None), "hasobject", False):
                raise NotCompiled(f"{name_of(first)} was fitted on objects")
            node = _then(self.numbers(names), [first])
        else:
            raise NotCompiled(f"{name_of(first)} gets the columns themselves")
        return _then(node, rest)

    def numbers(self, names: Sequence[str]) -> Node:
        """Return the node for columns that are all numbers."""
        for name in names:
            feature = self.features[name]
            if feature.type not in ("INT64", "FLOAT64") or feature.dtype not in (
                *("int64", "float64", "float32", UNKNOWN),
            ):
                raise NotCompiled(f"{name} is {feature.type} as {feature.dtype}")
        self.gains = True
        return lambda batch: batch.numbers(names)

    def encoder(self, encoder: Any, names: Sequence[str], fills: Sequence[str | None]) -> Node:
        """Return the node for a OneHotEncoder or an OrdinalEncoder."""
        check_output(encoder)
        if encoder.n_features_in_ != len(names):
            raise NotCompiled(f"{name_of(encoder)} was fitted on other columns")
        column_lookups = lookups(encoder, [self.features[n] for n in names], fills)
        self.gains = True

        def node(batch: Batch) -> Any:
            columns = [
                functools.partial(look.codes, batch.text[look.name])
                if isinstance(look, Lookup)
                else functools.partial(look.codes, batch.frame([look.name]))
                for look in column_lookups
            ]
            return encode(encoder, columns, batch.rows)

        return node

    def fills(self, imputer: Any, names: Sequence[str]) -> list[str]:
        """Return what an imputer of strings puts for a NULL, by column."""
        check_output(imputer)
        check_names(imputer, names)
        statistics = list(imputer.statistics_)
        missing = imputer.missing_values
        if imputer.add_indicator or imputer._fit_dtype.kind != "O":
            raise NotCompiled("SimpleImputer does more with strings than fill in")
        if not isinstance(missing, float) or missing == missing:
            raise NotCompiled(f"SimpleImputer takes {missing!r} for missing")
        if any(missing_value(self.features[n]) is None for n in names):
            raise NotCompiled("SimpleImputer fills NaN, and missing values are None")
        if not all(isinstance(value, str) for value in statistics):
            raise NotCompiled("SimpleImputer drops a column")
        return [str(value) for value in statistics]

    def columns(self, transformer: Any, names: Sequence[str]) -> Node:
        """Return the node for a ColumnTransformer."""
        check_output(transformer)
        if not hasattr(transformer, "feature_names_in_"):
            raise NotCompiled("ColumnTransformer was fitted on an array")
        branches: list[tuple[Node, float | None]] = []
        for _, step, columns, weight in transformer._iter(
            fitted=True, column_as_labels=True, skip_drop=True, skip_empty_columns=True
        ):
            wanted = [columns] if isinstance(columns, str) else list(columns)
            if not set(wanted) <= set(names):
                raise NotCompiled("ColumnTransformer was fitted on other columns")
            branches.append((self.branch(step, columns, wanted), weight))

        def node(batch: Batch) -> Any:
            blocks = []
            for branch, weight in branches:
                block = branch(batch)
                blocks.append(block if weight is None else to_matrix(block) * weight)
            return hstack(transformer, blocks, batch.rows)

        return node

    def branch(self, step: Any, columns: Any, names: Sequence[str]) -> Node:
        """Return the node for one branch: compiled, or with its part of the frame."""
        from sklearn.utils import _safe_indexing

        if not isinstance(columns, str):  # a single name means a Series
            gained = self.gains
            try:
                return self.chain(steps_of(step), names)
            except NotCompiled as exc:
                self.gains = gained
                self.reasons.append(str(exc))
        self.framed |= set(names)
        return lambda batch: step.transform(_safe_indexing(batch.frame(names), columns, axis=1))


def _then(node: Node, steps: Sequence[Any]) -> Node:
    """Return `node` followed by steps, which get the same matrices as without compiling."""
    if not steps:
        return node
    return lambda batch: functools.reduce(
        lambda X, step: step.transform(X), steps, to_matrix(node(batch))
    )
