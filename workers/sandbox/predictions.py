"""The predictions of a model in a sandbox for rows, which cross in shared memory.

Whatever the sandbox answers is read as if a stranger had written it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlsys.columns.names import fold
from workers.inference.predictor import PredictionSpec
from workers.sandbox.died import SandboxDied
from workers.sandbox.process import Answer, Sandbox, Slot
from workers.sandbox.tables import Expected

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("mlsys.sandbox")

PREDICT_SECONDS = 900.0  # for one batch of rows
MAX_PATH = 1_000  # characters of a route's reason
MAX_PREDICTIONS = 2**30  # bytes of a batch's predictions


class SandboxedPredictor:
    """A model's predictions for rows, by one spec."""

    def __init__(self, sandbox: Sandbox, ask: Callable[..., Answer], spec: PredictionSpec) -> None:
        """Have the model's sandbox prepare for `spec`; `ask` is `SandboxedModel.ask`."""
        self._sandbox, self._ask = sandbox, ask
        self._schema = spec.schema
        self._features = {fold(f.name) for f in spec.features}
        answer = ask("prepare", spec.to_dict())
        self.path = path_of(sandbox, answer)
        rows = answer.body.get("rows_at_once")
        if type(rows) is not int or rows < 1:
            raise sandbox.refuse("rows_at_once")
        self.rows_at_once = rows

    def put(self, rows: pa.Table) -> Slot | None:
        """Copy the features of `rows` to the sandbox's memory. Wait for a free slot.

        None: the sandbox has ended, and `predict` will say so.
        """
        try:
            return self._sandbox.put(self._of_features(rows))
        except SandboxDied:
            return None

    def predict(self, rows: pa.Table, slot: Slot | None = None) -> dict[str, Any]:
        """Return the predictions for `rows`: an Arrow array for each column.

        `slot` is what `put` returned for them.

        Raises:
            SchemaMismatch, PredictionFailed, ModelUnusable: see `Predictor.predict`.
        """
        # A table without columns has no rows: such as what a selector gives that selects nothing.
        count = rows.num_rows if self._schema.names else 0
        answer = self._ask(
            "predict",
            {},
            table=slot or self._of_features(rows),
            expect=Expected(self._schema, count, MAX_PREDICTIONS),
            seconds=PREDICT_SECONDS,
        )
        assert answer.table is not None
        if (path := path_of(self._sandbox, answer)) != self.path:
            log.error("Rows go another way to the model from now on: %s", path)
            self.path = path
        return dict(zip(self._schema.names, answer.table.columns, strict=True))

    def _of_features(self, rows: pa.Table) -> pa.Table:
        """Leave out the columns that the model is not given."""
        return rows.select([n for n in rows.column_names if fold(n) in self._features])


def path_of(sandbox: Sandbox, answer: Answer) -> str:
    """Return the path that rows take to the model, by the sandbox's answer."""
    path = answer.body.get("path")
    if not isinstance(path, str) or len(path) > MAX_PATH:
        raise sandbox.refuse("path")
    return path
