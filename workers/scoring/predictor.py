"""From a batch of input rows to a batch of output rows."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import threadpoolctl

from mlsys.errors import ModelUnusable, PredictionFailed, SchemaMismatch, TryAgain
from mlsys.names import fold
from mlsys.set_output import restore_output
from workers.scoring.arrow_plan import Compiled, compile_model
from workers.scoring.columns import arrow_schema, assemble
from workers.scoring.path import ARROW, ask, differences
from workers.scoring.plan import Plan

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


log = logging.getLogger(__name__)

PROOF = 1_000  # rows that both ways must agree on


class Predictor:
    """A loaded model with the plan it follows. The same rows always give the same bytes.

    `path` says how the rows get to the model: `arrow`, or `plain` and why.
    """

    def __init__(self, model: Any, plan: Plan) -> None:
        # Others wait for work by turning round and round, and the last bits depend on how many
        # there are. OpenMP keeps it by thread, so a predictor belongs to the thread that made it.
        threadpoolctl.threadpool_limits(1)
        if plan.frames:
            restore_output(model)
        self.model = model
        self.plan = plan
        self.path = plan.path
        self._stamps = plan.stamps("predicted_at")
        self.schema = arrow_schema(plan.output.columns, self._stamps)
        compiled = compile_model(model, plan.features) if plan.path == ARROW else None
        self._compiled = compiled if isinstance(compiled, Compiled) else None
        self._proven = 0  # rows that have gone both ways, with the same answers

    def score(self, batch: pa.Table) -> pa.Table:
        """Return the output rows of `batch` (n rows in, n rows out, in the same order).

        Raises:
            SchemaMismatch: values of a column cannot be given to the model.
            PredictionFailed: the model raised, or gave values that do not fit their column.
            ModelUnusable: it gave something else than a value a row, whatever the rows are.
            TryAgain: there was not enough memory.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the training's making; a row cannot help it
                given = self._given(batch)
        except SchemaMismatch:
            raise
        except MemoryError as exc:
            raise TryAgain(
                f"There was not enough memory to score {batch.num_rows} rows at once: give the "
                "service more"
            ) from exc
        except Exception as exc:  # whatever the estimator raises is about these rows
            raise PredictionFailed(self._blame(exc, batch)) from exc
        types = {fold(field.name): field for field in self.schema}
        values: dict[str, Any] = {c.name: batch.column(c.name) for c in self.plan.ids}
        for method in self.plan.outputs:
            for name, column in self._columns(method, given[method], batch.num_rows).items():
                values[name] = self._array(types[fold(name)], column)
        return assemble(self.schema, values | self._stamps, batch.num_rows)

    def _given(self, batch: pa.Table) -> dict[str, Any]:
        """Return what each method of the model gives.

        The first rows go both ways, until there are enough. On any error the model itself is asked,
        so that it is its errors that a row gets.
        """
        if self._compiled is not None:
            try:
                if self._proven < PROOF:
                    self._prove(self._compiled, batch.slice(0, PROOF - self._proven))
                if self._compiled is not None:
                    return self._compiled.answers(batch, list(self.plan.outputs))
            except Exception as exc:
                log.debug("A batch goes to the model itself: %s", exc)
        return ask(self.model, self.plan.features, batch, self.plan.outputs, self.plan.series)

    def _prove(self, compiled: Compiled, rows: pa.Table) -> None:
        """Send rows both ways; where the answers differ, the Arrow path is left."""
        if differing := differences(self.model, compiled, rows, list(self.plan.outputs)):
            log.error("%s differs by the Arrow path, which is left", ", ".join(differing))
            self.path, self._compiled = f"plain: {', '.join(differing)} differed", None
        self._proven += rows.num_rows

    def _columns(self, method: str, given: Any, rows: int) -> dict[str, np.ndarray]:
        """Split what a method of the model gave into the columns that the plan has for it."""
        import numpy as np

        names = self.plan.outputs[method]
        if isinstance(given, list) and method == "predict_proba":
            given = np.hstack(given)  # one array for each of several outputs
        array = np.asarray(given.toarray() if hasattr(given, "toarray") else given)
        if array.shape[:1] != (rows,) or array.size != rows * len(names):
            hint = ": name every output with upload_model(..., target=[...])"
            raise ModelUnusable(
                f"The model's {method} gave an array of shape {array.shape} for {rows} rows, where "
                f"{len(names)} column(s) were expected{hint if method == 'predict' else ''}"
            )
        columns = array.reshape(rows, len(names))
        return {name: columns[:, i] for i, name in enumerate(names)}

    def _array(self, field: pa.Field, values: np.ndarray) -> pa.Array:
        import pyarrow as pa

        try:
            if pa.types.is_string(field.type):
                return pa.array([str(v) for v in values], field.type)
            return pa.array(values.tolist() if values.dtype == object else values, field.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError, OverflowError) as exc:
            raise PredictionFailed(
                f"The model predicts {values.dtype} values, which do not fit the column "
                f"{field.name!r} of type {field.type}: {exc}"
            ) from exc

    def _blame(self, exc: Exception, batch: pa.Table) -> str:
        """Say what the model said, and which feature columns hold NULLs if any do."""
        first = (str(exc).splitlines() or [""])[0][:300]
        text = f"The model raised {type(exc).__name__}: {first}"
        folded = {fold(name): i for i, name in enumerate(batch.schema.names)}
        nulls = [
            f.name for f in self.plan.features if batch.column(folded[fold(f.name)]).null_count
        ]
        return f"Columns with NULLs: {', '.join(nulls)}. {text}" if nulls else text
