"""Upload, list and sign models, and move their aliases."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsys.arguments import check_choice, kind_of
from mlsys.artifact.documents import text_of
from mlsys.artifact.refs import AliasRef, ModelRef
from mlsys.cloud.clients import default_clients
from mlsys.cloud.errors import cloud_errors
from mlsys.cloud.progress import progress
from mlsys.errors import InvalidRequest, MetadataInvalid, ModelUnusable, NotRegistered
from mlsys.registry.row import wait_until_registered
from mlsys.registry.version_upload import WRITE, VersionFiles, use, write_signature, write_version
from mlsys.remote.aliases import Aliases, AliasMove, move_to_new
from mlsys.remote.service import Service, service_url
from mlsys.settings import ENVS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AliasMove", "ModelRef", "list_models", "set_alias", "sign_model", "upload_model"]

STATUSES = ("ready", "rejected")


def upload_model(
    model: Any,
    name: str,
    version: str | None = None,
    *,
    X: Any,
    y: Any = None,
    target: str | Sequence[str] | None = None,
    id_columns: str | Sequence[str] = (),
    metrics: Mapping[str, Any] | None = None,
    description: str | None = None,
    env: str = "dev",
    overwrite: bool = False,
    wait: bool = True,
    signing_key: str | Path | None = None,
    profile: bool = True,
    golden: bool = True,
    alias: str | None = None,
    why: str | None = None,
    url: str | None = None,
) -> ModelRef:
    """Upload a fitted model with its metadata, and return its name and version.

    X is the training data the model was fitted on (rows x features, without target and ids; for a
    text pipeline the Series of its texts), y the target. The columns of X become the signature that
    every input table is checked against. Before the upload, a few rows of X are read back as
    scoring will read them from a table, and the model must give the same predictions for them.

    Without `version` the next free one is used; an existing version is refused unless `overwrite`.
    With `wait` the call returns once the registry shows the upload (after at most four minutes),
    and warns if the service rejects the model. `signing_key` is the file of a private key, for a
    service that requires signatures (`mlsys sign new-key`).

    With `alias`, such as "challenger", the service then moves that alias to the version, as
    `set_alias` does with `why` and `url`. If it does not, the model stays uploaded, and the error
    says so: the version is rejected, or not registered within four minutes, or a guard refuses it.

    Classes and functions of the notebook, of modules beside it, and lambdas are stored as code, and
    a warning names them: only a service with MLSYS_MODELS=any loads them.

    The metadata has counts of the columns' values (`profile`, which each run is compared with), and
    a few rows of X with the model's answers (`golden`, by which the service sees that the answers
    are still the same). False leaves them out: who can read the registry can read both.

    A draft of the contract of the model's input is written too, `contract.json`. All of its clauses
    only warn; edit them with `mlsys contract edit` or `mlsys.contracts`. An edited contract stays.

    `metadata.json` is written first and `model.pkl` last, so a reader who sees the model finds its
    metadata; the metadata holds the model's checksum and applies to that model only.

    Raises:
        InvalidRequest: a malformed name or version, data that cannot be described, metadata that
            the service would ignore, or a file without a private key.
        ModelExists: the version exists already.
        ObjectNotFound: the environment's bucket does not exist.
        NotRegistered: the model is in the bucket, and the registry did not show it in time.
        ModelUnusable: it is in the bucket and rejected, so the alias was not moved.
        RefusedByService, TryAgain, SettingsError: about the alias, as `set_alias`.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    from mlsys.artifact import describe, metadata, pickling, signing, training
    from mlsys.artifact.contract_draft import draft

    ModelRef(name, "v1" if version is None else version)  # before any work is done
    check_choice(env, ENVS, "env")
    aliases = _aliases(name, alias, why, wait, env, url)
    if signing_key is not None:
        signing.public_key(signing_key)  # refuse a key that cannot sign before anything is written
    training.check_model(model)
    content = pickling.pickled(model)
    document = describe.build(
        model,
        X=X,
        y=y,
        target=target,
        id_columns=id_columns,
        metrics=metrics,
        description=description,
        artifact=content,
        profile=profile,
        golden=golden,
    )
    described = text_of(document)
    try:  # as the registry and scoring will read it
        metadata.ModelMetadata.parse(described.encode())
    except MetadataInvalid as exc:
        raise InvalidRequest(("metadata.json", f"the service would ignore it: {exc}")) from exc
    about = json.dumps(pickling.about(model))
    clients = default_clients()
    bucket = clients.settings.models_bucket(env)
    doing = f"Uploading {name} ({len(content):,} bytes) to gs://{bucket}"
    files = VersionFiles(content, described, draft(document), about, signing_key)
    writing = use(f"gs://{bucket}/{name}", *WRITE)
    with cloud_errors(writing), progress(doing, len(content)) as done:
        ref, generation = write_version(
            clients, env, name, version, files, overwrite=overwrite, done=done
        )
    if wait:
        try:
            row = wait_until_registered(clients, env, ref, generation)
        except NotRegistered as exc:
            if alias is None:
                raise
            text = f"{exc}. {alias} was not moved: call set_alias once the registry shows it"
            raise NotRegistered(text) from exc
        if row.status != "ready" or row.status_reason:
            warnings.warn(f"{ref} is {row.status} in {env}: {row.status_reason}", stacklevel=2)
        if aliases is not None and alias is not None:
            if row.status != "ready":
                raise ModelUnusable(
                    f"{ref} is uploaded, and {alias} was not moved: it is {row.status} in {env}. "
                    "Upload a version that is ready"
                )
            move_to_new(aliases, ref, alias, why)
    return ref


def _aliases(
    name: str, alias: str | None, why: str | None, wait: bool, env: str, url: str | None
) -> Aliases | None:
    """Return the service's aliases if one is to be moved, before anything is uploaded."""
    if alias is None:
        if why is not None:
            raise InvalidRequest(("why", "is the reason for an alias: pass alias too"))
        return None
    AliasRef(name, alias)
    if not wait:
        text = "needs wait=True: an alias is moved to a version once it is registered"
        raise InvalidRequest(("alias", text))
    return Aliases(Service(service_url(url)), env)


def list_models(
    name: str | None = None,
    *,
    status: str | None = None,
    env: str = "dev",
    url: str | None = None,
) -> pd.DataFrame:
    """Return the registry, a row a model version, the newest version of each model first.

    The columns are those of `model_registry` (docs/api.md), and `features`, their number. Only the
    versions of one model if `name` is given, or of one `status`, ready or rejected.

    Raises:
        RefusedByService: the service refuses the request.
        SettingsError: the service's address is not known: set MLSYS_URL, or pass `url`.
        CredentialsMissing, TryAgain: see `mlsys.runs.predict`.
    """
    from mlsys.remote.frames import listed
    from mlsys.remote.lists import pages
    from mlsys.remote.texts import texts
    from mlsys.remote.verdict import in_full

    check_choice(env, ENVS, "env")
    if status is not None:
        check_choice(status, STATUSES, "status")
    params = texts({"env": env, "model_name": name, "status": status})
    with in_full():
        rows, _ = pages(Service(service_url(url)), "/models", "models", params, None)
    return listed(rows, "model_registry")


def set_alias(
    name: str,
    alias: str,
    version: str,
    *,
    why: str | None = None,
    expected: str | None = None,
    env: str = "dev",
    force: bool = False,
    dry_run: bool = False,
    url: str | None = None,
) -> AliasMove:
    """Have an alias such as `champion` name a version, and return the move.

    The service moves it, in your account's name, and keeps who did it, when and `why`. `expected`
    is the version that the alias names now, or "none": if it names another, because somebody else
    has moved it, the move is refused. A version that is not `ready` is refused unless `force` with
    a reason, which overrides no guard. `dry_run` asks without moving. `url` is the service's
    address (default: MLSYS_URL).

    Raises:
        InvalidRequest: a malformed name or version.
        RefusedByService: the service refuses the move; the message says why. If the alias's guard
            does, `body["clauses"]` has every clause with its figure.
        TryAgain: the service is busy or cannot be reached; the call can be repeated.
        SettingsError, CredentialsMissing: no address, or nobody is signed in.
    """
    check_choice(env, ENVS, "env")
    aliases = Aliases(Service(service_url(url)), env)
    AliasRef(name, alias), ModelRef(name, version)  # before any call
    return aliases.move(name, alias, version, why, expected, force, dry_run)


def sign_model(ref: ModelRef, env: str, key: str | Path) -> str:
    """Sign the model that is now in the bucket, and return the URL of its signature.

    Raises:
        InvalidRequest: the file does not contain a private key.
        ModelNotFound: the model does not exist.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    _check_ref(ref)
    check_choice(env, ENVS, "env")
    clients = default_clients()
    name = clients.settings.models_bucket(env)
    with cloud_errors(use(f"gs://{name}/{ref}", "storage.objects.get", *WRITE)):
        write_signature(clients.storage.bucket(name), ref, key)
    return f"gs://{name}/{ref.signature_path}"


def _check_ref(ref: Any) -> None:
    if not isinstance(ref, ModelRef):
        text = f"is {kind_of(ref)}: pass ModelRef('titanic-survival', 'v1')"
        raise InvalidRequest(("ref", text))
