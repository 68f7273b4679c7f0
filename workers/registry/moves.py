"""The service's own records of the moves that it makes, which tell them from dropped files.

Before it writes an alias's object, the service records the move as
`gs://mlsys-runs-{env}/_aliases/{model}/{alias}/{name}.json`: only the service can write to that
bucket. The object carries the record's name, which the caller may have chosen, and its secret,
which nobody knows before the object is written. An object without a matching record was put into
the models bucket by somebody else, whatever it says about who did it (docs/decisions/0089).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from mlsys.artifact.refs import AliasRef
from mlsys.cloud.clients import TIMEOUT, Clients

MAX_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class MoveRecord:
    """A move as it was decided, before the alias's object was written."""

    version: str | None  # None: the alias is removed
    previous_version: str | None
    replaced: int | None  # the generation that the move replaces; None: no object
    who: str
    why: str | None
    forced: bool
    evidence: dict[str, Any]
    decided_at: str
    secret: str

    def move(self, name: str) -> str:
        """Return what the object carries: the record's name, and its secret."""
        return f"{name}.{self.secret}"

    @property
    def model_generation(self) -> int | None:
        """The generation of the version's model.pkl that the evidence is about."""
        return generation_in(self.evidence)

    @classmethod
    def parse(cls, content: bytes) -> Self | None:
        """Return the record, or None if it was not written by this service."""
        try:
            values = json.loads(content)
            return cls(**{field.name: values[field.name] for field in fields(cls)})
        except (ValueError, KeyError, TypeError):
            return None


def generation_in(evidence: Mapping[str, Any]) -> int | None:
    """Return the generation of the model.pkl that a move's evidence is about."""
    verdict = evidence.get("registry")
    return verdict.get("generation") if isinstance(verdict, Mapping) else None


def record_path(ref: AliasRef, name: str) -> str:
    """Return the path of a move's record; `_aliases` cannot be the name of a run."""
    return f"_aliases/{ref.model}/{ref.alias}/{name}.json"


def write_record(
    clients: Clients, env: str, ref: AliasRef, name: str, record: MoveRecord
) -> MoveRecord | None:
    """Create the record; return None, or the record that has this name already."""
    from google.api_core.exceptions import PreconditionFailed

    blob = clients.storage.bucket(clients.settings.runs_bucket(env)).blob(record_path(ref, name))
    try:
        blob.upload_from_string(
            json.dumps(asdict(record), indent=1),
            content_type="application/json",
            if_generation_match=0,
            timeout=TIMEOUT,
        )
    except PreconditionFailed:
        return read_record(clients, env, ref, name)
    return None


def read_record(clients: Clients, env: str, ref: AliasRef, name: str) -> MoveRecord | None:
    """Return the record of a move, or None without one."""
    from google.api_core.exceptions import NotFound, RequestRangeNotSatisfiable

    blob = clients.storage.bucket(clients.settings.runs_bucket(env)).blob(record_path(ref, name))
    try:
        content = blob.download_as_bytes(end=MAX_BYTES, timeout=TIMEOUT)
    except (NotFound, RequestRangeNotSatisfiable):
        return None
    return MoveRecord.parse(content)
