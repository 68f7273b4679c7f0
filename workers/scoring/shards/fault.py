"""Decide whether the rows or the model are at fault when no row can be scored.

A model may raise whatever it is given. Then its rows must not be blamed: a run that set all of them
aside would succeed without a single prediction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mlsys.artifact.metadata import ModelMetadata
from mlsys.columns.names import fold
from mlsys.errors import ModelUnusable, PredictionFailed, SchemaMismatch
from workers.inference.trial import golden_rows
from workers.scoring.shards.scorer import Batch, Scorer

if TYPE_CHECKING:
    import pyarrow as pa

TRIED = 20  # rows of the batch


def check_model_answers(
    scorer: Scorer, batch: pa.Table, metadata: Callable[[], ModelMetadata]
) -> None:
    """Check that the rows of `batch`, whose first ones all failed, are at fault.

    They are if the model answers any of: its golden rows, valid rows of its columns, rows spread
    over the batch, and those rows with values in the place of NULL, NaN and infinity.

    Raises:
        ModelUnusable: it answers none of them, so the model is at fault.
    """
    failure: PredictionFailed | None = None
    for row in _rows(scorer, batch, metadata):
        try:
            scorer.predict(Batch(row))
        except SchemaMismatch:  # the model was not called: the value does not fit its column
            return
        except PredictionFailed as exc:
            failure = exc
            continue
        return
    if failure is not None:
        raise ModelUnusable(
            "The model fails on every row: the first ones of the table, others of it, and valid "
            f"ones made up for its columns. So the model is at fault. {failure} Fit it again "
            "with the service's releases, check that it predicts in a new Python process on rows "
            "of bq_get, and upload it."
        ) from failure


def _rows(
    scorer: Scorer, batch: pa.Table, metadata: Callable[[], ModelMetadata]
) -> Iterator[pa.Table]:
    """Yield tables of one row to try the model on, those most likely to succeed first."""
    plan = scorer.plan
    valid = scorer.model.valid_rows(plan.features)
    golden = golden_rows(metadata(), plan.features)
    for table in [*([golden] if golden is not None else []), valid]:
        yield from (table.slice(i, 1) for i in range(table.num_rows))
    step = max(1, batch.num_rows // TRIED)
    spread = [batch.slice(i, 1) for i in range(0, batch.num_rows, step)]
    yield from spread
    for row in spread:
        yield _filled(row, valid)


def _filled(row: pa.Table, valid: pa.Table) -> pa.Table:
    """Return the row with valid values for features that are NULL, NaN or infinite."""
    import pyarrow as pa

    by_name = {fold(name): valid.column(name) for name in valid.schema.names}
    columns: list[Any] = []
    for field in row.schema:
        column = row.column(field.name)
        value = column[0].as_py()
        unusable = value is None or (isinstance(value, float) and not math.isfinite(value))
        other = by_name.get(fold(field.name))
        columns.append(
            other.slice(0, 1).cast(field.type) if unusable and other is not None else column
        )
    return pa.Table.from_arrays(columns, names=row.schema.names)
