"""Google's clients for tests of exceptions: every call works but one, which raises."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import joblib
import pyarrow as pa
from google.cloud.bigquery import SchemaField

from mlsys.settings import Emulators, Settings

GENERATION = 7


class Blob:
    """An object of Cloud Storage that holds a small pickle."""

    def __init__(self, cloud: BrokenCloud, name: str) -> None:
        self.name, self.bucket, self.metadata, self._cloud = name, cloud, {}, cloud
        self.generation = GENERATION

    def download_as_bytes(self, **_: Any) -> bytes:
        buffer = io.BytesIO()
        joblib.dump({"a": 1}, buffer)
        return self._cloud.call("download", buffer.getvalue())

    def upload_from_string(self, *_: Any, **__: Any) -> None:
        self._cloud.call("upload")


class Rows(list[Any]):
    """The rows of a query."""

    def to_arrow(self, **_: Any) -> pa.Table:
        return pa.table({"a": [1]})


class Row:
    """A row of the registry."""

    def values(self) -> Sequence[Any]:
        return (GENERATION, "ready", None)


class BrokenCloud:
    """All clients in one: the call of number `at` raises `exc`, the others have their effect."""

    name = "mlsys-models-dev"
    num_rows = 0
    table_type = "TABLE"
    schema = (SchemaField("a", "INTEGER"),)

    def __init__(self, at: int, exc: BaseException | None) -> None:
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

    def bucket(self, _name: str) -> BrokenCloud:
        return self

    def blob(self, path: str) -> Blob:
        return Blob(self, path)

    def get_blob(self, *_: Any, **__: Any) -> None:
        return self.call("get_blob")

    def list_blobs(self, *_: Any, **__: Any) -> list[Blob]:
        return self.call("list_blobs", [])

    def get_table(self, *_: Any, **__: Any) -> BrokenCloud:
        return self.call("get_table", self)

    def get_dataset(self, *_: Any, **__: Any) -> None:
        self.call("get_dataset")

    def query(self, *_: Any, **__: Any) -> BrokenCloud:
        return self.call("query", self)

    def load_table_from_file(self, *_: Any, **__: Any) -> BrokenCloud:
        return self.call("load", self)

    def result(self, **_: Any) -> Rows:
        return self.call("result", Rows([Row()]))
