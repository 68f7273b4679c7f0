"""The object of an alias: `{model}/aliases/{alias}.json`, which names a version of the model.

```json
{"version": "v3", "why": "2 points better on March"}
```

`"version": null` is an alias that was removed: the service then deletes the object, and until it is
gone, it counts as missing. The service adds `move`, the name of its record of the move with a
secret; `replaced`, the generation that the move replaced; and `model_generation`, that of the
version's model.pkl. Who moved it is in that record, not here. Other keys stay in the object and are
ignored.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from mlsys.arguments import shown, shown_text
from mlsys.artifact.documents import read_document, unstorable
from mlsys.artifact.refs import VERSION, AliasRef, ModelRef, aliases_prefix
from mlsys.cloud.clients import TIMEOUT
from mlsys.errors import AliasInvalid, AliasNotFound, InvalidRequest, MetadataInvalid, TryAgain

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket

MAX_BYTES = 50_000  # of an alias's object
MAX_WHY = 2_000  # characters
MAX_NAMED = 20  # aliases that a message names
MOVE = re.compile(r"[0-9a-f]{32}\.[0-9a-f]{32}")
LOOKS = 5


@dataclass(frozen=True, slots=True)
class AliasDocument:
    """The content of an alias's object."""

    version: str | None  # None: the alias was removed
    why: str | None = None
    move: str | None = None  # the service's record of the move, and its secret
    replaced: int | None = None  # the generation that the move replaced
    model_generation: int | None = None  # of the version's model.pkl that the move was decided on

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Parse the bytes of an alias's object.

        Raises:
            AliasInvalid: they are too large or not a JSON object, or a part has the wrong form.
        """
        _check_size(len(content))
        try:
            document = read_document(content, "it")
        except MetadataInvalid as exc:
            raise AliasInvalid(str(exc)) from exc
        if "version" not in document:
            raise AliasInvalid('it lacks "version": write {"version": "v3"}')
        version, replaced = document["version"], document.get("replaced")
        if version is not None and not (isinstance(version, str) and VERSION.fullmatch(version)):
            text = shown(version) if isinstance(version, str) else shown_text(version)
            raise AliasInvalid(f"its version is {text}: write v1, v2, v3, ...")
        why, move = _text(document, "why"), _text(document, "move")
        if why is not None and len(why) > MAX_WHY:
            raise AliasInvalid(f"its why has {len(why):,} characters: write at most {MAX_WHY:,}")
        if move is not None and not MOVE.fullmatch(move):
            raise AliasInvalid(f"its move is {shown(move)}: leave it to the service to write it")
        generation = document.get("model_generation")
        for name, number in (("replaced", replaced), ("model_generation", generation)):
            if number is not None and type(number) is not int:
                raise AliasInvalid(
                    f"its {name} is not a number: leave it to the service to write it"
                )
        return cls(version, why, move, replaced, generation)

    def content(self) -> bytes:
        """Return the bytes of the object."""
        values: dict[str, Any] = {"version": self.version, "why": self.why}
        if self.move:
            values |= {"move": self.move, "replaced": self.replaced}
            values |= {"model_generation": self.model_generation}
        return json.dumps(values, indent=1).encode()


@dataclass(frozen=True, slots=True)
class Alias:
    """An alias as the bucket holds it: the version that it names, and the object's generation."""

    model: str
    alias: str
    version: str
    generation: int
    why: str | None = None
    move: str | None = None
    replaced: int | None = None
    model_generation: int | None = None
    moved_at: dt.datetime | None = None  # when this generation was written

    @property
    def target(self) -> ModelRef:
        """The model version that the alias names."""
        return ModelRef(self.model, self.version)


def read_why(text: str) -> str:
    """Return a reason without the spaces around it.

    Raises:
        InvalidRequest: it is empty, too long, or not Unicode text.
    """
    why = text.strip()
    if not why or len(why) > MAX_WHY or unstorable(why):
        problem = f"{shown(text)}: pass a text of at most {MAX_WHY:,} characters"
        raise InvalidRequest(("why", problem))
    return why


def read_alias(bucket: Bucket, model: str, alias: str) -> Alias:
    """Return what an alias names now.

    Raises:
        InvalidRequest: a malformed name.
        AliasNotFound: the model has no such alias; the message names those it has.
        AliasInvalid: its object cannot be read, or names no version.
        TryAgain: the object kept being replaced.
    """
    ref = AliasRef(model, alias)
    blob, document = look_up(bucket, ref) or (None, None)
    if blob is None or document is None or document.version is None:
        raise _missing(bucket, ref)
    return Alias(
        model,
        alias,
        document.version,
        int(blob.generation or 0),
        document.why,
        document.move,
        document.replaced,
        document.model_generation,
        blob.time_created,
    )


def look_up(bucket: Bucket, ref: AliasRef) -> tuple[Blob, AliasDocument] | None:
    """Return the alias's object and its content, or None without one.

    Raises:
        AliasInvalid: the object cannot be read.
        TryAgain: the object kept being replaced.
    """
    from google.api_core.exceptions import NotFound

    for _ in range(LOOKS):
        blob = bucket.get_blob(ref.path, timeout=TIMEOUT)
        if blob is None:
            return None
        try:
            return blob, read_object(blob)
        except NotFound:
            continue  # replaced or deleted since
        except AliasInvalid as exc:
            raise AliasInvalid(f"gs://{bucket.name}/{ref.path} cannot be used: {exc}") from exc
    raise TryAgain(f"The alias {ref} kept being moved: try again")


def read_object(blob: Blob) -> AliasDocument:
    """Return the content of exactly this generation of an alias's object.

    `blob` comes from a listing or a look-up, so that its generation is known, which may be
    noncurrent, and its size is checked before it is downloaded.

    Raises:
        AliasInvalid: it cannot be read.
        google.api_core.exceptions.NotFound: the bucket does not keep that generation.
    """
    _check_size(blob.size)
    content = blob.download_as_bytes(timeout=TIMEOUT)
    return AliasDocument.parse(content)


def alias_names(bucket: Bucket, model: str) -> list[str]:
    """Return the names of the model's aliases that have an object, sorted."""
    names = []
    for blob in bucket.list_blobs(prefix=aliases_prefix(model), timeout=TIMEOUT):
        try:
            names.append(AliasRef.of_object(blob.name).alias)
        except InvalidRequest:
            continue  # another file
    return sorted(names)


def _missing(bucket: Bucket, ref: AliasRef) -> AliasNotFound:
    others = [name for name in alias_names(bucket, ref.model) if name != ref.alias]
    if not others:
        return AliasNotFound(
            f"{ref.model} has no alias {ref.alias}, and no other: set it, or pass a version"
        )
    more = f" and {len(others) - MAX_NAMED:,} more" if len(others) > MAX_NAMED else ""
    return AliasNotFound(
        f"{ref.model} has no alias {ref.alias}: pass {', '.join(others[:MAX_NAMED])}{more}, or a "
        "version"
    )


def _check_size(size: int | None) -> None:
    if (size or 0) > MAX_BYTES:
        raise AliasInvalid(f"it has {size:,} bytes: write at most {MAX_BYTES:,}")


def _text(document: Mapping[str, Any], key: str) -> str | None:
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise AliasInvalid(f"its {key} is {shown_text(value)}: write text")
    return value
