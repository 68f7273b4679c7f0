"""The auditor of the registry and of the log of aliases: they are what the bucket had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.gaps import Mismatch, Wrong, rows_of
from simulator.statements import Values, model_key
from simulator.storage import Bucket
from simulator.warehouse import BigQueryClient, Looked, Merge

VERSIONS = ("v1", "v2")


@dataclass(frozen=True)
class Wrote:
    """What truly happened to the alias: a generation was written, or deleted."""

    generation: int
    version: str | None
    who: str | None  # None: a dropped file, or a deletion by hand
    deleted: bool


class Audit:
    """Compares the tables with the bucket, and the log with what happened."""

    def __init__(self, bucket: Bucket, bigquery: BigQueryClient, history: Sequence[Wrote]) -> None:
        self.bucket, self.bigquery, self.history = bucket, bigquery, history

    def wrongs(self) -> Iterator[Wrong]:
        """Yield the rows that are wrong."""
        yield from self._wrong_models()
        yield from self._wrong_log()

    def _wrong_models(self) -> Iterator[Wrong]:
        registered: dict[str, list[Values]] = {}
        for row in self.bigquery.tables["model_registry"].values():
            registered.setdefault(model_key(row), []).append(row)
        for key in sorted({*registered, *(f"m/{version}" for version in VERSIONS)}):
            stored = self._stored(key, self.bucket.simulation.now)
            rows = registered.get(key, [])
            if [*map(_identity, rows)] != ([] if stored is None else [stored]):
                yield self._wrong_model(key, stored, rows)

    def _wrong_model(self, key: str, stored: Any, rows: list[Values]) -> Wrong:
        def of_key(row: Values) -> bool:
            return model_key(row) == key

        def is_right(merge: Merge, since: float) -> bool:
            left = [*map(_identity, rows_of(merge, of_key))]
            moments = [since, *(at for at in self._changes(key) if since < at <= merge.asked)]
            states = (self._stored(key, at) for at in moments)
            return any(left == ([] if state is None else [state]) for state in states)

        return Wrong(
            f"{key} is registered as {[*map(_identity, rows)]}, and stored as {stored}",
            "model_registry",
            of_key,
            lambda look: look.statement == "recorded_models" and look.given["key"] in ("", key),
            is_right,
            extra=lambda row: _identity(row) != stored,
            missing=lambda row: _identity(row) == stored,
        )

    def _changes(self, key: str) -> Iterator[float]:
        for name in (f"{key}/model.pkl", f"{key}/metadata.json"):
            for stored in self.bucket.past.get(name, []):
                yield stored.created
                if stored.ended is not None:
                    yield stored.ended

    def _stored(self, key: str, at: float) -> tuple[Any, Any] | None:
        """Return the generations of a model and its metadata at a moment, None without a model."""
        model, beside = (
            next((s.generation for s in self.bucket.past.get(name, []) if s.live(at)), None)
            for name in (f"{key}/model.pkl", f"{key}/metadata.json")
        )
        return None if model is None else (model, beside)

    def _wrong_log(self) -> Iterator[Wrong]:
        rows = sorted(self.bigquery.tables["model_aliases"].values(), key=lambda r: r["moved_at"])
        wanted = self._wanted_log()
        if [*map(_logged, rows)] == wanted:
            return

        def is_right(merge: Merge, since: float) -> bool:
            facts = {(w.generation, w.version, w.deleted) for w in self.history}
            return all(
                (row["generation"], row.get("version"), row["deleted"]) in facts
                for row in merge.change.rows
            )

        def looks_at(look: Looked) -> bool:
            return look.statement == "recorded_aliases" and look.given["model"] in ("", "m")

        yield Wrong(
            f"the log has {[*map(_logged, rows)]}, and happened has {wanted}",
            "model_aliases",
            lambda row: True,
            looks_at,
            is_right,
            extra=lambda row: _logged(row) not in wanted,
            missing=lambda row: _logged(row) in wanted,
        )

    def _wanted_log(self) -> list[tuple[Any, ...]]:
        """Return the log as it should be: what happened, each with what it replaced."""
        before = [(None, None), *((w.generation, w.version) for w in self.history)]
        return [
            (w.generation, w.version, w.who, w.deleted, *previous)
            for w, previous in zip(self.history, before, strict=False)
        ]

    def check_moves(self, moved: Sequence[Any]) -> None:
        """Check the rows of the moves whose callers were answered.

        Raises:
            Mismatch: one is missing, or another one.
        """
        rows = self.bigquery.tables["model_aliases"].values()
        for request in moved:
            own = [row for row in rows if row.get("move_id") == request.request_id]
            if len(own) != 1 or (own[0].get("version"), own[0].get("who")) != (
                *(request.version, request.who),
            ):
                raise Mismatch(f"{request.who} was answered, and the log has {own}")
            expected = None if request.expected == "none" else request.expected
            if request.expected is not None and own[0].get("previous_version") != expected:
                raise Mismatch(f"{request.who} expected {expected}, and replaced {own}")


def _identity(row: Values) -> tuple[Any, Any]:
    return row["generation"], row.get("metadata_generation")


def _logged(row: Values) -> tuple[Any, ...]:
    return (
        *(row["generation"], row.get("version"), row.get("who"), row["deleted"]),
        *(row.get("previous_generation"), row.get("previous_version")),
    )
