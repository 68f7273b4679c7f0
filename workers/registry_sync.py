"""Keep BigQuery's `model_registry` equal to the models bucket.

The bucket is the truth, the registry is its projection. A message is only a hint to look:
`converge` reads what the bucket holds now and what the registry holds, replaces what differs, and
looks again until they agree; `rescan` does the same for all model versions at once. It ends only
after a look that found both equal, so a stale or doubled write by a racing twin is always seen by
somebody later. Duplicates, reordering, lost messages and crashes need no code of their own.

Generations are compared for equality, never by `>`: Cloud Storage promises that they are unique,
not that they grow (https://cloud.google.com/storage/docs/metadata#generation-number).
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mlsys.clients import RETRY_DEADLINE, TIMEOUT, Clients, bigquery_retry
from mlsys.errors import InvalidRequest, MetadataInvalid, ObjectNotFound, RegistryBusy, TryAgain
from mlsys.gcs import DESCRIPTION_KEY
from mlsys.metadata import ModelMetadata
from mlsys.models import ModelRef
from workers.sql import statement

if TYPE_CHECKING:
    from google.cloud.bigquery.table import RowIterator
    from google.cloud.storage import Blob

log = logging.getLogger(__name__)

LOOKS = 5
ROWS_PER_STATEMENT = 500
# BigQuery takes 10 MB a request, parameters included: https://cloud.google.com/bigquery/quotas
BYTES_PER_STATEMENT = 3_000_000  # of JSON, which is escaped once more within the request
MAX_METADATA = 1_000_000  # bytes of a metadata.json
MAX_DEPTH = 100  # of JSON values; https://cloud.google.com/bigquery/docs/json-data ends at 500

Trigger = Literal["event", "rescan"]
Change = Literal["registered", "updated", "removed", "unchanged"]
Identity = tuple[str, int, int | None]  # gcs_uri, generation, generation of metadata.json


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One row of the registry, but for when it was written and by what."""

    model_name: str
    model_version: str
    version_number: int
    environment: str
    gcs_uri: str
    generation: int
    metadata_generation: int | None
    size_bytes: int | None
    crc32c: str | None
    md5: str | None
    uploaded_at: str | None
    status: str
    status_reason: str | None
    model_class: str | None
    feature_names: tuple[str, ...]
    target: tuple[str, ...]
    sklearn_version: str | None
    python_version: str | None
    metrics: Any
    metadata: Any

    @property
    def identity(self) -> Identity:
        """What a recorded row must have to count as this one."""
        return self.gcs_uri, self.generation, self.metadata_generation


@dataclass(slots=True)
class Rescan:
    """What a rescan found and did; `skipped` lists the objects that are no model, and why."""

    scanned: int = 0
    registered: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Seen:
    """One look: what the bucket holds, how to read one of it in full, and what is recorded."""

    live: Mapping[str, Identity]
    row: Callable[[str], ModelRow | None]
    recorded: Mapping[str, list[Identity]]

    def differing(self) -> list[str]:
        keys = self.live.keys() | self.recorded.keys()
        return sorted(key for key in keys if self.change(key) != "unchanged")

    def change(self, key: str) -> Change:
        live, recorded = self.live.get(key), self.recorded.get(key, [])
        if live is None:
            return "removed" if recorded else "unchanged"
        if not recorded:
            return "registered"
        return "unchanged" if recorded == [live] else "updated"


def converge(clients: Clients, env: str, ref: ModelRef, trigger: Trigger = "event") -> Change:
    """Make the registry's rows of one model version equal to the bucket; return what it took.

    Raises:
        RegistryBusy: bucket or registry kept changing; the message should be delivered again.
        TryAgain: BigQuery is busy, or the registry's table is not there.
    """

    def look() -> _Seen:
        row = live_row(clients, env, ref)
        live = {} if row is None else {str(ref): row.identity}
        return _Seen(live, lambda _: row, _recorded(clients, env, str(ref)))

    return _settle(clients, env, trigger, look).change(str(ref))


def rescan(clients: Clients, env: str) -> Rescan:
    """Make the whole registry equal to the bucket, with one listing and one read of the registry.

    Raises:
        ObjectNotFound: the environment's models bucket is not there.
        RegistryBusy, TryAgain: as `converge`.
    """
    result = Rescan()
    first = True

    def look() -> _Seen:
        nonlocal first
        models, metadata = _list_bucket(clients, env, result if first else Rescan())
        first = False
        live = {
            key: (_uri(blob), int(blob.generation), _generation(metadata.get(key)))
            for key, blob in models.items()
        }
        return _Seen(
            live,
            lambda key: _read_row(env, models.get(key), metadata.get(key)),
            _recorded(clients, env),
        )

    seen = _settle(clients, env, "rescan", look)
    for key in seen.live.keys() | seen.recorded.keys():
        change = seen.change(key)
        setattr(result, change, getattr(result, change) + 1)
    return result


def live_row(clients: Clients, env: str, ref: ModelRef) -> ModelRow | None:
    """Return the row that the bucket's objects call for now, or None without a model.pkl."""
    bucket = clients.storage.bucket(clients.settings.models_bucket(env))
    blob = bucket.get_blob(ref.path, timeout=TIMEOUT)
    if blob is None:
        return None
    return _read_row(env, blob, bucket.get_blob(ref.metadata_path, timeout=TIMEOUT))


def list_models(clients: Clients, env: str) -> list[dict[str, Any]]:
    """Return the registry's rows as JSON values, newest version of each model first."""
    out = []
    for row in _query(clients, env, statement("list_models")):
        values = dict(row.items())
        for key in ("uploaded_at", "registered_at"):
            values[key] = values[key].isoformat() if values[key] else None
        for key in ("metrics", "metadata"):
            values[key] = json.loads(values[key]) if values[key] else None
        out.append(values)
    return out


def _settle(clients: Clients, env: str, trigger: Trigger, look: Callable[[], _Seen]) -> _Seen:
    """Look, replace what differs, and look again until nothing does; return the first look."""
    from google.cloud import bigquery

    first = seen = look()
    for _ in range(LOOKS):
        keys = seen.differing()
        if not keys:
            return first
        for some, rows in _batches(keys, seen.row, trigger):
            _query(
                clients,
                env,
                statement("replace_models"),
                bigquery.ScalarQueryParameter("rows", "STRING", rows),
                bigquery.ArrayQueryParameter("keys", "STRING", some),
            )
        seen = look()
    if not seen.differing():
        return first
    raise RegistryBusy(f"The registry of {env} kept changing over {LOOKS} looks: try again shortly")


def _batches(
    keys: Iterable[str], read: Callable[[str], ModelRow | None], trigger: Trigger
) -> Iterator[tuple[list[str], str]]:
    """Cut what differs into statements that BigQuery takes: keys, and their rows as JSON."""
    batch: list[str] = []
    rows: list[str] = []
    for key in keys:
        row = read(key)
        new = [] if row is None else [_to_json(row, trigger)]
        size = sum(map(len, rows + new))
        if len(batch) == ROWS_PER_STATEMENT or (batch and size > BYTES_PER_STATEMENT):
            yield batch, f"[{','.join(rows)}]"
            batch, rows = [], []
        batch.append(key)
        rows += new
    if batch:
        yield batch, f"[{','.join(rows)}]"


def _to_json(row: ModelRow, trigger: Trigger) -> str:
    values = asdict(row) | {"registered_by": trigger}
    return json.dumps({k: v for k, v in values.items() if v is not None})


def _recorded(clients: Clients, env: str, key: str = "") -> dict[str, list[Identity]]:
    from google.cloud import bigquery

    parameter = bigquery.ScalarQueryParameter("key", "STRING", key)
    out: dict[str, list[Identity]] = {}
    for row in _query(clients, env, statement("recorded_models"), parameter):
        identity = (row["gcs_uri"], row["generation"], row["metadata_generation"])
        out.setdefault(row["key"], []).append(identity)
    return out


def _query(clients: Clients, env: str, sql: str, *parameters: Any) -> RowIterator:
    """Run a statement on the environment's dataset, again where it lost to another change."""
    import tenacity
    from google.api_core.exceptions import BadRequest, NotFound
    from google.cloud import bigquery

    config = bigquery.QueryJobConfig(
        default_dataset=clients.settings.dataset(env),
        query_parameters=list(parameters),
        use_query_cache=False,
    )

    def run() -> RowIterator:
        retry = bigquery_retry()
        job = clients.bigquery.query(sql, job_config=config, timeout=TIMEOUT, retry=retry)
        return job.result(timeout=RETRY_DEADLINE, retry=retry)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_dml_conflict),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=8),
        stop=tenacity.stop_after_attempt(6),
        reraise=True,
    )
    try:
        return retrying(run)
    except NotFound as exc:
        raise TryAgain(
            f"The registry {clients.settings.dataset(env)}.model_registry is not there: "
            "run `terraform apply` for this environment"
        ) from exc
    except BadRequest as exc:
        if _is_dml_conflict(exc):
            raise RegistryBusy("BigQuery has too many changes to the registry in hand") from exc
        raise


def _is_dml_conflict(exc: BaseException) -> bool:
    """Conflicts of concurrent changes come as 400 invalidQuery, told apart by their text alone.

    https://cloud.google.com/bigquery/docs/data-manipulation-language#dml-limitations; the client
    does not retry them.
    """
    from google.api_core.exceptions import BadRequest

    texts = ("Could not serialize access", "Too many DML statements outstanding", "is aborted due")
    return isinstance(exc, BadRequest) and any(text in str(exc) for text in texts)


def _list_bucket(
    clients: Clients, env: str, result: Rescan
) -> tuple[dict[str, Blob], dict[str, Blob]]:
    """List the bucket once: the models and the metadata by key; the rest is counted as skipped."""
    from google.api_core.exceptions import NotFound

    name = clients.settings.models_bucket(env)
    found: dict[str, dict[str, Blob]] = {"model": {}, "metadata": {}}
    try:
        for blob in clients.storage.list_blobs(name, timeout=TIMEOUT):
            result.scanned += 1
            try:
                ref, kind = ModelRef.of_object(blob.name)
            except InvalidRequest as exc:
                result.skipped.append({"object": blob.name, "reason": str(exc)})
            else:
                found[kind][str(ref)] = blob
    except NotFound as exc:
        raise ObjectNotFound(f"There is no bucket gs://{name}: run `terraform apply`") from exc
    for key in sorted(found["metadata"].keys() - found["model"].keys()):
        reason = "there is no model.pkl beside it"
        result.skipped.append({"object": found["metadata"][key].name, "reason": reason})
    return found["model"], found["metadata"]


def _read_row(env: str, blob: Blob | None, metadata_blob: Blob | None) -> ModelRow | None:
    """Read what `blob` and the metadata beside it say, as the registry's row."""
    if blob is None:
        return None
    metadata, reason = _read_metadata(blob, metadata_blob)
    described = _description(blob)
    ref, _ = ModelRef.of_object(blob.name)
    listed = described.get("feature_names")
    names: Iterable[str] = metadata.feature_names or (listed if isinstance(listed, list) else ())
    return ModelRow(
        model_name=ref.name,
        model_version=ref.version,
        version_number=ref.number,
        environment=env,
        gcs_uri=_uri(blob),
        generation=int(blob.generation),
        metadata_generation=_generation(metadata_blob),
        size_bytes=blob.size,
        crc32c=blob.crc32c,
        md5=blob.md5_hash,
        uploaded_at=blob.time_created.isoformat() if blob.time_created else None,
        status="ready",
        status_reason=reason,
        model_class=metadata.model_class or described.get("model_class"),
        feature_names=tuple(str(n) for n in names),
        target=metadata.target,
        sklearn_version=metadata.sklearn_version or described.get("sklearn_version"),
        python_version=metadata.python_version or described.get("python_version"),
        metrics=metadata.document.get("metrics"),
        metadata=dict(metadata.document) or None,
    )


def _read_metadata(blob: Blob, metadata_blob: Blob | None) -> tuple[ModelMetadata, str | None]:
    """The metadata that counts for `blob`, and what is wrong with it if anything is."""
    from google.api_core.exceptions import NotFound, PreconditionFailed

    if metadata_blob is None:
        return ModelMetadata(), None
    if (metadata_blob.size or 0) > MAX_METADATA:
        return ModelMetadata(), f"metadata.json is larger than {MAX_METADATA} bytes"
    try:
        content = metadata_blob.download_as_bytes(
            if_generation_match=metadata_blob.generation, timeout=TIMEOUT
        )
        metadata = ModelMetadata.parse(content)
    except (NotFound, PreconditionFailed):
        return ModelMetadata(), None  # replaced or deleted since: the next look sees it
    except MetadataInvalid as exc:
        log.warning("metadata.json ignored: %s", exc, extra={"model": blob.name})
        return ModelMetadata(), str(exc)
    if problem := _unstorable(metadata.document):
        return ModelMetadata(), f"metadata.json {problem}"
    if not metadata.describes(blob.crc32c):
        return ModelMetadata(), "metadata.json is about another model.pkl: its checksum differs"
    return metadata, None


def _description(blob: Blob) -> Mapping[str, Any]:
    """What `gcs_put_pickle` wrote into the object's custom metadata, if it was the uploader."""
    try:
        value = json.loads((blob.metadata or {}).get(DESCRIPTION_KEY, "{}"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) and not _unstorable(value) else {}


def _unstorable(value: Any) -> str | None:
    """What in a JSON value BigQuery would refuse, and with it every row of the statement."""
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            return f"is nested deeper than {MAX_DEPTH} levels"
        if not all(abs(v) <= sys.float_info.max for v in level if isinstance(v, int | float)):
            return "holds a number that no FLOAT64 can"
        nested = (
            v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)
        )
        level, depth = [v for values in nested for v in values], depth + 1
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is no Unicode text"
    return None


def _uri(blob: Blob) -> str:
    return f"gs://{blob.bucket.name}/{blob.name}"


def _generation(blob: Blob | None) -> int | None:
    return int(blob.generation) if blob is not None else None
