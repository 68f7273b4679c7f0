"""Histories of runs on one table that are undone, beside a model of what the table must hold.

The table has rows of two days, and is partitioned by them. The model knows for each run which rows
it wrote, and for one that replaced rows which they were: nothing of BigQuery.
"""

from __future__ import annotations

import datetime as dt
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
from google.cloud import bigquery
from sklearn.linear_model import LinearRegression

from scoring_cases import Lab, unique
from turns import Killed

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


@dataclass(frozen=True)
class Wrote:
    """What a run has written: the rows of its part of the table after it, and before it."""

    run_id: str
    day: dt.date | None  # None: the whole table
    replaced: bool
    rows: Rows
    after: Rows
    before: Rows


class UndoWorld:
    """A table that runs write, and what it must hold."""

    def __init__(self, lab: Lab, inputs: dict[dt.date | None, str], model: str) -> None:
        self.lab, self._inputs, self._model = lab, inputs, model
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
        return lambda: cls(lab, inputs, model)

    def score(self, *, day: dt.date | None = None, replace: bool = False, **more: Any) -> str:
        """Score both days, or one into its partition, and return the run."""
        run_id = unique("undo")
        output = self.table if day is None or not replace else f"{self.table}${day:%Y%m%d}"
        disposition = "WRITE_TRUNCATE" if replace else "WRITE_APPEND"
        params = self.lab.params(
            *(self._inputs[day], self._model),
            output_table=output,
            run_id=run_id,
            write_disposition=disposition,
            **more,
        )
        self.lab.here(params).done()
        part = day if replace else None
        scored = INPUT if day is None else INPUT[INPUT["day"] == day]
        rows = Counter({(row.day, int(row.id), run_id): 1 for row in scored.itertuples()})
        before = _of(self.rows, part)
        after = rows if replace else before + rows
        self.rows = self.rows - before + after
        self.runs.append(Wrote(run_id, part, replace, rows, after, before))
        self.log.append(f"{'replace' if replace else 'append'} {day}: {run_id}")
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
        return any(key[2] == run_id for key in self.rows)

    def undo(self, run_id: str, **query: str) -> Any:
        """Undo a run by the route, and return the answer."""
        found = self.lab.client.post(
            f"/runs/{run_id}/undo", query_string={"env": "dev", "why": "a test"} | query
        )
        return found

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


class KilledAt:
    """Ends the work of a thread at the n-th request to Google Cloud, before or after it."""

    def __init__(self, patch: pytest.MonkeyPatch, number: int, *, after: bool) -> None:
        self.calls, own = 0, threading.get_ident()
        real = requests.adapters.HTTPAdapter.send

        def send(*args: Any, **options: Any) -> Any:
            if threading.get_ident() != own:  # a client's own thread
                return real(*args, **options)
            self.calls += 1
            if self.calls > number or (self.calls == number and not after):
                raise Killed
            answer = real(*args, **options)
            if self.calls == number:
                answer.close()  # the socket of a process ends with it
                raise Killed
            return answer

        patch.setattr(requests.adapters.HTTPAdapter, "send", send)


def one_history(world: UndoWorld, seed: int, steps: int = 7) -> Counter[str]:
    """Let runs write and be undone at random, checked after each step; return what happened."""
    choices, happened = random.Random(seed), Counter[str]()
    world.log.append(f"seed {seed}")
    for step in range(steps):
        kind = choices.choice(("append", "append", "replace", "partition", "undo", "undo", "hand"))
        if kind == "hand" and choices.random() < 0.5:
            world.add_by_hand(step)
        elif kind == "append":
            world.score(day=choices.choice((None, *DAYS)))
        elif kind in ("replace", "partition"):
            day = choices.choice(DAYS) if kind == "partition" else None
            world.score(day=day, replace=True)
        elif world.runs:
            latest = choices.random() < 0.6
            run_id = world.runs[-1 if latest else choices.randrange(len(world.runs))].run_id
            kind = _undo_somehow(world, run_id, choices)
        happened[kind] += 1
        world.check()
    happened["kills"] += world.kills
    return happened


def _undo_somehow(world: UndoWorld, run_id: str, choices: random.Random) -> str:
    """Undo a run, perhaps by a process that is killed, and check the outcome."""
    allowed, before = world.can_undo(run_id), run_id in world.undone
    killed = choices.random() < 0.5
    if killed:
        with pytest.MonkeyPatch.context() as patch:
            KilledAt(patch, 1 + choices.randrange(30), after=choices.random() < 0.5)
            try:
                world.undo(run_id)
            except Killed:
                world.kills += 1
    answer = world.undo(run_id)
    if not allowed:
        assert answer.status_code == 409, (answer.text, world.log)
        assert "nothing was changed" in answer.json["detail"]
        return "refused"
    assert answer.status_code == 200, (answer.text, world.log)
    world.note_undone(run_id)
    assert answer.json["already"] or not before
    assert world.state(run_id)["state"] == "undone"
    return "undone after a kill" if killed else "undone"
