"""Remove a model version from its environment's bucket; the registry follows.

`model.pkl` goes first: a version without it is not a model, whatever else its folder holds. The
other order would leave a model without its metadata, which the registry would show as such. What an
interrupted removal leaves beside it is not a model, and the same removal deletes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlsys.artifact.aliases import alias_names, look_up
from mlsys.artifact.refs import AliasRef, ModelRef
from mlsys.artifact.versions import MAX_NAMED
from mlsys.cloud.clients import TIMEOUT, Clients
from mlsys.cloud.errors import cloud_errors
from mlsys.cloud.messages import Use
from mlsys.errors import Conflict, InvalidRequest, ModelNotFound, ObjectNotFound

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket

ORDER = ("model", "signature", "contract", "metadata")


@dataclass(frozen=True, slots=True)
class Removal:
    """The objects of a version, as they were looked up; `remove` deletes just these generations."""

    ref: ModelRef
    bucket: Bucket
    blobs: dict[str, Blob] = field(default_factory=dict)
    others: tuple[str, ...] = ()  # the model's other versions, newest first

    @property
    def urls(self) -> list[str]:
        """The objects in the order in which they are deleted."""
        kinds = (kind for kind in ORDER if kind in self.blobs)
        return [f"gs://{self.bucket.name}/{self.blobs[kind].name}" for kind in kinds]

    @property
    def latest(self) -> str | None:
        """The version that `latest` means without this one, or None if no version is left."""
        return self.others[0] if self.others else None


def look(clients: Clients, env: str, ref: ModelRef) -> Removal:
    """Return what the removal of a version would delete; nothing is changed.

    Raises:
        ModelNotFound: the bucket has nothing of the version; the message names those it has.
        Conflict: an alias names it.
        AliasInvalid: an alias cannot be read, so that it may name it.
        ObjectNotFound: the environment's bucket does not exist.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    from google.api_core.exceptions import NotFound

    name = clients.settings.models_bucket(env)
    bucket = clients.storage.bucket(name)
    versions: dict[ModelRef, dict[str, Blob]] = {}
    with cloud_errors(_use(bucket, ref)):
        try:
            for blob in bucket.list_blobs(prefix=f"{ref.name}/", timeout=TIMEOUT):
                try:
                    each, kind = ModelRef.of_object(blob.name)
                except InvalidRequest:  # an alias, or another file
                    continue
                versions.setdefault(each, {})[kind] = blob
        except NotFound as exc:
            raise ObjectNotFound(
                f"The bucket gs://{name} does not exist: pass another env, or another project"
            ) from exc
        models = [each for each, blobs in versions.items() if "model" in blobs and each != ref]
        others = tuple(m.version for m in sorted(models, key=lambda m: m.number, reverse=True))
        if ref not in versions:
            known = ", ".join(others[:MAX_NAMED]) or "no version"
            raise ModelNotFound(f"{ref} is not in {env}: {ref.name} has {known} there")
        if named := aliases_of(bucket, ref):
            first = named[0]
            raise Conflict(
                f"{ref} is {', '.join(named)} in {env}: move the alias to another version first "
                f"(mlsys alias set {ref.name} {first} VERSION --env {env}), or remove it"
            )
    return Removal(ref, bucket, versions[ref], others)


def remove(removal: Removal) -> list[str]:
    """Delete the version's objects, `model.pkl` first; return the aliases that name it now.

    An alias that was moved to the version at the same time is returned: it names nothing now.

    Raises:
        Conflict: the model was uploaded again since it was looked up; nothing was deleted.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    from google.api_core.exceptions import NotFound, PreconditionFailed

    with cloud_errors(_use(removal.bucket, removal.ref)):
        for kind in ORDER:
            blob = removal.blobs.get(kind)
            if blob is None:
                continue
            try:
                blob.delete(if_generation_match=int(blob.generation or 0), timeout=TIMEOUT)
            except NotFound:
                continue  # somebody else has deleted it
            except PreconditionFailed as exc:
                if kind == "model":
                    raise Conflict(
                        f"{removal.ref} was just uploaded again, and nothing was deleted: look at "
                        "it, and repeat the command if it still is to be removed"
                    ) from exc
                # It belongs to an upload that has begun meanwhile.
        return aliases_of(removal.bucket, removal.ref)


def aliases_of(bucket: Bucket, ref: ModelRef) -> list[str]:
    """Return the aliases that name the version now.

    Raises:
        AliasInvalid: one of the model's aliases cannot be read.
    """
    named = []
    for alias in alias_names(bucket, ref.name):
        current = look_up(bucket, AliasRef(ref.name, alias))
        if current is not None and current[1].version == ref.version:
            named.append(alias)
    return named


def _use(bucket: Bucket, ref: ModelRef) -> Use:
    needed = ("storage.objects.list", "storage.objects.get", "storage.objects.delete")
    return Use("Cloud Storage", f"gs://{bucket.name}/{ref.name}", needed)
