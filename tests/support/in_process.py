"""A model in the test's own process, in the place of one in a sandbox."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mlsys.artifact.estimators.row_width import rows_at_once
from mlsys.artifact.metadata import ModelMetadata
from mlsys.columns.features import Feature
from workers.inference.description import Description, describe, output_values
from workers.inference.host import Host
from workers.inference.predictor import PredictionSpec, Predictor
from workers.inference.trial import valid_rows
from workers.sandbox.process import Answer
from workers.sandbox.tables import Expected
from workers.scoring.planning.columns import Column, choose_features
from workers.scoring.planning.outputs import output_columns, written_columns
from workers.scoring.planning.plan import Plan
from workers.scoring.shards.scorer import Batch, Scorer


class SandboxHere:
    """What `workers.sandbox.process.Sandbox` offers, with the model in the test's process.

    A test that wants to see what a model is given puts it into `workers.sandbox.start`.
    """

    alive = True
    pid = -1  # none of its own to measure

    def __init__(self, handlers: str, **_: Any) -> None:
        self._host = Host()

    def call(
        self,
        op: str,
        body: Mapping[str, Any] | None = None,
        *,
        table: Any = None,
        content: bytes | None = None,
        expect: Expected | None = None,
        seconds: float,
    ) -> Answer:
        given = content if content is not None else table
        said, rows = getattr(self._host, op)(_crossed(dict(body or {})), given)
        if expect is not None:
            assert rows is not None
            assert (rows.schema, rows.num_rows) == (expect.schema, expect.rows)
        return Answer(_crossed(dict(said)), rows)

    def put(self, table: Any) -> None:
        return None

    def close(self) -> None:
        self.alive = False


class InProcess:
    """What `SandboxedModel` offers a scorer."""

    alive = True
    pid = -1  # none of its own to measure

    def __init__(self, model: Any) -> None:
        self.model = model

    def predictor(self, spec: PredictionSpec) -> "Predictions":
        return Predictions(self.model, spec)

    def valid_rows(self, features: Sequence[Feature]) -> Any:
        return valid_rows(self.model, features)

    def close(self) -> None:
        pass


class Predictions:
    """What `SandboxedPredictor` offers a scorer."""

    def __init__(self, model: Any, spec: PredictionSpec) -> None:
        self._predictor = Predictor(model, spec)
        self.path = self._predictor.path
        self.rows_at_once = rows_at_once(model)

    def put(self, rows: Any) -> None:
        return None

    def predict(self, rows: Any, slot: Any = None) -> dict[str, Any]:
        return self._predictor.predict(rows)


def scorer_of(model: Any, plan: Plan) -> Scorer:
    """Return a scorer whose model is in this process."""
    return Scorer(plan, lambda: InProcess(model))  # type: ignore[arg-type,return-value]


def score(model: Any, plan: Plan, table: Any) -> Any:
    """Return the output rows of `table`."""
    return scorer_of(model, plan).score(Batch(table))


def features_of(
    table: Sequence[Column], model: Any, metadata: ModelMetadata, ids: Sequence[str] | None
) -> tuple[list[Feature], list[str]]:
    """Return what `choose_features` makes of a model in this process."""
    return choose_features(table, described(model), metadata, ids)


def described(model: Any, predictions: int = 0) -> Description:
    """Return the description of a model, as it arrives from a sandbox."""
    return Description.parse(_crossed(describe(model, predictions).to_dict()))


def _crossed(value: Any) -> Any:
    return json.loads(json.dumps(value))


def columns_of_outputs(
    ids: Sequence[Column],
    model: Any,
    targets: Sequence[str],
    outputs: Sequence[str],
    count: int | None = None,
    *names: Any,
    **more: Any,
) -> tuple[list[Column], dict[str, tuple[str, ...]]]:
    """Return what `output_columns` makes of a model in this process."""

    def values_of(methods: Sequence[str], columns: Sequence[str]) -> Any:
        return output_values(model, methods, columns)

    known = described(model, count or len(targets))
    return output_columns(ids, known, values_of, targets, outputs, *names, **more)


def columns_written(
    model: Any, targets: Sequence[str], outputs: Sequence[str], *more: Any
) -> tuple[list[Column], dict[str, tuple[str, ...]]]:
    """Return what `written_columns` makes of a model in this process."""

    def values_of(methods: Sequence[str], columns: Sequence[str]) -> Any:
        return output_values(model, methods, columns)

    return written_columns(described(model, len(targets)), values_of, targets, outputs, *more)
