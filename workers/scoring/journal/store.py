"""The objects of a run in the runs bucket; each is written once.

```
gs://mlsys-runs-{env}/{run_id}/
    plan.json                  the decisions, made once
    session-{k}.json           a read session; the next one is opened when it expires
    session-{k}-over.json      it was given up, and why: the next one reads all rows again
    rejects/{k}/{stream}-{offset}-{try}.parquet  rows that cannot be scored; their part names it
    shadow/{k}/{stream}-{offset}-{try}.parquet  the challenger's rows; their part names it
    shadow-over.json           the challenger was given up, and why: the run goes on without it
    parts/{k}/{stream}-{offset}.parquet  up to 262,144 rows of a stream, from a row on, written
                               last: its existence is the checkpoint; its footer says whether it
                               is the stream's last
    publish.json               which parts are loaded, or that the run was cancelled, decided once:
                               from here on nothing else counts
    execution-{n}.json         an execution of the Cloud Run job was started (`execution`)
    attempts/{time}.json       a try began, and how it ended (`attempts`)
    attempts/{time}-{task}-{tasks}.json  so did one of a job's task
    result.json                the run is done, and how it went
    failure.json               why the last try failed; the next one may succeed
    queries/{job}.json         a query that reads the run's tables was started (`queries`)
    undo-queries/{job}.json    so was one that looks whether the run can be undone
    undo.json                  the run is undone: nobody gets its rows from here on (`undone`)
    undone.json                its rows were removed, and what came back
gs://mlsys-runs-{env}/_running/{run_id}.json   a hint that it still works (`at_work`)
```

The bucket's lifecycle deletes the Parquet files after 30 days and keeps the JSON objects, which
identify a repeated request (docs/decisions/0037).
"""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsys.cloud.clients import TIMEOUT, Clients
from mlsys.errors import Conflict, InvalidRequest, NewerRelease, ObjectNotFound

if TYPE_CHECKING:
    from google.cloud.storage import Blob

UNREADABLE = (Conflict, NewerRelease)  # what reading an object of a run raises
MAX_RUN_ID = 128
RUN_ID = re.compile(rf"[a-z0-9][a-z0-9_-]{{0,{MAX_RUN_ID - 1}}}")


class UnknownFields(ValueError):
    """An object has fields that this release of the service does not know."""


def check_run_id(run_id: str) -> str:
    """Return `run_id` if it can name a run.

    Raises:
        InvalidRequest: it has other characters than lower-case letters, digits, _ and -.
    """
    if not RUN_ID.fullmatch(run_id):
        raise InvalidRequest(
            ("run_id", f"{run_id[:80]!r}: pass at most 128 lower-case letters, digits, _ and -")
        )
    return run_id


@dataclass(frozen=True, slots=True)
class RunStore:
    """The objects of one run."""

    clients: Clients
    env: str
    run_id: str

    @property
    def bucket_name(self) -> str:
        """The environment's runs bucket."""
        return self.clients.settings.runs_bucket(self.env)

    def blob(self, name: str) -> Blob:
        """Return one of the run's objects, by its name below the run."""
        return self.clients.storage.bucket(self.bucket_name).blob(f"{self.run_id}/{name}")

    def uri(self, name: str) -> str:
        """Return the `gs://` address of one of the run's objects."""
        return f"gs://{self.bucket_name}/{self.run_id}/{name}"

    def part_name(self, session: int, shard: int, offset: int) -> str:
        """Return the name of the part of a stream that begins at its row `offset`.

        A new session splits the rows again.
        """
        return f"parts/{session}/{shard:05d}-{offset:012d}.parquet"

    def rejects_name(self, session: int, shard: int, offset: int) -> str:
        """Return a new name for the rejects of a part, which no other try of the part has."""
        return f"rejects/{session}/{shard:05d}-{offset:012d}-{uuid.uuid4().hex[:8]}.parquet"

    def shadow_name(self, session: int, shard: int, offset: int) -> str:
        """Return a new name for the challenger's rows of a part, as `rejects_name`."""
        return f"shadow/{session}/{shard:05d}-{offset:012d}-{uuid.uuid4().hex[:8]}.parquet"

    def read(self, name: str) -> dict[str, Any] | None:
        """Return a JSON object of the run, or None if it was not written yet.

        Raises:
            Conflict: it is not a JSON object.
        """
        from google.api_core.exceptions import NotFound

        try:
            value = json.loads(self.blob(name).download_as_bytes(timeout=TIMEOUT))
        except NotFound:
            return None
        except (ValueError, RecursionError) as exc:
            raise self.damaged(name) from exc
        if not isinstance(value, dict):
            raise self.damaged(name)
        return value

    def parse[T](self, name: str, value: dict[str, Any], to: Callable[[dict[str, Any]], T]) -> T:
        """Return what `to` makes of the JSON object.

        Raises:
            Conflict: a field is missing, or is not what it should be.
            NewerRelease: it has fields that this release does not know.
        """
        try:
            return to(value)
        except UnknownFields as exc:
            raise NewerRelease(
                f"{self.uri(name)} was written by a newer release of the service: this one does "
                f"not know {exc}. Repeat the request once the release is rolled out. If it was "
                "rolled back, pass a run_id of your own."
            ) from exc
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise self.damaged(name) from exc

    def damaged(self, name: str) -> Conflict:
        """Return the error for an object that is not what this release of the service writes."""
        return Conflict(
            f"{self.uri(name)} is damaged: pass a run_id of your own. While a release is rolled "
            "out, repeat the request afterwards: the other release may have written the object."
        )

    def create(self, name: str, value: Mapping[str, Any]) -> bool:
        """Create a JSON object; return False if it exists already.

        Raises:
            ObjectNotFound: the runs bucket does not exist.
        """
        from google.api_core.exceptions import NotFound, PreconditionFailed

        try:
            self._upload(name, value, if_generation_match=0)
        except PreconditionFailed:
            return False
        except NotFound as exc:
            raise ObjectNotFound(
                f"The bucket gs://{self.bucket_name} does not exist: create it (docs/operations.md)"
            ) from exc
        return True

    def note(self, name: str, value: Mapping[str, Any]) -> None:
        """Write or replace a JSON object that informs people and decides nothing."""
        self._upload(name, value)

    def forget(self, name: str) -> None:
        """Delete a note, if it exists."""
        from google.api_core.exceptions import NotFound

        try:
            self.blob(name).delete(timeout=TIMEOUT)
        except NotFound:
            pass

    def parts(self, session: int, shard: int | None = None) -> dict[str, Blob]:
        """Return the parts that exist, of one stream or of all, by their names below the run."""
        return self._list(f"parts/{session}/" + ("" if shard is None else f"{shard:05d}-"))

    def missing(self, names: Sequence[str]) -> list[str]:
        """Return those of the Parquet files that do not exist."""
        existing = {name for kind in ("parts/", "rejects/", "shadow/") for name in self._list(kind)}
        return [name for name in names if name not in existing]

    def names(self) -> list[str]:
        """Return the names of all objects of the run, below the run."""
        return list(self._list(""))

    def top_names(self) -> set[str]:
        """Return the names of the run's objects without those in folders: one page, never more."""
        return {name for name in self._list("", delimiter="/") if "/" not in name}

    def created(self, beginning: str = "") -> dict[str, dt.datetime]:
        """Return when each object of the run was written last, by its name below the run.

        Only those whose names begin so, if `beginning` is passed.
        """
        return {
            name: blob.time_created
            for name, blob in self._list(beginning).items()
            if blob.time_created is not None
        }

    def first(self) -> str | None:
        """Return the name of the run's first object in the order of names, or None without any."""
        blob = next(iter(self._blobs("")), None)  # of a long list only the first page is read
        return None if blob is None else blob.name.removeprefix(f"{self.run_id}/")

    def attempts(self) -> int:
        """Return how many tries of the run have begun."""
        return len(self._list("attempts/"))

    def _list(self, folder: str, **options: str) -> dict[str, Blob]:
        blobs = self._blobs(folder, **options)
        return {blob.name.removeprefix(f"{self.run_id}/"): blob for blob in blobs}

    def _blobs(self, folder: str, **options: str) -> Iterable[Blob]:
        blobs: Iterable[Blob] = self.clients.storage.list_blobs(
            self.bucket_name, prefix=f"{self.run_id}/{folder}", timeout=TIMEOUT, **options
        )
        return blobs

    def _upload(self, name: str, value: Mapping[str, Any], **preconditions: int) -> None:
        self.blob(name).upload_from_string(
            json.dumps(value),  # an indent takes eight times as long
            content_type="application/json",
            timeout=TIMEOUT,
            **preconditions,
        )
