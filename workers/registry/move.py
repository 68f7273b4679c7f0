"""Move an alias: compare and set, so that of concurrent moves exactly one takes effect.

The order is: read the alias, ask the guard, record the move (`workers.registry.moves`), write the
object with the generation that was read as its precondition, write the log. The object is the
truth: a move whose log could not be written is logged by its event. A request that is repeated with
the same `request_id` finds its own record and object, and changes nothing again.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
import secrets
from dataclasses import dataclass
from typing import Any

from mlsys.artifact.aliases import AliasDocument, read_object
from mlsys.artifact.refs import AliasRef, ModelRef
from mlsys.cloud.clients import TIMEOUT, Clients, is_passing
from mlsys.errors import (
    AliasInvalid,
    AliasMoved,
    AliasNotFound,
    Conflict,
    ObjectNotFound,
    TryAgain,
)
from workers.registry import guard
from workers.registry.alias_history import AliasRow
from workers.registry.alias_sync import LOOKS, AliasLook, converge_alias, look
from workers.registry.moves import MoveRecord, read_record, write_record

log = logging.getLogger(__name__)

REQUEST_ID = re.compile(r"[0-9a-f]{32}")
NONE = "none"  # as `expected`: the alias does not exist


@dataclass(frozen=True, slots=True)
class MoveRequest:
    """A move of an alias that somebody asks for."""

    ref: AliasRef
    version: str | None  # None: remove the alias
    who: str  # a verified identity
    request_id: str  # 32 hexadecimal digits; a repeated request has the same
    expected: str | None = None  # the version that it names now, or "none"; None: any
    why: str | None = None
    force: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Moved:
    """The answer to a move: `moved` is False if nothing had to change, or on a dry run."""

    version: str | None
    previous_version: str | None
    moved: bool
    evidence: dict[str, Any]
    row: AliasRow | None = None  # the log's; None: it is not written yet
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class _Current:
    """The alias's object now; without one all values are None."""

    generation: int | None = None
    version: str | None = None
    move: str | None = None
    model_generation: int | None = None


def move_alias(clients: Clients, env: str, request: MoveRequest) -> Moved:
    """Move an alias to a version, or remove it.

    Raises:
        InvalidRequest, ModelNotFound, ModelUnusable, GuardRefused: see `guard.check`.
        AliasNotFound: the alias to remove does not exist.
        AliasMoved: it names another version than expected, or somebody else moved it first.
        Conflict: the same `request_id` came with other values, or the version was uploaded again
            since the guard judged it.
        ObjectNotFound: the environment's models bucket does not exist.
        TryAgain: Google Cloud is busy; the same request can be repeated.
    """
    ref = request.ref
    if (known := read_record(clients, env, ref, request.request_id)) is not None:
        return _repeat(clients, env, request, known)
    current = _read(clients, env, ref)
    expected = None if request.expected == NONE else request.expected
    if request.expected is not None and current.version != expected:
        raise _moved(clients, env, request)
    if request.version is None and current.version is None:
        raise AliasNotFound(f"{ref.model} has no alias {ref.alias} in {env}: nothing to remove")
    if not request.dry_run and _stands(clients, env, request, current):
        return Moved(request.version, current.version, False, {}, generation=current.generation)
    evidence = guard.check(clients, env, _for_guard(request))
    if request.dry_run:
        return Moved(request.version, current.version, False, evidence)
    record = MoveRecord(
        version=request.version,
        previous_version=current.version,
        replaced=current.generation,
        who=request.who,
        why=request.why,
        forced=request.force,
        evidence=evidence,
        decided_at=dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
        secret=secrets.token_hex(16),
    )
    if (known := write_record(clients, env, ref, request.request_id, record)) is not None:
        return _repeat(clients, env, request, known)
    return _carry_out(clients, env, request, record)


def aliases_now(clients: Clients, env: str, model: str = "", alias: str = "") -> list[AliasRow]:
    """Return the aliases that exist now, by the bucket, with who moved each.

    Raises:
        ObjectNotFound, TryAgain: see `alias_sync.look`.
    """
    return look(clients, env, "event", model, alias).now()


def _repeat(clients: Clients, env: str, request: MoveRequest, known: MoveRecord) -> Moved:
    """Finish, or answer again, a move that an earlier request has recorded."""
    same = (known.version, known.who, known.why, known.forced) == (
        *(request.version, request.who, request.why, request.force),
    )
    if not same:
        raise Conflict(
            f"The request_id {request.request_id} belongs to another move of {request.ref}: pass "
            "a new one, or none"
        )
    if (done := _own(clients, env, request, known)) is not None:
        return done
    # The record may be old: what the guard saw then need not hold now.
    guard.check(clients, env, _for_guard(request))
    return _carry_out(clients, env, request, known)


def _for_guard(request: MoveRequest) -> guard.Move:
    return guard.Move(
        *(request.ref, request.version, request.who, request.why, request.force, request.dry_run)
    )


def _stands(clients: Clients, env: str, request: MoveRequest, current: _Current) -> bool:
    """Return whether the alias names the version already, by a move that its guard allowed.

    A guarded alias can be moved to the version that it names, so that the guard judges a file that
    somebody put into the bucket, or a model that was uploaded again.
    """
    ref = request.ref
    if request.version != current.version:
        return False
    if clients.settings.alias_guard(env, ref.model, ref.alias) is None:
        return True
    rows = look(clients, env, "move", ref.model, ref.alias).rows(ref)
    return bool(rows and rows[-1].guarded) and _is_current(clients, env, request, current)


def _is_current(
    clients: Clients, env: str, request: MoveRequest, known: _Current | MoveRecord
) -> bool:
    """Return whether the version's model.pkl is still the one that a move was decided on."""
    if request.version is None:
        return True
    path = ModelRef(request.ref.model, request.version).path
    bucket = clients.storage.bucket(clients.settings.models_bucket(env))
    blob = bucket.get_blob(path, timeout=TIMEOUT)
    return blob is not None and int(blob.generation or 0) == known.model_generation


def _carry_out(clients: Clients, env: str, request: MoveRequest, record: MoveRecord) -> Moved:
    """Write the alias's object in place of exactly the generation that was read.

    The object names the generation of the model's file: one that is uploaded after this check is
    not what the alias stands for (docs/decisions/0099).
    """
    from google.api_core.exceptions import NotFound, PreconditionFailed

    ref = request.ref
    if not _is_current(clients, env, request, record):
        raise Conflict(
            f"{ref.model}/{request.version} was uploaded again, or deleted, while {ref.alias} was "
            "moved: look at it, and move the alias by a new request"
        )
    move, generation = record.move(request.request_id), record.model_generation
    document = AliasDocument(record.version, record.why, move, record.replaced, generation)
    name = clients.settings.models_bucket(env)
    blob = clients.storage.bucket(name).blob(ref.path)
    try:
        blob.upload_from_string(
            document.content(),
            content_type="application/json",
            if_generation_match=record.replaced or 0,
            timeout=TIMEOUT,
        )
    except PreconditionFailed as exc:
        # The client repeats a write that succeeded if its answer was lost.
        if (done := _own(clients, env, request, record)) is not None:
            return done
        raise _moved(clients, env, request) from exc
    except NotFound as exc:
        raise ObjectNotFound(
            f"The bucket gs://{name} does not exist: create it (docs/operations.md)"
        ) from exc
    return _logged(clients, env, request, record, int(blob.generation or 0))


def _own(clients: Clients, env: str, request: MoveRequest, record: MoveRecord) -> Moved | None:
    """Return the answer if the move has taken effect, even if others followed it."""
    current = _read(clients, env, request.ref)
    move = record.move(request.request_id)
    if current.move == move and current.generation is not None:
        return _logged(clients, env, request, record, current.generation)
    seen = look(clients, env, "move", request.ref.model, request.ref.alias)
    for row in seen.rows(request.ref):
        if row.move_id == request.request_id:
            return _logged(clients, env, request, record, row.generation)
    return None


def _logged(
    clients: Clients, env: str, request: MoveRequest, record: MoveRecord, generation: int
) -> Moved:
    """Write the log of a move that has taken effect, and remove the object of a removed alias."""
    row = None
    try:
        seen = converge_alias(clients, env, request.ref, "move")
        rows = seen.rows(request.ref)
        row = next((row for row in rows if row.move_id == request.request_id), None)
        if record.version is None:
            _remove(clients, env, request.ref, generation)
    except Exception as exc:
        if not isinstance(exc, TryAgain) and not is_passing(exc):
            raise
        log.warning("%s was moved, and its event will log it: %s", request.ref, exc)
    return Moved(record.version, record.previous_version, True, record.evidence, row, generation)


def _remove(clients: Clients, env: str, ref: AliasRef, generation: int) -> None:
    """Delete the object that says that the alias was removed, once the log has it."""
    from google.api_core.exceptions import NotFound, PreconditionFailed

    blob = clients.storage.bucket(clients.settings.models_bucket(env)).blob(ref.path)
    try:
        blob.delete(if_generation_match=generation, timeout=TIMEOUT)
    except (NotFound, PreconditionFailed):
        pass  # the alias has been set again since


def _read(clients: Clients, env: str, ref: AliasRef) -> _Current:
    """Return the alias's object as it is now, malformed ones too: a move replaces them."""
    from google.api_core.exceptions import NotFound

    bucket = clients.storage.bucket(clients.settings.models_bucket(env))
    for _ in range(LOOKS):
        blob = bucket.get_blob(ref.path, timeout=TIMEOUT)
        if blob is None:
            return _Current()
        try:
            document = read_object(blob)
        except NotFound:
            continue  # replaced or deleted since
        except AliasInvalid:
            return _Current(int(blob.generation or 0))
        generation = int(blob.generation or 0)
        return _Current(generation, document.version, document.move, document.model_generation)
    raise TryAgain(f"The alias {ref} kept being moved: try again")


def _moved(clients: Clients, env: str, request: MoveRequest) -> AliasMoved:
    """Return the error that says what the alias names now, and who moved it."""
    ref = request.ref
    seen: AliasLook = look(clients, env, "event", ref.model, ref.alias)
    rows = seen.rows(ref)
    again = "look at that, and decide again"
    if not rows:
        return AliasMoved(f"{ref.model} has no alias {ref.alias} in {env}: pass expected=none")
    last = rows[-1]
    who = last.who or "somebody, past the service"
    at = last.moved_at.isoformat(timespec="seconds")
    why = f" ({last.why})" if last.why else ""
    if last.version is None:
        verb = "removed" if last.deleted else "set to no version"
        return AliasMoved(f"{ref.alias} of {ref.model} was {verb} by {who} at {at}{why}: {again}")
    wanted = f", not {request.expected}" if request.expected else ""
    return AliasMoved(
        f"{ref.alias} of {ref.model} names {last.version}{wanted}. It was moved by {who} at "
        f"{at}{why}: {again}"
    )
