"""Cloud Storage in memory: objects with generations, preconditions and noncurrent versions.

- Reads and listings see every earlier write (https://cloud.google.com/storage/docs/consistency).
- Generations are unique, and may go down
  (https://cloud.google.com/storage/docs/metadata#generation-number).
- One write of an object a second: the client repeats others until their time has come
  (https://cloud.google.com/storage/quotas#objects).
- A client repeats a write with a precondition if its answer is lost, and then gets 412
  (https://cloud.google.com/storage/docs/retry-strategy#idempotency-operations).
"""

from __future__ import annotations

import datetime as dt
import fnmatch
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud.storage.exceptions import InvalidResponse

from simulator.choices import KINDS, REPEATED
from simulator.kernel import START, Simulation, call, current

# Between two writes of an object. A deletion that is followed within `REPLACED_WITHIN` by a new
# object is one replacement for the log of aliases: nobody can tell the two apart.
SECOND = 1.5
FOLDERS = {
    "_aliases": "record of a move",
    "_running": "marker",
    "_incremental": "claim",
    "_undone": "removed",
}
PLAIN = tuple(kind for kind in KINDS if kind != REPEATED)  # of calls that change nothing


@dataclass(eq=False)
class Stored:
    """One generation of an object."""

    name: str
    generation: int
    content: bytes
    created: float
    ended: float | None = None  # when it became noncurrent
    by: str = ""  # the actor that wrote it

    def live(self, at: float) -> bool:
        """Return whether it was the object at a moment."""
        return self.created <= at and (self.ended is None or at < self.ended)


def at(seconds: float) -> dt.datetime:
    """Return the moment of the true clock."""
    return START + dt.timedelta(seconds=seconds)


@dataclass(eq=False)
class Bucket:
    """The objects of a bucket."""

    name: str
    simulation: Simulation
    objects: dict[str, Stored] = field(default_factory=dict)
    past: dict[str, list[Stored]] = field(default_factory=dict)
    versioned: bool = False
    lower: bool = False  # new generations are below the earlier ones
    written: Callable[[Stored, Stored | None], None] = lambda new, old: None
    deleted: Callable[[Stored], None] = lambda old: None

    def __post_init__(self) -> None:
        self._count = 0

    def put(self, name: str, content: bytes) -> Stored:
        """Store an object at once."""
        self._count += 1
        number = 1_000_000 + (-self._count if self.lower else self._count)
        simulation = current()
        by = simulation.actor().name if simulation is not None else ""
        new = Stored(name, number, content, self.simulation.now, by=by)
        old = self.objects.get(name)
        self._end(old)
        self.objects[name] = new
        self.past.setdefault(name, []).append(new)
        self.written(new, old)
        return new

    def remove(self, name: str) -> None:
        """Delete an object at once."""
        old = self.objects.pop(name)
        self._end(old)
        self.deleted(old)

    def _end(self, old: Stored | None) -> None:
        if old is not None:
            old.ended = self.simulation.now

    def match(self, name: str, generation: int | None) -> None:
        """Raise PreconditionFailed unless the object has this generation; 0 is none."""
        live = self.objects.get(name)
        if generation is not None and generation != (live.generation if live else 0):
            raise PreconditionFailed(f"{name}: conditionNotMet")

    def find(self, name: str, generation: int | None) -> Stored:
        """Return the object, or one generation of it."""
        stored = self.objects.get(name)
        if generation is not None:
            kept = self.past.get(name, []) if self.versioned else [stored] if stored else []
            stored = next((s for s in kept if s.generation == generation), None)
        if stored is None:
            raise NotFound(f"No such object: {self.name}/{name}")
        return stored

    def its_turn(self, name: str) -> None:
        """Wait until the object may be written again."""
        simulation, live = current(), self.past.get(name)
        if simulation is not None and live:
            free = max(s.created if s.ended is None else s.ended for s in live) + SECOND
            if simulation.now < free:
                simulation.sleep(free - simulation.now)

    # The client's class

    def blob(self, name: str, generation: int | None = None) -> Blob:
        return Blob(self, name, generation)

    def get_blob(self, name: str, **_: Any) -> Blob | None:
        def get() -> Blob | None:
            live = self.objects.get(name)
            return None if live is None else Blob.of(self, live)

        return call("get_blob", get, about=name, what=kind(name), kinds=PLAIN, answer=_generation)

    def list_blobs(self, prefix: str | None = None, **options: Any) -> list[Blob]:
        return self.list(prefix, **options)

    def list(
        self,
        prefix: str | None,
        timeout: float,
        match_glob: str = "",
        versions: bool = False,
        max_results: int | None = None,
        delimiter: str = "",
    ) -> list[Blob]:
        def get() -> list[Blob]:
            names = sorted(self.past if versions else self.objects)
            names = [n for n in names if n.startswith(prefix or "")]
            if delimiter:
                return Folders({n.partition(delimiter)[0] + delimiter for n in names})
            names = [n for n in names if not match_glob or fnmatch.fnmatch(n, match_glob)]
            names = names[:max_results]
            if versions:
                return [Blob.of(self, s) for n in names for s in self.past[n]]
            return [Blob.of(self, self.objects[n]) for n in names]

        def text(blobs: list[Blob]) -> str:
            return ", ".join(_generation(blob) for blob in blobs) or "nothing"

        about = prefix or "all"
        what = kind(about) + (" with generations" if versions else "")
        return call("list_blobs", get, about=about, what=what, kinds=PLAIN, answer=text)


def kind(path: str) -> str:
    """Return what kind of object has the path, without names and numbers.

    >>> kind("m/v1/model.pkl"), kind("_aliases/m/champion/01.json"), kind("m-v1-0a/session-0.json")
    ('model.pkl', 'record of a move', 'session')
    """
    first, _, rest = path.partition("/")
    if first in FOLDERS:
        return FOLDERS[first]
    if "/aliases/" in path:
        return "alias"
    if match := re.fullmatch(r"v\d+/?(.*)", rest):
        return match[1] or "version"
    return re.split(r"[/\d]", rest)[0].rstrip("-") or "all"


def _generation(blob: Blob | None) -> str:
    if blob is None:
        return "none"
    gone = " (noncurrent)" if blob.time_deleted else ""
    return f"{blob.name.rpartition('/')[2]}#{blob.generation}{gone}"


class Folders(list["Blob"]):
    """The client's listing with a delimiter, of a bucket that has objects in folders alone."""

    def __init__(self, prefixes: set[str]) -> None:
        super().__init__()
        self.prefixes = prefixes


@dataclass(eq=False)
class Blob:
    """The client's class: an object by its name, as it was when it was looked up."""

    bucket: Bucket
    name: str
    generation: int | None = None
    size: int | None = None
    time_created: dt.datetime | None = None
    time_deleted: dt.datetime | None = None
    metadata: Any = None
    md5_hash: Any = None
    content: bytes = b""

    @classmethod
    def of(cls, bucket: Bucket, stored: Stored) -> Blob:
        """Return the object as a look-up gives it."""
        ended = None if stored.ended is None else at(stored.ended)
        size, created = len(stored.content), at(stored.created)
        return cls(
            *(bucket, stored.name, stored.generation, size, created, ended),
            content=stored.content,
        )

    @property
    def crc32c(self) -> str:
        from mlsys.artifact.checksum import crc32c

        return crc32c(self.content)

    def download_as_bytes(
        self,
        if_generation_match: int | None = None,
        start: int = 0,
        end: int | None = None,
        **_: Any,
    ) -> bytes:
        def get() -> bytes:
            stored = self.bucket.find(self.name, self.generation)
            if if_generation_match not in (None, stored.generation):
                raise PreconditionFailed(self.name)
            return stored.content[start : None if end is None else end + 1]

        return call("download", get, about=self.name, what=kind(self.name), kinds=PLAIN)

    def upload_from_string(
        self, content: str | bytes, if_generation_match: int | None = None, **_: Any
    ) -> None:
        data = content.encode() if isinstance(content, str) else content
        self.generation = self._write("upload", data, if_generation_match).generation

    def _write(self, verb: str, data: bytes, if_generation_match: int | None) -> Stored:
        def write() -> Stored:
            self.bucket.its_turn(self.name)
            self.bucket.match(self.name, if_generation_match)
            return self.bucket.put(self.name, data)

        def answer(stored: Stored) -> str:
            return f"#{stored.generation}"

        # Without a precondition the client does not repeat it.
        kinds = KINDS if if_generation_match is not None else PLAIN
        condition = "" if if_generation_match is None else f" if #{if_generation_match}"
        about = f"{self.name}{condition}"
        return call(verb, write, about=about, what=kind(self.name), kinds=kinds, answer=answer)

    def delete(self, if_generation_match: int | None = None, **_: Any) -> None:
        def remove() -> None:
            self.bucket.find(self.name, None)
            self.bucket.match(self.name, if_generation_match)
            self.bucket.remove(self.name)

        call("delete", remove, about=self.name, what=kind(self.name))

    def exists(self, **_: Any) -> bool:
        return self.bucket.get_blob(self.name) is not None

    def open(self, mode: str, if_generation_match: int | None = None, **_: Any) -> Any:
        if mode == "rb":
            data = io.BytesIO(self.download_as_bytes())
            return data
        assert mode == "wb", mode
        return _Upload(self, if_generation_match)


class _Upload(io.BytesIO):
    """A file whose bytes become an object when it is closed."""

    def __init__(self, blob: Blob, if_generation_match: int | None) -> None:
        super().__init__()
        self._blob, self._match = blob, if_generation_match

    def terminate(self) -> None:
        super().close()

    def close(self) -> None:
        if self.closed:
            return
        data = self.getvalue()
        super().close()
        try:
            self._blob._write("upload", data, self._match)
        except PreconditionFailed as exc:
            raise InvalidResponse(SimpleNamespace(status_code=412)) from exc

    def __del__(self) -> None:
        pass


class StorageClient:
    """The client of all buckets."""

    def __init__(self, *buckets: Bucket) -> None:
        self._buckets = {bucket.name: bucket for bucket in buckets}

    def bucket(self, name: str) -> Bucket:
        return self._buckets[name]

    def list_blobs(self, name: str, prefix: str | None = None, **options: Any) -> list[Blob]:
        return self._buckets[name].list(prefix, **options)

    def __iter__(self) -> Iterator[Bucket]:
        return iter(self._buckets.values())
