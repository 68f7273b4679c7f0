"""The parts of a stream: each begins at the row where the one before ends, from row 0 on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import batched
from typing import TYPE_CHECKING

from workers.scoring.journal.decisions import Counts
from workers.scoring.journal.store import RunStore
from workers.scoring.shards.part import Footer, PartDamaged, read_footers

if TYPE_CHECKING:
    from google.cloud.storage import Blob

    from workers.scoring.shards.session import Session

_NAME = re.compile(r"parts/\d+/(\d+)-(\d+)\.parquet")


@dataclass(frozen=True, slots=True)
class Chain:
    """The parts of one stream without a gap, from its first row on.

    `end` is the number of rows that they hold, and the offset to resume at. `complete` says that
    the last one is the stream's last. `later` are the offsets of parts beyond a gap: one was
    deleted.
    """

    shard: int
    parts: tuple[str, ...] = ()  # objects of the run
    footers: tuple[Footer, ...] = ()
    end: int = 0
    complete: bool = False
    later: frozenset[int] = frozenset()

    @property
    def counts(self) -> Counts:
        """The rows of its parts."""
        return sum((footer.counts for footer in self.footers), Counts())

    def with_part(self, footer: Footer) -> Chain:
        """Return the chain's end after one part more; the part's name is left out."""
        return replace(self, end=footer.offset + footer.counts.read, complete=footer.last)


@dataclass(frozen=True, slots=True)
class Share:
    """The streams of one of `count` tasks that score a run together: every count-th stream."""

    index: int = 0
    count: int = 1

    def has(self, shard: int) -> bool:
        """Tell whether the stream is the task's."""
        return shard % self.count == self.index

    def parts(self, parts: Mapping[str, Blob]) -> dict[str, Blob]:
        """Return the parts of the task's streams."""
        places = ((name, shard_of(name)) for name in parts)
        return {
            name: parts[name] for name, shard in places if shard is not None and self.has(shard)
        }


def shard_of(name: str) -> int | None:
    """Return the stream that a part is of, by its name; None for another object."""
    place = _NAME.fullmatch(name)
    return int(place[1]) if place else None


WHOLE = Share()  # every row of the run


def all_complete(store: RunStore, session: Session) -> bool:
    """Tell whether the last part of every stream of the session is there.

    It looks at one part of a stream, and no further than to one that is not complete: each of many
    tasks asks it. The decision checks that no part is missing before.
    """
    latest: dict[int, str] = {}
    parts = store.parts(session.number)
    for name in sorted(parts):
        if place := _NAME.fullmatch(name):
            latest[int(place[1])] = name
    if any(shard not in latest for shard in range(session.shards)):
        return False
    return all(
        footer.last
        for some in batched(range(session.shards), 16)
        for footer in read_footers(parts[latest[shard]] for shard in some)
    )


def read_chains(store: RunStore, session: Session, parts: Mapping[str, Blob]) -> list[Chain]:
    """Return the chain of each stream of the session, of its `parts` by their names.

    Raises:
        PartGone: a part was deleted just now.
        PartDamaged: a part cannot be read, or belongs to another session.
    """
    by_shard: dict[int, dict[int, str]] = {shard: {} for shard in range(session.shards)}
    known = []
    for name in sorted(parts):
        place = _NAME.fullmatch(name)
        if place and int(place[1]) in by_shard:  # others are an older release's
            by_shard[int(place[1])][int(place[2])] = name
            known.append(name)
    footers = dict(zip(known, read_footers(parts[name] for name in known), strict=True))
    return [_chain(store, session, shard, by_shard[shard], footers) for shard in by_shard]


def read_chain(
    store: RunStore, session: Session, shard: int, beyond: int | None = None
) -> Chain | None:
    """Return the chain of one stream as it is now.

    None: no part begins at the row `beyond` or later, if one is given.

    Raises:
        PartGone, PartDamaged: see `read_chains`.
    """
    parts = store.parts(session.number, shard)
    if beyond is not None and max(parts, default="") < store.part_name(
        session.number, shard, beyond
    ):
        return None
    return read_chains(store, session, parts)[shard]


def _chain(
    store: RunStore,
    session: Session,
    shard: int,
    names: Mapping[int, str],
    footers: Mapping[str, Footer],
) -> Chain:
    parts: list[str] = []
    end, complete = 0, False
    while not complete and (name := names.get(end)) is not None:
        footer = footers[name]
        misplaced = footer.offset != end or (not footer.last and not footer.counts.read)
        if footer.stream != session.stream(shard) or misplaced:
            raise PartDamaged(f"{store.uri(name)} is of another session. Repeat the request.")
        parts.append(name)
        end += footer.counts.read
        complete = footer.last
    return Chain(
        shard,
        tuple(parts),
        tuple(footers[name] for name in parts),
        end,
        complete,
        frozenset(offset for offset in names if offset > end),
    )
