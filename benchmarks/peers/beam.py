"""Apache Beam: read streams and predict them by RunInference, one thread per core.

Beam's scikit-learn handler for pandas takes only DataFrames of one row, so the handler for NumPy
gets whole frames. The runner is the Python one, because DirectRunner would first download one in
Go. The predictions go to files, as with Beam's own sinks: when the runner collected them on several
threads, they sometimes came back garbled, as coder errors or as a process that took all memory.
"""

import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pandas as pd
from apache_beam.ml.inference.base import RunInference
from apache_beam.ml.inference.sklearn_inference import ModelFileType, SklearnModelHandlerNumpy
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from benchmarks.peers.local import MODEL, load, predicted, read_stream, streams, turn

CORES = os.cpu_count() or 1


def read(stream: str) -> Iterator[pd.DataFrame]:
    """Yield the rows of a stream, message by message."""
    for rows in read_stream(stream):
        yield rows.to_pandas()


def predict(model: Any, batch: Sequence[pd.DataFrame], _: object = None) -> list[pd.DataFrame]:
    """Return the predictions of each DataFrame."""
    return [predicted(model, df) for df in batch]


handler = SklearnModelHandlerNumpy(
    MODEL, ModelFileType.JOBLIB, inference_fn=predict, max_batch_size=1
)


def write(folder: str, predictions: pd.DataFrame) -> None:
    """Write a file of its own."""
    predictions.to_parquet(Path(folder) / f"{uuid.uuid4()}.parquet")


def work() -> int:
    """Read, predict and write by Beam, and load the result."""
    options = PipelineOptions(direct_running_mode="multi_threading", direct_num_workers=CORES)
    with tempfile.TemporaryDirectory() as folder:
        with beam.Pipeline(runner=FnApiRunner(), options=options) as pipeline:
            (
                pipeline
                | beam.Create(streams(4 * CORES))
                | "read" >> beam.FlatMap(read)
                | RunInference(handler)
                | "write" >> beam.Map(lambda result: write(folder, result.inference))
            )
        return load(pd.concat(map(pd.read_parquet, Path(folder).iterdir())))


handler.load_model()  # a run loads it again, but scikit-learn is imported by then
turn(work)
