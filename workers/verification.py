"""Is a model what it says it is? Found out in a process of its own, within limits.

A model's file may be anything: too large, made to be slow, made to be harmful. So registering a
model loads it (by the allow-list) and replays its golden rows in a child process that has a time
and a memory limit and whose end ends nothing else. The child stays for the next model, since its
imports take seconds, and goes by itself when nobody needs it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, Literal

from mlsys import signing
from mlsys.clients import TIMEOUT, Clients
from mlsys.errors import MetadataInvalid, MlsysError, ModelUnusable, TryAgain
from mlsys.golden import replay
from mlsys.loading import LoadedModel, load_model
from mlsys.metadata import ModelMetadata, version_warnings
from mlsys.refs import ModelRef
from mlsys.settings import MAX_MODEL_BYTES
from workers.registry_rows import ModelRow

log = logging.getLogger(__name__)

SECONDS = 60.0  # for one model, once the process is up
START_SECONDS = 120.0  # for the first one, with its imports on a busy machine
IDLE_SECONDS = 60.0  # after which the process goes
MEMORY = 4 * 2**30  # bytes of data that the process may hold
REMEMBERED = 1000  # verdicts
MAX_SIGNATURE = 1000  # bytes of a model.sig that are looked at

Status = Literal["ready", "rejected"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a model may be used, and what there is to say of it."""

    status: Status
    reason: str | None = None


def judge(loaded: LoadedModel, metadata: ModelMetadata) -> Verdict:
    """Return the verdict on a model that could be loaded, by its golden rows."""
    try:
        different = replay(loaded.model, metadata)
    except MetadataInvalid as exc:
        return Verdict("ready", f"the golden rows were not replayed: {exc}")
    if different is not None:
        return Verdict("rejected", different)
    mismatch = [loaded.version_mismatch] if loaded.version_mismatch else []
    said = dict.fromkeys([*mismatch, *version_warnings(metadata), *loaded.warnings])
    return Verdict("ready", "; ".join(said) or None)


class Verifier:
    """The child process, and the verdicts that it gave. Safe to share by threads."""

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self._seconds = seconds
        self._memory = memory
        self._lock = threading.Lock()
        self._process: Any = None
        self._pipe: Connection | None = None
        self._known: OrderedDict[Any, Verdict] = OrderedDict()

    def verdict(
        self,
        key: Any,
        content: bytes,
        document: Mapping[str, Any],
        trusted: tuple[str, ...] = (),
        max_bytes: int = MAX_MODEL_BYTES,
    ) -> Verdict:
        """Return the verdict on the model in `content` with its metadata's document.

        `key` stands for both; a verdict that was given for it is given again.
        """
        with self._lock:
            if key not in self._known:
                self._known[key] = self._ask(content, dict(document), trusted, max_bytes)
                while len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
            return self._known[key]

    def close(self) -> None:
        """End the process, if it runs."""
        with self._lock:
            self._end()

    def _ask(self, *asked: Any) -> Verdict:
        try:
            pipe = self._start()
            pipe.send(asked)
            if pipe.poll(self._seconds):
                return pipe.recv()
            reason = f"loading it and replaying its golden rows took over {self._seconds:.0f} s"
        except (EOFError, OSError):
            reason = (
                "the process that loaded it died, perhaps over its limit of "
                f"{self._memory // 2**20} MiB of memory"
            )
        self._end()
        return Verdict("rejected", reason)

    def _start(self) -> Connection:
        """Return the pipe to a process that is up.

        Raises:
            TryAgain: it does not come up.
        """
        if self._pipe is not None and self._process.is_alive():
            with contextlib.suppress(EOFError, OSError):
                self._pipe.send(None)  # it may just be about to go
                if self._pipe.poll(5) and self._pipe.recv() is None:
                    return self._pipe
        self._end()
        # Spawned: gRPC does not survive a fork.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, self._memory, IDLE_SECONDS), daemon=True
        )
        self._process.start()
        theirs.close()
        try:
            if self._pipe.poll(START_SECONDS) and self._pipe.recv() is None:
                return self._pipe
        except (EOFError, OSError) as exc:
            log.warning("The process that verifies models ended at once", exc_info=exc)
        self._end()
        raise TryAgain("The process that verifies models did not come up")

    def _end(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.join(5)
        self._pipe = self._process = None


def _serve(pipe: Connection, memory: int, idle: float) -> None:
    """Answer with None when up and when asked with None, else with a verdict; go when idle."""
    import resource

    import sklearn.pipeline  # noqa: F401  what nearly every model needs, before the clock runs

    with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    pipe.send(None)
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while pipe.poll(idle):
            asked = pipe.recv()
            pipe.send(None if asked is None else _verdict(*asked))


def _verdict(
    content: bytes, document: dict[str, Any], trusted: tuple[str, ...], max_bytes: int
) -> Verdict:
    import json

    try:
        loaded = load_model(content, trusted=trusted, max_bytes=max_bytes)
        return judge(loaded, ModelMetadata.parse(json.dumps(document).encode()))
    except MemoryError:
        return Verdict("rejected", "loading it needs more memory than a model may take")
    except MlsysError as exc:
        return Verdict("rejected", str(exc))


@functools.cache
def verifier() -> Verifier:
    """The verifier of this process."""
    return Verifier()


def signature_of(clients: Clients, bucket: str, ref: ModelRef) -> bytes | None:
    """Return what `model.sig` holds, where a signature is asked for and there is one."""
    from google.api_core.exceptions import NotFound

    if not clients.settings.signing_keys:
        return None
    blob = clients.storage.bucket(bucket).blob(ref.signature_path)
    try:
        return blob.download_as_bytes(end=MAX_SIGNATURE - 1, timeout=TIMEOUT)
    except NotFound:
        return None


def verify_row(clients: Clients, row: ModelRow | None) -> ModelRow | None:
    """Return the registry's row with the verdict on its model.

    A model that was replaced or deleted in the meantime keeps its row: the next look sees it.
    """
    from google.api_core.exceptions import NotFound

    if row is None:
        return None
    settings = clients.settings
    if (row.size_bytes or 0) > settings.max_model_bytes:
        reason = (
            f"model.pkl is larger than {settings.max_model_bytes} bytes: set MLSYS_MAX_MODEL_BYTES "
            "to allow it"
        )
        return replace(row, status="rejected", status_reason=reason)
    bucket, path = row.gcs_uri.removeprefix("gs://").split("/", 1)
    blob = clients.storage.bucket(bucket).blob(path, generation=row.generation)
    try:
        content = blob.download_as_bytes(checksum="crc32c", timeout=TIMEOUT)
    except NotFound:
        return row
    ref = ModelRef(row.model_name, row.model_version)
    try:
        signing.check(ref, content, signature_of(clients, bucket, ref), settings.signing_keys)
    except ModelUnusable as exc:
        return replace(row, status="rejected", status_reason=str(exc))
    verdict = verifier().verdict(
        row.identity,
        content,
        row.metadata or {},
        settings.trusted_globals,
        settings.max_model_bytes,
    )
    reasons = [r for r in (verdict.reason, row.status_reason) if r]
    return replace(row, status=verdict.status, status_reason="; ".join(reasons) or None)
