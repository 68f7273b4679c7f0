"""Ray Data: tasks read streams, and actors that hold the model predict them."""

import logging
import os
from collections.abc import Iterator

import joblib
import pandas as pd
import pyarrow as pa
import ray

from benchmarks.peers.local import MODEL, load, predicted, read_stream, streams, turn

CORES = os.cpu_count() or 1


class Predictor:
    """An actor that holds the model."""

    def __init__(self) -> None:
        self.model = joblib.load(MODEL)

    def __call__(self, rows: pa.Table) -> pd.DataFrame:
        """Predict a batch."""
        return predicted(self.model, rows.to_pandas())  # Ray's own columns hold pandas.NA


def read(batch: pd.DataFrame) -> Iterator[pa.Table]:
    """Yield the rows of the streams that the batch names."""
    for stream in batch["stream"]:
        yield from read_stream(stream)


def work() -> int:
    """Read and predict by Ray, and load the result."""
    names = streams(4 * CORES)
    rows = ray.data.from_items([{"stream": s} for s in names], override_num_blocks=len(names))
    rows = rows.map_batches(read, batch_format="pandas", batch_size=1, num_cpus=0.5)
    rows = rows.map_batches(
        Predictor, batch_format="pyarrow", batch_size=65_536, concurrency=CORES, num_cpus=0.5
    )
    return load(rows.to_pandas())


ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
ray.data.DataContext.get_current().enable_progress_bars = False
turn(work)
