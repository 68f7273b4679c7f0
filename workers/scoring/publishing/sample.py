"""Some rows of a run, read from its parts: what the output table got, without a query."""

from __future__ import annotations

from typing import Any

from mlsys.errors import ObjectNotFound
from workers.json_values import bounded_row, json_value
from workers.scoring.journal.decisions import Decision, read_decision
from workers.scoring.journal.store import RunStore

SHOWN = 10  # rows


def some_rows(store: RunStore, most: int = SHOWN) -> list[dict[str, Any]]:
    """Return the first rows that a run published, as JSON values; none if it published nothing.

    Raises:
        ObjectNotFound: the bucket's lifecycle has deleted its parts.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from google.api_core.exceptions import NotFound

    decision = read_decision(store)
    rows: list[dict[str, Any]] = []
    for name in decision.parts if isinstance(decision, Decision) else ():
        if len(rows) >= most:
            break
        try:
            with store.blob(name).open("rb") as file:
                for batch in pq.ParquetFile(file).iter_batches(most - len(rows)):
                    rows += [bounded_row(json_value(row)) for row in batch.to_pylist()]
                    break
        except (NotFound, pa.ArrowException) as exc:
            raise ObjectNotFound(
                f"The parts of {store.run_id} were deleted: they are kept for 30 days. Query its "
                "rows in the output table."
            ) from exc
    return rows
