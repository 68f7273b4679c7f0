"""Model versions: their names, where they lie in a bucket, and uploading one.

>>> ref = ModelRef("titanic-survival", "v1")
>>> ref.path
'titanic-survival/v1/model.pkl'
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from mlsys.clients import TIMEOUT, Clients, bigquery_retry, default_clients
from mlsys.errors import InvalidRequest, ModelExists, NotRegistered, ObjectNotFound
from mlsys.settings import ENVS

if TYPE_CHECKING:
    from google.cloud.storage import Bucket

NAME = re.compile(r"(?=.{1,63}\Z)[a-z0-9]+(-[a-z0-9]+)*")
VERSION = re.compile(r"v[1-9][0-9]{0,8}")
_FILES = {"model.pkl": "model", "metadata.json": "metadata"}


@dataclass(frozen=True, slots=True, order=True)
class ModelRef:
    """A model version by its two names, both checked."""

    name: str
    version: str

    def __post_init__(self) -> None:
        problems = []
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            rule = "pass lower-case words joined by hyphens, at most 63 characters"
            problems.append(("model_name", f"{str(self.name)[:80]!r}: {rule}"))
        if not isinstance(self.version, str) or not VERSION.fullmatch(self.version):
            text = f"{str(self.version)[:80]!r}: pass v1, v2, v3, ..."
            problems.append(("model_version", text))
        if problems:
            raise InvalidRequest(*problems)

    @classmethod
    def of_object(cls, path: str) -> tuple[Self, Literal["model", "metadata"]]:
        """Read an object's path: which model version it belongs to, and as what.

        Raises:
            InvalidRequest: the path is not `{model-name}/v{N}/model.pkl` or `.../metadata.json`.
        """
        parts = path.split("/")
        if len(parts) != 3 or parts[2] not in _FILES:
            expected = "{model-name}/v{N}/model.pkl or metadata.json beside it"
            raise InvalidRequest(("path", f"{path[:200]!r} is not {expected}"))
        kind: Any = _FILES[parts[2]]
        return cls(parts[0], parts[1]), kind

    @property
    def number(self) -> int:
        """The version as a number, to sort by."""
        return int(self.version[1:])

    @property
    def path(self) -> str:
        """Where the model lies in the environment's models bucket."""
        return f"{self.name}/{self.version}/model.pkl"

    @property
    def metadata_path(self) -> str:
        """Where its metadata lies."""
        return f"{self.name}/{self.version}/metadata.json"

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


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
) -> ModelRef:
    """Upload a fitted model with its metadata, and return its name and version.

    X is the training data the model was fitted on (rows x features, without target and ids), y
    the target. Its names and types become the signature that every table is checked against.
    Without `version` the next free one is taken; a version that exists is refused unless
    `overwrite`. With `wait` the call returns once the registry shows the upload (60 seconds at
    the most).

    `metadata.json` is written first and `model.pkl` last, so that whoever hears of the model
    finds its metadata; the metadata carries the model's checksum and counts for that model alone.

    Raises:
        InvalidRequest: a malformed name or version, or data that cannot be described.
        ModelExists: the version is taken.
        ObjectNotFound: the environment's bucket is not there.
        NotRegistered: the model is in the bucket, and the registry did not show it in time.
    """
    from google.api_core.exceptions import NotFound, PreconditionFailed

    from mlsys import gcs, metadata

    clients = default_clients()
    settings = clients.settings
    if env not in ENVS:
        raise InvalidRequest(("env", f"{env!r}: pass dev, staging or prod"))
    bucket = clients.storage.bucket(settings.models_bucket(env))
    ModelRef(name, version or "v1")  # names are checked before any work is done
    content = gcs.pickled(model)
    if b"__main__" in content:
        raise InvalidRequest(
            (
                "model",
                "uses a function or class that was defined in this notebook, which does not travel "
                "with the pickle: move it to a package that the service has too",
            )
        )
    document = metadata.build(
        model,
        X=X,
        y=y,
        target=target,
        id_columns=id_columns,
        metrics=metrics,
        description=description,
        artifact=content,
    )
    try:
        ref = ModelRef(name, version or _next_version(bucket, name))
        there = bucket.get_blob(ref.path, timeout=TIMEOUT)
        if there is not None and not overwrite:
            raise ModelExists(f"{ref} exists in {env}: pass overwrite=True or another version")
        # Two uploads at the same time mostly part here already. Where they cross, the checksum in
        # the metadata keeps one's metadata from counting for the other's model.
        beside = bucket.get_blob(ref.metadata_path, timeout=TIMEOUT)
        bucket.blob(ref.metadata_path).upload_from_string(
            json.dumps(document, indent=1),
            content_type="application/json",
            if_generation_match=beside.generation if beside is not None else 0,
            timeout=TIMEOUT,
        )
        blob = bucket.blob(ref.path)
        blob.metadata = {gcs.DESCRIPTION_KEY: json.dumps(gcs.describe(model))}
        blob.upload_from_string(
            content,
            content_type="application/octet-stream",
            if_generation_match=there.generation if there is not None else 0,
            timeout=TIMEOUT,
        )
    except PreconditionFailed as exc:
        raise ModelExists(f"{ref} was uploaded by somebody else just now: try again") from exc
    except NotFound as exc:
        raise ObjectNotFound(
            f"The bucket gs://{bucket.name} is not there: is {env} set up in {settings.project}?"
        ) from exc
    if wait:
        _wait_until_registered(clients, env, ref, int(blob.generation))
    return ref


def _next_version(bucket: Bucket, name: str) -> str:
    """The version after the highest one that has any object, a lone metadata.json included."""
    found = 0
    for blob in bucket.list_blobs(prefix=f"{name}/", timeout=TIMEOUT):
        version = blob.name.split("/")[1]
        if VERSION.fullmatch(version):
            found = max(found, int(version[1:]))
    return f"v{found + 1}"


def _wait_until_registered(clients: Clients, env: str, ref: ModelRef, generation: int) -> None:
    import tenacity
    from google.api_core.exceptions import NotFound
    from google.cloud import bigquery

    config = bigquery.QueryJobConfig(
        default_dataset=clients.settings.dataset(env),
        query_parameters=[
            bigquery.ScalarQueryParameter("model_name", "STRING", ref.name),
            bigquery.ScalarQueryParameter("model_version", "STRING", ref.version),
            bigquery.ScalarQueryParameter("generation", "INT64", generation),
        ],
    )
    query = (
        "SELECT 1 FROM model_registry WHERE model_name = @model_name "
        "AND model_version = @model_version AND generation = @generation"
    )

    def registered() -> bool:
        job = clients.bigquery.query(
            query, job_config=config, timeout=TIMEOUT, retry=bigquery_retry()
        )
        return job.result(timeout=TIMEOUT, retry=bigquery_retry()).total_rows > 0

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda done: not done),
        wait=tenacity.wait_exponential(multiplier=0.25, max=3),
        stop=tenacity.stop_after_delay(60),
    )
    try:
        retrying(registered)
    except NotFound as exc:
        raise NotRegistered(
            f"{ref} is uploaded to {env}, where there is no registry "
            f"{clients.settings.dataset(env)}.model_registry: create it (README, First-time set-up)"
        ) from exc
    except tenacity.RetryError as exc:
        raise NotRegistered(
            f"{ref} is uploaded to {env}, and the registry does not show it after 60 seconds. "
            f"A full rescan repairs a lost notification: GET /model-registry?env={env}"
        ) from exc
