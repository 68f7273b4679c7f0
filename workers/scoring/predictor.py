"""From a batch of input rows to a batch of output rows."""

from __future__ import annotations

import datetime as dt
import warnings
from typing import TYPE_CHECKING, Any

from mlsys.errors import PredictionFailed, SchemaMismatch
from mlsys.frames import to_model_frame
from mlsys.loading import model_input
from workers.scoring.columns import arrow_schema, probability_names
from workers.scoring.plan import Plan

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


class Predictor:
    """A loaded model with the plan it follows. The same rows always give the same bytes."""

    def __init__(self, model: Any, plan: Plan) -> None:
        self.model = model
        self.plan = plan
        self.schema = arrow_schema(plan.output)
        self._stamps = {
            "predicted_at": dt.datetime.fromisoformat(plan.created_at),
            "model_name": plan.model.name,
            "model_version": plan.model.version,
            "run_id": plan.run_id,
        }

    def score(self, batch: pa.Table) -> pa.Table:
        """Return the output rows of `batch` (n rows in, n rows out, in the same order).

        Raises:
            SchemaMismatch: values of a column cannot be given to the model.
            PredictionFailed: the model raised, or gave something else than a value a row.
        """
        frame = to_model_frame(batch, self.plan.features)
        values: dict[str, Any] = {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the training's making; a row cannot help it
                X = model_input(self.model, frame)
                predicted = self.model.predict(X)
                if "predict_proba" in self.plan.request.get("outputs", "").split(","):
                    values |= self._probabilities(self.model.predict_proba(X))
        except Exception as exc:  # whatever the estimator raises is about these rows
            raise PredictionFailed(self._blame(exc, batch)) from exc
        values |= self._predictions(predicted, len(frame))
        return self._assemble(batch, values)

    def _predictions(self, predicted: Any, rows: int) -> dict[str, Any]:
        import numpy as np

        array = np.asarray(predicted)
        width = len(self.plan.predictions)
        if array.shape[:1] != (rows,) or array.size != rows * width:
            raise PredictionFailed(
                f"The model gave an array of shape {array.shape} for {rows} rows, where "
                f"{width} column(s) were expected: name every output with "
                "upload_model(..., target=[...])"
            )
        columns = array.reshape(rows, width)
        return {name: columns[:, i] for i, name in enumerate(self.plan.predictions)}

    def _probabilities(self, probabilities: Any) -> dict[str, np.ndarray]:
        import numpy as np

        names = probability_names(self.model, self.plan.predictions)
        several = isinstance(probabilities, list)
        array = np.hstack(probabilities) if several else np.asarray(probabilities)
        return dict(zip(names, array.T, strict=True))

    def _assemble(self, batch: pa.Table, values: dict[str, Any]) -> pa.Table:
        """Put the columns in the order of the plan; what the output table has besides is NULL."""
        import pyarrow as pa

        values = {name.casefold(): v for name, v in values.items()}
        stamps = {name.casefold(): v for name, v in self._stamps.items()}
        ids = {c.name.casefold() for c in self.plan.ids}
        source = {name.casefold(): i for i, name in enumerate(batch.schema.names)}
        columns = []
        for field in self.schema:
            name = field.name.casefold()
            if name in values:
                columns.append(self._array(field, values[name]))
            elif name in stamps:
                columns.append(pa.repeat(pa.scalar(stamps[name], field.type), batch.num_rows))
            elif name in ids:
                columns.append(batch.column(source[name]).cast(field.type))
            else:
                columns.append(pa.nulls(batch.num_rows, field.type))
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _array(self, field: pa.Field, values: np.ndarray) -> pa.Array:
        import pyarrow as pa

        try:
            if pa.types.is_string(field.type):
                return pa.array([str(v) for v in values], field.type)
            return pa.array(values.tolist() if values.dtype == object else values, field.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as exc:
            raise PredictionFailed(
                f"The model predicts {values.dtype} values, which do not fit the column "
                f"{field.name!r} of type {field.type}: {exc}"
            ) from exc

    def _blame(self, exc: Exception, batch: pa.Table) -> str:
        """Say what the model said, and which feature columns hold NULLs if any do."""
        if isinstance(exc, SchemaMismatch):
            return str(exc)
        first = (str(exc).splitlines() or [""])[0][:300]
        text = f"The model raised {type(exc).__name__}: {first}"
        folded = {name.casefold(): i for i, name in enumerate(batch.schema.names)}
        nulls = [
            f.name for f in self.plan.features if batch.column(folded[f.name.casefold()]).null_count
        ]
        return f"Columns with NULLs: {', '.join(nulls)}. {text}" if nulls else text
