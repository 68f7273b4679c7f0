"""Ask a model everything that the service asks, in a sandbox and in this process, and compare."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from in_process import SandboxHere
from mlsys.artifact.metadata import ModelMetadata
from mlsys.columns.features import Feature
from mlsys.columns.frames import from_frame
from mlsys.errors import InvalidRequest, MlsysError
from workers.inference.predictor import PredictionSpec
from workers.sandbox import start
from workers.sandbox.client import ModelFile, SandboxedModel
from workers.sandbox.died import describe, rebuild
from workers.sandbox.process import Answer, Sandbox
from workers.scoring.planning.outputs import written_columns

MAX_BYTES = 2**30
Answers = dict[str, Any]


class Here(SandboxHere):
    """A model in this process, whose errors cross as those of a sandbox do."""

    def call(self, *args: Any, **options: Any) -> Answer:
        try:
            return super().call(*args, **options)
        except Exception as exc:
            error = rebuild(json.loads(json.dumps(describe(exc))))
            raise error from exc

    def refuse(self, part: str) -> Exception:
        return AssertionError(f"{part} has another form")


@dataclass(frozen=True)
class Rows:
    """What a model was fitted on, as a table that BigQuery can hold."""

    features: tuple[Feature, ...]
    table: pa.Table


def rows_of(rows: Any) -> Rows | None:
    """Return what a model was fitted on, or None if no table can hold it."""
    frame = _frame_of(rows)
    if frame is None:
        return None
    try:
        features = tuple(Feature.from_series(name, frame[name]) for name in frame)
        return Rows(features, from_frame(frame))
    except InvalidRequest:
        return None


def _frame_of(rows: Any) -> pd.DataFrame | None:
    if isinstance(rows, pd.DataFrame):
        frame = rows
    elif isinstance(rows, np.ndarray) and rows.ndim <= 2:
        frame = pd.DataFrame(rows.reshape(len(rows), -1))
    elif isinstance(rows, list) and rows and all(isinstance(row, str) for row in rows):
        frame = pd.DataFrame({"text": rows})
    else:
        return None
    return frame.set_axis([str(c) if isinstance(c, str) else f"x{c}" for c in frame], axis=1)


def compare(model: Any, rows: Any, refused: str | None = None) -> int:
    """Check that both sides give the same answers. Return how many outputs they gave.

    `refused` is the text of the refusal to load it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = pickle.dumps(model)
        known = rows_of(rows)
        inside, here = _asked(Sandbox, content, known), _asked(Here, content, known)
    assert inside.keys() == here.keys()
    for name, answer in here.items():
        assert _same(inside[name], answer), f"{name}: {inside[name]} and not {answer}"
    if refused is not None:
        assert refused in inside["load"]
    else:
        assert inside["load"] == "loaded"
    return sum(isinstance(answer, pa.Table) for answer in inside.values())


def _asked(sandbox: Callable[..., Any], content: bytes, rows: Rows | None) -> Answers:
    answers: Answers = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "Sandbox", sandbox)
        file = ModelFile(content, "model.pkl", (), MAX_BYTES)
        try:
            model = SandboxedModel(file)
        except MlsysError as exc:
            return {"load": _sentence(exc)}
        with model:
            answers["load"] = "loaded"
            answers["about it"] = (model.warnings, model.version_mismatch, model.sklearn_version)
            _ask(model, rows, answers)
    return answers


def _ask(model: SandboxedModel, rows: Rows | None, answers: Answers) -> None:
    def ask(name: str, question: Callable[[], Any]) -> Any:
        try:
            answers[name] = question()
        except MlsysError as exc:
            answers[name] = _sentence(exc)
            return None
        return answers[name]

    metadata = ModelMetadata()
    verdict = ask("verdict", lambda: model.judge(metadata))
    description = ask("description", lambda: model.describe(metadata))
    if rows is None or description is None or verdict is None or verdict.status != "ready":
        return
    features = rows.features
    series = description.one_column is not None
    for method in description.methods:
        planned = ask(
            f"columns of {method}",
            lambda m=method: written_columns(description, model.output_values, (), [m]),
        )
        path = ask(
            f"path of {method}",
            lambda m=method: model.choose_route(features, [m], metadata, series),
        )
        if planned is None or path is None:
            continue
        columns, outputs = planned
        names = outputs[method]
        types = {c.name: c.type for c in columns if c.name in names}
        spec = PredictionSpec(features, outputs, types, path, series)
        ask(f"answers of {method}", lambda s=spec: pa.table(model.predictor(s).predict(rows.table)))


def _sentence(exc: MlsysError) -> str:
    return f"{type(exc).__name__}: {exc}"


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, pa.Table) or not isinstance(other, pa.Table):
        return one == other
    return one.schema == other.schema and all(map(_bits, one.columns, other.columns))


def _bits(one: pa.ChunkedArray, other: pa.ChunkedArray) -> bool:
    """Return whether two columns are equal bit for bit, where NaN is any NaN."""
    if not pa.types.is_floating(one.type):
        return one.equals(other)
    if one.is_null().to_pylist() != other.is_null().to_pylist():
        return False
    left, right = one.to_numpy(), other.to_numpy()
    equal = left.view(f"u{left.itemsize}") == right.view(f"u{right.itemsize}")
    return bool((equal | (np.isnan(left) & np.isnan(right))).all())
