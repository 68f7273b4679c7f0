"""Stand-ins for Google's clients, for tests of exceptions: one call raises, the others work."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import joblib
import pyarrow as pa
from google.cloud.bigquery import SchemaField

from mlsys.settings import Emulators, Settings

GENERATION = 7


class Blob:
    """An object of Cloud Storage that holds a small pickle, or the given content."""

    md5_hash = content_type = updated = None

    def __init__(
        self,
        bucket: Bucket,
        name: str,
        content: bytes | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.bucket, self.metadata = name, bucket, dict(metadata or {})
        self.generation, self._content, self._cloud = GENERATION, content, bucket.cloud

    @property
    def crc32c(self) -> bytes | None:
        return self._content

    @property
    def size(self) -> int:
        return len(self._content or b"")

    def download_as_bytes(self, **_: Any) -> bytes:
        buffer = io.BytesIO()
        joblib.dump({"a": 1}, buffer)
        content = buffer.getvalue() if self._content is None else self._content
        return self._cloud.call("download", content)

    def upload_from_string(self, *_: Any, **__: Any) -> None:
        self._cloud.call("upload")

    def delete(self, **_: Any) -> None:
        self._cloud.call("delete")

    def rewrite(self, source: Blob, **_: Any) -> tuple[None, int, int]:
        self._content = source._content
        return self._cloud.call("rewrite", (None, 1, 1))


class Bucket:
    """A bucket with the objects of the cloud whose URLs begin with its name."""

    def __init__(self, cloud: BrokenCloud, name: str) -> None:
        self.cloud, self.name = cloud, name

    def blob(self, path: str) -> Blob:
        return Blob(self, path, *self.cloud.holds.get(f"{self.name}/{path}", ()))

    def get_blob(self, path: str, **_: Any) -> Blob | None:
        found = self.blob(path) if f"{self.name}/{path}" in self.cloud.holds else None
        return self.cloud.call("get_blob", found)

    def list_blobs(self, **_: Any) -> list[Blob]:
        found = [url for url in self.cloud.holds if url.startswith(f"{self.name}/")]
        blobs = [self.blob(url.partition("/")[2]) for url in found]
        return self.cloud.call("list_blobs", blobs)


class Rows(list[Any]):
    """The rows of a query."""

    total_rows = 1

    def __init__(self, cloud: BrokenCloud) -> None:
        super().__init__([Row()])
        self._cloud = cloud

    def to_arrow_iterable(self, **_: Any) -> Iterator[pa.RecordBatch]:
        yield from pa.table({"a": [1]}).to_batches()

    def to_arrow(self, **_: Any) -> pa.Table:
        return self._cloud.call("to_arrow", pa.table({"a": [1]}))


class Row:
    """A row of the registry."""

    def values(self) -> Sequence[Any]:
        return (GENERATION, "ready", None)


class BrokenCloud:
    """All clients in one: call number `at` raises `exc`, the others take effect.

    `holds` maps `bucket/path` to an object: its content, and optionally its custom metadata.
    """

    num_rows = 0
    table_type = "TABLE"
    schema = (SchemaField("a", "INTEGER"),)

    def __init__(
        self, at: int, exc: BaseException | None, holds: Mapping[str, Any] | None = None
    ) -> None:
        self.holds = holds or {}
        self.settings = Settings("demo-project", emulators=Emulators(bigquery="http://127.0.0.1:9"))
        self.made: list[str] = []
        self._at, self._exc = at, exc

    def call(self, name: str, value: Any = None) -> Any:
        """Count a call, and raise if it is its turn."""
        self.made.append(name)
        if len(self.made) == self._at and self._exc is not None:
            raise self._exc
        return value

    @property
    def storage(self) -> BrokenCloud:
        return self.call("storage", self)

    @property
    def bigquery(self) -> BrokenCloud:
        return self.call("bigquery", self)

    @property
    def publisher(self) -> BrokenCloud:
        return self.call("publisher", self)

    def publish(self, *_: Any, **__: Any) -> BrokenCloud:
        return self.call("publish", self)

    def bucket(self, name: str) -> Bucket:
        return Bucket(self, name)

    def list_blobs(self, bucket: str, **_: Any) -> list[Blob]:
        return Bucket(self, bucket).list_blobs()

    def get_table(self, *_: Any, **__: Any) -> BrokenCloud:
        return self.call("get_table", self)

    def get_dataset(self, *_: Any, **__: Any) -> None:
        self.call("get_dataset")

    def query(self, *_: Any, **__: Any) -> BrokenCloud:
        return self.call("query", self)

    def load_table_from_file(self, *_: Any, **__: Any) -> BrokenCloud:
        return self.call("load", self)

    def result(self, **_: Any) -> Rows:
        return self.call("result", Rows(self))
