"""What runs in a sandbox: it loads one model, describes it, and asks it for predictions.

`HANDLERS` is the table that `workers.sandbox.child` answers by. Each handler takes the JSON body of
a question, and the table or bytes that came with it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mlsys.artifact.estimators.row_width import rows_at_once
from mlsys.artifact.loading import LoadedModel, load_model, sklearn_version
from mlsys.artifact.metadata import ModelMetadata
from mlsys.artifact.parameters import parameters_of
from mlsys.artifact.signatures import Signature
from mlsys.columns.features import Feature
from mlsys.safe_pickle.admitted import admitted_by
from workers.inference import rehearsal
from workers.inference.any_code import load_any
from workers.inference.description import describe, output_values
from workers.inference.fast_path.choose import Route, choose
from workers.inference.one_thread import limit_to_one_thread
from workers.inference.predictor import PredictionSpec, Predictor
from workers.inference.trial import check_answers, valid_rows
from workers.inference.verdict import check_release, judge

if TYPE_CHECKING:
    import pyarrow as pa

# What most models need. A sandbox is forked with these imports; its own would take 300 ms.
USED_BY_MODELS = (
    "narwhals._interchange.dataframe",
    "narwhals._namespace",
    "narwhals._pandas_like.dataframe",
    "narwhals._pandas_like.expr",
    "narwhals._pandas_like.namespace",
    "narwhals._pandas_like.selectors",
    "narwhals._pandas_like.series",
    "narwhals.stable.v2._namespace",
    "pandas",
    "pyarrow.pandas_compat",
    "pyarrow.vendored.version",
    "sklearn.compose",
    "sklearn.decomposition",
    "sklearn.ensemble",
    "sklearn.feature_extraction.text",
    "sklearn.feature_selection",
    "sklearn.impute",
    "sklearn.isotonic",
    "sklearn.naive_bayes",
    "sklearn.neighbors",
    "sklearn.neural_network",
    "sklearn.pipeline",
    "sklearn.svm",
)
for _name in USED_BY_MODELS:
    importlib.import_module(_name)
# The results of both are kept, and each sandbox would look for them again: 30 ms of CPU time.
importlib.import_module("sklearn.utils").check_array([[0.0]])  # narwhals lists its plugins
limit_to_one_thread()
rehearsal.content()  # once, and not in each sandbox that rehearses

type Body = Mapping[str, Any]
type Answer = tuple[dict[str, Any], pa.Table | None]


class Host:
    """The one model of this process."""

    def __init__(self) -> None:
        self._loaded: LoadedModel | None = None
        self._route: Route | None = None
        self._predictor: Predictor | None = None

    def load(self, body: Body, content: Any) -> Answer:
        """Load the model whose file is `content`."""
        limit_to_one_thread()
        self._loaded = self._route = self._predictor = None
        name, max_bytes = body["name"], body["max_bytes"]
        if body.get("loader") == "any":
            loaded = load_any(content, name, max_bytes)
        else:
            trusted = tuple(body["trusted"])
            loaded = load_model(content, name, trusted=trusted, max_bytes=max_bytes)
        check_release(loaded)
        self._loaded = loaded
        return {
            "warnings": list(loaded.warnings),
            "version_mismatch": loaded.version_mismatch,
            "sklearn_version": loaded.sklearn_version,
        }, None

    def saved_with(self, body: Body, content: Any) -> Answer:
        """Return which scikit-learn saved a model that does not load."""
        return {"sklearn_version": sklearn_version(content, body["max_bytes"])}, None

    def judge(self, body: Body, _: Any) -> Answer:
        """Return the verdict on the model."""
        verdict = judge(self.loaded, _metadata(body))
        answer = {"status": verdict.status, "reason": verdict.reason}
        return answer | {"golden_rows": verdict.golden_rows}, None

    def describe(self, body: Body, _: Any) -> Answer:
        """Return the model's description."""
        return describe(self.loaded.model, body["predictions"], body["types"]).to_dict(), None

    def outputs(self, body: Body, _: Any) -> Answer:
        """Return what each method gives a row."""
        values = output_values(self.loaded.model, body["methods"], body["names"])
        return {method: [asdict(v) for v in some] for method, some in values.items()}, None

    def parameters(self, _: Body, __: Any) -> Answer:
        """Return the estimator's parameters."""
        return {"parameters": parameters_of(self.loaded.model)}, None

    def contents(self, _: Body, __: Any) -> Answer:
        """Return the names that the model's pickle uses, each with what admits it."""
        return {"names": [[name, *admitted_by(name)] for name in self.loaded.names]}, None

    def route(self, body: Body, _: Any) -> Answer:
        """Check that the model answers, and choose how rows reach it."""
        model, metadata = self.loaded.model, _metadata(body)
        features, methods = _features(body), list(body["methods"])
        check_answers(model, features, methods, metadata, body["series"])
        self._route = choose(model, features, methods, metadata, body["series"])
        return {"path": self._route.path}, None

    def prepare(self, body: Body, _: Any) -> Answer:
        """Prepare predictions by a spec; the route that was chosen here is kept."""
        spec = PredictionSpec.from_dict(body)
        self._predictor = Predictor(self.loaded.model, spec, self._route)
        rows = rows_at_once(self.loaded.model)
        return {"path": self._predictor.path, "rows_at_once": rows}, None

    def predict(self, body: Body, rows: Any) -> Answer:
        """Return the predictions for a table of rows."""
        import pyarrow as pa

        assert self._predictor is not None
        predictions = pa.table(self._predictor.predict(rows), schema=self._predictor.spec.schema)
        return {"path": self._predictor.path}, predictions

    def valid_rows(self, body: Body, _: Any) -> Answer:
        """Return rows that the model should be able to answer."""
        return {}, valid_rows(self.loaded.model, _features(body))

    def rehearse(self, _: Body, __: Any) -> Answer:
        """Answer the questions of a run for a model of our own, and forget it."""
        features = [feature.to_dict() for feature in rehearsal.FEATURES]
        methods = list(rehearsal.METHODS)
        body = {"features": features, "methods": methods, "metadata": {}, "series": False}
        other = Host()
        loading = {"name": "rehearsal", "trusted": (), "max_bytes": 2**20}
        other.load(loading, rehearsal.content())
        other.judge(body, None)
        other.describe({"predictions": 1, "types": ()}, None)
        path = other.route(body, None)[0]["path"]
        outputs = {method: (method,) for method in methods}
        types = dict.fromkeys(methods, "FLOAT64")
        spec = PredictionSpec(rehearsal.FEATURES, outputs, types, path)
        other.prepare(spec.to_dict(), None)
        other.predict({}, other.valid_rows(body, None)[1])
        return {}, None

    @property
    def loaded(self) -> LoadedModel:
        """The model; a question before `load` is the requester's mistake."""
        assert self._loaded is not None
        return self._loaded


def _metadata(body: Body) -> ModelMetadata:
    return ModelMetadata.from_document(body["metadata"])


def _features(body: Body) -> tuple[Feature, ...]:
    return Signature.from_dict({"features": body["features"]}).features


_host = Host()
HANDLERS = {
    "load": _host.load,
    "saved_with": _host.saved_with,
    "judge": _host.judge,
    "describe": _host.describe,
    "outputs": _host.outputs,
    "parameters": _host.parameters,
    "contents": _host.contents,
    "route": _host.route,
    "prepare": _host.prepare,
    "predict": _host.predict,
    "valid_rows": _host.valid_rows,
    "rehearse": _host.rehearse,
}
