"""Remember which models ended their sandbox, so that no request tries them again and again.

A crash is kept for one generation of a model and one release of the service and of scikit-learn, as
`gs://mlsys-runs-{env}/crashes/{model}/{version}/{generation}-{release}.json`, with `-any` before
the end where any code was loaded. Deleting the object makes the service try the model again.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import threading
from collections import OrderedDict

import mlsys
from mlsys.artifact.refs import ModelRef
from mlsys.cloud.clients import TIMEOUT, Clients

log = logging.getLogger(__name__)

REMEMBERED = 1000  # models that this process knows to load
MAX_BYTES = 10_000

_sound: OrderedDict[str, None] = OrderedDict()  # names of objects that need not be looked for
_lock = threading.Lock()


def crash_of(clients: Clients, env: str, ref: ModelRef, generation: int, loader: str) -> str | None:
    """Return how a model ended its sandbox earlier, or None if that is not known."""
    from google.api_core.exceptions import NotFound, RequestRangeNotSatisfiable

    name = object_name(ref, generation, loader)
    with _lock:
        if name in _sound:
            return None
    blob = clients.storage.bucket(clients.settings.runs_bucket(env)).blob(name)
    try:
        reason = json.loads(blob.download_as_bytes(end=MAX_BYTES, timeout=TIMEOUT))["reason"]
    except NotFound:
        return None
    except (ValueError, KeyError, TypeError, RequestRangeNotSatisfiable):  # written by hand
        return None
    return reason if isinstance(reason, str) else None


def remember_crash(
    clients: Clients, env: str, ref: ModelRef, generation: int, loader: str, reason: str
) -> None:
    """Keep how a model ended its sandbox; the first crash of a generation is kept."""
    from google.api_core.exceptions import GoogleAPICallError, PreconditionFailed

    name = object_name(ref, generation, loader)
    with _lock:
        _sound.pop(name, None)  # it may answer some questions, and crash at others
    blob = clients.storage.bucket(clients.settings.runs_bucket(env)).blob(name)
    content = json.dumps({"model": str(ref), "generation": generation, "reason": reason})
    try:
        blob.upload_from_string(
            content, content_type="application/json", if_generation_match=0, timeout=TIMEOUT
        )
    except PreconditionFailed:
        pass
    except GoogleAPICallError as exc:  # the crash itself is what the caller must hear of
        log.warning("That %s crashed was not kept: %s", ref, exc)


def note_sound(ref: ModelRef, generation: int, loader: str) -> None:
    """Keep in this process that a model loads and answers, which saves looking for a crash."""
    with _lock:
        _sound[object_name(ref, generation, loader)] = None
        while len(_sound) > REMEMBERED:
            _sound.popitem(last=False)


def object_name(ref: ModelRef, generation: int, loader: str) -> str:
    """Return the name of the object that keeps a crash."""
    release = importlib.metadata.version("scikit-learn")
    suffix = "-any" if loader == "any" else ""
    return f"crashes/{ref}/{generation}-{mlsys.__version__}-{release}{suffix}.json"
