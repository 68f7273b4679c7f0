"""Plan the challenger of a run: another version of its model, which scores the same rows.

Its rows go to `{output_table}_shadow`. Whatever keeps it from scoring is noted in the plan, and
never stops the run.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence
from dataclasses import replace

from mlsys.cloud.clients import Clients, is_passing
from mlsys.cloud.tables import TableRef
from mlsys.columns.names import fold
from mlsys.errors import MlsysError, ModelUnusable, SchemaMismatch, TryAgain, bounded
from mlsys.plural import plural
from workers import admission, machine
from workers.inference.description import Description
from workers.inference.trial import golden_rows
from workers.sandbox.client import SandboxedModel
from workers.scoring.planning.columns import (
    check_output_names,
    choose_features,
    columns_of,
    columns_to_read,
    needs_aliases,
    takes_series,
)
from workers.scoring.planning.destination import (
    MAX_TABLE_NAME,
    output_destination,
    output_location,
)
from workers.scoring.planning.locations import check_copy
from workers.scoring.planning.lookup import Resolved
from workers.scoring.planning.make_plan import check_model, requested_outputs
from workers.scoring.planning.model_pin import (
    ModelPin,
    ask_pinned,
    find_model,
    load_pinned,
    read_metadata,
)
from workers.scoring.planning.outputs import with_ids, written_columns
from workers.scoring.planning.partitioning import Partitioning
from workers.scoring.planning.plan import Pair, Plan, Shadow
from workers.scoring.request.parsed import ScoringRequest

log = logging.getLogger(__name__)

MAX_PAIRS = 20  # columns that are compared
CLASSIFIERS = {"predict_proba", "decision_function"}  # methods that a regressor does not have


def add_shadow(
    clients: Clients, resolved: Resolved, plan: Plan
) -> tuple[Plan, SandboxedModel | None]:
    """Return the plan with the challenger that the request names, and its model, just loaded.

    Raises:
        TryAgain: something that passes keeps the challenger from being planned.
    """
    requested = resolved.request.shadow
    if requested is None:
        return plan, None
    try:
        pin = find_model(clients, replace(resolved.request, model_version=requested))
        _check_pin(plan, pin)
        with admission.second_model():
            shadow, model = ask_pinned(
                clients, pin, lambda model: _shadow(clients, resolved, plan, pin, model)
            )
    except Exception as exc:
        if isinstance(exc, TryAgain) or is_passing(exc):
            raise
        with admission.second_model():
            admission.let_go()
        return replace(plan, shadow=Shadow(requested, fault=reason_of(exc, plan.run_id))), None
    assert shadow.plan is not None
    read, aliased = shadow.plan.read_columns, shadow.plan.aliased
    return replace(plan, shadow=shadow, read_columns=read, aliased=aliased), model


def load_challenger(clients: Clients, plan: Plan) -> SandboxedModel:
    """Load the model of the plan's challenger beside the plan's own.

    Raises:
        ModelUnusable: both do not fit into memory; or see `load_pinned`.
    """
    assert plan.shadow is not None and plan.shadow.plan is not None
    pin = plan.shadow.plan.model
    _check_pin(plan, pin)
    with admission.second_model():
        return load_pinned(clients, pin)


def planned_otherwise(plan: Plan, request: ScoringRequest) -> str | None:
    """Return what to tell a caller whose request names another challenger than the run has."""
    requested, shadow = request.shadow, plan.shadow
    if requested is None:
        return None
    if shadow is not None:
        versions = {shadow.requested} | ({shadow.plan.model.version} if shadow.plan else set())
        if requested in versions:
            return None
    planned = "without a shadow" if shadow is None else f"with the shadow {shadow.requested}"
    return (
        f"{plan.run_id} was planned {planned}, and {requested} did not score its rows: pass a "
        "run_id and an output_table of your own to score them again with it"
    )


def reason_of(exc: Exception, run_id: str) -> str:
    """Return why a challenger has no report, as the run's result says it; the log has the rest."""
    known = isinstance(exc, MlsysError)
    log.warning(
        "The challenger has no report: %s", exc, exc_info=not known, extra={"run_id": run_id}
    )
    if known:
        return bounded(str(exc))
    return f"{type(exc).__name__}: the service's log has the reason"


def _check_pin(plan: Plan, pin: ModelPin) -> None:
    if (pin.name, pin.version, pin.generation) == (
        *(plan.model.name, plan.model.version),
        plan.model.generation,
    ):
        raise ModelUnusable(
            f"{pin.version} is the version that the run publishes: pass another one as shadow"
        )
    sizes = (plan.model.size, pin.size)
    admission.check_both_fit(*map(machine.model_memory, sizes))


def _shadow(
    clients: Clients, resolved: Resolved, first: Plan, pin: ModelPin, model: SandboxedModel
) -> Shadow:
    request = resolved.request
    metadata, warnings = read_metadata(clients, pin)
    warnings += check_model(model, metadata, request)
    description = model.describe(metadata)
    table = columns_of(resolved.schema)
    features, matching = choose_features(table, description, metadata, request.id_columns)
    written, outputs = written_columns(
        description,
        model.output_values,
        metadata.target,
        requested_outputs(description, request),
        request.prediction_column,
        request.class_columns,
    )
    columns = with_ids(first.ids, written)
    check_output_names(columns)
    own = [column for column in table if column.name in first.read_columns]
    read = columns_to_read(table, features, own)
    aliased = first.aliased or needs_aliases(table, read, resolved.restriction)
    if aliased and not first.is_copied:
        check_copy(clients, request.env, request.input_table)
    series = takes_series(description, metadata.signature)
    path = model.choose_route(features, list(outputs), metadata, series)
    target = _table(request)
    existing, _ = output_location(clients, target)
    output = output_destination(
        target,
        existing,
        columns,
        request.write_disposition,
        dt.datetime.fromisoformat(first.created_at),
        local=clients.settings.emulators.bigquery is not None,
        like=Partitioning.of(resolved.table),
    )
    plan = replace(
        first,
        reference=None,
        model=pin,
        features=tuple(features),
        read_columns=read,
        outputs=outputs,
        output=output,
        warnings=(*warnings, *matching),
        labels={c.name: c.label for c in columns if c.label is not None},
        path=path,
        aliased=aliased,
        series=series,
        frames=golden_rows(metadata, features) is not None,
        contract=None,
    )
    assert request.shadow is not None
    return Shadow(request.shadow, plan, pairs_of(first, plan, description))


def _table(request: ScoringRequest) -> TableRef:
    """Return the table of the challenger's rows: `{output_table}_shadow`, in the same partition."""
    base = request.output_table.base
    table = replace(request.output_table, table=f"{base.table}_shadow")
    if len(table.table.encode()) > MAX_TABLE_NAME:
        raise SchemaMismatch(
            f"The name of the shadow's table would have more than {MAX_TABLE_NAME} bytes: pass a "
            "shorter output_table"
        )
    if table.base == request.input_table.base:
        raise SchemaMismatch(
            f"The shadow's rows would go to {table.base}, the input table: pass another "
            "output_table"
        )
    return table


def pairs_of(first: Plan, second: Plan, model: Description) -> tuple[Pair, ...]:
    """Return the columns that are compared: those of `predict`, else of the first other method.

    Values of a classifier, and all that are not FLOAT64, are labels. `model` is the second's.

    Raises:
        SchemaMismatch: there are none.
    """
    method = "predict" if "predict" in first.outputs else next(iter(first.outputs))
    mine, theirs = first.outputs[method], second.outputs.get(method, ())
    if method == "predict":
        if len(mine) != len(theirs):
            raise SchemaMismatch(
                f"{first.model.version} predicts {plural(len(mine), 'value')} a row, and "
                f"{second.model.version} {len(theirs)}: they cannot be compared"
            )
        names: Sequence[tuple[str, str]] = list(zip(mine, theirs, strict=True))
    else:
        folded = {fold(name): name for name in theirs}
        names = [(name, folded[fold(name)]) for name in mine if fold(name) in folded]
    if not names:
        raise SchemaMismatch(
            f"No column of {method} is common to {first.model.version} and "
            f"{second.model.version}: they cannot be compared"
        )
    types = {fold(c.name): c.type for c in first.output.columns}
    classifies = method == "predict" and bool(CLASSIFIERS & set(model.methods))
    spelt = [{fold(c.name): c.name for c in plan.output.columns} for plan in (first, second)]
    return tuple(
        Pair(
            spelt[0][fold(one)],
            spelt[1][fold(two)],
            labels=classifies or types[fold(one)] != "FLOAT64",
        )
        for one, two in names[:MAX_PAIRS]
    )
