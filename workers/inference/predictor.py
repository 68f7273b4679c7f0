"""From a batch of input rows to a batch of predictions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from mlsys.artifact.estimators.set_output import restore_output
from mlsys.artifact.signatures import Signature
from mlsys.columns.arrow_types import arrow_type
from mlsys.columns.features import Feature
from mlsys.columns.names import fold
from mlsys.columns.texts import texts
from mlsys.errors import ModelUnusable, PredictionFailed, SchemaMismatch, TryAgain
from mlsys.plural import does, plural
from workers.inference.fast_path.choose import Route, follow
from workers.inference.one_thread import limit_to_one_thread

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class PredictionSpec:
    """The inputs and outputs of a prediction for one row."""

    features: tuple[Feature, ...]
    outputs: Mapping[str, tuple[str, ...]]  # the model's methods, and the columns each one fills
    types: Mapping[str, str]  # BigQuery's, of those columns
    path: str  # `Route.path`
    series: bool = False  # the model takes its one column as a Series
    frames: bool = False  # its steps pass frames to each other: `restore_output`

    @property
    def schema(self) -> pa.Schema:
        """The columns of the predictions."""
        import pyarrow as pa

        return pa.schema([(name, arrow_type(kind)) for name, kind in self.types.items()])

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        return asdict(replace(self, features=())) | {
            "features": [f.to_dict() for f in self.features]
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave."""
        features = Signature.from_dict({"features": value["features"]}).features
        outputs = {method: tuple(names) for method, names in value["outputs"].items()}
        return cls(**{**value, "features": features, "outputs": outputs})


class Predictor:
    """A loaded model with its spec. The same rows always give the same bytes."""

    def __init__(self, model: Any, spec: PredictionSpec, route: Route | None = None) -> None:
        """Limit BLAS and OpenMP to one thread; `route` is planning's, if made in this process."""
        # Idle threads of BLAS and OpenMP busy-wait, and their number changes the last bits of a
        # result. OpenMP keeps its limit by thread, so a predictor belongs to the thread that
        # made it.
        limit_to_one_thread()
        if spec.frames:
            restore_output(model)
        self.model = model
        self.spec = spec
        self._kinds = {field.name: field.type for field in spec.schema}
        self._route = route or follow(
            spec.path, model, spec.features, list(spec.outputs), spec.series
        )

    @property
    def path(self) -> str:
        """The rows' path to the model: `arrow`, or `plain: ` and why."""
        return self._route.path

    def predict(self, batch: pa.Table) -> dict[str, pa.Array]:
        """Return the predictions for the n rows of `batch`: n values for each output column.

        Raises:
            SchemaMismatch: values of a column cannot be given to the model.
            PredictionFailed: the model raised, or gave values that do not fit their column.
            ModelUnusable: it gave anything other than one value a row.
            TryAgain: there was not enough memory.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they concern the training, not a row
                given = self._route.answers(batch)
        except SchemaMismatch:
            raise
        except MemoryError as exc:
            raise TryAgain(
                f"There was not enough memory to score {plural(batch.num_rows, 'row')} at once: "
                "give the service more memory"
            ) from exc
        except Exception as exc:  # whatever the estimator raises is about these rows
            raise PredictionFailed(self._blame(exc, batch)) from exc
        return {
            name: self._array(name, values)
            for method in self.spec.outputs
            for name, values in self._columns(method, given[method], batch.num_rows).items()
        }

    def _columns(self, method: str, given: Any, rows: int) -> dict[str, np.ndarray]:
        """Split what a method of the model gave into its output columns."""
        import numpy as np

        names = self.spec.outputs[method]
        if isinstance(given, list) and method == "predict_proba":
            given = np.hstack(given)  # one array for each of several outputs
        array = np.asarray(given.toarray() if hasattr(given, "toarray") else given)
        if array.shape[:1] != (rows,) or array.size != rows * len(names):
            hint = ": name every output with upload_model(..., target=[...])"
            raise ModelUnusable(
                f"The model's {method} gave an array of shape {array.shape} for "
                f"{plural(rows, 'row')}, where "
                f"{plural(len(names), 'column')} {does(len(names), 'was')} "
                f"expected{hint if method == 'predict' else ''}"
            )
        columns = array.reshape(rows, len(names))
        return {name: columns[:, i] for i, name in enumerate(names)}

    def _array(self, name: str, values: np.ndarray) -> pa.Array:
        import pyarrow as pa

        kind = self._kinds[name]
        try:
            if pa.types.is_string(kind):
                return texts(values)
            return pa.array(values.tolist() if values.dtype == object else values, kind)
        except (
            *(pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError),
            *(ValueError, OverflowError),
        ) as exc:
            text = next((v for v in values if isinstance(v, str)), None)
            if text is not None and not hasattr(self.model, "classes_"):
                raise PredictionFailed(
                    f"The model predicts text ({text[:40]!r}) and has no classes_, so its column "
                    f"{name!r} is {self.spec.types[name]}: set self.classes_ in its fit, or upload "
                    "it with golden rows, upload_model(..., golden=True)."
                ) from exc
            raise PredictionFailed(
                f"The model predicts {values.dtype} values, which do not fit the column "
                f"{name!r} of type {kind}: {str(exc).rstrip('. ')}."
            ) from exc

    def _blame(self, exc: Exception, batch: pa.Table) -> str:
        """Describe the model's error, and name the feature columns that hold NULLs."""
        first = (str(exc).splitlines() or [""])[0][:300]
        text = f"The model raised {type(exc).__name__}: {first.rstrip('. ')}."
        folded = {fold(name): i for i, name in enumerate(batch.schema.names)}
        nulls = [
            f.name for f in self.spec.features if batch.column(folded[fold(f.name)]).null_count
        ]
        return f"Columns with NULLs: {', '.join(nulls)}. {text}" if nulls else text
