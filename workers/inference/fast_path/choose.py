"""Choose how rows reach a model, prove that both ways agree, and fall back where they do not.

The fast way takes Arrow columns (`compiler`); the plain way is scikit-learn's own. `choose` decides
once, as a run is planned; `follow` applies that decision in another process.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlsys.artifact.golden import golden_table
from mlsys.artifact.metadata import ModelMetadata
from mlsys.columns.coded import decoded
from mlsys.columns.features import Feature
from mlsys.errors import MetadataInvalid
from workers.inference.fast_path.compiler import compile_model
from workers.inference.fast_path.model import Compiled
from workers.inference.fast_path.same_bits import same_bits
from workers.inference.plain_path import ask

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

ARROW = "arrow"
PROOF = 1_000  # rows for which both ways must give the same bits


class Route:
    """The path of rows to one model. `path` is `arrow`, or `plain: ` and the reason."""

    def __init__(
        self,
        model: Any,
        features: Sequence[Feature],
        methods: Sequence[str],
        compiled: Compiled | str,
        series: bool = False,
    ) -> None:
        """Take the compiled model, which takes Arrow columns, or why it could not be compiled."""
        self._model = model
        self._features = features
        self._methods = list(methods)
        self._series = series
        self._compiled = compiled if isinstance(compiled, Compiled) else None
        self._proven = 0  # rows that were sent both ways with equal answers
        self.path = ARROW if self._compiled is not None else f"plain: {compiled}"

    def answers(self, batch: pa.Table) -> dict[str, Any]:
        """Return what each method of the model gives for the rows of `batch`.

        The first `PROOF` rows go both ways; where an answer differs, the fast way is left for good.
        After any error of the fast way scikit-learn scores the batch, and raises its own error.
        """
        if self._compiled is not None:
            try:
                if self._proven < PROOF:
                    self._prove(self._compiled, batch.slice(0, PROOF - self._proven))
                if self._compiled is not None:
                    return self._compiled.answers(batch, self._methods)
            except Exception as exc:
                log.debug("A batch is scored the plain way: %s", exc)
        return self._plain(batch)

    def differences(self, compiled: Compiled, table: pa.Table) -> list[str]:
        """Return the methods whose answers differ between the two ways.

        Raises:
            Exception: what either way raises for these rows.
        """
        fast, plain = compiled.answers(table, self._methods), self._plain(table)
        return [method for method in self._methods if not same_bits(fast[method], plain[method])]

    def leave(self, reason: str) -> None:
        """Use the plain way from now on."""
        self.path, self._compiled = f"plain: {reason}", None

    def _plain(self, table: pa.Table) -> dict[str, Any]:
        rows = decoded(table)
        return ask(self._model, self._features, rows, self._methods, self._series)

    def _prove(self, compiled: Compiled, rows: pa.Table) -> None:
        if differing := self.differences(compiled, rows):
            log.error(
                "The fast path changed %s: scoring continues on the plain path",
                ", ".join(differing),
            )
            self.leave(f"{', '.join(differing)} differed")
        self._proven += rows.num_rows


def choose(
    model: Any,
    features: Sequence[Feature],
    methods: Sequence[str],
    metadata: ModelMetadata,
    series: bool = False,
) -> Route:
    """Return the route for the model. Its golden rows, if it has any, are sent both ways."""
    if series:
        reason = "the model takes one column as a Series"
        return Route(model, features, methods, reason, series)
    compiled = compile_model(model, features)
    route = Route(model, features, methods, compiled)
    golden = None
    try:
        golden = golden_table(metadata)
    except MetadataInvalid:
        pass  # the verification reports it
    if isinstance(compiled, str) or golden is None or golden.num_columns != len(features):
        return route
    golden = golden.rename_columns([f.name for f in features])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            differing = route.differences(compiled, golden)
        except Exception:  # `Route.answers` sends such rows the plain way
            return route
    if differing:
        route.leave(f"{', '.join(differing)} differed on the golden rows")
    return route


def follow(
    path: str, model: Any, features: Sequence[Feature], methods: Sequence[str], series: bool = False
) -> Route:
    """Return the route that `choose` decided on in another process; `path` is that decision."""
    fast = compile_model(model, features) if path == ARROW else path.removeprefix("plain: ")
    return Route(model, features, methods, fast, series)
