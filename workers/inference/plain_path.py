"""Call a model as scikit-learn's users do: with one frame, or one Series, for each batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mlsys.artifact.estimators.inputs import model_input
from mlsys.columns.features import Feature
from mlsys.columns.frames import to_model_frame

if TYPE_CHECKING:
    import pyarrow as pa


def ask(
    model: Any,
    features: Sequence[Feature],
    table: pa.Table,
    methods: Iterable[str],
    series: bool = False,
) -> dict[str, Any]:
    """Return what each of the model's methods gives for the rows of `table`.

    With `series` the model gets its one column as a Series.
    """
    X = model_input(model, to_model_frame(table, features), series)
    return {method: getattr(model, method)(X) for method in methods}
