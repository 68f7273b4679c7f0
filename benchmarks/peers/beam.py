"""Apache Beam: streams are read and predicted by RunInference, on a thread a core.

scikit-learn's handler for pandas takes DataFrames of a single row alone, so the other one is given
whole ones. The runner is the one in Python: DirectRunner would first fetch another, in Go.
"""

import os
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import pandas as pd
import pyarrow as pa
from apache_beam.ml.inference.base import RunInference
from apache_beam.ml.inference.sklearn_inference import ModelFileType, SklearnModelHandlerNumpy
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from benchmarks.peers.local import (
    MODEL,
    OUTPUT,
    client,
    load,
    predicted,
    read_stream,
    streams,
    turn,
)

CORES = os.cpu_count() or 1


def read(stream: str) -> pd.DataFrame:
    """The rows of a stream."""
    return pa.concat_tables(read_stream(stream)).to_pandas()


def predict(model: Any, batch: Sequence[pd.DataFrame], _: object = None) -> list[pd.DataFrame]:
    """The predictions of each DataFrame."""
    return [predicted(model, df) for df in batch]


handler = SklearnModelHandlerNumpy(
    MODEL, ModelFileType.JOBLIB, inference_fn=predict, max_batch_size=1
)


def work() -> int:
    """Read and predict by Beam, and load what comes of it."""
    options = PipelineOptions(direct_running_mode="multi_threading", direct_num_workers=CORES)
    with beam.Pipeline(runner=FnApiRunner(), options=options) as pipeline:
        (
            pipeline
            | beam.Create(streams(4 * CORES))
            | "read" >> beam.Map(read)
            | RunInference(handler)
            | "predictions" >> beam.Map(lambda result: result.inference)
            | beam.combiners.ToList()
            | "load" >> beam.Map(lambda parts: load(pd.concat(parts)))
        )
    return client().get_table(OUTPUT).num_rows


handler.load_model()  # each run does so again, but imports scikit-learn no more
turn(work)
