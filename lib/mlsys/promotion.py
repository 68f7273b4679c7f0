"""Promote a model version: the same bytes, in the next environment's bucket.

The copy is an upload like any other, so it registers itself there; what it is a copy of, who made
it and when travels in the object's custom metadata, and from there into the registry.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

from mlsys.artifact.refs import ModelRef
from mlsys.clients import TIMEOUT, Clients
from mlsys.cloud.errors import Use, cloud_errors
from mlsys.errors import InvalidRequest, ModelNotFound, ModelUnusable, ObjectNotFound
from mlsys.gcs import PROMOTION_KEY
from mlsys.progress import progress
from mlsys.promotion_copy import copy_version
from mlsys.registry import Registered, registered, wait_until_registered
from mlsys.settings import ENVS

if TYPE_CHECKING:
    from google.cloud.storage import Blob


def promote(
    ref: ModelRef, source: str, target: str, *, by: str, here: Clients, there: Clients
) -> Registered:
    """Copy a model version with its metadata and signature, and wait until it is registered.

    `here` are the clients of the source's project, `there` those of the target's. The model goes
    last, so that whoever hears of it finds the rest. Promoting again finishes a copy that was cut
    off: files of it that the source has meanwhile replaced are replaced too. A file that no
    promotion of this model wrote is never overwritten.

    Raises:
        InvalidRequest: the target is not above the source.
        ModelNotFound: the version is not in the source, or not registered there.
        ModelUnusable: its registry says anything but ready, or the target's does so of the copy.
        ModelExists: the target has that version already with other bytes, or another file where
            one of the version's files goes; the message names it.
        Conflict: the source's model was replaced meanwhile.
        ObjectNotFound: the source or the target has no models bucket; it names those that have.
        NotRegistered: the copy is in the bucket, and the registry did not show it in time.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    if ENVS.index(target) <= ENVS.index(source):
        raise InvalidRequest(("to", f"{target} does not come after {source}: {' -> '.join(ENVS)}"))
    for clients, env in ((here, source), (there, target)):
        with cloud_errors(_use(f"gs://{clients.settings.models_bucket(env)}", _LIST)):
            _check_env(clients, env)
    with cloud_errors(_use(f"gs://{here.settings.models_bucket(source)}/{ref.path}", _GET)):
        model = _ready(here, source, ref)
    copied = _copied(ref, model, there, target, by)
    row = wait_until_registered(there, target, ref, int(copied.generation or 0))
    if row.status != "ready":
        raise ModelUnusable(f"{ref} is in {target}, where it is {row.status}: {row.status_reason}")
    return row


_LIST, _GET = "storage.objects.list", "storage.objects.get"
_WRITE = ("storage.objects.create", "storage.objects.delete")


def _use(resource: str, *permissions: str) -> Use:
    return Use("Cloud Storage", resource, permissions)


def _copied(ref: ModelRef, model: Blob, there: Clients, target: str, by: str) -> Blob:
    """Copy the version into the target's bucket, with a note of where it came from and by whom.

    Raises:
        ObjectNotFound: the bucket is not there, or the source was changed meanwhile.
    """
    from google.api_core.exceptions import NotFound

    origin = {
        "from": f"gs://{model.bucket.name}/{model.name}#{model.generation}",
        "by": by,
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }
    name = there.settings.models_bucket(target)
    where = f"gs://{name}/{ref} (a copy of gs://{model.bucket.name}/{ref})"
    with cloud_errors(_use(where, _GET, *_WRITE)), progress(f"Copying {ref} to gs://{name}"):
        bucket = there.storage.bucket(name)
        try:
            return copy_version(ref, model, bucket, {PROMOTION_KEY: json.dumps(origin)})
        except NotFound as exc:
            raise ObjectNotFound(
                f"The bucket gs://{name} is not there, or gs://{model.bucket.name}/{ref} was "
                "changed meanwhile: promote again"
            ) from exc


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
        f"gs://{clients.settings.models_bucket(env)}. {known}; create it "
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


def _ready(clients: Clients, env: str, ref: ModelRef) -> Blob:
    """Return the object of a model that the registry knows as it is, and knows to be ready."""
    bucket = clients.storage.bucket(clients.settings.models_bucket(env))
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
