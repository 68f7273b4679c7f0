"""Which way a run's rows take to the model: decided once, as the run is planned."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mlsys.errors import MetadataInvalid
from mlsys.frames import to_model_frame
from mlsys.golden import golden_table
from mlsys.inputs import model_input
from mlsys.metadata import ModelMetadata
from mlsys.signatures import Feature
from workers.scoring.arrow_plan import Compiled, compile_model
from workers.scoring.one_pass import same_bits

if TYPE_CHECKING:
    import pyarrow as pa

ARROW = "arrow"


def choose_path(
    model: Any,
    features: Sequence[Feature],
    methods: Iterable[str],
    metadata: ModelMetadata,
    series: bool = False,
) -> str:
    """Return `arrow`, or `plain: ` and the reason.

    The model's golden rows, where it has some, go both ways.
    """
    if series:
        return "plain: the model takes one column by itself"
    compiled = compile_model(model, features)
    if not isinstance(compiled, Compiled):
        return f"plain: {compiled}"
    try:
        golden = golden_table(metadata)
    except MetadataInvalid:  # the verification says so
        golden = None
    if golden is None or golden.num_columns != len(features):
        return ARROW
    golden = golden.rename_columns([f.name for f in features])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            differing = differences(model, compiled, golden, list(methods))
        except Exception:  # such rows go to the model itself
            return ARROW
    return f"plain: {', '.join(differing)} differed on the golden rows" if differing else ARROW


def ask(
    model: Any,
    features: Sequence[Feature],
    table: pa.Table,
    methods: Iterable[str],
    series: bool = False,
) -> dict[str, Any]:
    """Return what each of the model's methods gives for the rows, the plain way.

    With `series` the model gets its one column by itself.
    """
    X = model_input(model, to_model_frame(table, features), series)
    return {method: getattr(model, method)(X) for method in methods}


def differences(
    model: Any, compiled: Compiled, table: pa.Table, methods: Sequence[str]
) -> list[str]:
    """Return the methods that answer otherwise for the rows of `table`; raises as either way."""
    fast = compiled.answers(table, methods)
    plain = ask(model, compiled.features, table, methods)
    return [method for method in methods if not same_bits(fast[method], plain[method])]
