"""Turn a batch of input rows into output rows: ids, predictions, and the run's stamps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mlsys.frames import arrow_type
from mlsys.names import fold
from workers.inference.fast_path.choose import Route
from workers.inference.predictor import Predictor
from workers.scoring.planning.columns import Column
from workers.scoring.planning.plan import Plan

if TYPE_CHECKING:
    import pyarrow as pa


class Scorer:
    """A loaded model with the plan it follows. The same rows always give the same bytes."""

    def __init__(self, model: Any, plan: Plan, route: Route | None = None) -> None:
        self.plan = plan
        self.predictor = Predictor(model, plan.prediction_spec(), route)
        self._stamps = plan.stamps("predicted_at")
        self.schema = arrow_schema(plan.output.columns, self._stamps)

    def score(self, batch: pa.Table) -> pa.Table:
        """Return the output rows of `batch` (n rows in, n rows out, in the same order).

        Raises:
            SchemaMismatch, PredictionFailed, ModelUnusable, TryAgain: see `Predictor.predict`.
        """
        predictions = self.predictor.predict(batch)
        ids = {c.name: batch.column(c.name) for c in self.plan.ids}
        return assemble(self.schema, ids | predictions | self._stamps, batch.num_rows)


def arrow_schema(columns: Iterable[Column], constant: Iterable[str] = ()) -> pa.Schema:
    """Return the columns in Arrow's types; text constant in all rows is a dictionary of one."""
    import pyarrow as pa

    folded = {fold(name) for name in constant}

    def kind(column: Column) -> pa.DataType:
        arrow = arrow_type(column.type)
        repeats = fold(column.name) in folded and pa.types.is_string(arrow)
        return pa.dictionary(pa.int32(), arrow) if repeats else arrow

    return pa.schema([pa.field(c.name, kind(c)) for c in columns])


def assemble(schema: pa.Schema, values: Mapping[str, Any], rows: int) -> pa.Table:
    """Return a table of `rows` rows and the schema's columns, in their order.

    A column's value is an Arrow array, or one Python value for all rows; a column without a value
    is NULL. Names are compared without case, as BigQuery does.
    """
    import pyarrow as pa

    folded = {fold(name): value for name, value in values.items()}
    columns = []
    for field in schema:
        value = folded.get(fold(field.name))
        if value is None:
            columns.append(pa.nulls(rows, field.type))
        elif isinstance(value, pa.Array | pa.ChunkedArray):
            columns.append(value.cast(field.type))
        elif pa.types.is_dictionary(field.type):
            codes = pa.repeat(pa.scalar(0, field.type.index_type), rows)
            columns.append(pa.DictionaryArray.from_arrays(codes, [value]))
        else:
            columns.append(pa.repeat(pa.scalar(value, field.type), rows))
    return pa.Table.from_arrays(columns, schema=schema)
