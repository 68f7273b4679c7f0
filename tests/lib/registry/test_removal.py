"""A version is removed model first, by generations, and never while an alias names it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from google.api_core.exceptions import NotFound, PreconditionFailed

from mlsys.artifact.refs import ModelRef
from mlsys.errors import AliasInvalid, Conflict, ModelNotFound, ObjectNotFound
from mlsys.registry.removal import look, remove
from mlsys.settings import Settings

V3 = ModelRef("titanic", "v3")


class Blob:
    time_created = None

    def __init__(self, bucket: "Bucket", name: str) -> None:
        self.name, self._bucket = name, bucket
        self.generation, self._content = bucket.objects[name]
        self.size = len(self._content)

    def download_as_bytes(self, **_: Any) -> bytes:
        return self._content

    def delete(self, if_generation_match: int, **_: Any) -> None:
        self._bucket.before_delete(self.name)
        if self.name not in self._bucket.objects:
            raise NotFound("gone")
        if self._bucket.objects[self.name][0] != if_generation_match:
            raise PreconditionFailed("another generation")
        del self._bucket.objects[self.name]
        self._bucket.deleted.append(self.name)


class Bucket:
    """A bucket in memory."""

    name = "mlsys-models-dev"

    def __init__(self, *paths: str, exists: bool = True) -> None:
        self.objects: dict[str, tuple[int, bytes]] = dict.fromkeys(paths, (7, b"x"))
        self.deleted: list[str] = []
        self.before_delete: Callable[[str], None] = lambda _: None
        self._exists = exists

    def alias(self, alias: str, content: Any) -> "Bucket":
        self.objects[f"titanic/aliases/{alias}.json"] = (7, json.dumps(content).encode())
        return self

    def list_blobs(self, prefix: str, **_: Any) -> list[Blob]:
        if not self._exists:
            raise NotFound("no bucket")
        return [Blob(self, name) for name in sorted(self.objects) if name.startswith(prefix)]

    def get_blob(self, path: str, **_: Any) -> Blob | None:
        return Blob(self, path) if path in self.objects else None


class Cloud:
    settings = Settings("my-project")

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    @property
    def storage(self) -> "Cloud":
        return self

    def bucket(self, name: str) -> Bucket:
        assert name == self._bucket.name
        return self._bucket


def paths(*versions: str) -> list[str]:
    files = ("model.pkl", "metadata.json", "model.sig")
    return [f"titanic/{version}/{file}" for version in versions for file in files]


def looked(bucket: Bucket, ref: ModelRef = V3) -> Any:
    return look(Cloud(bucket), "dev", ref)  # type: ignore[arg-type]


def test_the_model_goes_first_and_nothing_else_is_touched() -> None:
    bucket = Bucket(*paths("v2", "v3", "v10"), "titanic/v3/notes.txt", "titanic-b/v3/model.pkl")
    removal = looked(bucket)
    assert bucket.deleted == [] and removal.latest == "v10"
    assert remove(removal) == []
    assert bucket.deleted == [
        f"titanic/v3/{f}" for f in ("model.pkl", "model.sig", "metadata.json")
    ]
    assert set(bucket.objects) == {
        *paths("v2", "v10"),
        "titanic/v3/notes.txt",
        "titanic-b/v3/model.pkl",
    }


@pytest.mark.parametrize("at", range(3))
def test_after_an_interruption_nothing_is_half_registered_and_the_rest_can_be_removed(
    at: int,
) -> None:
    bucket = Bucket(*paths("v3"))

    def fail(_: str) -> None:
        if len(bucket.deleted) == at:
            raise ConnectionError("reset")

    bucket.before_delete = fail
    removal = looked(bucket)
    with pytest.raises(Exception, match=r"."):
        remove(removal)
    left = set(bucket.objects)
    assert "titanic/v3/model.pkl" not in left or left == set(paths("v3"))
    bucket.before_delete = lambda _: None
    remove(looked(bucket))
    assert not bucket.objects


def test_a_version_that_an_alias_names_is_kept() -> None:
    bucket = Bucket(*paths("v2", "v3"))
    bucket.alias("champion", {"version": "v3"}).alias("challenger", {"version": "v2"})
    with pytest.raises(Conflict, match="titanic/v3 is champion in dev: move the alias"):
        looked(bucket)
    bucket.alias("champion", {"version": None})  # it was removed
    assert looked(bucket).latest == "v2"
    bucket.alias("broken", {"version": 3})
    with pytest.raises(AliasInvalid):
        looked(bucket)


def test_a_version_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ModelNotFound, match="titanic/v3 is not in dev: titanic has v2, v1 there"):
        looked(Bucket(*paths("v1", "v2")))
    with pytest.raises(ModelNotFound, match="titanic has no version there"):
        looked(Bucket())
    with pytest.raises(ObjectNotFound, match="gs://mlsys-models-dev does not exist"):
        looked(Bucket(exists=False))


def test_an_upload_after_the_look_is_never_deleted() -> None:
    bucket = Bucket(*paths("v3"))
    removal = looked(bucket)
    bucket.objects["titanic/v3/model.pkl"] = (8, b"new")
    with pytest.raises(Conflict, match="was just uploaded again, and nothing was deleted"):
        remove(removal)
    assert set(bucket.objects) == set(paths("v3"))
    removal = looked(bucket)
    bucket.objects["titanic/v3/metadata.json"] = (9, b"of an upload that has just begun")
    remove(removal)
    assert set(bucket.objects) == {"titanic/v3/metadata.json"}


def test_an_alias_that_was_moved_to_it_at_the_same_time_is_reported() -> None:
    bucket = Bucket(*paths("v2", "v3"))
    removal = looked(bucket)
    bucket.alias("champion", {"version": "v3"})
    assert remove(removal) == ["champion"]
    del bucket.objects["titanic/aliases/champion.json"]
    bucket.objects["titanic/v2/model.pkl"] = (7, b"x")
    removal = looked(bucket, ModelRef("titanic", "v2"))
    del bucket.objects["titanic/v2/model.pkl"]  # somebody else was faster
    assert remove(removal) == []
