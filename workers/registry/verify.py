"""Add the verdict on its model to a row of the registry."""

from __future__ import annotations

import functools
from dataclasses import replace

from mlsys.artifact.refs import ModelRef
from mlsys.cloud.clients import Clients
from mlsys.errors import ModelNotFound, ModelUnusable
from workers import admission, machine
from workers.inference.verdict import Verdict, short
from workers.registry.rows import ModelRow
from workers.verification.crashes import remember_crash
from workers.verification.verifier import WAIT_SECONDS, Verifier
from workers.verification.version import read_model


@functools.cache
def verifier() -> Verifier:
    """Return the verifier of this process."""
    return Verifier()


def verify_row(clients: Clients, row: ModelRow | None) -> ModelRow | None:
    """Return the registry's row with the verdict on its model.

    A model that was replaced or deleted in the meantime keeps its row: the next look sees it.

    Raises:
        TryAgain: the object arrived damaged, or the verifier is busy.
    """
    if row is None:
        return None
    try:
        verdict = judge(clients, row)
    except ModelNotFound:
        return row
    reasons = [r for r in (verdict.reason, row.status_reason) if r]
    return replace(
        row,
        status="rejected" if row.status == "rejected" else verdict.status,
        status_reason=short("; ".join(reasons) or None),
        sklearn_version=row.sklearn_version or verdict.sklearn_version,
    )


def judge(clients: Clients, row: ModelRow, *, again: bool = False) -> Verdict:
    """Return the verdict on exactly the row's generation of a model.

    One that this process has given is given again, unless the sandbox is to be asked `again`.

    Raises:
        ModelNotFound: that generation was replaced or deleted.
        TryAgain: the object arrived damaged, or the verifier is busy.
    """
    settings = clients.settings
    bucket = row.gcs_uri.removeprefix("gs://").split("/", 1)[0]
    ref = ModelRef(row.model_name, row.model_version)

    def fetch() -> bytes:
        return read_model(clients, bucket, ref, row.generation, size=row.size_bytes)

    try:
        with admission.admitted(None, waits=WAIT_SECONDS, is_run=False):
            verdict = verifier().verdict(
                row.identity,
                fetch,
                row.metadata or {},
                settings.trusted_globals,
                machine.max_model_bytes(settings.max_model_bytes),
                settings.models,
                again=again,
            )
    except ModelUnusable as exc:
        verdict = Verdict("rejected", str(exc))
    if verdict.crashed is not None:
        env = settings.env_of_models_bucket(bucket)
        assert env is not None  # the row is of one of the service's buckets
        remember_crash(clients, env, ref, row.generation, settings.models, verdict.crashed)
    return verdict
