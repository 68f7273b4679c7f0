"""Cloud Storage, BigQuery and Pub/Sub in memory, with only the calls that the registry makes.

`Warehouse` replaces `mlsys.cloud.clients.Clients`, so everything above the SDK's clients is the
real code. A `turns.Turn` stops at every call here until the test steps it. The rules kept:

- **Cloud Storage is strongly consistent**, for reads and listings after writes and deletes
  (https://cloud.google.com/storage/docs/consistency).
- **The bucket keeps noncurrent generations**, each with the time at which it stopped to be the
  object's content (https://cloud.google.com/storage/docs/object-versioning).
- **Generations are unique, and may go down**: "generation numbers might not increase for future
  versions" (https://cloud.google.com/storage/docs/metadata#generation-number).
- **A statement works on a snapshot taken at its start**, and its changes become visible at once,
  at its end. The answer arrives later still, and can be lost.
- **Two statements that change rows of one partition conflict** if they overlap; the later one
  fails. A MERGE that only inserts conflicts with none, whatever clauses it has.
- **Two of them run at a time and 20 wait**; one more is refused.

The last three: https://cloud.google.com/bigquery/docs/data-manipulation-language#dml-limitations
and #concurrent_jobs; the texts are those of https://cloud.google.com/bigquery/docs/error-messages.
"""

from __future__ import annotations

import datetime as dt
import fnmatch
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from google.api_core.exceptions import BadRequest, NotFound, PreconditionFailed

from mlsys.settings import Settings
from turns import Turn, current_turn, pause
from workers.registry.rows import IDENTITY
from workers.sql import statement

RUNNING = 2  # concurrent statements that change rows of one table
QUEUED = 20
TABLE = "table p:mlsys_dev.model_registry"
CONFLICT = f"Could not serialize access to {TABLE} due to concurrent update; reason: invalidQuery"
TOO_MANY = f"Too many DML statements outstanding against {TABLE}, limit is {QUEUED}."
BUCKET = "models"
# The columns of `model_aliases` that a row need not have
ALIAS_ROW = dict.fromkeys(
    (
        *("version", "previous_version", "previous_generation", "who", "why", "forced"),
        *("guarded", "evidence", "move_id", "problem"),
    )
)


@dataclass(frozen=True)
class Blob:
    """An object as it was when it was looked up."""

    store: Bucket
    name: str
    generation: int | None
    content: bytes = b""
    time_created: dt.datetime | None = None
    time_deleted: dt.datetime | None = None

    metadata = md5_hash = None

    @property
    def bucket(self) -> SimpleNamespace:
        return SimpleNamespace(name=self.store.name)

    @property
    def size(self) -> int:
        return len(self.content)

    @property
    def crc32c(self) -> str:
        return f"crc of {self.content!r}"

    def download_as_bytes(self, if_generation_match: int | None = None, **options: Any) -> bytes:
        pause("download")
        live = self.store.objects.get(self.name)
        if if_generation_match is not None or self.generation is None:
            if live is None:
                raise NotFound(self.name)
            if if_generation_match not in (None, live.generation):
                raise PreconditionFailed(self.name)
            return live.content
        for blob in self.store.past.get(self.name, []):
            if blob.generation == self.generation:
                return blob.content
        raise NotFound(self.name)

    def upload_from_string(
        self, content: str | bytes, if_generation_match: int | None, **options: Any
    ) -> None:
        """Write the object if the precondition holds; the handler can end before the answer."""
        pause("upload")
        live = self.store.objects.get(self.name)
        if if_generation_match is not None and if_generation_match != (
            live.generation if live else 0
        ):
            raise PreconditionFailed(self.name)
        data = content.encode() if isinstance(content, str) else content
        new = self.store.put(self.name, content=data)
        object.__setattr__(self, "generation", new.generation)
        pause("uploaded")
        if self.store.lost_answers and if_generation_match is not None:  # the client repeats it
            self.store.lost_answers -= 1
            raise PreconditionFailed(self.name)

    def delete(self, if_generation_match: int, **options: Any) -> None:
        pause("delete")
        live = self.store.objects.get(self.name)
        if live is None:
            raise NotFound(self.name)
        if live.generation != if_generation_match:
            raise PreconditionFailed(self.name)
        self.store.delete(self.name)


class Bucket:
    """The objects, by path, with every generation that ever existed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.objects: dict[str, Blob] = {}
        self.past: dict[str, list[Blob]] = {}
        self.ended: dict[int, dt.datetime] = {}  # when a generation became noncurrent
        self.lost_answers = 0  # of writes to come
        self.written: Callable[[Blob, Blob | None], None] = lambda new, old: None
        self.deleted: Callable[[Blob], None] = lambda old: None
        self._generations = [1_000_000]
        self._now = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)

    def put(self, path: str, *, lower: bool = False, content: bytes | None = None) -> Blob:
        """Store an object with a generation above or below all earlier ones."""
        new = min(self._generations) - 1 if lower else max(self._generations) + 1
        self._generations.append(new)
        if content is None:
            content = json.dumps({"metrics": new}).encode()
        old = self.objects.get(path)
        blob = self.objects[path] = Blob(self, path, new, content, self._tick())
        self.past.setdefault(path, []).append(blob)
        if old is not None and old.generation is not None:
            self.ended[old.generation] = self._now
        self.written(blob, old)
        return blob

    def delete(self, path: str) -> Blob:
        blob = self.objects.pop(path)
        assert blob.generation is not None
        self.ended[blob.generation] = self._tick()
        self.deleted(blob)
        return blob

    def get_blob(self, path: str, **options: Any) -> Blob | None:
        pause("get_blob")
        return self.objects.get(path)

    def _tick(self) -> dt.datetime:
        """Return a later time: Cloud Storage takes one write of an object a second."""
        self._now += dt.timedelta(seconds=2)
        return self._now

    def blob(self, path: str, generation: int | None = None) -> Blob:
        return Blob(self, path, generation)

    def list_blobs(self, prefix: str, timeout: float) -> list[Blob]:
        return self.list(prefix)

    def list(self, prefix: str) -> list[Blob]:
        pause("list_blobs")
        return [blob for path, blob in self.objects.items() if path.startswith(prefix)]

    def list_versions(self, prefix: str, glob: str) -> list[Blob]:
        """List every generation; `*` of `glob` stands for a part of the path."""
        pause("list_blobs")
        return [
            blob
            if blob is self.objects.get(path)
            else replace(blob, time_deleted=self.ended.get(blob.generation or 0))
            for path, blobs in self.past.items()
            if path.startswith(prefix) and (not glob or fnmatch.fnmatch(path, glob))
            for blob in blobs
        ]


@dataclass(frozen=True)
class Row:
    """A row of the registry."""

    number: int
    day: int  # the partition
    values: dict[str, Any]

    @property
    def key(self) -> str:
        name = self.values["model_name"]
        if "alias" not in self.values:
            return f"{name}/{self.values['model_version']}"
        end = "#deleted" if self.values["deleted"] else ""
        return f"{name}/{self.values['alias']}#{self.values['generation']}{end}"


@dataclass(eq=False)
class Job:
    """A statement that replaces rows."""

    keys: list[str]
    values: list[dict[str, Any]]
    owner: Turn | None
    state: str = "queued"
    deleted: list[Row] = field(default_factory=list)  # by the snapshot
    changed: set[int] = field(default_factory=set)  # partitions that others changed meanwhile


class Registry:
    """The table, and the statements on it that have not ended."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.jobs: list[Job] = []
        self.today = 1
        self._numbers = 0

    def begin(self, keys: Iterable[str], values: Iterable[dict[str, Any]]) -> Job:
        """Accept a statement: it runs, or it waits."""
        if len(self.jobs) >= RUNNING + QUEUED:
            raise BadRequest(TOO_MANY)
        job = Job(list(keys), list(values), current_turn())
        self.jobs.append(job)
        self._start()
        return job

    def end(self, job: Job) -> None:
        """End a running statement: its changes become visible, or it has failed."""
        assert job.state == "running"
        self.jobs.remove(job)
        days = {row.day for row in job.deleted}
        job.state = "failed" if days & job.changed else "done"
        if job.state == "done":
            self.rows = [row for row in self.rows if row not in job.deleted]
            for values in job.values:
                self._numbers += 1
                self.rows.append(Row(self._numbers, self.today, values))
            for other in self.jobs:
                if other.state == "running":
                    other.changed |= days
        self._start()

    def end_all(self, jobs: list[Job]) -> None:
        """End statements, and those that they wait for."""
        while left := [job for job in jobs if job in self.jobs]:
            self.end(left[0] if left[0].state == "running" else self.jobs[0])

    def _start(self) -> None:
        for job in self.jobs[:RUNNING]:
            if job.state == "queued":
                job.state = "running"
                job.deleted = [row for row in self.rows if row.key in job.keys]


class Warehouse:
    """The part of Google Cloud that the registry's code uses, in place of `Clients`."""

    def __init__(self) -> None:
        self.settings = Settings(
            project="p", envs=("dev",), models_buckets=(("dev", BUCKET),), push_auth="off"
        )
        self.bucket = Bucket(BUCKET)
        self.runs = Bucket("runs")
        self.registry = Registry()
        self.aliases = Registry()
        self.verdict: tuple[str, str | None] = ("ready", None)  # on every model
        self.announced: list[str] = []
        self.ledgers: dict[str, list[dict[str, Any]]] = {"p.mlsys_dev": []}  # by dataset
        self.ledger_faults: dict[str, Exception] = {}
        # By model, version, generation, and the column with the labels
        self.measured: dict[tuple[str, str, int, str], list[dict[str, Any]]] = {}
        self.storage = SimpleNamespace(
            bucket=lambda name: self.bucket if name == BUCKET else self.runs,
            list_blobs=self._list,
        )
        self.bigquery = SimpleNamespace(query=self._query)
        self.publisher = SimpleNamespace(publish=self._publish)

    def _query(self, sql: str, job_config: Any, **options: Any) -> SimpleNamespace:
        given = {p.name: getattr(p, "values", None) for p in job_config.query_parameters}
        given |= {p.name: p.value for p in job_config.query_parameters if hasattr(p, "value")}
        pause("query")
        if sql == statement("recorded_aliases"):
            rows = [
                ALIAS_ROW | _alias_values(row.values)
                for row in self.aliases.rows
                if given["model"] in ("", row.values["model_name"])
                and given["alias"] in ("", row.values["alias"])
            ]
            return SimpleNamespace(result=lambda **_: self._answer(rows))
        if sql == statement("version_status"):
            rows = [
                {"generation": blob.generation}
                | dict(zip(("status", "status_reason"), self.verdict, strict=True))
                for path, blob in self.bucket.objects.items()
                if path == f"{given['model']}/{given['version']}/model.pkl"
            ]
            return SimpleNamespace(result=lambda **_: self._answer(rows))
        if sql == statement("replace_aliases"):
            job = self.aliases.begin(given["keys"], json.loads(given["rows"]))
            return SimpleNamespace(result=lambda **_: self._wait(job, self.aliases))
        if sql == statement("recorded_models"):
            rows = [
                dict.fromkeys(IDENTITY) | {"key": row.key} | row.values
                for row in self.registry.rows
                if given["key"] in ("", row.key)
            ]
            return SimpleNamespace(result=lambda **_: self._answer(rows))
        if sql == statement("measured_metrics"):
            key = (given["model"], given["version"], given["generation"], given["labels"])
            answer = self.measured.get(key, [])
            return SimpleNamespace(result=lambda **_: self._answer(answer))
        if sql in (statement("count_runs"), statement("shadow_runs")):
            answer = self._runs(sql, given, job_config)
            return SimpleNamespace(result=lambda **_: self._answer(answer))
        assert sql == statement("replace_models")
        job = self.registry.begin(given["keys"], json.loads(given["rows"]))
        return SimpleNamespace(result=lambda **_: self._wait(job, self.registry))

    def _runs(self, sql: str, given: dict[str, Any], job_config: Any) -> list[dict[str, Any]]:
        """Return what the statement selects from the ledger of the query's dataset."""
        dataset = f"{job_config.default_dataset.project}.{job_config.default_dataset.dataset_id}"
        if dataset in self.ledger_faults:
            raise self.ledger_faults[dataset]
        if dataset not in self.ledgers:
            raise NotFound(dataset)
        rows = [
            row
            for row in self.ledgers[dataset]
            if (row["model_name"], row["model_version"]) == (given["model"], given["version"])
            and row["state"] == "succeeded"
        ]
        if sql == statement("shadow_runs"):
            latest = [row for row in reversed(rows) if row["shadow"]]
            return [{"run_id": row["run_id"]} for row in latest[: given["limit"]]]
        counted = [
            row
            for row in rows
            if row["model_crc32c"] == given["crc32c"]
            and given["generation"] in (0, row["model_generation"])
            and row["rows_scored"] > 0
        ]
        return [{"runs": len(counted)}]

    def _list(
        self,
        name: str,
        timeout: float,
        prefix: str | None = None,
        match_glob: str = "",
        versions: bool = False,
    ) -> list[Blob]:
        if versions:
            return self.bucket.list_versions(prefix or "", match_glob)
        return self.bucket.list(prefix or "")

    def _answer(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        pause("answer")
        return rows

    def _wait(self, job: Job, table: Registry) -> list[Any]:
        pause("running")
        while job.state == "queued":
            table.end(table.jobs[0])  # it ends whether its handler waits or not
            pause("running")
        if job.state == "running":
            table.end(job)
        pause("ended")
        if job.state == "failed":
            raise BadRequest(CONFLICT)
        return []

    def _publish(self, topic: str, content: bytes, **attributes: Any) -> SimpleNamespace:
        pause("publish")
        self.announced.append(attributes["ce-subject"])
        return SimpleNamespace(result=lambda timeout: None)


def _alias_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return an alias's row as a query gives it: a time, and JSON as text."""
    evidence = json.dumps(values["evidence"]) if "evidence" in values else None
    at = dt.datetime.fromisoformat(values["moved_at"])
    return values | {"moved_at": at, "evidence": evidence}


def metadata_generation(row: Row) -> int | None:
    """Return the generation of a recorded row's metadata.json."""
    return row.values.get("metadata_generation")
