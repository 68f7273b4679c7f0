"""Weaker designs of the registry and of the log of aliases."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from mlsys.cloud.clients import is_passing
from mlsys.errors import TryAgain
from simulator import storage
from simulator.mutant import Mutant, Patch
from workers.registry import alias_history, alias_sync, move, rows, sync


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
