"""The limit: `model.predict` alone, over frames that are already in memory, in one process."""

import joblib

from benchmarks.peers.local import FEATURES, MODEL, read_all, turn

ROWS = 65_536  # per call: near the fastest for every model

model = joblib.load(MODEL)
df = read_all().to_pandas()[FEATURES.split(",")]
frames = [df.iloc[start : start + ROWS].copy() for start in range(0, len(df), ROWS)]
turn(lambda: sum(len(model.predict(frame)) for frame in frames))
