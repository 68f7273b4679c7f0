"""Turn a batch of input rows into output rows: ids, predictions, and the run's stamps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsys.columns.arrow_types import arrow_type
from mlsys.columns.names import fold
from mlsys.errors import ModelUnusable, PredictionFailed
from mlsys.plural import plural
from workers.sandbox.client import SandboxedModel, tried_twice
from workers.sandbox.died import SandboxDied
from workers.sandbox.process import Slot
from workers.scoring.planning.columns import Column
from workers.scoring.planning.plan import Plan

if TYPE_CHECKING:
    import pyarrow as pa

MAX_DEATHS = 50  # sandboxes that a model may end in one process of a run
MAX_LATE = 3  # of them for taking too long


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to score, and the place where the model reads their features, if they are there."""

    table: pa.Table
    slot: Slot | None = None

    def halves(self) -> tuple[Batch, Batch]:
        """Return the first and the second half of the rows."""
        half = self.table.num_rows // 2
        return Batch(self.table.slice(0, half)), Batch(self.table.slice(half))


class Scorer:
    """A model in its sandbox with the plan it follows. The same rows always give the same bytes.

    A model that ends its sandbox is loaded in another one, up to `MAX_DEATHS` times.
    """

    def __init__(
        self,
        plan: Plan,
        load: Callable[[], SandboxedModel],
        model: SandboxedModel | None = None,
    ) -> None:
        """`load` loads the plan's model; `model` is one that is loaded already."""
        self.plan = plan
        self._load = load
        self._deaths = self._late = 0
        self._stamps = plan.stamps("predicted_at")
        self.schema = arrow_schema(plan.output.columns, self._stamps)
        self._open(model)

    def put(self, table: pa.Table) -> Batch:
        """Copy the rows to where the model reads them, while it may be at work on others."""
        return Batch(table, self.predictor.put(table))

    def score(self, batch: Batch) -> pa.Table:
        """Return the output rows of `batch` (n rows in, n rows out, in the same order).

        Raises:
            SchemaMismatch, PredictionFailed, ModelUnusable, TryAgain: see `predict`.
        """
        predictions = self.predict(batch)
        ids = {c.name: batch.table.column(c.name) for c in self.plan.ids}
        return assemble(self.schema, ids | predictions | self._stamps, batch.table.num_rows)

    def predict(self, batch: Batch) -> dict[str, Any]:
        """Return the predictions for the rows of `batch`: an Arrow array for each column.

        Raises:
            SchemaMismatch, PredictionFailed, ModelUnusable: see `Predictor.predict`.
            PredictionFailed: the model ended its sandbox with these rows.
            ModelUnusable: it has done so too often.
            TryAgain: see `SandboxedModel`.
        """
        try:
            return self.predictor.predict(batch.table, batch.slot)
        except SandboxDied as exc:
            error = self._died(exc)
            passing = batch.table.num_rows == 1 and exc.cause == "over memory"
            if not passing or isinstance(error, ModelUnusable):
                raise error from exc
        # The machine may have lacked memory for something else: do not blame the row for it.
        try:
            return self.predictor.predict(batch.table)
        except SandboxDied as exc:
            raise self._died(exc) from exc

    def close(self) -> None:
        """End the sandbox."""
        self.model.close()

    def reopen(self) -> None:
        """Load the model in another sandbox."""
        self.model.close()
        self._open()

    def _open(self, model: SandboxedModel | None = None) -> None:
        """Prepare the model for the plan. Load it unless `model` is alive."""

        def prepare() -> None:
            self.model = model if model is not None and model.alive else self._load()
            self.predictor = self.model.predictor(self.plan.prediction_spec())

        tried_twice(prepare)

    def _died(self, death: SandboxDied) -> Exception:
        """Load the model again, and return what the death means to the rows."""
        self._deaths += 1
        self._late += death.cause == "over time"
        if self._deaths > MAX_DEATHS or self._late > MAX_LATE:
            return ModelUnusable(
                f"The model ended its process {plural(self._deaths, 'time')} while it scored, "
                "the last time: "
                f"{death.detail}. Find the rows that it cannot take with a smaller table, or train "
                "it again."
            )
        self._open()
        return PredictionFailed(f"The model ended its process with these rows: {death.detail}.")


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
