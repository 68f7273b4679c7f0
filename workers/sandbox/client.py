"""A model in a sandbox: what planning, verification and scoring ask it.

Whatever the sandbox answers is read as if a stranger had written it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from mlsys.artifact.metadata import ModelMetadata
from mlsys.artifact.parameters import MAX_PARAMETERS
from mlsys.columns.arrow_types import arrow_type
from mlsys.columns.features import Feature
from mlsys.errors import MlsysError, TryAgain
from workers.inference.description import Description, Value, parse_values
from workers.inference.predictor import PredictionSpec
from workers.inference.trial import valid_row_count
from workers.inference.verdict import Verdict, short
from workers.sandbox.died import SandboxDied
from workers.sandbox.predictions import SandboxedPredictor, path_of
from workers.sandbox.process import Answer
from workers.sandbox.start import ModelFile, start
from workers.sandbox.tables import Expected

if TYPE_CHECKING:
    import pyarrow as pa

SECONDS = 60.0  # for loading a model, or one question about it
MAX_WARNINGS = 50
MAX_NAMES = 2_000  # of a pickle
MAX_RELEASE = 100  # characters


def saved_with(file: ModelFile) -> str | None:
    """Return which scikit-learn saved a model that need not load, as far as its file says."""
    try:
        with contextlib.closing(start(file)) as sandbox:
            body = {"max_bytes": file.max_bytes}
            answer = sandbox.call("saved_with", body, content=file.content, seconds=SECONDS)
    except MlsysError:
        return None
    release = answer.body.get("sklearn_version")
    return release[:MAX_RELEASE] if isinstance(release, str) else None


def tried_twice[T](work: Callable[[], T]) -> T:
    """Return what `work` returns. Call it again if its sandbox lacked time or memory.

    The machine may have been busy with something else.

    Raises:
        SandboxDied: the sandbox ended for another reason, or lacked them again.
    """
    try:
        return work()
    except SandboxDied as exc:
        if exc.cause not in ("over time", "over memory"):
            raise
    return work()


class SandboxedModel:
    """A model that was loaded in a sandbox of its own, which ends with `close`.

    Every method may raise `SandboxDied`, which says that the model is at fault, and `TryAgain`,
    which says that the sandbox ended for another reason. After either no other one can be asked.
    """

    def __init__(self, file: ModelFile, seconds: float = SECONDS) -> None:
        """Load the model.

        Raises:
            ModelUnusable: it cannot be loaded, or not be used with this scikit-learn.
            SandboxDied: loading it ended the sandbox.
            TryAgain: the system has no process or memory left for a sandbox.
        """
        self.sandbox = start(file)
        self._seconds = seconds
        body = {
            "name": file.name,
            "trusted": list(file.trusted),
            "max_bytes": file.max_bytes,
            "loader": file.loader,
        }

        def read(answer: Mapping[str, Any]) -> None:
            self.warnings = _texts(answer.get("warnings"))
            self.version_mismatch = _text(answer.get("version_mismatch"))
            self.sklearn_version = _text(answer.get("sklearn_version"))

        try:
            self._read("load", body, read, content=file.content)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the sandbox."""
        self.sandbox.close()

    @property
    def alive(self) -> bool:
        """Whether the sandbox can be asked."""
        return self.sandbox.alive

    def judge(self, metadata: ModelMetadata) -> Verdict:
        """Return the verdict on the model: see `workers.inference.verdict.judge`."""

        def read(answer: Mapping[str, Any]) -> Verdict:
            status, golden_rows = answer.get("status"), answer.get("golden_rows")
            if status not in ("ready", "rejected") or type(golden_rows) is not int:
                raise ValueError("status")
            return Verdict(
                status,
                _text(answer.get("reason")),
                self.sklearn_version,
                golden_rows=max(0, golden_rows),
            )

        return self._read("judge", {"metadata": dict(metadata.document)}, read)

    def describe(self, metadata: ModelMetadata) -> Description:
        """Return what planning needs to know of the model."""
        predictions = metadata.outputs or len(metadata.target)
        body = {"predictions": predictions, "types": list(metadata.output_types)}
        return self._read("describe", body, Description.parse)

    def parameters(self) -> dict[str, str]:
        """Return the estimator's parameters as texts: see `mlsys.artifact.parameters`."""

        def read(answer: Mapping[str, Any]) -> dict[str, str]:
            given = answer.get("parameters")
            if not isinstance(given, dict) or len(given) > MAX_PARAMETERS:
                raise ValueError("parameters")
            return {str(short(name)): _text(value) or "" for name, value in given.items()}

        return self._read("parameters", {}, read)

    def contents(self) -> list[tuple[str, str, str]]:
        """Return the first names that the pickle uses, each with what admits it, and a rule."""

        def read(answer: Mapping[str, Any]) -> list[tuple[str, str, str]]:
            given = answer.get("names")
            if not isinstance(given, list):
                raise ValueError("names")
            return [_three_texts(each) for each in given[:MAX_NAMES]]

        return self._read("contents", {}, read)

    def output_values(self, methods: Sequence[str], names: Sequence[str]) -> dict[str, list[Value]]:
        """Return what each method gives a row: see `workers.inference.description`."""
        body = {"methods": list(methods), "names": list(names)}
        return self._read("outputs", body, lambda answer: parse_values(answer, methods))

    def choose_route(
        self,
        features: Sequence[Feature],
        methods: Sequence[str],
        metadata: ModelMetadata,
        series: bool,
    ) -> str:
        """Check that the model answers, and return the path that rows take to it."""
        body = {
            "features": [f.to_dict() for f in features],
            "methods": list(methods),
            "metadata": dict(metadata.document),
            "series": series,
        }
        return path_of(self.sandbox, self.ask("route", body))

    def predictor(self, spec: PredictionSpec) -> SandboxedPredictor:
        """Return what gives the model's predictions for rows."""
        return SandboxedPredictor(self.sandbox, self.ask, spec)

    def valid_rows(self, features: Sequence[Feature]) -> pa.Table:
        """Return rows that the model should be able to answer."""
        import pyarrow as pa

        schema = pa.schema([(f.name, arrow_type(f.type)) for f in features])
        expected = Expected(schema, valid_row_count(features))
        body = {"features": [f.to_dict() for f in features]}
        answer = self.ask("valid_rows", body, expect=expected)
        assert answer.table is not None
        return answer.table

    def ask(self, op: str, body: Mapping[str, Any], **options: Any) -> Answer:
        """Ask the handler `op`; `options` are those of `Sandbox.call`."""
        options.setdefault("seconds", self._seconds)
        try:
            return self.sandbox.call(op, body, **options)
        except SandboxDied as exc:
            if exc.cause in ("closed", "lost"):
                raise TryAgain("The process that holds the model was ended from outside") from exc
            raise

    def _read[T](
        self,
        op: str,
        body: Mapping[str, Any],
        read: Callable[[Mapping[str, Any]], T],
        content: bytes | None = None,
    ) -> T:
        """Ask the handler `op`, and end the sandbox if `read` raises ValueError for the answer."""
        answer = self.ask(op, body, content=content).body
        try:
            return read(answer)
        except ValueError as exc:
            raise self.sandbox.refuse(op) from exc


def _text(value: Any) -> str | None:
    if not (value is None or isinstance(value, str)):
        raise ValueError("a text")
    return short(value)


def _three_texts(values: Any) -> tuple[str, str, str]:
    if not isinstance(values, list) or len(values) != 3:
        raise ValueError("three texts")
    first, second, third = (_text(value) or "" for value in values)
    return first, second, third


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise ValueError("texts")
    return tuple(text for value in values[:MAX_WARNINGS] if (text := _text(value)) is not None)
