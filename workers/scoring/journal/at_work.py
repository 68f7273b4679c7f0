"""The runs that still work: a marker of each, `gs://mlsys-runs-{env}/_running/{run_id}.json`.

A marker is a hint, as a message is: a try, an undo and a cancellation write it, and it is removed
once the ledger has the run's end. It decides nothing: whether the run works is read from its own
objects. So a marker that is missing hides a run from a list, and one that a killed process left
shows nothing there. It leads the next rescan to the run (`engines.unrecorded`).
"""

from __future__ import annotations

import concurrent.futures as cf
import datetime as dt
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlsys.cloud.clients import TIMEOUT, Clients
from workers.scoring.journal.decisions import Decision, read_cancellation
from workers.scoring.journal.outcomes import Failure, Result
from workers.scoring.journal.store import RUN_ID, RunStore

if TYPE_CHECKING:
    from google.cloud.storage import Blob

    from mlsys.cloud.tables import TableRef

log = logging.getLogger(__name__)

FOLDER = "_running/"  # cannot be the name of a run
MOST = 100  # markers that are looked at, the latest
THREADS = 8  # that look at them
# Columns of the ledger that a plan knows
_KNOWN = (
    *("run_id", "model_name", "model_version", "model_alias", "input_table", "output_table"),
    *("write_disposition", "started_at"),
)
_UNKNOWN = ("failure", "rows_read", "rows_scored", "rows_rejected", "finished_at")


def mark(store: RunStore, row: Mapping[str, Any]) -> None:
    """Note that the run is about to be worked on. The console's account may not.

    `row` are the columns of the ledger that its plan knows (`Plan.ledger_row`).
    """
    from google.api_core.exceptions import Forbidden

    try:
        _marker(store).upload_from_string(
            json.dumps({name: row[name] for name in _KNOWN}),
            content_type="application/json",
            timeout=TIMEOUT,
        )
    except Forbidden:
        pass
    except Exception:  # lists miss it, and a rescan
        log.warning("The run is not marked", exc_info=True, extra={"run_id": store.run_id})


def is_marked(store: RunStore) -> bool:
    """Return whether the ledger may lack the run's end."""
    return bool(_marker(store).exists(timeout=TIMEOUT))


def unmark(store: RunStore, generation: int | None = None) -> None:
    """Remove the run's marker: the ledger has its end. The console's account may not.

    With a `generation` only that one is removed, and not the marker of a try that began since.
    """
    from google.api_core.exceptions import Forbidden, NotFound, PreconditionFailed

    try:
        _marker(store).delete(if_generation_match=generation, timeout=TIMEOUT)
    except (Forbidden, NotFound, PreconditionFailed):
        pass
    except Exception:  # a rescan removes it
        log.warning("The marker stays", exc_info=True, extra={"run_id": store.run_id})


def runs_at_work(
    clients: Clients,
    env: str,
    *,
    model_name: str | None = None,
    table: TableRef | None = None,
    limit: int = MOST,
) -> tuple[list[dict[str, Any]], bool]:
    """Return the runs that still work, the latest first, and whether there are more.

    A row has the ledger's columns, as far as they are known, and `stage`: planned, reading or
    loading. `table` is the output's. It costs one listing, and two requests for each marker.
    """
    marked = sorted(
        markers(clients, env), key=lambda blob: (blob.time_created, blob.name), reverse=True
    )
    if not marked:
        return [], False
    with cf.ThreadPoolExecutor(THREADS) as pool:
        seen = pool.map(lambda marker: _row(clients, env, marker), marked[:MOST])
        rows = [
            row
            for row in seen
            if row is not None
            and model_name in (None, row["model_name"])
            and (table is None or row["output_table"].partition("$")[0] == str(table.base))
        ]
    return rows[:limit], len(marked) > MOST or len(rows) > limit


def markers(clients: Clients, env: str) -> list[Blob]:
    """Return the markers of all runs, at most 1,000."""
    return list(
        clients.storage.list_blobs(
            clients.settings.runs_bucket(env), prefix=FOLDER, max_results=1000, timeout=TIMEOUT
        )
    )


def run_of(marker: Blob) -> str | None:
    """Return the id of the marker's run, or None: the object is not a marker."""
    name: str = marker.name
    run_id = name.removeprefix(FOLDER).removesuffix(".json")
    return run_id if RUN_ID.fullmatch(run_id) else None


def output_of(marker: Blob) -> str | None:
    """Return the table that the marker's run writes, as project.dataset.table[$partition].

    None: the marker was removed, or is not the service's.
    """
    known = _known(marker)
    return None if known is None else str(known["output_table"])


def _known(marker: Blob) -> dict[str, Any] | None:
    """Return the columns of the ledger that the marker has, or None."""
    from google.api_core.exceptions import NotFound

    try:
        read = json.loads(marker.download_as_bytes(timeout=TIMEOUT))
        known = {name: read[name] for name in _KNOWN}
        dt.datetime.fromisoformat(known["started_at"])
    except (NotFound, ValueError, KeyError, TypeError):  # it has just ended; or it is not ours
        return None
    return known


def _row(clients: Clients, env: str, marker: Blob) -> dict[str, Any] | None:
    """Return a run's row, or None if it has ended."""
    run_id, known = run_of(marker), _known(marker)
    if known is None or run_id is None or known["run_id"] != run_id:
        return None
    row = known | dict.fromkeys(_UNKNOWN)
    store = RunStore(clients, env, run_id)
    names = store.top_names()
    if "plan.json" not in names or {Result.NAME, Failure.NAME} & names:
        return None
    if Decision.NAME in names and read_cancellation(store) is not None:
        return None
    opened = any(name.startswith("session-") for name in names)
    stage = "loading" if Decision.NAME in names else "reading" if opened else "planned"
    began = dt.datetime.fromisoformat(row["started_at"])
    seconds = round((dt.datetime.now(dt.UTC) - began).total_seconds(), 3)
    return row | {"state": "running", "stage": stage, "seconds": seconds}


def _marker(store: RunStore) -> Blob:
    return store.clients.storage.bucket(store.bucket_name).blob(f"{FOLDER}{store.run_id}.json")
