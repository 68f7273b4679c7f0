"""MLflow: a pyfunc model that predicts the table message by message."""

import tempfile

import joblib
import mlflow
import pandas as pd

from benchmarks.peers.local import MODEL, load, predicted, read_stream, streams, turn

with tempfile.TemporaryDirectory() as folder:
    mlflow.sklearn.save_model(
        joblib.load(MODEL),
        folder,
        serialization_format="cloudpickle",
        pip_requirements=["scikit-learn"],  # else it starts a process to find out
    )
    model = mlflow.pyfunc.load_model(folder)


def work() -> int:
    """Read, predict, load."""
    parts = [
        predicted(model, rows.to_pandas()) for stream in streams(1) for rows in read_stream(stream)
    ]
    return load(pd.concat(parts, ignore_index=True))


turn(work)
