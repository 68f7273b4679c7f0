"""Weaker designs, each a small change of the code under test that the simulator has to find."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from mlsys.cloud.clients import is_passing
from mlsys.errors import TryAgain
from simulator import storage
from simulator.kernel import current
from workers.registry import alias_history, alias_sync, move, rows, sync
from workers.scoring import records, run
from workers.scoring.planning import lookup
from workers.scoring.publishing import ledger, load, profile
from workers.scoring.shards import shard
from workers.scoring.store import RunStore

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Mutant:
    """A change of the code under test, and the scenario that has to find it."""

    name: str
    scenario: str
    change: Callable[[Patch], None]


def _only_newer(patch: Patch) -> None:
    """Compare generations by `>`."""
    real = sync._Look.change

    def change(self: Any, key: str) -> Any:
        answer = real(self, key)
        if answer == "updated":
            live, known = self.live[key], self.recorded[key]
            if len(known) == 1 and (live[1], live[2] or 0) < (known[0][1], known[0][2] or 0):
                return "unchanged"
        return answer

    patch.setattr(sync._Look, "change", change)


def _no_look_after_the_write(patch: Patch) -> None:
    def once(env: str, look: Any, write: Any) -> Any:
        seen = look()
        if seen.differs():
            write(seen)
        return seen

    patch.setattr(sync, "settle", once)
    patch.setattr(alias_sync, "settle", once)


def _bucket_read_once(patch: Patch) -> None:
    """Look at the registry again, but at the bucket only once."""
    real = sync.settle

    def settle(env: str, look: Any, write: Any) -> Any:
        first: list[Any] = []

        def again() -> Any:
            seen = look()
            first.append(seen)
            return dataclasses.replace(seen, objects=first[0].objects, live=first[0].live)

        return real(env, again, write)

    patch.setattr(sync, "settle", settle)


def _acknowledged_first(patch: Patch) -> None:
    from simulator import registry

    real = registry.handle

    def handle(clients: Any, message: Any, acknowledge: Callable[[], None]) -> None:
        acknowledge()
        real(clients, message, acknowledge)

    patch.setattr(registry, "handle", handle)


def _acknowledged_in_vain(patch: Patch) -> None:
    """Acknowledge a message although the work has to be repeated."""
    from simulator import registry

    real = registry.handle

    def handle(clients: Any, message: Any, acknowledge: Callable[[], None]) -> None:
        try:
            real(clients, message, acknowledge)
        except Exception as exc:
            if not isinstance(exc, TryAgain) and not is_passing(exc):
                raise

    patch.setattr(registry, "handle", handle)


def _two_statements(patch: Patch) -> None:
    real = sync.replace

    def replace(clients: Any, env: str, changes: Any) -> None:
        real(clients, env, dataclasses.replace(changes, rows="[]"))
        real(clients, env, dataclasses.replace(changes, keys=[]))

    patch.setattr(sync, "replace", replace)


def _metadata_left_out(patch: Patch) -> None:
    """Compare the model's generation alone, not metadata.json's."""
    real = rows.Objects.identity
    patch.setattr(
        rows.Objects,
        "identity",
        lambda self, settings: (*real(self, settings)[:2], None, *real(self, settings)[3:]),
    )


def _alias_without_precondition(patch: Patch) -> None:
    real = storage.Blob.upload_from_string

    def upload(self: Any, content: Any, if_generation_match: Any = None, **options: Any) -> None:
        given = None if "/aliases/" in self.name else if_generation_match
        real(self, content, given, **options)

    patch.setattr(storage.Blob, "upload_from_string", upload)


def _record_after_the_object(patch: Patch) -> None:
    """Write the alias's object first, and then the record that tells who moved it."""
    real, logged = move.write_record, move._logged

    def later(clients: Any, env: str, ref: Any, name: str, record: Any) -> None:
        return None

    def first(clients: Any, env: str, request: Any, record: Any, generation: int) -> Any:
        real(clients, env, request.ref, request.request_id, record)
        return logged(clients, env, request, record, generation)

    patch.setattr(move, "write_record", later)
    patch.setattr(move, "_logged", first)


def _by_generation(patch: Patch) -> None:
    """Put the generations of an alias in the order of their numbers."""
    patch.setattr(alias_history, "_time", lambda generation: generation.row.generation)


def _current_only(patch: Patch) -> None:
    """List the current generations of the aliases alone."""
    real = storage.Bucket.list

    def current(self: Any, prefix: Any, **options: Any) -> Any:
        return real(self, prefix, **options | {"versions": False})

    patch.setattr(storage.Bucket, "list", current)


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
        lambda self, name, value: real(self, name, value) or name == records.Decision.NAME,
    )


def _counted_in_memory(patch: Patch) -> None:
    """Count the rows of a run in the process instead of in its parts."""
    part, decide = shard._score_part, run.decide
    counted: dict[Any, Any] = {}

    def score_part(*arguments: Any) -> Any:
        footer, taken = part(*arguments)
        actor = _actor()
        counted[actor] = counted.get(actor, records.Counts()) + footer.counts
        return footer, taken

    def decided(*arguments: Any) -> Any:
        counts = counted.get(_actor(), records.Counts())
        return dataclasses.replace(decide(*arguments), counts=counts)

    patch.setattr(shard, "_score_part", score_part)
    patch.setattr(run, "decide", decided)


def _actor() -> Any:
    simulation = current()
    assert simulation is not None
    return simulation.actor()


def _time_in_the_run_id(patch: Patch) -> None:
    real = lookup.Resolved.run_id

    def run_id(self: Any) -> str:
        known = real.__get__(self)
        return f"{known}-{int(self.looked_at.timestamp())}"

    patch.setattr(lookup.Resolved, "run_id", property(run_id))


def _profile_without_a_look(patch: Patch) -> None:
    """Write the rows of prediction_profiles, and do not look again."""
    patch.setattr(profile, "recorded_columns", lambda *_: 2)


def _ledger_without_a_look(patch: Patch) -> None:
    patch.setattr(ledger, "range", lambda _: _Once(), raising=False)
    _leave(patch, "record")


class _Once:
    """A loop that is left after its first round."""

    def __iter__(self) -> Any:
        yield 0
        raise _Left


class _Left(Exception):
    pass


def _leave(patch: Patch, name: str) -> None:
    real = getattr(run, name)

    def once(*arguments: Any, **options: Any) -> None:
        try:
            real(*arguments, **options)
        except _Left:
            pass

    patch.setattr(run, name, once)


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


REGISTRY = (
    Mutant("generations by >", "registry", _only_newer),
    Mutant("no look after the write", "registry", _no_look_after_the_write),
    Mutant("the bucket read once", "registry", _bucket_read_once),
    Mutant("acknowledged before the write", "registry", _acknowledged_first),
    Mutant("acknowledged in vain", "registry", _acknowledged_in_vain),
    Mutant("delete and insert by two statements", "registry", _two_statements),
    Mutant("metadata.json left out of the identity", "registry", _metadata_left_out),
    Mutant("alias written without its precondition", "registry", _alias_without_precondition),
    Mutant("record after the alias's object", "registry", _record_after_the_object),
    Mutant("aliases in the order of generations", "registry", _by_generation),
    Mutant("noncurrent generations left out", "registry", _current_only),
)
SCORING = (
    Mutant("a run's objects written again", "scoring", _written_again),
    Mutant("random job id", "scoring", _random_job_id),
    Mutant("part without its offset", "scoring", _part_without_offset),
    Mutant("resumed from the stream's start", "scoring", _stream_from_its_start),
    Mutant("decision of one's own", "scoring", _own_decision),
    Mutant("rows counted in memory", "scoring", _counted_in_memory),
    Mutant("time in the run id", "scoring", _time_in_the_run_id),
    Mutant("profile without a look afterwards", "scoring", _profile_without_a_look),
    Mutant("ledger without a look afterwards", "scoring", _ledger_without_a_look),
    Mutant("ledger left to the caller that ended the run", "scoring", _ledger_by_the_first),
    Mutant("load job not waited for", "scoring", _not_waited_for),
)
MUTANTS = (*REGISTRY, *SCORING)
