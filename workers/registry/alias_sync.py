"""Keep the log of aliases equal to the bucket's generations, by the same loop as the registry.

A look lists every generation that the bucket keeps, noncurrent ones too, so a lost event loses no
history. A generation's content never changes: one that the log has is not read again. A row of a
generation that the bucket no longer keeps stays.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlsys.artifact.aliases import read_object
from mlsys.artifact.refs import ALIASES, AliasRef, aliases_prefix
from mlsys.cloud.clients import TIMEOUT, Clients
from mlsys.errors import AliasInvalid, InvalidRequest, ObjectNotFound, TryAgain
from mlsys.settings import Settings
from workers.announcements import Event, announce
from workers.registry.alias_history import (
    FILE,
    SERVICE,
    AliasRow,
    Generation,
    Trigger,
    log_of,
)
from workers.registry.alias_table import recorded, write
from workers.registry.moves import read_record
from workers.registry.settle import LOOKS, settle

if TYPE_CHECKING:
    from google.cloud.storage import Blob

GLOB = "*/aliases/*.json"

log = logging.getLogger(__name__)


class _Gone(Exception):
    """A generation was removed between the listing and its download."""


@dataclass(frozen=True, slots=True)
class AliasLook:
    """The log as it should be and as it is, by the keys of its rows; and the objects seen."""

    wanted: Mapping[str, AliasRow]
    recorded: Mapping[str, list[AliasRow]]
    objects: int  # that the bucket has now, noncurrent generations aside
    foreign: Mapping[str, str]  # objects under aliases/ that are not one, and why

    def differing(self) -> list[AliasRow]:
        """Return the rows that the log lacks, has twice, or has otherwise."""
        return [
            row
            for key, row in self.wanted.items()
            if [each.identity for each in self.recorded.get(key, [])] != [row.identity]
        ]

    def stale(self) -> list[str]:
        """Return the keys of rows that the log should not have: deletions that were none."""
        return sorted(self.recorded.keys() - self.wanted.keys())

    def differs(self) -> bool:
        """Return whether rows have to be written."""
        return bool(self.differing() or self.stale())

    def news(self) -> list[AliasRow]:
        """Return the rows that the log lacked."""
        return [row for key, row in self.wanted.items() if key not in self.recorded]

    def now(self) -> list[AliasRow]:
        """Return the last row of each alias that exists now."""
        last = {row.name: row for row in self.wanted.values()}
        return [row for row in last.values() if not row.deleted]

    def rows(self, ref: AliasRef) -> list[AliasRow]:
        """Return the rows that the alias's log should have, in order."""
        return [row for row in self.wanted.values() if row.name == str(ref)]


def converge_alias(
    clients: Clients, env: str, ref: AliasRef, trigger: Trigger = "event"
) -> AliasLook:
    """Make the log of one alias equal to the bucket; return the first look.

    Raises:
        RegistryBusy, TryAgain: as `workers.registry.sync.converge`.
    """
    return _settle(clients, env, trigger, ref.model, ref.alias)


def rescan_aliases(clients: Clients, env: str) -> AliasLook:
    """Make the log of all aliases equal to the bucket; return the first look.

    Raises:
        ObjectNotFound: the environment's models bucket does not exist.
        RegistryBusy, TryAgain: as `converge_alias`.
    """
    return _settle(clients, env, "rescan")


def _settle(
    clients: Clients, env: str, trigger: Trigger, model: str = "", alias: str = ""
) -> AliasLook:
    first = settle(
        env,
        lambda: look(clients, env, trigger, model, alias),
        lambda seen: write(clients, env, seen.differing(), seen.stale()),
    )
    news = first.news()
    for row in news:
        if row.guarded is False:
            log.warning(
                "The alias %s was %s in the bucket of %s past its guard: move it by the service",
                *(row.name, "deleted" if row.deleted else f"set to {row.version}", env),
                extra={"event": "alias.unguarded", "alias": row.name, "version": row.version},
            )
    announce(clients, env, *map(_event, news))
    return first


def _event(row: AliasRow) -> Event:
    """Return the announcement of a row of the log."""
    data = {
        "env": row.environment,
        "model_name": row.model_name,
        "alias": row.alias,
        "version": row.version,
        "previous_version": row.previous_version,
        "who": row.who,
        "why": row.why,
        "source": row.source,
        "guarded": row.guarded,
        "moved_at": row.moved_at.isoformat(),
    }
    return Event("alias.moved", row.name, data)


def look(
    clients: Clients, env: str, trigger: Trigger = "event", model: str = "", alias: str = ""
) -> AliasLook:
    """Return how the log of an alias, of a model's aliases, or of all, is and should be.

    Raises:
        ObjectNotFound: the environment's models bucket does not exist.
        TryAgain: see `workers.query.run`.
    """
    rows: dict[str, list[AliasRow]] = defaultdict(list)
    by_alias: dict[str, dict[int, AliasRow]] = defaultdict(dict)
    deletions: dict[str, dict[int, AliasRow]] = defaultdict(dict)
    # The log first: a generation that it has and the listing lacks is then gone from the bucket.
    for row in recorded(clients, env, model, alias):
        rows[row.key].append(row)
        past_the_service = row.deleted and row.previous_generation == row.generation
        (deletions if past_the_service else by_alias)[row.name].setdefault(row.generation, row)
    for _ in range(LOOKS):
        blobs, foreign = _list(clients, env, model, alias)
        try:
            generations = {
                name: _generations(clients, env, trigger, blobs.get(name, []), by_alias[name])
                for name in sorted(blobs.keys() | by_alias.keys())
            }
            break
        except _Gone:
            continue
    else:
        raise TryAgain(f"The aliases of {env} kept being moved: try again")
    now = dt.datetime.now(dt.UTC)
    wanted: dict[str, AliasRow] = {}
    for name, each in generations.items():
        for row in log_of(each, deletions[name], now, trigger):
            known = next(iter(rows.get(row.key, ())), None)
            if known is not None and known.source == row.source:
                guarded = known.guarded
            else:
                guarded = _guarded(clients.settings, row)
            wanted[row.key] = replace(row, guarded=guarded)
    objects = sum(blob.time_deleted is None for each in blobs.values() for blob in each)
    return AliasLook(wanted, rows, objects, foreign)


def _guarded(settings: Settings, row: AliasRow) -> bool | None:
    """Return whether the alias's guard allowed a change that the log does not have yet."""
    if row.source == SERVICE and isinstance(row.evidence, Mapping) and "guard" in row.evidence:
        return True
    if settings.alias_guard(row.environment, row.model_name, row.alias) is None:
        return None
    # The service asks the guard, if it had one then: other changes are past the service.
    return None if row.source == SERVICE else False


def _list(
    clients: Clients, env: str, model: str, alias: str
) -> tuple[dict[str, list[Blob]], dict[str, str]]:
    """List every generation of the objects of aliases, by alias; and other objects beside them."""
    from google.api_core.exceptions import NotFound

    name = clients.settings.models_bucket(env)
    where = {"prefix": aliases_prefix(model) + alias} if model else {"match_glob": GLOB}
    blobs: dict[str, list[Blob]] = defaultdict(list)
    foreign: dict[str, str] = {}
    try:
        for blob in clients.storage.list_blobs(name, versions=True, timeout=TIMEOUT, **where):
            if blob.name.split("/")[1:2] != [ALIASES]:  # fake-gcs-server ignores the pattern
                continue
            try:
                ref = AliasRef.of_object(blob.name)
            except InvalidRequest as exc:
                if blob.time_deleted is None:
                    foreign[blob.name] = str(exc)
                continue
            if not alias or ref.alias == alias:
                blobs[str(ref)].append(blob)
    except NotFound as exc:
        raise ObjectNotFound(
            f"The bucket gs://{name} does not exist: create it (docs/operations.md)"
        ) from exc
    return blobs, foreign


def _generations(
    clients: Clients,
    env: str,
    trigger: Trigger,
    blobs: list[Blob],
    known: Mapping[int, AliasRow],
) -> list[Generation]:
    """Return the generations of one alias: those that the bucket keeps, and those of the log."""
    out = {number: Generation(row) for number, row in known.items()}
    for blob in blobs:
        number = int(blob.generation or 0)
        row = known.get(number) or _read(clients, env, trigger, blob)
        at = blob.time_created or row.moved_at
        out[number] = Generation(
            replace(row, moved_at=at), blob.time_deleted is None, blob.time_deleted
        )
    return list(out.values())


def _read(clients: Clients, env: str, trigger: Trigger, blob: Blob) -> AliasRow:
    """Return the row of a generation that the log does not have yet, read from its content.

    Raises:
        _Gone: the bucket does not keep it any more.
    """
    from google.api_core.exceptions import NotFound

    ref = AliasRef.of_object(blob.name)
    row = AliasRow(
        model_name=ref.model,
        alias=ref.alias,
        environment=env,
        generation=int(blob.generation or 0),
        moved_at=blob.time_created or dt.datetime.now(dt.UTC),
        source=FILE,
        learnt_by=trigger,
    )
    try:
        document = read_object(blob)
    except NotFound as exc:
        raise _Gone from exc
    except AliasInvalid as exc:
        return replace(row, problem=str(exc))
    row = replace(row, version=document.version, deleted=document.version is None, why=document.why)
    if document.move is None:
        return row
    name = document.move.partition(".")[0]
    record = read_record(clients, env, ref, name)
    if record is None or record.move(name) != document.move:
        return row
    if (record.version, record.replaced) != (document.version, document.replaced):
        return row
    return replace(
        row,
        source=SERVICE,
        who=record.who,
        why=record.why,
        forced=record.forced,
        evidence=record.evidence or None,
        move_id=name,
        previous_version=record.previous_version,
        previous_generation=record.replaced,
    )
