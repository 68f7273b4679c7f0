"""The queries that read a run's tables: noted before they are answered, so that all of them count.

A note names a query's job, and later what it was charged for. If the process that waits for it is
killed, BigQuery still knows that, for months.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlsys.cloud.clients import Clients
from mlsys.errors import MlsysError, TryAgain
from workers.jobs import find_job
from workers.query import select
from workers.scoring.journal.store import RunStore

if TYPE_CHECKING:
    from google.cloud.bigquery import QueryJob
    from google.cloud.bigquery.table import RowIterator

log = logging.getLogger(__name__)

OF_RUN, OF_UNDO = "queries/", "undo-queries/"


@dataclass(frozen=True, slots=True)
class Notes:
    """Where queries are noted, and the notes that were made."""

    store: RunStore
    folder: str = OF_RUN
    names: list[str] = field(default_factory=list)

    def add(self, job: QueryJob, **more: int) -> None:
        """Note a query's job, or more about it."""
        if not job.job_id:
            return
        name = f"{self.folder}{job.job_id}.json"
        self.store.note(name, {"job_id": job.job_id, "location": job.location} | more)
        self.names.append(name)


@contextlib.contextmanager
def noting(store: RunStore, folder: str = OF_RUN) -> Iterator[Notes]:
    """Note queries that lead to a decision; a refusal leaves nothing behind, not even its notes."""
    notes = Notes(store, folder)
    try:
        yield notes
    except MlsysError as exc:
        if not isinstance(exc, TryAgain):
            for name in notes.names:
                store.forget(name)
        raise


def select_for(notes: Notes | None, clients: Clients, sql: str, *parameters: Any) -> RowIterator:
    """Run a query as `select` does, and note it; None: nothing is noted."""
    if notes is None:
        return select(clients, sql, *parameters)
    jobs: list[QueryJob] = []

    def started(job: QueryJob) -> None:
        notes.add(job)
        jobs.append(job)

    rows = select(clients, sql, *parameters, started=started)
    for job in jobs:
        if job.total_bytes_billed is not None:
            notes.add(job, bytes_billed=job.total_bytes_billed)
    return rows


def bytes_queried(store: RunStore, names: Iterable[str], folder: str = OF_RUN) -> int:
    """Return the bytes that BigQuery charges for the noted queries, as far as it tells them.

    `names` are those of the run's objects.
    """
    notes = (store.read(name) for name in names if name.startswith(folder))
    return sum(_billed(store.clients, note) for note in notes if note is not None)


def _billed(clients: Clients, note: dict[str, Any]) -> int:
    if "bytes_billed" in note:
        return int(note["bytes_billed"])
    return billed_for(clients, note["job_id"], note["location"])


def billed_for(clients: Clients, job_id: str, location: str) -> int:
    """Return the bytes that BigQuery charges for a job; 0 if it does not tell."""
    from google.api_core.exceptions import GoogleAPICallError

    try:
        job = find_job(clients, job_id, location)
    except GoogleAPICallError as exc:  # a cost that is not known stops no run
        log.warning("What the query %s was charged for is not known: %s", job_id, exc)
        return 0
    return getattr(job, "total_bytes_billed", None) or 0
