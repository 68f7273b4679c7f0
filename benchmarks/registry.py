"""The registry: the time from an upload to its row, and a rescan of unchanged models."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import requests
from sklearn.linear_model import LinearRegression

from benchmarks.processes import cpu_seconds, emulator_processes
from mlsys.artifact.pickling import pickled
from mlsys.artifact.refs import ModelRef
from mlsys.gcs import gcs_put_pickle
from mlsys.local.stack import LocalStack
from mlsys.local.topics import push_subscriptions
from mlsys.registry.row import registered
from workers.registry.rows import list_objects, read_row
from workers.registry.table import in_statements, replace

EVENTS, MODELS = 20, 10_000
POLL = 0.02  # seconds
AT_ONCE = 16  # uploads
PATIENCE = 120.0  # seconds for a row


def measured(stack: LocalStack, repeat: int) -> str:
    """Measure both, and return them as sentences."""
    clock, cpu = event_to_row(stack, EVENTS)
    seconds = rescan(stack, MODELS, repeat)
    return (
        f"From the end of a model's upload until a query shows its row: {clock:.2f} s (median of "
        f"{EVENTS}). Meanwhile the local servers took {cpu:.2f} CPU s, including the queries that "
        f"look for the row.\n"
        f"A rescan of {MODELS:,} unchanged models: {seconds:.2f} s (median of {repeat})."
    )


def event_to_row(stack: LocalStack, times: int) -> tuple[float, float]:
    """Return the seconds from the end of an upload to its row, and the local servers' CPU seconds.

    Both are medians. The CPU seconds include the queries that look for the row.

    Raises:
        TimeoutError: the row did not appear.
    """
    rounds = []
    for i in range(1, times + 2):
        ref = ModelRef("bench-event", f"v{i}")
        gcs_put_pickle(_model(), stack.settings.models_bucket("dev"), ref.path)
        began, before = time.monotonic(), cpu_seconds(emulator_processes())
        while registered(stack.clients, "dev", ref) is None:
            if time.monotonic() - began > PATIENCE:
                raise TimeoutError(f"{ref} was not registered in {PATIENCE:.0f} seconds")
            time.sleep(POLL)
        rounds.append((time.monotonic() - began, cpu_seconds(emulator_processes()) - before))
    clock, cpu = zip(*rounds[1:], strict=True)  # the first one includes the service's imports
    return statistics.median(clock), statistics.median(cpu)


def rescan(stack: LocalStack, models: int, repeat: int) -> float:
    """Return the median seconds of `GET /model-registry` over `models` recorded models.

    The rows are written directly, without verifying the models: only the rescan is measured.
    """
    bucket = stack.clients.storage.bucket(stack.settings.models_bucket("dev"))
    content = pickled(_model())

    def put(i: int) -> None:
        bucket.blob(f"bench-many-{i:05}/v1/model.pkl").upload_from_string(content, timeout=300)

    with _unannounced(stack), ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(put, range(models)))
        objects, _ = list_objects(stack.clients, "dev", "bench-many-")
        rows = ((key, read_row(stack.settings, "dev", objects[key])) for key in sorted(objects))
        for changes in in_statements(rows, "rescan"):
            replace(stack.clients, "dev", changes)
    seconds = []
    for _ in range(repeat):
        began = time.monotonic()
        answer = requests.get(f"{stack.url}/model-registry?env=dev", timeout=3600)
        seconds.append(time.monotonic() - began)
        answer.raise_for_status()
        counts = answer.json()
        assert counts["unchanged"] >= models, counts
        assert counts["registered"] == counts["updated"] == 0, counts
    return statistics.median(seconds)


def _model() -> LinearRegression:
    X = pd.DataFrame({"a": np.linspace(0, 1, 10)})
    return LinearRegression().fit(X, X["a"])


@contextlib.contextmanager
def _unannounced(stack: LocalStack) -> Iterator[None]:
    """Suspend the push subscription of uploads for the block."""
    assert stack.url is not None
    events, _ = push_subscriptions("dev", stack.url)
    stack.pubsub.wait_until_quiet(60)
    stack.pubsub.delete_subscription(events.name)
    yield
    stack.pubsub.wait_until_quiet(600)
    stack.pubsub.create_subscription(events)
