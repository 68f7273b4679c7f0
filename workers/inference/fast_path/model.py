"""A model that takes Arrow columns, and the batches it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsys.columns.coded import decoded
from mlsys.columns.features import Feature
from mlsys.columns.frames import model_columns
from mlsys.columns.names import fold
from workers.inference.fast_path.blocks import to_matrix
from workers.inference.fast_path.encoders import is_text
from workers.inference.fast_path.leaf_order import leaf_order, put_back, reorder
from workers.inference.fast_path.one_pass import answers
from workers.inference.fast_path.scikit import FallBack

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
        """Return the part of `to_model_frame`'s frame with these columns."""
        import pandas as pd

        columns = {
            n: self.floats[n].to_pandas() if n in self.floats else self.series[n] for n in names
        }
        return pd.DataFrame(columns, copy=False)

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """Return what np.asarray makes of `frame(names)`: n x len(names), column by column.

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
        if not {dtype.name for dtype in types} <= {"float64", "float32", "int64"}:
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
            raise FallBack("the batch is empty")
        index = {fold(name): i for i, name in enumerate(table.schema.names)}
        table = decoded(table, {table.schema.names[index[fold(name)]] for name in self.arrow})
        columns = {f.name: table.column(index[fold(f.name)]) for f in self.features}
        text = {f.name: columns[f.name] for f in self.features if is_text(f)}
        forms = pa.string(), pa.dictionary(pa.int32(), pa.string())
        if any(column.type not in forms for column in text.values()):
            raise FallBack("a text column does not arrive as strings")
        floats = {
            f.name: columns[f.name]
            for f in self.features
            if f.dtype == "float64" and columns[f.name].type == pa.float64()
        }
        # Columns that no step uses, too: a value that does not fit its column is an error.
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
