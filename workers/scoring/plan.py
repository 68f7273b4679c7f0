"""Decide everything about a run, once: the model's bytes, the columns, the snapshot of the input.

A plan is written before any work is done and never changed. Every try of the run, in whatever
process, follows it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from mlsys.bq import TableRef, find_table
from mlsys.clients import TIMEOUT, Clients, bigquery_retry
from mlsys.errors import (
    Conflict,
    InvalidRequest,
    MetadataInvalid,
    ModelNotFound,
    SchemaMismatch,
    TableNotFound,
    TryAgain,
)
from mlsys.loading import LoadedModel, crc32c, load_model
from mlsys.metadata import ModelMetadata
from mlsys.refs import ModelRef
from mlsys.signatures import Feature, Signature
from workers.scoring.columns import (
    Column,
    choose_features,
    choose_ids,
    columns_of,
    fit_output,
    output_columns,
)
from workers.scoring.request import LATEST, ScoringRequest

if TYPE_CHECKING:
    from google.cloud.bigquery import Table
    from google.cloud.storage import Blob


@dataclass(frozen=True, slots=True)
class ModelPin:
    """The one object that is loaded: its place, generation and checksum."""

    bucket: str
    path: str
    generation: int
    crc32c: str
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The decisions of a run."""

    run_id: str
    request: Mapping[str, Any]
    model: ModelPin
    snapshot_at: str  # ISO time: the rows that are scored are the table's rows at this moment
    created_at: str  # ISO time: `predicted_at` of every row
    rows_expected: int
    features: tuple[Feature, ...]
    ids: tuple[Column, ...]
    read_columns: tuple[str, ...]  # features and ids, each once, as the input table spells them
    predictions: tuple[str, ...]  # names of the output columns that hold predict's values
    output: tuple[Column, ...]  # what a part holds, in the order of the output table
    output_exists: bool
    output_schema: tuple[Mapping[str, Any], ...]  # the output table's fields, as the API has them
    location: str  # of the output's dataset: load jobs run there, and are found there alone
    warnings: tuple[str, ...] = ()

    @property
    def input_table(self) -> TableRef:
        """The table that is scored."""
        return TableRef.parse(self.request["input_table"])

    @property
    def write_disposition(self) -> str:
        """What happens to the rows that are in the output table already."""
        return self.request.get("write_disposition", "WRITE_APPEND")

    @property
    def output_table(self) -> TableRef:
        """The table that the rows go to."""
        return TableRef.parse(self.request["output_table"])

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON values, as `plan.json` holds it."""
        return asdict(self) | {"features": Signature(self.features).to_dict()["features"]}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read a `plan.json`."""
        columns = {k: tuple(Column(**c) for c in value[k]) for k in ("ids", "output")}
        return cls(
            **{
                **value,
                **columns,
                "model": ModelPin(**value["model"]),
                "features": Signature.from_dict({"features": value["features"]}).features,
                "read_columns": tuple(value["read_columns"]),
                "predictions": tuple(value["predictions"]),
                "output_schema": tuple(value["output_schema"]),
                "warnings": tuple(value["warnings"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a request refers to, looked up now: from it follow the run's id and its plan."""

    request: ScoringRequest
    looked_at: dt.datetime  # just before the table was looked up
    table: Table
    blob: Blob
    ref: ModelRef

    @property
    def snapshot_at(self) -> dt.datetime:
        """A moment at which the table was in the state that was looked up."""
        modified = self.table.modified
        if modified is None or modified <= self.looked_at:
            return self.looked_at
        return modified + dt.timedelta(milliseconds=1)  # BigQuery tells the time in milliseconds

    @property
    def run_id(self) -> str:
        """A hash of the request, the model's generation and the input's state.

        The clock and the output table have no part in it, so an identical request on an unchanged
        table and model is the same run.
        """
        buffer = self.table.streaming_buffer
        state = {
            "request": self.request.to_dict() | {"model_version": self.ref.version},
            "generation": int(self.blob.generation),
            "modified": self.table.modified.isoformat() if self.table.modified else None,
            "rows": self.table.num_rows,
            "buffered": buffer.estimated_rows if buffer else 0,
        }
        digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
        return f"{self.ref.name}-{self.ref.version}-{digest[:16]}"


def resolve(clients: Clients, request: ScoringRequest) -> Resolved:
    """Look up the input table and the model that `request` names.

    Raises:
        TableNotFound, ModelNotFound: one of them is not there.
        SchemaMismatch: the input is no table (a view, an external table, ...).
    """
    looked_at = dt.datetime.now(dt.UTC)
    table = find_table(clients, request.input_table)
    if table is None:
        raise TableNotFound(
            f"There is no table {request.input_table}: look at its project, dataset and name"
        )
    if table.table_type != "TABLE":
        raise SchemaMismatch(
            f"{request.input_table} is a {table.table_type}: pass a table, for instance what "
            "`CREATE TABLE ... AS SELECT * FROM` it makes"
        )
    ref, blob = _find_model(clients, request)
    return Resolved(request, looked_at, table, blob, ref)


def make_plan(clients: Clients, resolved: Resolved, run_id: str) -> tuple[Plan, LoadedModel]:
    """Decide how the run goes; nothing is written. The model comes back too: it is loaded by now.

    Raises:
        SchemaMismatch: input, model and output table do not fit; the columns are named.
        ModelUnusable: the model cannot be loaded.
        Conflict: WRITE_EMPTY, and the output table has rows.
        TableNotFound: the output's dataset is not there.
    """
    request = resolved.request
    pin = ModelPin(
        bucket=resolved.blob.bucket.name,
        path=resolved.blob.name,
        generation=int(resolved.blob.generation),
        crc32c=resolved.blob.crc32c,
        name=resolved.ref.name,
        version=resolved.ref.version,
    )
    loaded = load_pinned(clients, pin)
    metadata, warnings = _metadata(clients, resolved)
    table = columns_of(resolved.table.schema)
    features, said = choose_features(table, loaded.model, metadata, request.id_columns)
    ids = choose_ids(table, features, metadata, request.id_columns)
    read = {n.casefold() for n in [f.name for f in features] + [c.name for c in ids]}
    output, predictions = output_columns(
        ids, loaded.model, metadata.target, request.outputs, metadata.outputs
    )
    there, location = _output_table(clients, request)
    if there is not None:  # WRITE_TRUNCATE too: it replaces the rows of a table of this kind
        output = fit_output(output, there.schema, str(request.output_table))
        schema = [field.to_api_repr() for field in there.schema]
    else:
        schema = [{"name": c.name, "type": c.type, "mode": "NULLABLE"} for c in output]
    plan = Plan(
        run_id=run_id,
        request=request.to_dict() | {"model_version": resolved.ref.version},
        model=pin,
        snapshot_at=resolved.snapshot_at.isoformat(),
        created_at=dt.datetime.now(dt.UTC).isoformat(),
        rows_expected=resolved.table.num_rows or 0,
        features=tuple(features),
        ids=tuple(ids),
        read_columns=tuple(c.name for c in table if c.name.casefold() in read),
        predictions=tuple(predictions),
        output=tuple(output),
        output_exists=there is not None,
        output_schema=tuple(schema),
        location=location,
        warnings=(*warnings, *said, *loaded.warnings),
    )
    return plan, loaded


def load_pinned(clients: Clients, pin: ModelPin) -> LoadedModel:
    """Load exactly the bytes that the plan pinned, checked against their checksum.

    Raises:
        ModelNotFound: that generation is gone.
        ModelUnusable: see `mlsys.loading.load_model`.
    """
    from google.api_core.exceptions import NotFound
    from google.cloud.storage.exceptions import DataCorruption

    blob = clients.storage.bucket(pin.bucket).blob(pin.path, generation=pin.generation)
    try:
        content = blob.download_as_bytes(checksum="crc32c", timeout=TIMEOUT)
    except NotFound as exc:
        raise ModelNotFound(
            f"gs://{pin.bucket}/{pin.path} was replaced or deleted since (generation "
            f"{pin.generation}): repeat the request without run_id"
        ) from exc
    except DataCorruption as exc:
        raise TryAgain(f"gs://{pin.bucket}/{pin.path} arrived damaged") from exc
    if crc32c(content) != pin.crc32c:
        raise TryAgain(
            f"gs://{pin.bucket}/{pin.path} is not the object that the run was planned for"
        )
    return load_model(content, f"gs://{pin.bucket}/{pin.path}")


def _output_table(clients: Clients, request: ScoringRequest) -> tuple[Table | None, str]:
    """The output table if it is there, and the location it is in or will be."""
    from google.api_core.exceptions import NotFound

    target = request.output_table
    name = f"{target.project}.{target.dataset}"
    table = find_table(clients, target)
    if table is None:
        try:
            dataset = clients.bigquery.get_dataset(name, timeout=TIMEOUT, retry=bigquery_retry())
        except NotFound as exc:
            raise TableNotFound(
                f"The dataset {name} of output_table is not there: create it first, for instance "
                f"with CREATE SCHEMA `{name}`"
            ) from exc
        return None, dataset.location
    if table.table_type != "TABLE":
        raise SchemaMismatch(f"{target} is a {table.table_type}: pass a table as output_table")
    if request.write_disposition == "WRITE_EMPTY" and table.num_rows:
        raise Conflict(
            f"{target} has {table.num_rows} rows, and write_disposition is WRITE_EMPTY: pass "
            "another output_table, WRITE_APPEND or WRITE_TRUNCATE"
        )
    return table, table.location


def _find_model(clients: Clients, request: ScoringRequest) -> tuple[ModelRef, Blob]:
    bucket = clients.storage.bucket(clients.settings.models_bucket(request.env))
    version = request.model_version
    if version == LATEST:
        refs = []
        for blob in bucket.list_blobs(prefix=f"{request.model_name}/", timeout=TIMEOUT):
            with contextlib.suppress(InvalidRequest):  # an object that is no part of a model
                ref, kind = ModelRef.of_object(blob.name)
                refs += [ref] if kind == "model" else []
        if not refs:
            raise ModelNotFound(f"There is no version of {request.model_name} in {bucket.name}")
        version = max(refs, key=lambda r: r.number).version
    ref = ModelRef(request.model_name, version)
    found = bucket.get_blob(ref.path, timeout=TIMEOUT)
    if found is None:
        raise ModelNotFound(
            f"There is no model gs://{bucket.name}/{ref.path}: GET /models lists those there are"
        )
    return ref, found


def _metadata(clients: Clients, resolved: Resolved) -> tuple[ModelMetadata, list[str]]:
    from google.api_core.exceptions import NotFound

    bucket = clients.storage.bucket(resolved.blob.bucket.name)
    try:
        content = bucket.blob(resolved.ref.metadata_path).download_as_bytes(timeout=TIMEOUT)
        metadata = ModelMetadata.parse(content)
    except NotFound:
        return ModelMetadata(), []
    except MetadataInvalid as exc:
        return ModelMetadata(), [f"metadata.json was left out: {exc}"]
    if not metadata.describes(resolved.blob.crc32c):
        return ModelMetadata(), ["metadata.json was left out: it is about another model.pkl"]
    return metadata, []
