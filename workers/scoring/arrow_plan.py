"""From Arrow columns to the matrix that the estimator works on, without Python strings.

`compile_model` looks at a fitted model once. The steps that take the columns themselves (encoders,
imputers, scalers, ColumnTransformers, Pipelines of them) are known here one by one; whatever comes
behind them is called as it is, since it gets the very matrix that it would have got. A column that
is no text, and a branch of a ColumnTransformer that is not known, are given to scikit-learn as the
pandas columns that it would have been given.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsys.frames import model_columns
from mlsys.inputs import fitted_on_array
from mlsys.names import fold
from mlsys.signatures import UNKNOWN, Feature
from workers.scoring.known_steps import (
    check_names,
    check_output,
    is_plain_passthrough,
    known,
    name_of,
    steps_of,
)
from workers.scoring.leaf_order import leaf_order, put_back, reorder
from workers.scoring.lookups import (
    FallBack,
    Lookup,
    NotCompiled,
    encode,
    is_text,
    lookups,
    missing_value,
)
from workers.scoring.one_pass import answers
from workers.scoring.stacking import hstack, to_matrix

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows on their way to the model: text and floats as Arrow has them, the rest as pandas."""

    rows: int
    text: Mapping[str, pa.ChunkedArray]
    floats: Mapping[str, pa.ChunkedArray]
    series: Mapping[str, pd.Series]

    def frame(self, names: Sequence[str]) -> pd.DataFrame:
        """The part of `to_model_frame`'s frame with these columns."""
        import pandas as pd

        columns = {
            n: self.floats[n].to_pandas() if n in self.floats else self.series[n] for n in names
        }
        return pd.DataFrame(columns, copy=False)

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """What np.asarray makes of `frame(names)`: n x len(names), column after column.

        Raises:
            FallBack: they are not all numbers.
        """
        import numpy as np

        columns = [
            [chunk.to_numpy(zero_copy_only=False) for chunk in self.floats[name].chunks]
            if name in self.floats
            else [self.series[name].to_numpy()]
            for name in names
        ]
        types = {part.dtype for parts in columns for part in parts}
        if not {found.name for found in types} <= {"float64", "float32", "int64"}:
            raise FallBack("a column is not of numbers")
        # Rows first in memory, as pandas does it: the order decides how BLAS adds up.
        matrix = np.empty((len(names), self.rows), np.result_type(*types))
        for row, parts in zip(matrix, columns, strict=True):
            np.concatenate(parts, out=row)
        return matrix.T


Node = Callable[[Batch], Any]  # what a step gives for a batch; `to_matrix` is scikit-learn's form


@dataclass(frozen=True, slots=True)
class Compiled:
    """A model that takes Arrow columns."""

    estimator: Any  # the last step
    features: tuple[Feature, ...]
    arrow: frozenset[str]  # the features that need not become pandas columns
    head: Node

    def matrix(self, table: pa.Table) -> Any:
        """Return the array, or the CSR matrix, that the last step of the model gets.

        Raises:
            FallBack: this batch needs scikit-learn's own way, on which it may raise, too.
            Exception: what a step raises, or `to_model_frame`; scikit-learn's own way may as well.
        """
        import pyarrow as pa

        if not table.num_rows:
            raise FallBack("there are no rows")
        index = {fold(name): i for i, name in enumerate(table.schema.names)}
        columns = {f.name: table.column(index[fold(f.name)]) for f in self.features}
        text = {f.name: columns[f.name] for f in self.features if is_text(f)}
        if any(column.type != pa.string() for column in text.values()):
            raise FallBack("text arrives as something else")
        floats = {
            f.name: columns[f.name]
            for f in self.features
            if f.dtype == "float64" and columns[f.name].type == pa.float64()
        }
        # Columns that no step looks at, too: a value of theirs that does not fit is an error.
        rest = [f for f in self.features if f.name not in self.arrow and f.name not in floats]
        series = model_columns(table, rest)
        return to_matrix(self.head(Batch(table.num_rows, text, floats, series)))

    def answers(self, table: pa.Table, methods: Sequence[str]) -> dict[str, Any]:
        """Return what the model's methods give for the rows of `table`; raises as `matrix`."""
        X = self.matrix(table)
        order = leaf_order(self.estimator, X)
        if order is None:
            return answers(self.estimator, X, methods)
        given = answers(self.estimator, reorder(X, order), methods)
        return {method: put_back(given[method], order) for method in methods}


def compile_model(model: Any, features: Sequence[Feature]) -> Compiled | str:
    """Return the model as one that takes Arrow columns, or why it cannot be one."""
    compiler = _Compiler({f.name: f for f in features})
    try:
        estimator, head = compiler.model(model)
    except NotCompiled as exc:
        return str(exc)
    except Exception as exc:  # a model may have any form; whether it predicts is seen elsewhere
        return f"{type(exc).__name__} as its steps were looked at"
    if not compiler.gains:
        return compiler.reasons[0] if compiler.reasons else "nothing to gain"
    text = {f.name for f in features if is_text(f)}
    return Compiled(estimator, tuple(features), frozenset(text - compiler.framed), head)


class _Compiler:
    """Makes nodes, and notes what they need."""

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
        """Compile the steps up to the first matrix; those behind it are called as they are."""
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
                raise NotCompiled("SimpleImputer gives strings to something else than an encoder")
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
        """The node of columns that are all numbers."""
        for name in names:
            feature = self.features[name]
            if feature.type not in ("INT64", "FLOAT64") or feature.dtype not in (
                *("int64", "float64", "float32", UNKNOWN),
            ):
                raise NotCompiled(f"{name} is {feature.type} as {feature.dtype}")
        self.gains = True
        return lambda batch: batch.numbers(names)

    def encoder(self, encoder: Any, names: Sequence[str], fills: Sequence[str | None]) -> Node:
        """The node of a OneHotEncoder or an OrdinalEncoder."""
        check_output(encoder)
        if encoder.n_features_in_ != len(names):
            raise NotCompiled(f"{name_of(encoder)} was fitted on other columns")
        found = lookups(encoder, [self.features[n] for n in names], fills)
        self.gains = True

        def node(batch: Batch) -> Any:
            columns = [
                functools.partial(look.codes, batch.text[look.name])
                if isinstance(look, Lookup)
                else functools.partial(look.codes, batch.frame([look.name]))
                for look in found
            ]
            return encode(encoder, columns, batch.rows)

        return node

    def fills(self, imputer: Any, names: Sequence[str]) -> list[str]:
        """What an imputer of strings puts in the place of a NULL, by column."""
        check_output(imputer)
        check_names(imputer, names)
        statistics = list(imputer.statistics_)
        missing = imputer.missing_values
        if imputer.add_indicator or imputer._fit_dtype.kind != "O":
            raise NotCompiled("SimpleImputer does more with strings than fill in")
        if not isinstance(missing, float) or missing == missing:
            raise NotCompiled(f"SimpleImputer takes {missing!r} for missing")
        if any(missing_value(self.features[n]) is None for n in names):
            raise NotCompiled("SimpleImputer takes NaN for missing, and None is")
        if not all(isinstance(value, str) for value in statistics):
            raise NotCompiled("SimpleImputer drops a column")
        return [str(value) for value in statistics]

    def columns(self, transformer: Any, names: Sequence[str]) -> Node:
        """The node of a ColumnTransformer."""
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
        """The node of one branch: compiled, or given its part of the frame."""
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
    """The node of `node` with steps behind it, which get the matrices they would have got."""
    if not steps:
        return node
    return lambda batch: functools.reduce(
        lambda X, step: step.transform(X), steps, to_matrix(node(batch))
    )
