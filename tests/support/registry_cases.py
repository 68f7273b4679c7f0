"""Helpers for tests of the registry: unique model names, and their rows and objects."""

import contextlib
import http.client
import random
import uuid
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
from google.cloud import bigquery
from google.cloud.storage import Blob
from sklearn.linear_model import LinearRegression

from mlsys.cloud.clients import Clients, bigquery_retry
from mlsys.gcs import gcs_put, gcs_put_pickle
from mlsys.local.push import Message, envelope
from mlsys.local.stack import LocalStack
from mlsys.local.topics import model_events
from mlsys.models import ModelRef
from workers.registry.sync import rescan
from workers.registry.table import list_models

X = pd.DataFrame({"height": [1.0, 2.0, 4.0, 7.0], "weight": [3.0, 1.0, 2.0, 5.0]})
TOPIC = model_events("dev")
Version = tuple[str, int, int | None]  # version, generation, generation of metadata.json


def fitted(slope: float = 1.0) -> LinearRegression:
    """Return a small model; another slope gives another file."""
    return LinearRegression().fit(X, slope * X["height"] + np.arange(4))


class ModelCase:
    """A unique model name in the stack's dev bucket and registry."""

    def __init__(self, stack: LocalStack, name: str) -> None:
        self.stack = stack
        self.clients: Clients = stack.clients
        self.name = name
        self.bucket = stack.settings.models_bucket("dev")

    def ref(self, version: str = "v1") -> ModelRef:
        return ModelRef(self.name, version)

    def upload(self, slope: float = 1.0, version: str = "v1") -> Blob:
        """Upload a model as a notebook does, and return the object."""
        gcs_put_pickle(fitted(slope), self.bucket, self.ref(version).path)
        blob = self.blob(version)
        assert blob is not None
        return blob

    def put(self, content: bytes | str, path: str) -> None:
        """Write an object under the model's name, for instance at `v1/metadata.json`."""
        gcs_put(content, self.bucket, f"{self.name}/{path}")

    def delete(self, path: str = "v1/model.pkl") -> None:
        self.clients.storage.bucket(self.bucket).blob(f"{self.name}/{path}").delete(timeout=10)

    def blob(self, version: str = "v1", file: str = "model.pkl") -> Blob | None:
        bucket = self.clients.storage.bucket(self.bucket)
        return bucket.get_blob(f"{self.name}/{version}/{file}", timeout=10)

    def paths(self) -> list[str]:
        """Return the bucket's paths under the model's name, for instance `v1/metadata.json`."""
        blobs = self.clients.storage.list_blobs(self.bucket, prefix=f"{self.name}/", timeout=10)
        return [blob.name.removeprefix(f"{self.name}/") for blob in blobs]

    def settle(self) -> None:
        """Wait until every notification has been delivered."""
        self.stack.pubsub.wait_until_quiet(60)

    def rows(self) -> list[dict[str, Any]]:
        """Return the registry's rows of this name, newest version first."""
        rows, _ = list_models(self.clients, "dev", model_name=self.name, metadata=True)
        return [row for row in rows if row["model_name"] == self.name]

    def row(self) -> dict[str, Any]:
        """Return the only row of this name, once every notification has been delivered."""
        self.settle()
        [row] = self.rows()
        return row

    def registered(self) -> list[Version]:
        """Return the registry's versions, row by row: a duplicate row appears twice."""
        keys = ("model_version", "generation", "metadata_generation")
        return sorted(tuple(row[key] for key in keys) for row in self.rows())

    def stored(self) -> list[Version]:
        """Return the bucket's versions, in the same form."""
        blobs = self.clients.storage.list_blobs(self.bucket, prefix=f"{self.name}/", timeout=10)
        found = {blob.name.removeprefix(f"{self.name}/"): blob.generation for blob in blobs}
        versions = [path.split("/")[0] for path in found if path.endswith("/model.pkl")]
        return sorted(
            (v, found[f"{v}/model.pkl"], found.get(f"{v}/metadata.json")) for v in versions
        )

    def sql(self, statement: str) -> None:
        """Run a statement on the environment's dataset; `@name` is the model's name."""
        config = bigquery.QueryJobConfig(
            default_dataset=self.stack.settings.dataset("dev"),
            query_parameters=[bigquery.ScalarQueryParameter("name", "STRING", self.name)],
        )
        job = self.clients.bigquery.query(
            statement, job_config=config, timeout=30, retry=bigquery_retry()
        )
        job.result(timeout=30, retry=bigquery_retry())

    def events(self) -> list[Message]:
        """Return this name's notifications so far, oldest first."""
        return [
            message
            for message in self.stack.pubsub.messages(TOPIC)
            if message.attributes.get("objectId", "").startswith(f"{self.name}/")
        ]


@contextlib.contextmanager
def model_case(stack: LocalStack, prefix: str) -> Iterator[ModelCase]:
    """Yield a fresh model name, and delete its objects and rows afterwards."""
    case = ModelCase(stack, f"{prefix}-{uuid.uuid4().hex[:8]}")
    try:
        yield case
    finally:
        blobs = case.clients.storage.list_blobs(case.bucket, prefix=f"{case.name}/", timeout=10)
        for blob in list(blobs):
            blob.delete(timeout=10)
        case.settle()
        case.sql("DELETE FROM model_registry WHERE model_name = @name")


@contextlib.contextmanager
def notifications_lost(stack: LocalStack) -> Iterator[None]:
    """Drop every notification during the block, before it reaches the service."""
    events = stack.pubsub.subscription(TOPIC)
    assert events is not None
    stack.pubsub.wait_until_quiet(60)
    stack.pubsub.delete_subscription(events.name)
    try:
        yield
        stack.pubsub.wait_until_quiet(60)
    finally:
        stack.pubsub.create_subscription(events)


def settled_rescan(clients: Clients) -> int:
    """Bring the shared registry up to date, and return the number of model versions."""
    rescan(clients, "dev")
    result = rescan(clients, "dev")
    assert (result.registered, result.updated, result.removed) == (0, 0, 0)
    return result.unchanged


def push(stack: LocalStack, message: Message, url: str | None = None) -> int:
    """Push a message once, as its subscription does, and return the answer's status.

    It goes to the stack's service, or to another one at `url`.
    """
    address = urlsplit(url or stack.url or "")
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=120)
    try:
        name = f"projects/{stack.settings.project}/subscriptions/{TOPIC}"
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/events/storage", envelope(message, name, 1), headers)
        return connection.getresponse().status
    finally:
        connection.close()


def shuffled(messages: Iterable[Message], times: int, seed: int) -> list[Message]:
    """Return each message `times` times, in an order that the seed decides."""
    copies = [message for message in messages for _ in range(times)]
    random.Random(seed).shuffle(copies)
    return copies
