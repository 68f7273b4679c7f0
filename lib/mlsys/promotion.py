"""Promote a model version: the same bytes, in the next environment's bucket.

The copy is an upload like any other, so it registers itself there; what it is a copy of, who made
it and when travels in the object's custom metadata, and from there into the registry.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

from mlsys.clients import TIMEOUT, Clients
from mlsys.errors import InvalidRequest, ModelExists, ModelNotFound, ModelUnusable, ObjectNotFound
from mlsys.gcs import PROMOTION_KEY
from mlsys.refs import ModelRef
from mlsys.registry import Registered, registered, wait_until_registered
from mlsys.settings import ENVS

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket


def promote(
    ref: ModelRef, source: str, target: str, *, by: str, here: Clients, there: Clients
) -> Registered:
    """Copy a model version with its metadata and signature, and wait until it is registered.

    `here` are the clients of the source's project, `there` those of the target's. The model goes
    last, so that whoever hears of it finds the rest. A copy that was cut off is taken up where it
    was by promoting again.

    Raises:
        InvalidRequest: the target is not above the source.
        ModelNotFound: the version is not in the source, or not registered there.
        ModelUnusable: its registry says anything but ready, or the target's does so of the copy.
        ModelExists: the target has that version already, with other bytes.
        ObjectNotFound: the source or the target has no models bucket; it names those that have.
        NotRegistered: the copy is in the bucket, and the registry did not show it in time.
    """
    from google.api_core.exceptions import NotFound, PreconditionFailed

    if ENVS.index(target) <= ENVS.index(source):
        raise InvalidRequest(("to", f"{target} does not come after {source}: {' -> '.join(ENVS)}"))
    old = here.storage.bucket(here.settings.models_bucket(source))
    new = there.storage.bucket(there.settings.models_bucket(target))
    for clients, env in ((here, source), (there, target)):
        _check_env(clients, env)
    model = _ready(here, source, ref, old)
    try:
        found = new.get_blob(ref.path, timeout=TIMEOUT)
        if found is not None and found.crc32c != model.crc32c:
            raise ModelExists(
                f"{target} has another model as {ref}: a version is never replaced by a "
                "promotion; upload the model under a new version and promote that"
            )
        beside = [ref.metadata_path, ref.signature_path]
        for blob in filter(None, (old.get_blob(path, timeout=TIMEOUT) for path in beside)):
            _copy_beside(blob, new, keep=found is not None)
        if found is None:
            origin = {
                "from": f"gs://{old.name}/{ref.path}#{model.generation}",
                "by": by,
                "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            }
            found = _copy(model, new, {PROMOTION_KEY: json.dumps(origin)})
    except PreconditionFailed as exc:
        raise ModelExists(f"{ref} was uploaded to {target} by somebody else just now") from exc
    except NotFound as exc:
        raise ObjectNotFound(
            f"The bucket gs://{new.name} is not there, or {ref} was changed in {source} meanwhile"
        ) from exc
    row = wait_until_registered(there, target, ref, int(found.generation or 0))
    if row.status != "ready":
        raise ModelUnusable(f"{ref} is in {target}, where it is {row.status}: {row.status_reason}")
    return row


def _check_env(clients: Clients, env: str) -> None:
    """Refuse an environment that is not set up.

    Raises:
        ObjectNotFound: its models bucket is not there; the message names the environments that are.
    """
    if _is_there(clients, env):
        return
    others = [e for e in ENVS if e != env and _is_there(clients, e)]
    project = clients.settings.project
    known = f"{project} has {', '.join(others)}" if others else f"{project} has none"
    raise ObjectNotFound(
        f"The environment {env} is not set up in {project}: there is no bucket "
        f"gs://{clients.settings.models_bucket(env)}. {known}; create it (README, First-time "
        "set-up; on the local stack `mlsys local up --envs`), or name another project"
    )


def _is_there(clients: Clients, env: str) -> bool:
    """Tell whether the environment's models bucket exists; one that may not be listed does."""
    from google.api_core.exceptions import Forbidden, NotFound

    name = clients.settings.models_bucket(env)
    try:
        next(iter(clients.storage.list_blobs(name, max_results=1, timeout=TIMEOUT)), None)
    except NotFound:
        return False
    except Forbidden:
        return True
    return True


def _ready(clients: Clients, env: str, ref: ModelRef, bucket: Bucket) -> Blob:
    """Return the object of a model that the registry knows as it is, and knows to be ready."""
    blob = bucket.get_blob(ref.path, timeout=TIMEOUT)
    if blob is None:
        raise ModelNotFound(f"There is no model gs://{bucket.name}/{ref.path}")
    row = registered(clients, env, ref)
    if row is None or row.generation != blob.generation:
        raise ModelNotFound(
            f"The registry of {env} does not know gs://{bucket.name}/{ref.path} as it is: ask for "
            f"a rescan, GET /model-registry?env={env}, and promote it then"
        )
    if row.status != "ready":
        raise ModelUnusable(f"{ref} is {row.status} in {env}: {row.status_reason}")
    return blob


def _copy_beside(blob: Blob, bucket: Bucket, *, keep: bool) -> None:
    """Copy a file that lies beside the model; what is there stays, if it is the same or `keep`.

    The target may have signed the model by a key of its own.

    Raises:
        PreconditionFailed: another file is there.
    """
    from google.api_core.exceptions import PreconditionFailed

    there = bucket.get_blob(blob.name, timeout=TIMEOUT)
    if there is None:
        _copy(blob, bucket, {})
    elif not keep and there.crc32c != blob.crc32c:
        raise PreconditionFailed(f"gs://{bucket.name}/{blob.name} is another one")


def _copy(blob: Blob, bucket: Bucket, metadata: dict[str, str]) -> Blob:
    """Copy exactly this generation, in Cloud Storage itself, to where nothing is.

    Raises:
        PreconditionFailed: something is there.
        ModelUnusable: the copy has another checksum.
    """
    copy = bucket.blob(blob.name)
    copy.content_type = blob.content_type
    copy.metadata = (blob.metadata or {}) | metadata
    conditions: dict[str, Any] = {
        "if_source_generation_match": int(blob.generation or 0),
        "if_generation_match": 0,
        "timeout": TIMEOUT,
    }
    token, *_ = copy.rewrite(blob, **conditions)
    while token is not None:
        token, *_ = copy.rewrite(blob, token=token, **conditions)
    if copy.crc32c != blob.crc32c:
        raise ModelUnusable(f"gs://{bucket.name}/{blob.name} is not what was copied: delete it")
    return copy
