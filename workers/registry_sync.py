"""Keep BigQuery's `model_registry` equal to the models bucket.

The bucket is the truth, the registry is its projection. A message is only a hint to look:
`converge` reads what the bucket holds now and what the registry holds, replaces what differs, and
looks again until they agree; `rescan` does the same for all model versions at once. It ends only
after a look that found both equal, so a stale or doubled write by a racing twin is always seen by
somebody later. Duplicates, reordering, lost messages and crashes need no code of their own.

One thing is not covered: a statement that BigQuery ends after everybody's last look, because its
handler died and the message was handled again before it ended. The next upload or rescan mends it
(`docs/decisions/0019`).

Generations are compared for equality, never by `>`: Cloud Storage promises that they are unique,
not that they grow (https://cloud.google.com/storage/docs/metadata#generation-number).
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from mlsys.clients import Clients
from mlsys.errors import RegistryBusy, TryAgain
from mlsys.refs import ModelRef
from workers.announcements import Event, announce
from workers.registry_rows import Identity, ModelRow, list_objects, live_row, read_row
from workers.registry_table import Trigger, recorded, replace
from workers.verification import verify_row

LOOKS = 5
RESERVE = 400.0  # seconds of a request that the verification of one more model may take

Change = Literal["registered", "updated", "removed", "unchanged"]


@dataclass(slots=True)
class Rescan:
    """What a rescan found and did; `skipped` lists the objects that are no model, and why."""

    scanned: int = 0
    registered: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Seen:
    """One look: what the bucket holds, how to read one of it in full, and what is recorded."""

    live: Mapping[str, Identity]
    row: Callable[[str], ModelRow | None]
    recorded: Mapping[str, list[Identity]]

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
    """Make the registry's rows of one model version equal to the bucket; return what it took.

    Raises:
        RegistryBusy: bucket or registry kept changing; the message should be delivered again.
        TryAgain: BigQuery is busy, or the registry's table is not there.
    """

    def look() -> _Seen:
        row = live_row(clients, env, ref)
        live = {} if row is None else {str(ref): row.identity}
        return _Seen(live, lambda _: row, recorded(clients, env, str(ref)))

    change = _settle(clients, env, trigger, look).change(str(ref))
    announce(clients, env, *_events(env, str(ref), change))
    return change


def rescan(clients: Clients, env: str) -> Rescan:
    """Make the whole registry equal to the bucket, with one listing and one read of the registry.

    Raises:
        ObjectNotFound: the environment's models bucket is not there.
        RegistryBusy, TryAgain: as `converge`.
    """
    result, settings = Rescan(), clients.settings
    until = time.monotonic() + max(60.0, settings.request_timeout - RESERVE)
    first = True

    def look() -> _Seen:
        nonlocal first
        found, others = list_objects(clients, env)
        if first:
            first = False
            result.scanned = len(others) + sum(o.number for o in found.values())
            result.skipped = [{"object": p, "reason": r} for p, r in sorted(others.items())]
        live = {key: objects.identity(settings) for key, objects in found.items()}
        return _Seen(
            live, lambda key: read_row(settings, env, found.get(key)), recorded(clients, env)
        )

    seen = _settle(clients, env, "rescan", look, until)
    events: list[Event] = []
    for key in sorted(seen.live.keys() | seen.recorded.keys()):
        change = seen.change(key)
        setattr(result, change, getattr(result, change) + 1)
        events += _events(env, key, change)
    announce(clients, env, *events)
    return result


def _settle(
    clients: Clients,
    env: str,
    trigger: Trigger,
    look: Callable[[], _Seen],
    until: float = math.inf,
) -> _Seen:
    """Look, replace what differs, and look again until nothing does; return the first look."""
    first = seen = look()
    for _ in range(LOOKS):
        keys = seen.differing()
        if not keys:
            return first
        replace(clients, env, keys, functools.partial(_judged, clients, seen, until), trigger)
        seen = look()
    if not seen.differing():
        return first
    raise RegistryBusy(f"The registry of {env} kept changing over {LOOKS} looks: try again shortly")


def _judged(clients: Clients, seen: _Seen, until: float, key: str) -> ModelRow | None:
    if time.monotonic() > until:
        raise TryAgain("There are more models to verify than one request has time for: ask again")
    return verify_row(clients, seen.row(key))


def _events(env: str, key: str, change: Change) -> list[Event]:
    """What is announced of a model version that changed.

    A row that was written by hand may have any name; it is removed, and announced by what it says.
    """
    if change == "unchanged":
        return []
    name, _, version = key.rpartition("/")
    data = {"env": env, "model_name": name, "model_version": version, "change": change}
    return [Event("model.removed" if change == "removed" else "model.registered", key, data)]
