"""The model object that a run uses: its generation, its bytes and its metadata."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlsys.artifact.aliases import Alias, read_alias
from mlsys.artifact.checksum import crc32c
from mlsys.artifact.metadata import ModelMetadata
from mlsys.artifact.refs import ModelRef, is_alias
from mlsys.artifact.versions import listed, versions_in
from mlsys.cloud.clients import TIMEOUT, Clients
from mlsys.errors import AliasNotFound, ModelNotFound, ModelUnusable, TryAgain
from workers import admission, machine
from workers.sandbox.client import ModelFile, SandboxedModel, tried_twice
from workers.sandbox.died import SandboxDied
from workers.scoring.request.parsed import LATEST, ScoringRequest
from workers.verification.crashes import crash_of, note_sound, object_name, remember_crash
from workers.verification.version import read_metadata as metadata_of
from workers.verification.version import read_model, signature_of

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket


@dataclass(frozen=True, slots=True)
class ModelPin:
    """The one object that is loaded: its place, generation and checksum."""

    bucket: str
    path: str
    generation: int
    crc32c: str
    name: str
    version: str
    size: int  # bytes
    signature: str | None = None  # what model.sig held, if the settings demand one
    loader: str = "listed"  # `MLSYS_MODELS` when the run was planned
    alias: str | None = None  # that the request named, and that meant this version then
    alias_generation: int | None = None  # of the alias's object


def find_model(clients: Clients, request: ScoringRequest) -> ModelPin:
    """Return the object that the request's model name and version mean now.

    A version that an alias named when the request was made keeps that alias.

    Raises:
        ModelNotFound: it does not exist; the message names the versions that do.
        ModelUnusable: its alias is guarded, and the version was uploaded again since it was moved.
        AliasNotFound, AliasInvalid: see `read_alias`.
    """
    bucket = clients.storage.bucket(clients.settings.models_bucket(request.env))
    version, alias = request.model_version, None
    if version == LATEST:
        versions = versions_in(bucket, request.model_name)
        if not versions:
            raise _no_version(bucket, request)
        version = versions[0].version
    elif is_alias(version):
        alias = _alias(bucket, request)
        version = alias.version
    ref = ModelRef(request.model_name, version)
    existing: Blob | None = bucket.get_blob(ref.path, timeout=TIMEOUT)
    if existing is None:
        raise _missing(bucket, request, ref, alias)
    if alias is not None:
        _check_judged(clients, request, alias, int(existing.generation or 0))
    signature = signature_of(clients, bucket.name, ref)
    return ModelPin(
        bucket=bucket.name,
        path=existing.name,
        generation=int(existing.generation),
        crc32c=existing.crc32c,
        name=ref.name,
        version=ref.version,
        size=existing.size,
        signature=None if signature is None else signature.decode("latin-1"),
        loader=clients.settings.models,
        alias=alias.alias if alias else request.model_alias,
        alias_generation=alias.generation if alias else None,
    )


def _alias(bucket: Bucket, request: ScoringRequest) -> Alias:
    """Return what the request's alias names now."""
    try:
        return read_alias(bucket, request.model_name, request.model_version)
    except AliasNotFound:
        if not versions_in(bucket, request.model_name):  # a wrong model name, rather
            raise _no_version(bucket, request) from None
        raise


def _check_judged(clients: Clients, request: ScoringRequest, alias: Alias, generation: int) -> None:
    """Refuse a file that the alias's guard has not judged (docs/decisions/0099)."""
    guard = clients.settings.alias_guard(request.env, alias.model, alias.alias)
    if guard is None or alias.model_generation in (None, generation):
        return
    raise ModelUnusable(
        f"{alias.target} was uploaded again after {alias.alias} was moved to it, and the alias is "
        f"guarded in {request.env}: move {alias.alias} to {alias.version} again, so that its guard "
        "judges the new file, or pass a version"
    )


def _no_version(bucket: Bucket, request: ScoringRequest) -> ModelNotFound:
    return ModelNotFound(
        f"{bucket.name} has no version of {request.model_name}: "
        f"GET /models?env={request.env} lists the models"
    )


def _missing(
    bucket: Bucket, request: ScoringRequest, ref: ModelRef, alias: Alias | None
) -> ModelNotFound:
    """Return the error for a version without a model.pkl, with the versions that have one."""
    versions = versions_in(bucket, ref.name)
    which = f"The model gs://{bucket.name}/{ref.path} does not exist"
    if alias is not None:
        which = f"The alias {alias.alias} is broken: it names {ref}, which does not exist"
    if not versions:
        return ModelNotFound(f"{which}: GET /models?env={request.env} lists the models")
    move = "Move the alias, or pass a version" if alias else "Pass one of them"
    return ModelNotFound(f"{which}; {ref.name} has {listed(versions)}. {move}")


def load_pinned(clients: Clients, pin: ModelPin) -> SandboxedModel:
    """Load in a sandbox exactly the bytes that the plan pinned, checked against their checksum.

    Raises:
        ModelNotFound: that generation was replaced or deleted.
        ModelUnusable: it was planned to be made of any code, and the service takes only listed
            names now; or see `read_model` and `SandboxedModel`.
        SandboxDied: loading it ended the sandbox.
        TryAgain: the object is not the one that was pinned.
    """
    settings = clients.settings
    uri = f"gs://{pin.bucket}/{pin.path}"
    if settings.env_of_models_bucket(pin.bucket) is None:
        raise ModelNotFound(f"gs://{pin.bucket} is not a models bucket of this service")
    if pin.loader not in ("listed", settings.models):
        raise ModelUnusable(
            f"The run was planned with MLSYS_MODELS={pin.loader}, and the service has "
            f"MLSYS_MODELS={settings.models} now: repeat the request without run_id"
        )
    content = read_model(
        clients,
        pin.bucket,
        ModelRef(pin.name, pin.version),
        pin.generation,
        size=pin.size,
        signature=None if pin.signature is None else pin.signature.encode("latin-1"),
    )
    if crc32c(content) != pin.crc32c:
        raise TryAgain(f"{uri} is not the object that the run was planned for: try again")
    most = machine.max_model_bytes(settings.max_model_bytes)
    model = SandboxedModel(ModelFile(content, uri, settings.trusted_globals, most, pin.loader))
    admission.measured((uri, pin.generation), len(content), model.sandbox.pid)
    return model


def ask_pinned[T](
    clients: Clients, pin: ModelPin, ask: Callable[[SandboxedModel], T]
) -> tuple[T, SandboxedModel]:
    """Load the pinned model, and return what `ask` makes of it together with the model.

    A model that ends its sandbox meanwhile is refused from then on, without being tried again.

    Raises:
        ModelUnusable: it ended its sandbox, now or earlier; or see `load_pinned`.
        Exception: what `ask` raises; the sandbox has ended then.
    """
    ref = ModelRef(pin.name, pin.version)
    env = clients.settings.env_of_models_bucket(pin.bucket)
    if (
        env is not None
        and (reason := crash_of(clients, env, ref, pin.generation, pin.loader)) is not None
    ):
        raise _ends_its_sandbox(clients, env, pin, reason)

    def answered() -> tuple[T, SandboxedModel]:
        model = load_pinned(clients, pin)
        try:
            return ask(model), model
        except BaseException:
            model.close()
            raise

    try:
        answer = tried_twice(answered)
    except SandboxDied as exc:
        if env is None:
            raise
        remember_crash(clients, env, ref, pin.generation, pin.loader, exc.detail)
        raise _ends_its_sandbox(clients, env, pin, exc.detail) from exc
    note_sound(ref, pin.generation, pin.loader)
    return answer


def _ends_its_sandbox(clients: Clients, env: str, pin: ModelPin, reason: str) -> ModelUnusable:
    ref = ModelRef(pin.name, pin.version)
    kept = (
        f"gs://{clients.settings.runs_bucket(env)}/{object_name(ref, pin.generation, pin.loader)}"
    )
    return ModelUnusable(
        f"gs://{pin.bucket}/{pin.path} ended the process that loads and tries it: {reason}. Upload "
        f"a model that predicts in a new Python process. {kept} remembers this: delete it to have "
        "the same file tried again"
    )


def read_metadata(clients: Clients, pin: ModelPin) -> tuple[ModelMetadata, list[str]]:
    """Return metadata.json of exactly this model, and a warning if it is left out."""
    bucket = clients.storage.bucket(pin.bucket)
    blob = bucket.get_blob(ModelRef(pin.name, pin.version).metadata_path, timeout=TIMEOUT)
    metadata, reason = metadata_of(blob, pin.crc32c)
    return metadata, [f"metadata.json was left out: {reason}"] if reason else []
