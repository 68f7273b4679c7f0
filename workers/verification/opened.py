"""Open a model version of the registry in a sandbox, to ask it something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlsys.artifact.refs import ModelRef
from mlsys.cloud.clients import Clients
from workers import admission, machine
from workers.sandbox.client import ModelFile, SandboxedModel
from workers.verification.version import read_model


@contextmanager
def opened(
    clients: Clients, env: str, ref: ModelRef, generation: int, *, size: int | None
) -> Iterator[SandboxedModel]:
    """Load the model of that generation in a sandbox, which ends with the block.

    Raises:
        ModelNotFound, ModelUnusable, TooManyRuns, TryAgain: see `read_model`, `SandboxedModel`.
        SandboxDied: loading it ended the sandbox.
    """
    settings = clients.settings
    with admission.admitted(settings.max_runs):
        bucket = settings.models_bucket(env)
        content = read_model(clients, bucket, ref, generation, size=size)
        most = machine.max_model_bytes(settings.max_model_bytes)
        file = ModelFile(content, ref.path, settings.trusted_globals, most, settings.models)
        with SandboxedModel(file) as model:
            yield model
