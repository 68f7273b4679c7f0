"""Is a model what it says it is? Found out as it is registered, in a process of its own."""

from __future__ import annotations

import functools
from dataclasses import replace

from mlsys import signing
from mlsys.clients import TIMEOUT, Clients
from mlsys.errors import ModelUnusable, TryAgain
from mlsys.refs import ModelRef
from workers.registry_rows import ModelRow
from workers.verdict import Verdict, short
from workers.verifier import Verifier

MAX_SIGNATURE = 1000  # bytes of a model.sig that are looked at


@functools.cache
def verifier() -> Verifier:
    """The verifier of this process."""
    return Verifier()


def signature_of(clients: Clients, bucket: str, ref: ModelRef) -> bytes | None:
    """Return what `model.sig` holds, where a signature is asked for and there is one."""
    from google.api_core.exceptions import NotFound, RequestRangeNotSatisfiable

    if not clients.settings.signing_keys:
        return None
    blob = clients.storage.bucket(bucket).blob(ref.signature_path)
    try:
        return blob.download_as_bytes(end=MAX_SIGNATURE - 1, timeout=TIMEOUT)
    except NotFound:
        return None
    except RequestRangeNotSatisfiable:  # it is empty
        return b""


def verify_row(clients: Clients, row: ModelRow | None) -> ModelRow | None:
    """Return the registry's row with the verdict on its model.

    A model that was replaced or deleted in the meantime keeps its row: the next look sees it.
    """
    from google.api_core.exceptions import NotFound
    from google.cloud.storage.exceptions import DataCorruption

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
    ref = ModelRef(row.model_name, row.model_version)

    def fetch() -> bytes:
        content = blob.download_as_bytes(checksum="crc32c", timeout=TIMEOUT)
        signing.check(ref, content, signature_of(clients, bucket, ref), settings.signing_keys)
        return content

    try:
        verdict = verifier().verdict(
            row.identity,
            fetch,
            row.metadata or {},
            settings.trusted_globals,
            settings.max_model_bytes,
        )
    except NotFound:
        return row
    except DataCorruption as exc:
        raise TryAgain(f"{row.gcs_uri} arrived damaged") from exc
    except ModelUnusable as exc:
        verdict = Verdict("rejected", str(exc))
    reasons = [r for r in (verdict.reason, row.status_reason) if r]
    return replace(
        row,
        status=verdict.status,
        status_reason=short("; ".join(reasons) or None),
        sklearn_version=row.sklearn_version or verdict.sklearn_version,
    )
