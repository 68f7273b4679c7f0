"""Decide everything about a run, once, by what the request names is now."""

from __future__ import annotations

import datetime as dt

from mlsys.artifact.estimators.randomness import ANSWERS_VARY
from mlsys.artifact.metadata import ModelMetadata
from mlsys.cloud.clients import Clients
from mlsys.errors import ModelUnusable
from workers.inference.description import Description
from workers.inference.trial import golden_rows
from workers.sandbox.client import SandboxedModel
from workers.scoring.planning.columns import (
    ALL,
    check_output_names,
    choose_features,
    choose_ids,
    columns_of,
    columns_to_read,
    needs_aliases,
    takes_series,
)
from workers.scoring.planning.contract import columns_of_contract, pin_contract
from workers.scoring.planning.destination import (
    output_destination,
    output_location,
    rejects_destination,
)
from workers.scoring.planning.incremental import Incremental
from workers.scoring.planning.increments import plan_incremental
from workers.scoring.planning.locations import check_bucket, check_copy
from workers.scoring.planning.lookup import Resolved, check_where
from workers.scoring.planning.model_pin import ask_pinned, read_metadata
from workers.scoring.planning.outputs import leave_out_equal, with_ids, written_columns
from workers.scoring.planning.partition_filter import all_of
from workers.scoring.planning.partitioning import Partitioning
from workers.scoring.planning.plan import Plan
from workers.scoring.planning.table_kinds import input_warnings, output_warnings
from workers.scoring.planning.watched import of_last_run, of_training
from workers.scoring.request.parsed import ScoringRequest


def make_plan(
    clients: Clients, resolved: Resolved, run_id: str, *, writes: bool = True
) -> tuple[Plan, SandboxedModel]:
    """Decide how the run goes, and return the model that was loaded to do so. Writes nothing.

    Without `writes` (a preview) the request's output table is a stand-in, and not looked up.

    Raises:
        SchemaMismatch: input, model and output table do not fit; the columns are named.
        ModelUnusable: the model cannot be loaded.
        InvalidRequest: the model cannot give the outputs, or the filter is not valid.
        Conflict: WRITE_EMPTY, and the output table has rows.
        TableNotFound: the output's dataset does not exist.
        ContractBroken: the input breaks the model's contract, as is known before a row is read.
    """
    check_where(clients, resolved)
    return ask_pinned(
        clients, resolved.model, lambda model: _plan(clients, resolved, run_id, model, writes)
    )


def _plan(
    clients: Clients, resolved: Resolved, run_id: str, model: SandboxedModel, writes: bool
) -> Plan:
    request = resolved.request
    metadata, warnings = read_metadata(clients, resolved.model)
    warnings += check_model(model, metadata, request)
    description = model.describe(metadata)
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
    contract, unchecked = pin_contract(clients, resolved, metadata, table) if writes else (None, [])
    read = columns_to_read(table, features, [*ids, *columns_of_contract(contract, table)])
    series = takes_series(description, metadata.signature)
    path = model.choose_route(features, list(outputs), metadata, series)
    existing, location = output_location(clients, request.output_table) if writes else (None, "")
    check_bucket(clients, request.env, request.output_table, location)
    incremental, unscored = plan_incremental(clients, resolved, ids, existing, location)
    named = needs_aliases(table, read, _named(resolved, incremental))
    aliased = named or (incremental is not None and incremental.is_by_ids)
    if writes and (aliased or resolved.is_query):
        check_copy(clients, request.env, request.input_table)
    reference = None
    if writes and request.profile:
        reference, left_out = of_training(metadata, table, features, outputs, written)
        matching += left_out
        if reference is None and not left_out:
            reference = of_last_run(
                clients, resolved.model, request.env, model, description, outputs, written
            )
    created_at = dt.datetime.now(dt.UTC)
    counted = None if incremental is None else incremental.rows
    output = output_destination(
        request.output_table,
        existing,
        columns,
        request.write_disposition,
        created_at,
        local=clients.settings.emulators.bigquery is not None,
        like=Partitioning.of(resolved.table),
    )
    return Plan(
        run_id=run_id,
        token=resolved.token[:8],
        request=request.identity() | {"model_version": resolved.model.version},
        model=resolved.model,
        is_query=resolved.is_query,
        snapshot_at=resolved.snapshot_at.isoformat(),
        created_at=created_at.isoformat(),
        rows_expected=resolved.rows if counted is None else counted,
        rows_exact=resolved.rows_exact if counted is None else not resolved.is_query,
        features=tuple(features),
        ids=tuple(ids),
        read_columns=read,
        outputs=outputs,
        output=output,
        rejects=rejects_destination(clients, request.output_table) if writes else output,
        location=location,
        warnings=(
            *input_warnings(request.input_table, resolved.table, named),
            *output_warnings(request.output_table, existing, request.write_disposition),
            *warnings,
            *matching,
            *unchecked,
            *unscored,
        ),
        labels={c.name: c.label for c in columns if c.label is not None},
        path=path,
        aliased=aliased,
        series=series,
        frames=golden_rows(metadata, features) is not None,
        reference=reference,
        contract=contract,
        partition_filter=resolved.partition_filter,
        incremental=incremental,
        beside=request.beside(),
    )


def _named(resolved: Resolved, incremental: Incremental | None) -> str | None:
    """Return the conditions on the rows, by which columns are named that need not be read."""
    column = None if incremental is None else f"`{incremental.column}`"
    return all_of(resolved.restriction, column)


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
