"""Judge models that have just been uploaded, each in a sandbox of its own.

A model's file may be anything: too large, made to be slow, made to be harmful. Its sandbox loads it
(by the allow-list, or any code where the settings say so) and replays its golden rows.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from mlsys.artifact.metadata import ModelMetadata
from mlsys.errors import ModelUnusable, TryAgain
from mlsys.settings.reading import MAX_MODEL_BYTES
from workers.inference.verdict import Verdict
from workers.sandbox.client import SECONDS, ModelFile, SandboxedModel, saved_with, tried_twice
from workers.sandbox.died import SandboxDied

WAIT_SECONDS = 200.0  # for the verdicts on others, below the 600 in which a push must be answered
REMEMBERED = 1000  # verdicts


class Verifier:
    """The verdicts of this process. Safe to share by threads."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._known: OrderedDict[Any, Verdict] = OrderedDict()

    def verdict(
        self,
        key: Any,
        fetch: Callable[[], bytes],
        document: Mapping[str, Any],
        trusted: tuple[str, ...] = (),
        max_bytes: int = MAX_MODEL_BYTES,
        loader: str = "listed",
    ) -> Verdict:
        """Return the verdict on the model that `fetch` gives, with its metadata's document.

        `key` identifies both; a verdict that was given for it is given again. Models are fetched
        and judged one at a time.

        Raises:
            TryAgain: others took too long, or a sandbox does not start.
            Exception: what `fetch` raises.
        """
        if (known := self._known.get(key)) is not None:
            return known
        if not self._lock.acquire(timeout=WAIT_SECONDS):
            raise TryAgain("Other models are still being verified")
        try:
            if (known := self._known.get(key)) is not None:
                return known
            file = ModelFile(fetch(), "model.pkl", trusted, max_bytes, loader)
            verdict = self._judge(file, ModelMetadata.from_document(document))
            self._known[key] = verdict
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            return verdict
        finally:
            self._lock.release()

    def _judge(self, file: ModelFile, metadata: ModelMetadata) -> Verdict:
        def judged() -> Verdict:
            with SandboxedModel(file, self._seconds) as model:
                return model.judge(metadata)

        try:
            return tried_twice(judged)
        except SandboxDied as exc:
            return Verdict("rejected", ended(exc), crashed=exc.detail)
        except ModelUnusable as exc:
            return Verdict("rejected", str(exc), saved_with(file))


def ended(death: SandboxDied) -> str:
    """Return why a model is rejected that ended its sandbox."""
    return (
        f"loading it and replaying its golden rows ended the process that holds it: {death.detail}"
    )
