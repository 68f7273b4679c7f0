"""The columns that a run counts, and what their counts are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlsys.artifact.metadata import ModelMetadata
from mlsys.artifact.profile import Profile
from mlsys.cloud.clients import Clients
from mlsys.columns.arrow_types import arrow_type
from mlsys.columns.bins import fits
from mlsys.columns.features import Feature
from mlsys.columns.names import fold
from mlsys.errors import InvalidRequest, MetadataInvalid
from mlsys.plural import plural
from workers.inference.description import Description
from workers.monitoring.reference import (
    FEATURE,
    PREDICTION,
    Reference,
    Watched,
    of_outputs,
    of_profile,
)
from workers.monitoring.table import last_counts
from workers.sandbox.client import SandboxedModel
from workers.scoring.planning.columns import Column
from workers.scoring.planning.model_pin import ModelPin

NOT_COMPARED = "the rows are not compared with the training data"


def of_training(
    metadata: ModelMetadata,
    table: Sequence[Column],
    features: Sequence[Feature],
    outputs: Mapping[str, Sequence[str]],
    written: Sequence[Column],
) -> tuple[Reference | None, list[str]]:
    """Return the training data as the model's profile has it, and a warning if it is left out.

    `table` are the input's columns, `outputs` those that each method fills, and `written` all
    columns of the output. None: the model has no profile, or it does not fit.
    """
    try:
        profile = Profile.of_document(metadata.document)
    except MetadataInvalid as exc:
        return None, [f"{NOT_COMPARED}: {exc}"]
    if profile is None:
        return None, []
    if len(profile.columns) != len(features):
        text = f"the profile has {plural(len(profile.columns), 'column')}, and the model takes "
        return None, [f"{NOT_COMPARED}: {text}{len(features)}"]
    read = {fold(c.name): c for c in table}
    reference = of_profile(profile, [read[fold(f.name)].name for f in features], outputs)
    types = {
        FEATURE: {name: column.type for name, column in read.items()},
        PREDICTION: {fold(c.name): c.type for c in written},
    }
    wrong = [
        c.name
        for c in reference.columns
        if not fits(c.bins, arrow_type(types[c.role][fold(c.name)]))
    ]
    if wrong:
        text = f"the profile's bins do not fit the types of {', '.join(wrong[:10])}"
        return None, [f"{NOT_COMPARED}: {text}"]
    return reference if reference.columns else None, []


def of_last_run(
    clients: Clients,
    pin: ModelPin,
    env: str,
    model: SandboxedModel,
    description: Description,
    outputs: Mapping[str, Sequence[str]],
    written: Sequence[Column],
) -> Reference:
    """Return the predictions of the model's last run, for a model without a profile.

    Raises:
        TryAgain: the table of profiles does not exist.
    """
    types = {fold(c.name): c.type for c in written}
    by_name = {name: types[fold(name)] for columns in outputs.values() for name in columns}
    reference = of_outputs(outputs, by_name, _classes(model, description))
    before = last_counts(clients, env, pin.name)

    def compared(column: Watched) -> Watched:
        source, counts = before.get((column.name, column.bins.id), (None, None))
        return replace(column, counts=counts, source=source)

    return Reference(tuple(map(compared, reference.columns)))


def _classes(model: SandboxedModel, description: Description) -> list[str]:
    """Return the names of the model's classes, if it has probabilities for them."""
    if "predict_proba" not in description.methods or "STRING" not in description.prediction_types:
        return []
    try:
        values = model.output_values(("predict_proba",), ("prediction",))["predict_proba"]
    except InvalidRequest:
        return []
    return list(dict.fromkeys(value.label for value in values if value.label is not None))
