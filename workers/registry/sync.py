"""Keep BigQuery's `model_registry` equal to the models bucket.

The bucket is the truth, the registry is its projection. A message is only a hint to look:
`converge` reads what the bucket holds now and what the registry holds, replaces what differs, and
looks again until they agree; `rescan` does the same for all model versions at once. Each ends only
after a look that found both equal, so a stale or duplicate write by a concurrent handler is always
seen by a later look. Duplicates, reordering, lost messages and crashes need no code of their own.

One case is not covered: a statement that BigQuery completes after every handler's last look,
because its handler died and the message was handled again before it completed. The next upload or
rescan repairs it (`docs/decisions/0019`).

Generations are compared for equality, never by `>`: Cloud Storage promises that they are unique,
not that they grow (https://cloud.google.com/storage/docs/metadata#generation-number).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from mlsys.artifact.refs import AliasRef, ModelRef
from mlsys.cloud.clients import Clients
from mlsys.errors import InvalidRequest, TryAgain
from workers.announcements import Event, announce
from workers.registry.alias_sync import rescan_aliases
from workers.registry.rows import Identity, ModelRow, Objects, list_objects, read_row
from workers.registry.settle import settle
from workers.registry.table import Trigger, in_statements, recorded, replace
from workers.registry.verify import verify_row

RESERVE = 400.0  # seconds of a request that the verification of one more model may take

Change = Literal["registered", "updated", "removed", "unchanged"]


@dataclass(slots=True)
class Rescan:
    """The result of a rescan; `skipped` lists the objects that are not part of a model, and why.

    `aliases` counts the objects of aliases, `alias_moves` the rows of their log that were written.
    """

    scanned: int = 0
    registered: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    aliases: int = 0
    alias_moves: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Look:
    """The bucket and the registry at one moment, by `name/version`."""

    objects: Mapping[str, Objects]
    live: Mapping[str, Identity]
    recorded: Mapping[str, list[Identity]]
    skipped: Mapping[str, str]  # objects that are not part of a model, and why

    def differs(self) -> bool:
        return bool(self.differing())

    def differing(self) -> list[str]:
        keys = self.live.keys() | self.recorded.keys()
        return sorted(key for key in keys if self.change(key) != "unchanged")

    def change(self, key: str) -> Change:
        live, recorded = self.live.get(key), self.recorded.get(key, [])
        if live is None:
            return "removed" if recorded else "unchanged"
        if not recorded:
            return "registered"
        return "unchanged" if recorded == [live] else "updated"


def converge(clients: Clients, env: str, ref: ModelRef, trigger: Trigger = "event") -> Change:
    """Make the registry's rows of one model version equal to the bucket; return the change.

    Raises:
        RegistryBusy: bucket or registry kept changing; the message should be delivered again.
        TryAgain: BigQuery is busy, or the registry's table does not exist.
    """
    change = _settle(clients, env, trigger, str(ref)).change(str(ref))
    announce(clients, env, *_events(env, str(ref), change))
    return change


def rescan(clients: Clients, env: str) -> Rescan:
    """Make the whole registry equal to the bucket, with one listing and one read of the registry.

    The log of the aliases is made equal to the bucket too.

    Raises:
        ObjectNotFound: the environment's models bucket does not exist.
        RegistryBusy, TryAgain: as `converge`.
    """
    until = time.monotonic() + max(60.0, clients.settings.request_timeout - RESERVE)
    first = _settle(clients, env, "rescan", until=until)
    aliases = rescan_aliases(clients, env)
    others = {path: why for path, why in first.skipped.items() if not _is_alias(path)}
    others |= {path: why for path, why in aliases.foreign.items() if path in others}
    result = Rescan(
        scanned=len(first.skipped) + sum(o.number for o in first.objects.values()),
        aliases=aliases.objects,
        alias_moves=len(aliases.differing()),
        skipped=[{"object": p, "reason": r} for p, r in sorted(others.items())],
    )
    events: list[Event] = []
    for key in sorted(first.live.keys() | first.recorded.keys()):
        change = first.change(key)
        setattr(result, change, getattr(result, change) + 1)
        events += _events(env, key, change)
    announce(clients, env, *events)
    return result


def _settle(
    clients: Clients, env: str, trigger: Trigger, key: str = "", until: float = math.inf
) -> _Look:
    """Look, verify and write what differs, and look again until nothing does.

    Return the first look. `key` is one model version; without it all of them are looked at.
    """

    def write(look: _Look) -> None:
        changed = _verified(clients, env, look, look.differing(), until)
        for changes in in_statements(changed, trigger):
            replace(clients, env, changes)

    return settle(env, lambda: _look(clients, env, key), write)


def _look(clients: Clients, env: str, key: str) -> _Look:
    """Look at the registry, then at the bucket.

    The other way round, a model that is uploaded and registered between the two would look removed.
    """
    rows = recorded(clients, env, key)
    objects, skipped = list_objects(clients, env, f"{key}/" if key else "")
    live = {key: version.identity(clients.settings) for key, version in objects.items()}
    return _Look(objects, live, rows, skipped)


def _verified(
    clients: Clients, env: str, look: _Look, keys: Iterable[str], until: float
) -> Iterator[tuple[str, ModelRow | None]]:
    """Yield each key with the verified row that it should have; None: it should have none."""
    for key in keys:
        if time.monotonic() > until:
            raise TryAgain(
                "More models need verifying than one request has time for: repeat the request"
            )
        row = read_row(clients.settings, env, look.objects.get(key))
        yield key, verify_row(clients, row)


def _is_alias(path: str) -> bool:
    try:
        AliasRef.of_object(path)
    except InvalidRequest:
        return False
    return True


def _events(env: str, key: str, change: Change) -> list[Event]:
    """Return the announcements of a model version that changed.

    A row that was written by hand may have any name; it is removed, and announced under that name.
    """
    if change == "unchanged":
        return []
    name, _, version = key.rpartition("/")
    data = {"env": env, "model_name": name, "model_version": version, "change": change}
    return [Event("model.removed" if change == "removed" else "model.registered", key, data)]
