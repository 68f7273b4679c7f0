"""Decide everything about a run, once: the model's bytes, the columns, the snapshot of the input.

A plan is written before any work is done and never changed. Every try of the run, in whatever
process, follows it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from mlsys.artifact.metadata import ModelMetadata
from mlsys.artifact.signatures import Signature
from mlsys.cloud.clients import Clients
from mlsys.cloud.tables import TableRef
from mlsys.columns.features import Feature
from mlsys.columns.names import fold
from mlsys.errors import ModelUnusable
from mlsys.estimators.randomness import ANSWERS_VARY
from workers.inference.description import Description
from workers.inference.predictor import PredictionSpec
from workers.inference.trial import golden_rows
from workers.sandbox.client import SandboxedModel
from workers.scoring.planning.columns import (
    ALL,
    Column,
    check_output_names,
    choose_features,
    choose_ids,
    columns_of,
    columns_to_read,
    needs_aliases,
    takes_series,
)
from workers.scoring.planning.destination import (
    Destination,
    output_destination,
    output_location,
    rejects_destination,
)
from workers.scoring.planning.locations import check_bucket, check_copy
from workers.scoring.planning.lookup import Resolved, check_where
from workers.scoring.planning.model_pin import ModelPin, ask_pinned, read_metadata
from workers.scoring.planning.outputs import leave_out_equal, with_ids, written_columns
from workers.scoring.planning.table_kinds import input_warnings, output_warnings
from workers.scoring.request import ScoringRequest


@dataclass(frozen=True, slots=True)
class Plan:
    """The decisions of a run."""

    run_id: str
    token: str  # unique: jobs and tables of another plan with the same run_id are not this plan's
    request: Mapping[str, Any]  # `ScoringRequest.identity`, with the version that latest meant
    model: ModelPin
    is_query: bool  # the input's rows are made by a query (a view), and copied first
    snapshot_at: str  # ISO time: the rows that are scored are the table's rows at this moment
    created_at: str  # ISO time: `predicted_at` of every row
    rows_expected: int | None  # about, and before any filter; None: unknown
    features: tuple[Feature, ...]
    ids: tuple[Column, ...]
    read_columns: tuple[str, ...]  # features and ids, each once, as the input table spells them
    outputs: Mapping[str, tuple[str, ...]]  # the model's methods, and the columns each one fills
    output: Destination
    rejects: Destination
    location: str  # of the output's dataset: load jobs run there, and are found only there
    path: str  # of the rows to the model: `Route.path`
    warnings: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)  # what a written column is about
    aliased: bool = False  # a query copies the columns under plain names first: `needs_aliases`
    series: bool = False  # the model gets its one column as a Series
    rows_exact: bool = False  # `rows_expected` is the number of rows at the snapshot
    frames: bool = False  # golden rows have proven the model with frames within: `restore_output`

    @property
    def input_table(self) -> TableRef:
        """The table or view that is scored."""
        return TableRef.parse(self.request["input_table"])

    @property
    def job_stem(self) -> str:
        """The prefix of the run's job ids; a capital may follow, which no run_id has."""
        return f"mlsys_{self.request['env']}_{self.run_id}_{self.token}"

    @property
    def where(self) -> str | None:
        """The filter of the input's rows."""
        return self.request.get("where")

    @property
    def is_copied(self) -> bool:
        """True if a query copies the rows into a table of the run, which is read instead."""
        return self.is_query or self.aliased

    @property
    def aliases(self) -> dict[str, str]:
        """The columns of the copy, if it has other names than the input: alias to name."""
        return {f"c{i}": name for i, name in enumerate(self.read_columns)} if self.aliased else {}

    def stamps(self, at: str) -> dict[str, Any]:
        """Return the run's values in each row; `at` is the column with its time."""
        return {
            at: dt.datetime.fromisoformat(self.created_at),
            "model_name": self.model.name,
            "model_version": self.model.version,
            "run_id": self.run_id,
        }

    def prediction_spec(self) -> PredictionSpec:
        """Return the inputs and outputs of the model for each row."""
        types = {fold(c.name): c.type for c in self.output.columns}
        names = [name for columns in self.outputs.values() for name in columns]
        return PredictionSpec(
            features=self.features,
            outputs=self.outputs,
            types={name: types[fold(name)] for name in names},
            path=self.path,
            series=self.series,
            frames=self.frames,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values, as `plan.json` holds it."""
        return asdict(self) | {
            "features": [f.to_dict() for f in self.features],
            "output": self.output.to_dict(),
            "rejects": self.rejects.to_dict(),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read a `plan.json`."""
        return cls(
            **{
                **value,
                "ids": tuple(Column(**c) for c in value["ids"]),
                "model": ModelPin(**value["model"]),
                "features": Signature.from_dict({"features": value["features"]}).features,
                "read_columns": tuple(value["read_columns"]),
                "outputs": {k: tuple(v) for k, v in value["outputs"].items()},
                "output": Destination.from_dict(value["output"]),
                "rejects": Destination.from_dict(value["rejects"]),
                "warnings": tuple(value["warnings"]),
            }
        )


def make_plan(clients: Clients, resolved: Resolved, run_id: str) -> tuple[Plan, SandboxedModel]:
    """Decide how the run goes, and return the model that was loaded to do so. Writes nothing.

    Raises:
        SchemaMismatch: input, model and output table do not fit; the columns are named.
        ModelUnusable: the model cannot be loaded.
        InvalidRequest: the model cannot give the outputs, or the filter is not valid.
        Conflict: WRITE_EMPTY, and the output table has rows.
        TableNotFound: the output's dataset does not exist.
    """
    check_where(clients, resolved)
    return ask_pinned(
        clients, resolved.model, lambda model: _plan(clients, resolved, run_id, model)
    )


def _plan(clients: Clients, resolved: Resolved, run_id: str, model: SandboxedModel) -> Plan:
    request = resolved.request
    metadata, warnings = read_metadata(clients, resolved.model)
    warnings += check_model(model, metadata, request)
    description = model.describe(metadata.outputs or len(metadata.target))
    table = columns_of(resolved.schema)
    features, matching = choose_features(table, description, metadata, request.id_columns)
    ids = choose_ids(table, features, metadata, request.id_columns)
    written, outputs = written_columns(
        description,
        model.output_values,
        metadata.target,
        requested_outputs(description, request),
        request.prediction_column,
        request.class_columns,
    )
    if tuple(request.id_columns or metadata.id_columns) in (
        (),
        ALL,
    ):  # the request does not name them
        ids, left_out = leave_out_equal(ids, written, outputs.get("predict", ()))
        matching += left_out
    columns = with_ids(ids, written)
    check_output_names(columns)
    read = columns_to_read(table, features, ids)
    aliased = needs_aliases(table, read, request.where)
    if aliased or resolved.is_query:
        check_copy(clients, request.env, request.input_table)
    series = takes_series(description, metadata.signature)
    path = model.choose_route(features, list(outputs), metadata, series)
    existing, location = output_location(clients, request.output_table)
    check_bucket(clients, request.env, request.output_table, location)
    created_at = dt.datetime.now(dt.UTC)
    return Plan(
        run_id=run_id,
        token=resolved.token[:8],
        request=request.identity() | {"model_version": resolved.model.version},
        model=resolved.model,
        is_query=resolved.is_query,
        snapshot_at=resolved.snapshot_at.isoformat(),
        created_at=created_at.isoformat(),
        rows_expected=resolved.rows,
        rows_exact=resolved.rows_exact,
        features=tuple(features),
        ids=tuple(ids),
        read_columns=read,
        outputs=outputs,
        output=output_destination(
            request.output_table,
            existing,
            columns,
            request.write_disposition,
            created_at,
            local=clients.settings.emulators.bigquery is not None,
        ),
        rejects=rejects_destination(clients, request.output_table),
        location=location,
        warnings=(
            *input_warnings(resolved, aliased),
            *output_warnings(request.output_table, existing, request.write_disposition),
            *warnings,
            *matching,
        ),
        labels={c.name: c.label for c in columns if c.label is not None},
        path=path,
        aliased=aliased,
        series=series,
        frames=golden_rows(metadata, features) is not None,
    )


def requested_outputs(model: Description, request: ScoringRequest) -> tuple[str, ...]:
    """Return the outputs that the request means: `transform` if the model has no `predict`."""
    only_transforms = "predict" not in model.methods and "transform" in model.methods
    if only_transforms and request.outputs == ("predict",):  # the default
        return ("transform",)
    return request.outputs


def check_model(
    model: SandboxedModel, metadata: ModelMetadata, request: ScoringRequest
) -> list[str]:
    """Return warnings about the model, if the request allows them.

    Raises:
        ModelUnusable: another scikit-learn saved it, or its answers differ from those it gave then.
    """
    if model.version_mismatch and not request.allow_version_mismatch:
        raise ModelUnusable(
            f"{model.version_mismatch}: train and upload the model with the service's release, or "
            "pass allow_version_mismatch=true"
        )
    verdict = model.judge(metadata)
    if verdict.status == "rejected" and not request.allow_rejected:
        drawn = verdict.reason == ANSWERS_VARY
        again = "Upload it again then," if drawn else "Upload it again from where it was trained,"
        raise ModelUnusable(
            f"The model is rejected: {verdict.reason}. {again} or pass allow_rejected=true"
        )
    return [verdict.reason] if verdict.reason else []
