"""The state of each partition of a backfill, as its runs and the input's partition have it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mlsys.plural import plural
from workers.scoring.backfill.request import DONE, EMPTY, FAILED, MISSING, RUNNING, STALE, STATES
from workers.scoring.journal.outcomes import Result
from workers.scoring.planning.model_pin import ModelPin
from workers.scoring.planning.partition_state import PartitionState
from workers.scoring.planning.plan import Plan
from workers.scoring.request.parsed import BESIDE

DELETED = "its rows were deleted from the output table since it was scored"


@dataclass(frozen=True, slots=True)
class Entry:
    """One partition: its state, why it has it, and the run that the state is about."""

    partition: str
    label: str
    state: str
    reason: str | None = None
    run_id: str | None = None
    model_name: str | None = None
    model_version: str | None = None
    model_alias: str | None = None
    rows: int | None = None  # that the run wrote
    finished_at: str | None = None
    input_rows: int | None = None  # of the input's partition, where BigQuery tells it

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON values."""
        return asdict(self)

    def unreadable(self, run_id: str, why: Exception) -> Entry:
        """Return the entry of the same partition, whose run has an object that is damaged."""
        about = self.partition, self.label, FAILED, str(why), run_id
        return Entry(*about, input_rows=self.input_rows)


@dataclass(frozen=True, slots=True)
class Runs:
    """What is known of the runs that wrote a partition, or were to: rows of the ledger."""

    good: Mapping[str, Any] | None = None  # the last one that succeeded
    bad: Mapping[str, Any] | None = None  # the last one that did not
    open: str | None = None  # the run that the request would be now, if it has not ended


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a partition is to be scored by, and into: what makes a run of it the right one."""

    pin: ModelPin
    requested: str  # the version as the caller names it
    output_created: dt.datetime | None  # None: the output table does not exist

    def why_stale(
        self, good: Mapping[str, Any], identity: Mapping[str, Any], state: PartitionState | None
    ) -> str | None:
        """Return why the rows of a run that succeeded are not those that are wanted, or None."""
        pin, version = self.pin, f"{good['model_name']} {good['model_version']}"
        if good["model_name"] != pin.name:
            return f"scored by another model, {version}"
        if good["model_version"] != pin.version:
            names = "" if self.requested == pin.version else f", and {self.requested} is now"
            return f"scored by {good['model_version']}{names or ', not by'} {pin.version}"
        if good["model_generation"] != pin.generation:
            return f"scored by an earlier upload of {pin.version}"
        if differing := _differing(good["request"] or {}, identity):
            return f"scored by another request, which differs in {', '.join(differing)}"
        if state is None or state.modified is None:  # not known, or it has expired since
            return None
        if state.modified > good["snapshot_at"]:
            return "the input's partition was written since it was scored"
        # Deletions leave the time as it is.
        if not {"where", "incremental"} & identity.keys() and good["rows_read"] != state.rows:
            read = plural(good["rows_read"], "row")
            return f"the run read {read}, and the input has {state.rows:,} now"
        return None

    def is_of(self, run: Mapping[str, Any]) -> bool:
        """Return whether a run was of the version that is wanted."""
        pin = self.pin
        of_run = run["model_name"], run["model_version"], run["model_generation"]
        return of_run == (pin.name, pin.version, pin.generation)


def judge(
    wanted: Wanted,
    partition: str,
    label: str,
    identity: Mapping[str, Any],
    runs: Runs,
    state: PartitionState | None,
    written: PartitionState | None = None,
) -> Entry:
    """Return the state of one partition.

    `identity` is that of the partition's request, `state` the input's partition and `written` the
    output's, None if BigQuery does not tell it.
    """
    rows = None if state is None else state.rows
    good, bad = runs.good, runs.bad
    created, lost = wanted.output_created, None
    if good is not None and (created is None or good["finished_at"] < created):
        good, lost = None, "the output table was deleted or created again since it was scored"
    if good is not None and written is not None and not written.rows and _wrote(good, rows):
        good, lost = None, DELETED
    why = None if good is None else wanted.why_stale(good, identity, state)
    if good is not None and why is None:
        note = _differs_since(good, identity, state, written)
        return _entry(partition, label, DONE, note, good, rows)
    if runs.open is not None:
        reason = "planned, and not at its end: a repeated request resumes it"
        return Entry(partition, label, RUNNING, reason, runs.open, input_rows=rows)
    if state is not None and not state.rows:
        return Entry(partition, label, EMPTY, "the input has no rows in it", input_rows=rows)
    if bad is not None and wanted.is_of(bad):
        if runs.good is None or bad["finished_at"] > runs.good["finished_at"]:
            return _entry(partition, label, FAILED, bad["failure"] or bad["state"], bad, rows)
    if good is not None:
        return _entry(partition, label, STALE, why, good, rows)
    return Entry(partition, label, MISSING, lost or "not scored yet", input_rows=rows)


def _wrote(good: Mapping[str, Any], rows: int | None) -> bool:
    """Return whether the output had rows in it as the run ended; the input has `rows`.

    A run that adds what is new, and found nothing new, found the rows of earlier ones.
    """
    if good["rows_scored"]:
        return True
    request = good["request"] or {}
    found_none = "incremental" in request and "where" not in request and not good["rows_read"]
    return found_none and bool(rows)


def _differs_since(
    good: Mapping[str, Any],
    identity: Mapping[str, Any],
    state: PartitionState | None,
    written: PartitionState | None,
) -> str | None:
    """Return what is not as the run of a partition that is done has left it, or None."""
    if state is not None and not state.rows and good["rows_read"]:
        return "the input has no rows in it any more: they expired, or were deleted"
    rows = good["rows_scored"]
    if written is None or "incremental" in identity or written.rows in (None, rows):
        return None
    return f"the run wrote {rows:,} rows, and the output has {written.rows:,} now"


def done_by(entry: Entry, plan: Plan, result: Result, written: PartitionState | None) -> Entry:
    """Return the entry of a partition that has the rows of a run which a repeat would reuse.

    `written` is the output's partition, None if BigQuery does not tell it. Of a run that adds what
    is new nobody looks whether its rows are still there.
    """
    model = plan.model
    if result.rows and written is not None and not written.rows:
        about = entry.partition, entry.label, MISSING, DELETED
        return Entry(*about, input_rows=entry.input_rows)
    return Entry(
        *(entry.partition, entry.label, DONE, None, plan.run_id),
        *(model.name, model.version, model.alias),
        rows=result.rows,
        finished_at=result.finished_at,
        input_rows=entry.input_rows,
    )


def totals(entries: list[Entry]) -> dict[str, int]:
    """Return how many partitions are in each state, and the rows of those that are done."""
    counts = {state: sum(e.state == state for e in entries) for state in STATES}
    rows = sum(e.rows or 0 for e in entries if e.state == DONE)
    return {"partitions": len(entries), "rows": rows} | counts


def _entry(
    partition: str,
    label: str,
    state: str,
    reason: str | None,
    run: Mapping[str, Any],
    input_rows: int | None,
) -> Entry:
    return Entry(
        *(partition, label, state, reason, run["run_id"]),
        *(run["model_name"], run["model_version"], run["model_alias"]),
        *(run["rows_scored"], run["finished_at"].isoformat(), input_rows),
    )


def _differing(recorded: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
    """Return the parameters in which a run's request differs from the one that is wanted.

    The version was compared before, and what decides no row does not count.
    """
    beside = {*BESIDE, "model_version"}
    keys = (recorded.keys() | identity.keys()) - beside
    return sorted(key for key in keys if recorded.get(key) != identity.get(key))
