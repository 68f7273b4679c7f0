"""The whole-table way of a notebook: read a DataFrame, predict, load the DataFrame."""

import joblib

from benchmarks.peers.local import MODEL, load, predicted, read_all, turn

model = joblib.load(MODEL)
turn(lambda: load(predicted(model, read_all().to_pandas())))
