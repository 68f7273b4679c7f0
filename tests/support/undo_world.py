"""A table that runs write and whose runs are undone, beside a model of what it must hold.

The table has rows of two days, and is partitioned by them. The model knows for each run which rows
it wrote, and for one that replaced rows which they were: nothing of BigQuery.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from google.cloud import bigquery
from sklearn.linear_model import LinearRegression

from growing_input import COLUMN, GrowingInput
from scoring_cases import Answer, Lab, unique

DAYS = (dt.date(2026, 11, 23), dt.date(2026, 11, 24))
ROWS = 3  # of a day
X = pd.DataFrame({"a": np.linspace(0, 1, 2 * ROWS), "b": np.linspace(3, -2, 2 * ROWS)})
MODEL = LinearRegression().fit(X, X["a"])
INPUT = X.assign(id=range(2 * ROWS), day=[day for day in DAYS for _ in range(ROWS)])
FIELDS = {
    "id": "INT64",
    "day": "DATE",
    "prediction": "FLOAT64",
    "predicted_at": "TIMESTAMP",
    "model_name": "STRING",
    "model_version": "STRING",
    "run_id": "STRING",
}
Rows = Counter[tuple[dt.date, int, str]]  # day, id and run of a row
Send = Callable[[Callable[[], Answer]], Answer]


@dataclass(frozen=True)
class Wrote:
    """What a run has written: the rows of its part of the table after it, and before it."""

    run_id: str
    day: dt.date | None  # None: the whole table
    replaced: bool
    rows: Rows
    after: Rows
    before: Rows
    version: str = "v1"  # of the model
    by: str | None = None  # it has scored what was new by a column, or by ids


class UndoWorld:
    """A table that runs write, and what it must hold."""

    def __init__(self, lab: Lab, inputs: dict[dt.date | None, str], model: str) -> None:
        self.lab, self._inputs, self._model = lab, inputs, model
        # Its first two rows have the ids of rows that the other inputs have.
        self.growing = GrowingInput.of(lab, [(DAYS[0], 0), (DAYS[1], 2 * ROWS - 1), (DAYS[1], 99)])
        table = bigquery.Table(lab.name(), [bigquery.SchemaField(*f) for f in FIELDS.items()])
        table.time_partitioning = bigquery.TimePartitioning(field="day")
        lab.clients.bigquery.create_table(table, timeout=30)
        self.table = f"{table.project}.{table.dataset_id}.{table.table_id}"
        self.rows: Rows = Counter()
        self.runs: list[Wrote] = []
        self.undone: set[str] = set()
        self.kills = 0
        self.log: list[str] = []

    @classmethod
    def of(cls, lab: Lab) -> Callable[[], UndoWorld]:
        """Return what makes worlds that share their inputs and the model."""
        inputs: dict[dt.date | None, str] = {None: lab.put(INPUT)}
        inputs |= {day: lab.put(INPUT[INPUT["day"] == day]) for day in DAYS}
        model = lab.upload(MODEL, X, id_columns=["id", "day"])
        lab.upload(MODEL, X, model, "v2", id_columns=["id", "day"])
        return lambda: cls(lab, inputs, model)

    def score(
        self,
        *,
        day: dt.date | None = None,
        replace: bool = False,
        send: Send = lambda ask: ask(),
    ) -> str:
        """Score both days, or one into its partition, and return the run.

        `send` sends the request: it may do so several times.
        """
        run_id = unique("undo")
        output = self.table if day is None or not replace else f"{self.table}${day:%Y%m%d}"
        disposition = "WRITE_TRUNCATE" if replace else "WRITE_APPEND"
        params = self.lab.params(
            *(self._inputs[day], self._model),
            output_table=output,
            run_id=run_id,
            write_disposition=disposition,
        )
        send(lambda: self.lab.here(params)).done()
        part = day if replace else None
        scored = INPUT if day is None else INPUT[INPUT["day"] == day]
        rows = Counter({(row.day, int(row.id), run_id): 1 for row in scored.itertuples()})
        before = _of(self.rows, part)
        after = rows if replace else before + rows
        self.rows = self.rows - before + after
        self.runs.append(Wrote(run_id, part, replace, rows, after, before))
        self.log.append(f"{'replace' if replace else 'append'} {day}: {run_id}")
        return run_id

    def score_new(self, by: str, version: str, *, send: Send = lambda ask: ask()) -> str | None:
        """Score what is new of the growing input, and return the run; None if it is refused."""
        versions = {wrote.run_id: wrote.version for wrote in self.runs}
        scored = {key[:2] for key in self.rows if versions.get(key[2]) == version}
        share = self.growing.share(by, scored, self.undone)
        params = self.lab.params(
            *(self.growing.table, self._model),
            output_table=self.table,
            model_version=version,
            incremental=by,
        )
        answer = send(lambda: self.lab.here(params))
        if share is None:
            answer.problem(409, "conflict", f"{COLUMN} has no watermark", "incremental=ids")
            self.log.append(f"refuse what is new by {by}")
            return None
        result = answer.done()
        run_id = str(result["run_id"])
        if run_id in versions:  # nothing is new since
            assert result["reused"] and not share.rows, (result, share, self.log)
            return run_id
        self.log.append(f"new by {by} with {version}: {run_id} {share}")
        share.check(result)
        rows = Counter({(*row.key, run_id): 1 for row in share.rows})
        before, self.rows = self.rows, self.rows + rows
        self.runs.append(Wrote(run_id, None, False, rows, self.rows, before, version, by))
        self.growing.note(run_id, share)
        return run_id

    def add_by_hand(self, number: int) -> None:
        """Let somebody else insert a row."""
        day = DAYS[number % 2]
        values = f"{number}, DATE '{day}', 0.5, CURRENT_TIMESTAMP(), 'm', 'v1', 'by-hand'"
        sql = f"INSERT INTO `{self.table}` ({', '.join(FIELDS)}) VALUES ({values})"
        self.lab.clients.bigquery.query(sql).result(timeout=60)
        self.rows[day, number, "by-hand"] += 1
        self.log.append(f"insert {number}")

    def can_undo(self, run_id: str) -> bool:
        """Return whether the run may be undone now, by the model."""
        wrote = self._wrote(run_id)
        if run_id in self.undone:
            return True
        if wrote.replaced:
            return _of(self.rows, wrote.day) == wrote.after
        return not wrote.rows or any(key[2] == run_id for key in self.rows)

    def undo(self, run_id: str, **query: str) -> Answer:
        """Undo a run by the route, and return the answer."""
        found = self.lab.client.post(
            f"/runs/{run_id}/undo", query_string={"env": "dev", "why": "a test"} | query
        )
        return Answer(found.status_code, found.headers, found.text)

    def note_undone(self, run_id: str) -> None:
        """Let the model undo the run."""
        if run_id in self.undone:
            return
        wrote = self._wrote(run_id)
        if wrote.replaced:
            before = {key: n for key, n in wrote.before.items() if key[2] not in self.undone}
            self.rows = self.rows - _of(self.rows, wrote.day) + Counter(before)
        else:
            self.rows = Counter({k: n for k, n in self.rows.items() if k[2] != run_id})
        self.undone.add(run_id)
        self.log.append(f"undo {run_id}")

    def check(self) -> None:
        """Check that the table holds what the model says."""
        held = self.lab.rows(self.table, by=None)
        live = Counter(
            (row.day, int(row.id), row.run_id) for row in held[["day", "id", "run_id"]].itertuples()
        )
        assert live == self.rows, "\n".join(self.log)

    def state(self, run_id: str) -> dict[str, Any]:
        """Return the run as `GET /runs/{run_id}` has it."""
        return dict(self.lab.here({"env": "dev"}, f"/runs/{run_id}").json)

    def _wrote(self, run_id: str) -> Wrote:
        [wrote] = [wrote for wrote in self.runs if wrote.run_id == run_id]
        return wrote


def _of(rows: Rows, day: dt.date | None) -> Rows:
    return Counter({key: n for key, n in rows.items() if day is None or key[0] == day})
