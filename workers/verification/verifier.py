"""Judge models that have just been uploaded, each in a sandbox of its own.

A model's file may be anything: too large, made to be slow, made to be harmful. Its sandbox loads it
(by the allow-list, or any code where the settings say so) and replays its golden rows.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakValueDictionary

from mlsys.artifact.metadata import ModelMetadata
from mlsys.errors import ModelUnusable, TryAgain
from mlsys.settings.reading import MAX_MODEL_BYTES
from workers import admission
from workers.inference.verdict import Verdict
from workers.sandbox.client import SECONDS, ModelFile, SandboxedModel, saved_with, tried_twice
from workers.sandbox.died import SandboxDied

WAIT_SECONDS = 200.0  # for the verdicts on others, below the 600 in which a push must be answered
REMEMBERED = 1000  # verdicts
AT_ONCE = 2  # models: one that never ends delays no other one


class Verifier:
    """The verdicts of this process. Safe to share by threads."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._judging = threading.BoundedSemaphore(AT_ONCE)
        self._lock = threading.Lock()  # for the verdicts
        self._known: OrderedDict[Any, Verdict] = OrderedDict()
        self._of_model: WeakValueDictionary[Any, Any] = WeakValueDictionary()

    def verdict(
        self,
        key: Any,
        fetch: Callable[[], bytes],
        document: Mapping[str, Any],
        trusted: tuple[str, ...] = (),
        max_bytes: int = MAX_MODEL_BYTES,
        loader: str = "listed",
        *,
        again: bool = False,
    ) -> Verdict:
        """Return the verdict on the model that `fetch` gives, with its metadata's document.

        `key` identifies both; a verdict that was given for it is given again, unless the model is
        to be judged `again`. At most `AT_ONCE` models are fetched and judged at the same time.

        Raises:
            TryAgain: others took too long, or a sandbox does not start.
            Exception: what `fetch` raises.
        """
        if not again and (known := self._known_verdict(key)) is not None:
            return known
        if not self._judging.acquire(timeout=WAIT_SECONDS):
            raise TryAgain("Other models are still being verified")
        try:
            with self._one(key):
                if not again and (known := self._known_verdict(key)) is not None:
                    return known
                file = ModelFile(fetch(), "model.pkl", trusted, max_bytes, loader)
                verdict = self._judge(key, file, ModelMetadata.from_document(document))
                with self._lock:
                    self._known[key] = verdict
                    while len(self._known) > REMEMBERED:
                        self._known.popitem(last=False)
                return verdict
        finally:
            self._judging.release()

    def _known_verdict(self, key: Any) -> Verdict | None:
        with self._lock:
            return self._known.get(key)

    @contextmanager
    def _one(self, key: Any) -> Iterator[None]:
        """Let one thread judge the model; the others that are given it wait for the verdict."""
        with self._lock:
            lock = self._of_model.setdefault(key, threading.Lock())
        with lock:
            yield

    def _judge(self, key: Any, file: ModelFile, metadata: ModelMetadata) -> Verdict:
        def judged() -> Verdict:
            with SandboxedModel(file, self._seconds) as model:
                admission.measured(key[:2], len(file.content), model.sandbox.pid)
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
