"""What the pickle of a model version is made of: its names, and what admits each."""

from __future__ import annotations

from typing import Any

from mlsys.artifact.refs import ModelRef
from mlsys.cloud.clients import Clients
from mlsys.errors import ModelUnusable, bounded
from workers.verification.opened import opened


def contents_of(
    clients: Clients, env: str, ref: ModelRef, *, generation: int, size: int | None
) -> dict[str, Any]:
    """Return the names that a pickle uses, or `fault`: why the model cannot be opened.

    Raises:
        ModelNotFound, TooManyRuns, TryAgain: see `opened`.
    """
    try:
        with opened(clients, env, ref, generation, size=size) as model:
            names = model.contents()
    except ModelUnusable as exc:
        return {"names": [], "fault": bounded(str(exc))}
    kept = ("name", "line", "rule")
    return {"names": [dict(zip(kept, each, strict=True)) for each in names], "fault": None}
