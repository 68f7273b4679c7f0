"""The objects of aliases: their paths, their content, and what is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import NotFound

from mlsys.artifact.aliases import (
    LOOKS,
    MAX_BYTES,
    MAX_WHY,
    AliasDocument,
    alias_names,
    read_alias,
)
from mlsys.artifact.refs import AliasRef, ModelRef
from mlsys.errors import AliasInvalid, AliasNotFound, InvalidRequest, TryAgain


@dataclass
class Bucket:
    """A bucket in memory; `replacing` lets a reader lose that many races."""

    objects: dict[str, bytes]
    name: str = "models"
    replacing: int = 0
    downloads: int = 0
    generation: int = field(default=7)

    def get_blob(self, path: str, timeout: float) -> Any:
        if path not in self.objects:
            return None
        content, generation = self.objects[path], self.generation

        def download(*, timeout: float) -> bytes:
            self.downloads += 1
            if self.replacing:
                self.replacing -= 1
                self.generation += 1
            if generation != self.generation:
                raise NotFound(path)
            return content

        return SimpleNamespace(
            name=path,
            size=len(content),
            generation=generation,
            time_created=None,
            download_as_bytes=download,
        )

    def list_blobs(self, prefix: str, timeout: float) -> list[Any]:
        return [SimpleNamespace(name=path) for path in self.objects if path.startswith(prefix)]


def bucket(**aliases: Any) -> Bucket:
    objects = {f"m/aliases/{name}.json": value for name, value in aliases.items()}
    return Bucket(
        {k: v if isinstance(v, bytes) else json.dumps(v).encode() for k, v in objects.items()}
    )


def test_a_path_is_parsed_into_model_and_alias() -> None:
    ref = AliasRef.of_object("titanic-survival/aliases/champion.json")
    assert ref == AliasRef("titanic-survival", "champion")
    assert ref.path == "titanic-survival/aliases/champion.json"


@pytest.mark.parametrize("model", ["aliases", "v1", "latest"])
def test_a_model_may_have_any_name_beside_its_aliases(model: str) -> None:
    assert AliasRef.of_object(AliasRef(model, "aliases").path) == AliasRef(model, "aliases")
    with pytest.raises(InvalidRequest):
        ModelRef.of_object(AliasRef(model, "model").path)
    with pytest.raises(InvalidRequest):
        AliasRef.of_object(ModelRef(model, "v1").path)


@pytest.mark.parametrize(
    "path",
    [
        *("", "m/aliases/", "m/aliases/.json", "m/aliases/a", "aliases/a.json", "m/v1/a.json"),
        *("m/aliases/v1.json", "m/aliases/v0.json", "m/aliases/v01.json", "m/aliases/latest.json"),
        *("m/aliases/A.json", "m/aliases/a.JSON", "m/aliases/a/b.json", "m/aliases/a.json\n"),
        *("M/aliases/a.json", "m/Aliases/a.json", "/aliases/a.json", "m/aliases/" + "a" * 64),
        *("m/aliases/a b.json", "m/aliases/ä.json", "m/aliases/../a.json", "x" * 5000),
    ],
)
def test_other_paths_are_not_aliases(path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        AliasRef.of_object(path)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize(
    "document",
    [
        AliasDocument("v3"),
        AliasDocument("v3", "2 points better: ä \u2028"),
        AliasDocument("v12", "why", f"{'0123456789abcdef' * 2}.{'0' * 32}", 1_700_000_000_000_001),
        AliasDocument(None, "retired", f"{'0' * 32}.{'1' * 32}", None),
    ],
)
def test_a_document_is_read_as_it_was_written(document: AliasDocument) -> None:
    assert AliasDocument.parse(document.content()) == document


def test_other_keys_are_ignored() -> None:
    content = b'{"version": "v2", "who": "root@example.com", "evidence": {"a": [1]}, "note": 1}'
    assert AliasDocument.parse(content) == AliasDocument("v2")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "it is not JSON"),
        (b"v3", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b'{"version": "v3"', "it is not JSON"),
        (b'"v3"', "it holds a str, not an object"),
        (b"[" * 100_000, "has 100,000 bytes: write at most 50,000"),
        (b"[" * 9_000, "it is not JSON"),
        (b"{}", 'lacks "version"'),
        (b'{"version": "v3", "version": "v4"}', "has 'version' twice"),
        (b'{"version": 3}', "its version is 3: write v1, v2, v3, ..."),
        (b'{"version": true}', "its version is True"),
        (b'{"version": ["v3"]}', "its version is"),
        (b'{"version": "latest"}', "its version is 'latest'"),
        (b'{"version": "champion"}', "its version is 'champion'"),
        (b'{"version": "v0"}', "its version is 'v0'"),
        (b'{"version": " v3"}', "its version is ' v3'"),
        (b'{"version": "v3\\n"}', "its version is"),
        (b'{"version": "v3", "why": 4}', "its why is 4"),
        (b'{"version": "v3", "why": "\\ud800"}', "half of a surrogate pair"),
        (b'{"version": "v3", "why": "%s"}' % (b"x" * (MAX_WHY + 1)), "2,001 characters"),
        (b'{"version": "v3", "move": "A"}', "its move is 'A'"),
        (b'{"version": "v3", "replaced": "1"}', "its replaced is not a number"),
        (b'{"version": "v3", "replaced": true}', "its replaced is not a number"),
        (b'{"version": "%s"}' % (b"v" * 9_000), "its version is"),
    ],
)
def test_a_malformed_document_is_refused_with_what_to_write(content: bytes, text: str) -> None:
    with pytest.raises(AliasInvalid) as refused:
        AliasDocument.parse(content)
    assert text in str(refused.value) and len(str(refused.value)) < 300


def test_an_alias_is_read_with_its_generation() -> None:
    alias = read_alias(bucket(champion={"version": "v3", "why": "better"}), "m", "champion")  # type: ignore[arg-type]
    assert (alias.version, alias.generation, alias.why) == ("v3", 7, "better")
    assert alias.target == ModelRef("m", "v3")


def test_a_missing_alias_names_those_that_are_there() -> None:
    held = bucket(champion={"version": "v3"}, challenger={"version": "v4"}, gone={"version": None})
    for name in ("shampion", "gone"):
        with pytest.raises(AliasNotFound, match=f"no alias {name}: pass challenger, champion"):
            read_alias(held, "m", name)  # type: ignore[arg-type]
    with pytest.raises(AliasNotFound, match="and no other"):
        read_alias(bucket(), "m", "champion")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest):
        read_alias(held, "m", "latest")  # type: ignore[arg-type]


def test_a_missing_alias_among_many_names_some() -> None:
    held = bucket(**{f"a{n:03}": {"version": "v1"} for n in range(200)})
    with pytest.raises(AliasNotFound, match="a019 and 180 more") as refused:
        read_alias(held, "m", "b")  # type: ignore[arg-type]
    assert len(str(refused.value)) < 300


def test_a_malformed_alias_is_refused_by_its_url() -> None:
    with pytest.raises(AliasInvalid, match="gs://models/m/aliases/champion.json cannot be used"):
        read_alias(bucket(champion=b"?"), "m", "champion")  # type: ignore[arg-type]


def test_a_large_object_is_not_downloaded() -> None:
    held = bucket(champion=b" " * (MAX_BYTES + 1))
    with pytest.raises(AliasInvalid, match="50,001 bytes"):
        read_alias(held, "m", "champion")  # type: ignore[arg-type]
    assert held.downloads == 0


def test_a_reader_that_loses_a_race_looks_again() -> None:
    held = bucket(champion={"version": "v3"})
    held.replacing = LOOKS - 1
    assert read_alias(held, "m", "champion").generation == 7 + LOOKS - 1  # type: ignore[arg-type]
    held.replacing = LOOKS
    with pytest.raises(TryAgain, match="kept being moved"):
        read_alias(held, "m", "champion")  # type: ignore[arg-type]


def test_only_objects_of_aliases_are_listed() -> None:
    held = bucket(champion={"version": "v3"}, latest={"version": "v3"})
    held.objects |= {
        "m/aliases/notes.txt": b"",
        "m/aliases/x/y.json": b"",
        "m2/aliases/b.json": b"",
    }
    assert alias_names(held, "m") == ["champion"]  # type: ignore[arg-type]
