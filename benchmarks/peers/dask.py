"""Dask: one partition per stream, predicted by threads."""

import os

import dask.dataframe as dd
import joblib
import pandas as pd
import pyarrow as pa

from benchmarks.peers.local import MODEL, load, predicted, read_stream, streams, turn

model = joblib.load(MODEL)


def score(stream: str) -> pd.DataFrame:
    """Return the predictions of one stream."""
    return predicted(model, pa.concat_tables(read_stream(stream)).to_pandas())


def work() -> int:
    """Read and predict by partitions, and load the result."""
    names = streams(4 * (os.cpu_count() or 1))
    partitions = dd.from_map(score, names, meta={"id": "int64", "prediction": "float64"})
    return load(partitions.compute(scheduler="threads"))


turn(work)
