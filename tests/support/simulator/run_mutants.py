"""Weaker designs of runs, wherever their rows are scored."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from simulator.kernel import current
from simulator.mutant import Mutant, Patch, running
from workers.scoring.engines import run
from workers.scoring.journal import decisions
from workers.scoring.journal.store import RunStore
from workers.scoring.planning import lookup
from workers.scoring.publishing import cancellation, ledger, load, profile, unpublished
from workers.scoring.shards import shard


def _written_again(patch: Patch) -> None:
    """Write a run's objects without the precondition that they do not exist."""
    real = RunStore._upload
    patch.setattr(RunStore, "_upload", lambda self, name, value, **_: real(self, name, value))


def _random_job_id(patch: Patch) -> None:
    real = load._start

    def start(clients: Any, plan: Any, into: Any, job_id: str, uris: Any) -> Any:
        return real(clients, plan, into, f"{job_id}_{_word()}", uris)

    patch.setattr(load, "_start", start)


def _word() -> str:
    simulation = current()
    assert simulation is not None
    return f"{simulation.random.getrandbits(32):08x}"


def _part_without_offset(patch: Patch) -> None:
    real = RunStore.part_name
    patch.setattr(
        RunStore, "part_name", lambda self, session, shard, offset: real(self, session, shard, 0)
    )


def _stream_from_its_start(patch: Patch) -> None:
    """Read a stream that is resumed from its first row again."""
    real = shard.read_batches

    def read(clients: Any, session: Any, number: int, offset: int, *more: Any) -> Any:
        return real(clients, session, number, 0, *more)

    patch.setattr(shard, "read_batches", read)


def _own_decision(patch: Patch) -> None:
    """Publish what this caller decided, whatever publish.json says."""
    real = RunStore.create
    patch.setattr(
        RunStore,
        "create",
        lambda self, name, value: real(self, name, value) or name == decisions.Decision.NAME,
    )


def _counted_in_memory(patch: Patch) -> None:
    """Count the rows of a run in the process instead of in its parts."""
    part, decide = shard._score_part, run.decide
    counted: dict[Any, Any] = {}

    def score_part(*arguments: Any) -> Any:
        footer, taken = part(*arguments)
        actor = running()
        counted[actor] = counted.get(actor, decisions.Counts()) + footer.counts
        return footer, taken

    def decided(*arguments: Any) -> Any:
        counts = counted.get(running(), decisions.Counts())
        return dataclasses.replace(decide(*arguments), counts=counts)

    patch.setattr(shard, "_score_part", score_part)
    patch.setattr(run, "decide", decided)


def _time_in_the_run_id(patch: Patch) -> None:
    real = lookup.Resolved.run_id

    def run_id(self: Any) -> str:
        known = real.__get__(self)
        return f"{known}-{int(self.looked_at.timestamp())}"

    patch.setattr(lookup.Resolved, "run_id", property(run_id))


def _profile_under_a_new_id(patch: Patch) -> None:
    real = profile.insert_rows

    def insert_rows(clients: Any, env: str, stem: str, *key_and_rows: Any) -> None:
        real(clients, env, f"{stem}{_word()}", *key_and_rows)

    patch.setattr(profile, "insert_rows", insert_rows)


def _ledger_without_a_look(patch: Patch) -> None:
    patch.setattr(ledger, "range", lambda _: _Once(), raising=False)
    for module in (run, cancellation, unpublished):
        _leave(patch, module)


class _Once:
    """A loop that is left after its first round."""

    def __iter__(self) -> Any:
        yield 0
        raise _Left


class _Left(Exception):
    pass


def _leave(patch: Patch, module: Any) -> None:
    real = module.record

    def once(*arguments: Any, **options: Any) -> None:
        try:
            real(*arguments, **options)
        except _Left:
            pass

    patch.setattr(module, "record", once)


def _ledger_by_the_first(patch: Patch) -> None:
    """Leave the ledger to the caller that ended the run."""
    real = run.record

    def record(clients: Any, store: Any, plan: Any, *, just_ended: bool = False) -> None:
        if just_ended:
            real(clients, store, plan, just_ended=True)

    patch.setattr(run, "record", record)


def _not_waited_for(patch: Patch) -> None:
    """Take a load job as done before it has ended."""
    patch.setattr(load, "finish", lambda *_: None)


def _by_each_clock(patch: Patch) -> None:
    """Take the seconds of a run as two machines' clocks give them, also negative ones."""

    def seconds(plan: Any, finished_at: dt.datetime) -> float:
        return (finished_at - dt.datetime.fromisoformat(plan.created_at)).total_seconds()

    patch.setattr(unpublished, "seconds_since", seconds)


SCORING = (
    Mutant("a run's objects written again", "scoring", _written_again),
    Mutant("random job id", "scoring", _random_job_id),
    Mutant("part without its offset", "scoring", _part_without_offset),
    Mutant("resumed from the stream's start", "scoring", _stream_from_its_start),
    Mutant("decision of one's own", "scoring", _own_decision),
    Mutant("rows counted in memory", "scoring", _counted_in_memory),
    Mutant("time in the run id", "scoring", _time_in_the_run_id),
    Mutant("profile under a new job id", "scoring", _profile_under_a_new_id),
    Mutant("ledger without a look afterwards", "scoring", _ledger_without_a_look),
    Mutant("ledger left to the caller that ended the run", "scoring", _ledger_by_the_first),
    Mutant("load job not waited for", "scoring", _not_waited_for),
    Mutant("negative seconds of a failure", "scoring", _by_each_clock),
)
