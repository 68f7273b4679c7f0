"""Promote a model version: copy its bytes into the next environment's bucket.

The copy registers itself there like any upload. The object's custom metadata, and from there the
registry, records the source, the author and the time of the promotion, and those before it.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

from mlsys.artifact.aliases import MAX_WHY
from mlsys.artifact.refs import PROMOTION_KEY, ModelRef
from mlsys.cloud.clients import TIMEOUT, Clients, bigquery_retry
from mlsys.cloud.errors import cloud_errors
from mlsys.cloud.messages import Use
from mlsys.cloud.progress import progress
from mlsys.errors import InvalidRequest, ModelNotFound, ModelUnusable, ObjectNotFound
from mlsys.registry.row import Registered, registered, wait_until_registered
from mlsys.registry.version_copy import copy_version
from mlsys.settings import ENVS

if TYPE_CHECKING:
    from google.cloud.storage import Blob


def promote(
    ref: ModelRef, source: str, target: str, *, by: str, from_clients: Clients, to_clients: Clients
) -> Registered:
    """Copy a model version with its metadata and signature, and wait until it is registered.

    `from_clients` are those of the source's project, `to_clients` those of the target's. The model
    is copied last, so that its reader finds the other files. Promoting again completes an
    interrupted copy: files of it that the source has since replaced are replaced too. A file that
    was not written by a promotion of this model is never overwritten.

    Raises:
        InvalidRequest: the target does not come after the source.
        ModelNotFound: the version is not in the source, or not registered there.
        ModelUnusable: the registry of the source or the target does not say `ready`.
        ModelExists: the target has that version already with other bytes, or another file in the
            place of one of the version's files; the message names it.
        Conflict: the source's model was replaced during the promotion.
        ObjectNotFound: the source or the target has no models bucket; the message names the
            environments that have one.
        NotRegistered: the copy is in the bucket, and the registry did not show it in time.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    if ENVS.index(target) <= ENVS.index(source):
        raise InvalidRequest(
            ("to", f"{target} does not come after {source}: promote along {' -> '.join(ENVS)}")
        )
    for clients, env in ((from_clients, source), (to_clients, target)):
        with cloud_errors(_use(f"gs://{clients.settings.models_bucket(env)}", _LIST)):
            _check_env(clients, env)
    with cloud_errors(_use(f"gs://{from_clients.settings.models_bucket(source)}/{ref.path}", _GET)):
        model = _ready(from_clients, source, ref)
    copied = _copied(ref, model, to_clients, target, by)
    row = wait_until_registered(to_clients, target, ref, int(copied.generation or 0))
    if row.status != "ready":
        raise ModelUnusable(f"{ref} was copied to {target} and {row.status}: {row.status_reason}")
    return row


_MOVED = """
SELECT version, who, why, valid_from
FROM model_alias_history
WHERE model_name = @model_name AND alias = @alias AND valid_to IS NULL
"""


def reason_in(clients: Clients, env: str, ref: ModelRef, alias: str) -> str:
    """Return the reason for an alias of a promoted version: who moved it in `env`, and why.

    Raises:
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    from google.cloud import bigquery

    names = {"model_name": ref.name, "alias": alias}
    config = bigquery.QueryJobConfig(
        default_dataset=clients.settings.dataset(env),
        query_parameters=[
            bigquery.ScalarQueryParameter(name, "STRING", value) for name, value in names.items()
        ],
    )
    view = f"{clients.settings.dataset(env)}.model_alias_history"
    with cloud_errors(Use("BigQuery", view, ("bigquery.jobs.create", "bigquery.tables.getData"))):
        retry = bigquery_retry()
        job = clients.bigquery.query(_MOVED, job_config=config, timeout=TIMEOUT, retry=retry)
        rows = list(job.result(timeout=TIMEOUT, retry=retry))
    reason = f"promoted from {env}"
    for row in rows:
        if row["version"] == ref.version:
            who = row["who"] or "somebody, past the service"
            because = f": {row['why']}" if row["why"] else ""
            reason += f", where {who} moved {alias} to it on {row['valid_from']:%Y-%m-%d}{because}"
    return reason[:MAX_WHY]


def promotions_of(model: Blob) -> list[dict[str, str | None]]:
    """Return the promotions that led to a model's object, the first one first.

    Each has `from`, the object that was copied, `by` and `at`.
    """
    try:
        last = json.loads((model.metadata or {}).get(PROMOTION_KEY, "{}"))
    except (ValueError, RecursionError):
        return []
    before = last.get("before") if isinstance(last, dict) else None
    steps = [*(before if isinstance(before, list) else ()), last]
    return [
        {name: value if isinstance(value := step.get(name), str) else None for name in _STEP}
        for step in steps
        if isinstance(step, dict) and isinstance(step.get("from"), str)
    ][-len(ENVS) :]


_STEP = ("from", "by", "at")
_LIST, _GET = "storage.objects.list", "storage.objects.get"
_WRITE = ("storage.objects.create", "storage.objects.delete")


def _use(resource: str, *permissions: str) -> Use:
    return Use("Cloud Storage", resource, permissions)


def _copied(ref: ModelRef, model: Blob, clients: Clients, target: str, by: str) -> Blob:
    """Copy the version into the target's bucket, with a note of its source and promoter.

    Raises:
        ObjectNotFound: the bucket does not exist, or the source changed during the copy.
    """
    from google.api_core.exceptions import NotFound

    origin: dict[str, Any] = {
        "from": f"gs://{model.bucket.name}/{model.name}#{model.generation}",
        "by": by,
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }
    if before := promotions_of(model):
        origin["before"] = before
    name = clients.settings.models_bucket(target)
    where = f"gs://{name}/{ref} (a copy of gs://{model.bucket.name}/{ref})"
    with cloud_errors(_use(where, _GET, *_WRITE)), progress(f"Copying {ref} to gs://{name}"):
        bucket = clients.storage.bucket(name)
        try:
            return copy_version(ref, model, bucket, {PROMOTION_KEY: json.dumps(origin)})
        except NotFound as exc:
            raise ObjectNotFound(
                f"The bucket gs://{name} does not exist, or gs://{model.bucket.name}/{ref} changed "
                "during the copy: promote again"
            ) from exc


def _check_env(clients: Clients, env: str) -> None:
    """Refuse an environment that is not set up.

    Raises:
        ObjectNotFound: its models bucket does not exist; the message names the environments whose
            buckets do.
    """
    if _is_set_up(clients, env):
        return
    others = [e for e in ENVS if e != env and _is_set_up(clients, e)]
    project = clients.settings.project
    known = f"{project} has {', '.join(others)}" if others else f"{project} has no environment"
    raise ObjectNotFound(
        f"The environment {env} is not set up in {project}: the bucket "
        f"gs://{clients.settings.models_bucket(env)} does not exist. {known}. Set it up "
        "(docs/deploying.md; on the local stack `mlsys local up --envs`), or name another project"
    )


def _is_set_up(clients: Clients, env: str) -> bool:
    """Return whether the environment's models bucket exists, even if it may not be listed."""
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
    """Return the model's object if the registry shows its current generation as ready."""
    bucket = clients.storage.bucket(clients.settings.models_bucket(env))
    blob = bucket.get_blob(ref.path, timeout=TIMEOUT)
    if blob is None:
        raise ModelNotFound(
            f"The model gs://{bucket.name}/{ref.path} does not exist: upload it first"
        )
    row = registered(clients, env, ref)
    if row is None or row.generation != blob.generation:
        raise ModelNotFound(
            f"The registry of {env} does not show the current gs://{bucket.name}/{ref.path}: "
            f"request a rescan, GET /model-registry?env={env}, and promote again"
        )
    if row.status != "ready":
        raise ModelUnusable(f"{ref} is {row.status} in {env}: {row.status_reason}")
    return blob
