"""The auditor of runs: each row once, counted once, and reported as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from simulator.gaps import Mismatch, Wrong, rows_of
from simulator.loads import LoadingClient
from simulator.setups import CHALLENGER, INPUT, OUTPUT, VALUES, Setup
from simulator.statements import Values
from simulator.storage import Bucket, Stored
from simulator.warehouse import Merge
from workers.scoring.journal.outcomes import Failure

ENDS = ("result.json", "publish.json", "failure.json")  # in the order in which they count


class Audit:
    """Compares the tables and the objects of all runs of a history."""

    def __init__(self, setup: Setup, runs: Bucket, bigquery: LoadingClient) -> None:
        self.setup, self.runs, self.bigquery = setup, runs, bigquery

    def run_ids(self) -> list[str]:
        """Return the runs that were planned."""
        plans = [name for name in self.runs.objects if name.endswith("/plan.json")]
        return sorted(name.partition("/")[0] for name in plans)

    def document(self, run_id: str, name: str) -> Any:
        """Return a JSON object of a run, or None."""
        stored = self.runs.objects.get(f"{run_id}/{name}")
        return None if stored is None else json.loads(stored.content)

    def state(self, run_id: str) -> str:
        """Return how a run ended, by its objects: "" if it has not."""
        if self.document(run_id, "result.json") is not None:
            undone = self.document(run_id, "undone.json") is not None
            return "undone" if undone else "succeeded"
        if "state" in (self.document(run_id, "publish.json") or {}):
            return "cancelled"
        return "failed" if self.document(run_id, "failure.json") is not None else ""

    def check_rows(self) -> None:
        """Check the rows of all tables that runs write.

        Raises:
            Mismatch: rows are missing, twice or wrong.
        """
        states = {run_id: self.state(run_id) for run_id in self.run_ids()}
        done = [run_id for run_id, state in states.items() if state == "succeeded"]
        if len(done) > 1:
            raise Mismatch(f"one request became the runs {done}")
        for run_id, state in states.items():
            if (failure := self.document(run_id, "failure.json")) is not None:
                Failure.from_dict(failure)  # else the service calls it damaged
            if state == "succeeded":
                self._check_succeeded(run_id)
            else:
                self._check_nothing(run_id, state)
        setup = self.setup
        kept = setup.kept if done or not setup.filled else Setup(filled=True).kept
        earlier = [row["id"] for row in self.rows(OUTPUT, "earlier")]
        if sorted(earlier) != sorted(row["id"] for row in kept):
            raise Mismatch(f"of the earlier rows {earlier} are left")
        for table, loaded in self.bigquery.loaded.items():
            if table != INPUT and "view_rows" not in table:
                others = {row["run_id"] for row in loaded.rows} - set(done) - {"earlier"}
                if others:
                    raise Mismatch(f"{table} has rows of {others}")

    def _check_nothing(self, run_id: str, state: str) -> None:
        tables = (OUTPUT, f"{OUTPUT}_rejects", f"{OUTPUT}_shadow")
        rows = sum(len(self.rows(table, run_id)) for table in tables)
        profile = self.of_run("prediction_profiles", run_id)
        if rows or profile:
            raise Mismatch(f"{run_id} is {state or 'not over'}, and published {rows} rows")

    def _check_succeeded(self, run_id: str) -> None:
        result, wanted = self.document(run_id, "result.json"), self.setup.scored()
        self._check_predictions(OUTPUT, run_id, wanted)
        rejects = self.rows(f"{OUTPUT}_rejects", run_id)
        if sorted(json.loads(row["ids"])["id"] for row in rejects) != self.setup.rejected:
            raise Mismatch(f"{run_id} rejected {[row['ids'] for row in rejects]}")
        counts = (result["rows"], result["rows_read"], result["rows_rejected"])
        if counts != (len(wanted), len(VALUES), len(self.setup.rejected)):
            raise Mismatch(f"{run_id} counted {counts}")
        columns = sorted(map(_counted, self.of_run("prediction_profiles", run_id)))
        if columns != self.columns(run_id):
            raise Mismatch(f"the profile of {run_id} has {columns}, and not {self.columns(run_id)}")
        if self.setup.shadow:
            shadow = result["shadow"]
            if shadow is None or shadow["report"] is None:
                raise Mismatch(f"{run_id} has no report of its challenger: {shadow}")
            theirs = Setup().scored(CHALLENGER)
            self._check_predictions(f"{OUTPUT}_shadow", run_id, theirs)

    def _check_predictions(self, table: str, run_id: str, wanted: dict[int, float]) -> None:
        rows = self.rows(table, run_id)
        if sorted(row["id"] for row in rows) != sorted(wanted):
            raise Mismatch(f"{run_id} wrote the ids {sorted(row['id'] for row in rows)} to {table}")
        if wrong := [row for row in rows if row["y"] != wanted[row["id"]]]:
            raise Mismatch(f"{run_id} predicted {wrong}")

    # What projects a run: the ledger

    def wrongs(self, forgiving: bool) -> Iterator[Wrong]:
        """Yield the rows of the ledger that are wrong; `forgiving`: calls have failed."""
        for run_id in self.run_ids():
            state = self.state(run_id)
            ledger = self.of_run("prediction_runs", run_id)
            wanted = self._end(run_id, self.bigquery.now())
            right = [_ended(row) for row in ledger] == ([] if wanted is None else [wanted])
            # Of a run that goes on the ledger may have an earlier failure.
            lost = not state or self._has_no_marker(run_id)
            if not right and not (forgiving and lost and len(ledger) < 2):
                yield self._wrong_ledger(run_id, ledger, wanted)

    def _has_no_marker(self, run_id: str) -> bool:
        """Return whether nothing leads a rescan to a run that the ledger may lack.

        Its marker was never written, or a try that failed has removed that of another one.
        """
        name = f"_running/{run_id}.json"
        failed = f"{run_id}/failure.json" in self.runs.past
        return name not in self.runs.past or (failed and name not in self.runs.objects)

    def _wrong_ledger(self, run_id: str, rows: list[Values], wanted: Any) -> Wrong:
        def of_key(row: Values) -> bool:
            return bool(row["run_id"] == run_id)

        def is_right(merge: Merge, since: float) -> bool:
            left = [_ended(row) for row in rows_of(merge, of_key)]
            moments = [since, *(at for at in self._changes(run_id) if since < at <= merge.asked)]
            return any(left == [self._end(run_id, at)] for at in moments)

        return Wrong(
            f"the ledger has {[_ended(row) for row in rows]} of {run_id}, which ended as {wanted}",
            "prediction_runs",
            of_key,
            lambda look: look.statement == "recorded_run" and look.given["run_id"] == run_id,
            is_right,
            extra=lambda row: _ended(row) != wanted,
        )

    def columns(self, run_id: str) -> list[tuple[Any, ...]]:
        """Return each column's role, name, rows and nulls, by a recount."""
        nulls, scored = sum(x is None for x in VALUES), len(self.setup.scored())
        read = len(VALUES)
        return [("feature", "x", read, nulls, read), ("prediction", "y", scored, 0, scored)]

    def _end(self, run_id: str, at: float) -> Any:
        """Return the state and time of a run's end, by its objects at a moment; None without."""
        for name in ENDS:
            stored = self._live(f"{run_id}/{name}", at)
            document = {} if stored is None else json.loads(stored.content)
            if "state" in document:
                if name != "result.json":
                    counts = (None, None)
                else:
                    counts = (document["rows"], document["rows_rejected"])
                    if self._live(f"{run_id}/undone.json", at) is not None:
                        document["state"] = "undone"
                return (document["state"], document["finished_at"], *counts)
        return None

    def _live(self, path: str, at: float) -> Stored | None:
        return next((s for s in self.runs.past.get(path, []) if s.live(at)), None)

    def _changes(self, run_id: str) -> Iterator[float]:
        for name in (*ENDS, "undone.json"):
            for stored in self.runs.past.get(f"{run_id}/{name}", []):
                yield stored.created
                if stored.ended is not None:
                    yield stored.ended

    def rows(self, table: str, run_id: str) -> list[Values]:
        """Return the rows of a run in a table that runs write."""
        loaded = self.bigquery.loaded.get(table)
        return [row for row in loaded.rows if row["run_id"] == run_id] if loaded else []

    def of_run(self, table: str, run_id: str) -> list[Values]:
        """Return the rows about a run in a table of the service."""
        return [row for row in self.bigquery.tables[table].values() if row["run_id"] == run_id]


def _ended(row: Values) -> tuple[Any, ...]:
    return (
        *(row["state"], row["finished_at"].isoformat()),
        *(row["rows_scored"], row["rows_rejected"]),
    )


def _counted(row: Values) -> tuple[Any, ...]:
    """Return a row of the profile: role, column, rows, nulls, and the sum of its bins."""
    in_bins = sum(item["rows"] for item in row["bins"])
    return row["role"], row["column_name"], row["row_count"], row["nulls"], in_bins
