"""A run's read session as its `session-{k}.json` holds it, and whether it was given up."""

from __future__ import annotations

import base64
import datetime as dt
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from workers.scoring.journal.store import RunStore
from workers.scoring.shards.part import readable_footers

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

PART_ROWS = 262_144  # four batches; at most what an interrupted process loses
# A run ends in one session, but for sessions that BigQuery or people ended.
MAX_SESSIONS = 10

Kind = Literal["expired", "ended", "damaged", "rows"]  # why a session was given up


@dataclass(frozen=True, slots=True)
class Session:
    """An open read session; `streams` are its streams' names."""

    number: int
    streams: tuple[str, ...]
    expires_at: str | None
    rows: int  # of the input, about, and before any filter
    part_rows: int = PART_ROWS  # of a full part
    requested: tuple[int, int] = (0, 0)  # streams: the preferred minimum, the maximum
    rows_exact: bool = False  # `rows` is what the session must send
    schema: str = ""  # of the rows as Arrow, serialized, in base64
    bytes: int = 0  # that BigQuery charges for, by its estimate, once all rows are read
    bytes_queried: int = 0  # that it charged for copying the rows before

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read a `session-{k}.json`; an older release wrote fewer fields."""
        return cls(
            value["number"],
            tuple(value["streams"]),
            value["expires_at"],
            value["rows"],
            int(value.get("part_rows", PART_ROWS)),
            tuple(value.get("requested", (0, 0))),
            bool(value.get("rows_exact", False)),
            value.get("schema", ""),
            int(value.get("bytes", 0)),
            int(value.get("bytes_queried", 0)),
        )

    @property
    def shards(self) -> int:
        """The number of streams, each with a part at least: a session without any has one part."""
        return max(1, len(self.streams))

    def stream(self, shard: int) -> str:
        """Return the name of a stream, or "" if the session has none: the input is empty."""
        return self.streams[shard] if self.streams else ""

    def arrow_schema(self) -> pa.Schema | None:
        """Return the schema of the rows, or None if an older release opened the session."""
        import pyarrow as pa

        if not self.schema:
            return None
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.schema)))

    def expired(self, moment: dt.datetime) -> bool:
        """Tell whether the session is over at `moment`."""
        if self.expires_at is None:  # the local BigQuery does not set it
            return False
        return moment > dt.datetime.fromisoformat(self.expires_at)


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A session that no try continues with: why, and how many rows of it are read again."""

    number: int
    why: str
    kind: Kind
    rows: int


def give_up(store: RunStore, session: Session, why: str, kind: Kind) -> None:
    """Record that no try continues with the session: the next one opens another."""
    footers = readable_footers(store.parts(session.number).values())
    over = GivenUp(session.number, why, kind, sum(footer.counts.read for footer in footers))
    log.warning(
        "%s: the read session %s is given up, and its %s rows are read again: %s",
        *(store.run_id, session.number, over.rows, why),
        extra={"run_id": store.run_id},
    )
    store.create(_over(session.number), asdict(over) | {"at": dt.datetime.now(dt.UTC).isoformat()})


def is_given_up(store: RunStore, number: int) -> bool:
    """Tell whether the run's session of that number was given up."""
    return store.read(_over(number)) is not None


def given_up(store: RunStore, before: int = MAX_SESSIONS) -> list[GivenUp]:
    """Return the run's sessions that were given up, of those with a number below `before`."""
    documents = ((number, store.read(_over(number))) for number in range(before))
    return [
        GivenUp(n, over.get("why", "it ended"), over.get("kind", "ended"), over.get("rows", 0))
        for n, over in documents
        if over is not None
    ]


def _over(number: int) -> str:
    return f"session-{number}-over.json"
