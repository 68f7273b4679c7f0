"""Read sessions: a fixed split of the input's snapshot into streams.

BigQuery decides how many streams there are. Every PART_ROWS rows of a stream close a part
(`shard`), and a stream is resumed at the row after its last part.

A session lasts six hours (https://cloud.google.com/bigquery/docs/reference/storage). BigQuery does
not promise that a second session splits the rows alike, so the parts belong to one session:
another session reads all rows again. `expiry` says when a run may do so.
"""

from __future__ import annotations

import base64
import datetime as dt
import logging
import math
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from mlsys.cloud.clients import Clients
from mlsys.errors import Conflict, TryAgain
from workers import machine
from workers.scoring.planning.plan import Plan
from workers.scoring.shards.chain import read_chains
from workers.scoring.shards.expiry import check_left_alone
from workers.scoring.shards.materialized_view import check_rows, materialize
from workers.scoring.shards.open_session import open_session
from workers.scoring.shards.part import readable_footers
from workers.scoring.store import RunStore

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

PART_ROWS = 262_144  # four batches; at most what an interrupted process loses
ROWS_FOR_A_CORE = 50_000  # worth a stream of their own
STREAMS_FOR_A_CORE = 4  # at most: streams are lopsided under a filter
MAX_STREAMS = 1000  # https://cloud.google.com/bigquery/quotas#storage-limits
# A run ends in one session, but for sessions that BigQuery or people ended.
MAX_SESSIONS = 10
MARGIN = dt.timedelta(minutes=1)  # beyond the caller's deadline, for the last part

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


def current_session(
    clients: Clients,
    store: RunStore,
    plan: Plan,
    stop: Callable[[], bool] = lambda: False,
    deadline: float | None = None,
    cores: int | None = None,
) -> Session:
    """Return the run's latest session, opening one if it has none or that has expired.

    `deadline` is the `time.monotonic()` moment until which the caller may work; `cores` is how many
    work on the run together, by default this machine's.

    Raises:
        TableNotFound: the input table was deleted.
        InvalidRequest: the Storage Read API refuses the filter.
        SchemaMismatch: the view cannot be queried, or BigQuery refuses to read the table.
        Conflict: the snapshot is older than BigQuery keeps, or than the table; or the sessions
            kept ending before the run did; or the run cannot end within a session.
        RunInterrupted: `stop` returned True while rows were being copied.
        TryAgain: this machine's clock is ahead.
    """
    for number in range(MAX_SESSIONS):
        name = f"session-{number}.json"
        document = store.read(name)
        if document is None:
            session = _open(clients, store, plan, number, stop, cores)
            if store.create(name, asdict(session)):
                _log_streams(plan, session)
                return session
            document = store.read(name)  # another was first: its session is the run's
        if document is None:
            break
        session = store.parse(name, document, Session.from_dict)
        if is_given_up(store, number):
            continue
        lasts = MARGIN + dt.timedelta(seconds=_seconds_left(clients, deadline))
        if not session.expired(dt.datetime.now(dt.UTC) + lasts) or _is_still_of_use(store, session):
            return session
    raise Conflict(
        f"{MAX_SESSIONS} read sessions of {plan.run_id} ended before the run: pass a run_id of "
        "your own to start another run, on a larger machine or with a where that splits the input"
    )


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


def latest_session(store: RunStore) -> Session | None:
    """Return the run's latest session, or None if it has none."""
    session = None
    for number in range(MAX_SESSIONS):
        name = f"session-{number}.json"
        document = store.read(name)
        if document is None:
            break
        session = store.parse(name, document, Session.from_dict)
    return session


def sessions_among(store: RunStore, names: Container[str]) -> list[Session]:
    """Return the run's sessions, given the names of its objects; a damaged one is left out."""
    sessions = []
    for name in (f"session-{number}.json" for number in range(MAX_SESSIONS)):
        try:
            if name in names and (document := store.read(name)) is not None:
                sessions.append(store.parse(name, document, Session.from_dict))
        except Conflict:
            log.warning("%s is damaged", store.uri(name), extra={"run_id": store.run_id})
    return sessions


def streams_to_request(rows: int, cores: int | None = None) -> tuple[int, int]:
    """Return the streams to ask for, for `rows` rows: the preferred minimum, and the maximum.

    Several streams are a multiple of the cores, this machine's or those of all tasks of a job.
    BigQuery may give fewer than the minimum.
    """
    cores = cores or machine.cores()
    least = max(1, min(cores, rows // ROWS_FOR_A_CORE))
    if least < cores:
        return least, least
    most = min(STREAMS_FOR_A_CORE, math.ceil(rows // PART_ROWS / cores)) * cores
    return min(least, MAX_STREAMS), min(max(least, most), MAX_STREAMS)


def probe(clients: Clients, plan: Plan) -> None:
    """Check that BigQuery would read the input as planned; nothing is read.

    Raises:
        MlsysError: as `open_session` or `check_copy` do, which a run would meet after its plan.
    """
    if plan.is_copied:
        check_rows(clients, plan)
    else:
        open_session(clients, plan, plan.input_table, (1, 1), without_rows=True)


def _is_still_of_use(store: RunStore, session: Session) -> bool:
    """Return whether a session counts that ends before the caller's deadline; else give it up.

    It does if nothing is left to be read, or if it has parts and some minutes left: another one
    would read all rows again.

    Raises:
        Conflict: the run was at work for most of the session, and would be again.
    """
    assert session.expires_at is not None
    parts = store.parts(session.number)
    try:
        chains = read_chains(store, session, parts)
    except TryAgain as exc:
        give_up(store, session, str(exc), "damaged")
        return False
    rows = sum(chain.counts.read for chain in chains)
    if all(chain.complete for chain in chains):
        return True
    if rows and not session.expired(dt.datetime.now(dt.UTC) + MARGIN):
        return True
    if rows:
        total = session.rows if session.rows_exact else None
        times = [blob.time_created for blob in parts.values()]
        check_left_alone(store.run_id, session.expires_at, times, rows, total)
    give_up(store, session, "it expired", "expired")
    return False


def _over(number: int) -> str:
    return f"session-{number}-over.json"


def _seconds_left(clients: Clients, deadline: float | None) -> float:
    if deadline is None:
        return clients.settings.request_timeout
    return max(0.0, deadline - time.monotonic())


def _open(
    clients: Clients,
    store: RunStore,
    plan: Plan,
    number: int,
    stop: Callable[[], bool],
    cores: int | None,
) -> Session:
    table, rows, queried = plan.input_table, plan.rows_expected or 0, 0
    if plan.is_copied:
        table, rows, queried = materialize(clients, store.env, plan, stop)
    # A copy under aliases has only the rows of the filter.
    exact = plan.aliased or (not plan.is_filtered and (plan.is_copied or plan.rows_exact))
    requested = streams_to_request(rows, cores) if cores else streams_to_request(rows)
    opened = open_session(clients, plan, table, requested)
    session = session_of(opened, number=number, rows=rows, requested=requested, rows_exact=exact)
    return replace(session, bytes_queried=queried)


def session_of(
    opened: Any,
    *,
    number: int,
    rows: int,
    requested: tuple[int, int] = (1, 1),
    rows_exact: bool = False,
) -> Session:
    """Return a read session as BigQuery has opened it."""
    expires = opened.expire_time
    return Session(
        number=number,
        streams=tuple(stream.name for stream in opened.streams),
        expires_at=expires.isoformat() if expires else None,
        rows=rows,
        part_rows=PART_ROWS,
        requested=requested,
        rows_exact=rows_exact,
        schema=base64.b64encode(opened.arrow_schema.serialized_schema).decode(),
        bytes=opened.estimated_total_bytes_scanned,
    )


def _log_streams(plan: Plan, session: Session) -> None:
    log.info(
        "%s: requested %s to %s streams for %s rows, BigQuery gave %s",
        plan.run_id,
        *session.requested,
        session.rows,
        len(session.streams),
        extra={"run_id": plan.run_id},
    )
