"""Rows that the model cannot score, isolated by halving the batch and kept with the reason.

They go to the table `{output_table}_rejects`: id columns and row as JSON, and the reason.
A run may have `max_rejects` of them; with more it fails and publishes nothing.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsys.errors import Conflict, PredictionFailed, RunInterrupted, SchemaMismatch
from mlsys.plural import part, plural
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.plan import Plan
from workers.scoring.request.parsed import MaxRejects
from workers.scoring.shards.scorer import Batch, Scorer, arrow_schema, assemble

if TYPE_CHECKING:
    import pyarrow as pa

EXAMPLES = 10  # rows that a failed run names
MAX_SHOWN = 200  # characters of a value in it
MAX_IDS_SHOWN = 20
MAX_EXACT = 2**53  # beyond it a JSON number is not exact everywhere


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that could not be scored: its values by column, and why."""

    row: Mapping[str, Any]
    reason: str
    place: int = 0  # in its batch


def score_rows(
    scorer: Scorer,
    batch: Batch,
    room: int,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[list[pa.Table], list[Reject]]:
    """Return the output rows of `batch`, in order, and the input rows that cannot be scored.

    Where the model raises on a batch, each half of it is tried, down to the single row. Once more
    than `room` rows, and enough of them to show, have failed, the rest is skipped.

    Raises:
        RunInterrupted: `stop` returned True.
    """
    scored: list[pa.Table] = []
    rejects: list[Reject] = []
    waiting = [batch] if batch.table.num_rows else []
    place = 0  # of the first row that waits
    while waiting and len(rejects) <= max(room, EXAMPLES):
        rows = waiting.pop()
        try:
            scored.append(scorer.score(rows))
            place += rows.table.num_rows
        except (PredictionFailed, SchemaMismatch) as exc:
            if stop():
                raise RunInterrupted("The run was stopped during the search for bad rows") from exc
            if rows.table.num_rows == 1:
                rejects.append(Reject(rows.table.to_pylist()[0], str(exc), place))
                place += 1
            else:
                waiting += reversed(rows.halves())
    return scored, rejects


def too_many(
    plan: Plan,
    rejects: Sequence[Reject],
    allowed: MaxRejects,
    bad: int,
    rows: int,
    at_least: bool = False,
) -> PredictionFailed:
    """Return the error of a run with `bad` bad rows of `rows`, more than allowed; it names some."""
    ids = [c.name for c in plan.ids][:MAX_IDS_SHOWN]
    shown = [
        {name: short(plain(reject.row[name])) for name in ids} | {"reason": reject.reason}
        for reject in rejects[:EXAMPLES]
    ]
    first = shown[0]
    where = ", ".join(f"{name}={first[name]!r}" for name in ids[:3])
    contract = plan.contract is not None and plan.contract.rejects
    what, edit = (" or fail its contract", "edit the contract, ") if contract else ("", "")
    limit = f"{allowed} ({plural(allowed.limit(rows), 'row')})" if allowed.share else str(allowed)
    return PredictionFailed(
        f"{'At least ' if at_least else ''}{part(bad, rows, 'row')} cannot be scored{what}, and "
        f"max_rejects is {limit}: nothing was published. The first one"
        f"{' has ' + where if where else ''}: {first['reason']} Correct the rows, {edit}train the "
        f"model with such rows, or pass max_rejects to set them aside in {plan.rejects.table}.",
        shown,
    )


class RejectsTable:
    """The rejects of a run as rows of `{output_table}_rejects`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.schema = arrow_schema(plan.rejects.columns)
        self._stamps = plan.stamps("rejected_at")

    def rows(self, rejects: Sequence[Reject]) -> pa.Table:
        """Return the rejects as Arrow, one row each."""
        import pyarrow as pa

        ids = [c.name for c in self.plan.ids]
        values: dict[str, Any] = {
            "ids": pa.array([_json({n: r.row[n] for n in ids}) for r in rejects], pa.string()),
            "row": pa.array([_json(r.row) for r in rejects], pa.string()),
            "reason": pa.array([r.reason for r in rejects], pa.string()),
        }
        return assemble(self.schema, values | self._stamps, len(rejects))


def read_rejects(store: RunStore, names: Sequence[str]) -> list[Reject]:
    """Return some rejects from the run's objects of these names, as examples."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from google.api_core.exceptions import NotFound

    out: list[Reject] = []
    for name in names:
        if len(out) >= EXAMPLES:
            break
        try:
            with store.blob(name).open("rb") as file:
                for rows in pq.ParquetFile(file).iter_batches(EXAMPLES, columns=["row", "reason"]):
                    out += [Reject(json.loads(r["row"]), r["reason"]) for r in rows.to_pylist()]
                    break
        except (NotFound, pa.ArrowException) as exc:
            raise Conflict(
                f"{store.uri(name)}, rows that cannot be scored, was deleted or is damaged: pass a "
                "run_id of your own to start another run"
            ) from exc
    return out


def plain(value: Any) -> Any:
    """Return a value of a BigQuery row in JSON types, in the forms of TO_JSON_STRING.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions#json_encodings
    """
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, int) and abs(value) > MAX_EXACT:
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "isoformat"):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)


def _json(row: Mapping[str, Any]) -> str:
    return json.dumps(plain(row), ensure_ascii=False)


def short(value: Any) -> Any:
    """Return a value that an answer shows: a long text is cut."""
    if isinstance(value, str) and len(value) > MAX_SHOWN:
        return f"{value[:MAX_SHOWN]}... ({len(value)} characters)"
    return value
