"""May an alias be moved to a version? Asked after it was read, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlsys.artifact.refs import AliasRef, ModelRef
from mlsys.artifact.versions import listed, versions_in
from mlsys.cloud.clients import TIMEOUT, Clients
from mlsys.errors import InvalidRequest, ModelNotFound, ModelUnusable
from workers.query import run
from workers.sql import statement


@dataclass(frozen=True, slots=True)
class Move:
    """A move that somebody asks for, with what the alias names now."""

    ref: AliasRef
    version: str | None  # None: the alias is to be removed
    current: str | None  # the version that it names; None: it does not exist, or names none
    who: str  # a verified identity
    why: str | None
    force: bool


def check(clients: Clients, env: str, move: Move) -> dict[str, Any]:
    """Return what speaks for a move: the evidence goes into its record and into the log.

    Raises:
        InvalidRequest: it is forced without a reason.
        ModelNotFound: the version does not exist.
        ModelUnusable: the version is not ready, and the move is not forced.
    """
    if move.force and not (move.why or "").strip():
        raise InvalidRequest(("why", "is missing: pass the reason for force=true"))
    if move.version is None:
        return {}
    ref = ModelRef(move.ref.model, move.version)
    verdict = status(clients, env, ref)
    if verdict["status"] != "ready" and not move.force:
        reason = f": {verdict['reason']}" if verdict["reason"] else ""
        raise ModelUnusable(
            f"{ref} is {verdict['status']} in {env}{reason}. Move {move.ref.alias} to a version "
            "that is ready, or pass force=true with the reason as why"
        )
    return {"registry": verdict}


def status(clients: Clients, env: str, ref: ModelRef) -> dict[str, Any]:
    """Return the registry's verdict on the model that the bucket holds now.

    `status` is ready, rejected, or not registered: then the registry does not know these bytes.

    Raises:
        ModelNotFound: the bucket does not hold the version; the message names those it holds.
    """
    from google.cloud import bigquery

    bucket = clients.storage.bucket(clients.settings.models_bucket(env))
    blob = bucket.get_blob(ref.path, timeout=TIMEOUT)
    if blob is None:
        raise ModelNotFound(_missing(clients, env, ref))
    generation = int(blob.generation or 0)
    rows = run(
        clients,
        env,
        statement("version_status"),
        bigquery.ScalarQueryParameter("model", "STRING", ref.name),
        bigquery.ScalarQueryParameter("version", "STRING", ref.version),
    )
    verdict: dict[str, Any] = {"version": ref.version, "generation": generation}
    for row in rows:
        if row["generation"] == generation:
            return verdict | {"status": row["status"], "reason": row["status_reason"]}
    return verdict | {"status": "not registered", "reason": None}


def _missing(clients: Clients, env: str, ref: ModelRef) -> str:
    bucket = clients.settings.models_bucket(env)
    versions = versions_in(clients.storage.bucket(bucket), ref.name)
    others = f"pass {listed(versions)}" if versions else "upload it first"
    return f"The model gs://{bucket}/{ref.path} does not exist: {others}"
