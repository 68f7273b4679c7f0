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
from collections.abc import Callable, Container
from dataclasses import asdict, replace
from typing import Any

from mlsys.cloud.clients import Clients
from mlsys.errors import Conflict, TryAgain
from workers import machine
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.plan import Plan
from workers.scoring.shards.chain import read_chains
from workers.scoring.shards.expiry import check_left_alone
from workers.scoring.shards.materialized_view import check_rows, materialize
from workers.scoring.shards.open_session import open_session
from workers.scoring.shards.session import (
    MAX_SESSIONS,
    PART_ROWS,
    Session,
    give_up,
    is_given_up,
)

log = logging.getLogger(__name__)

ROWS_FOR_A_CORE = 50_000  # worth a stream of their own
STREAMS_FOR_A_CORE = 4  # at most: streams are lopsided under a filter
MAX_STREAMS = 1000  # https://cloud.google.com/bigquery/quotas#storage-limits
MARGIN = dt.timedelta(minutes=1)  # beyond the caller's deadline, for the last part


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
