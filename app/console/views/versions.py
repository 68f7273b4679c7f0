"""One version of a model: its state, signature, golden rows, origin, and calls that use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app import service
from app.console import calls
from app.console.pages import Page, env, page
from app.console.profiles import clauses_of, columns_of, golden_of
from mlsys.artifact.refs import ModelRef
from mlsys.cloud.clients import TIMEOUT
from mlsys.errors import ModelNotFound

DIGESTS = ("gcs_uri", "generation", "size_bytes", "crc32c", "md5", "verified_with", "loader")


@page("/models/<model_name>/<version>")
def version(model_name: str, version: str) -> Page:
    """Show a version of a model."""
    row = row_of(ModelRef(model_name, version))
    document = row["metadata"] if isinstance(row["metadata"], Mapping) else {}
    named = request_of(model_name, version, document)
    view = {
        "model_name": model_name,
        "version": version,
        "row": {name: value for name, value in row.items() if name not in ("metadata", "contract")},
        "description": _text(document.get("description")),
        "parameters": _mapping(document.get("parameters")),
        "libraries": _mapping(document.get("versions")),
        "columns": columns_of(document, row["feature_names"]),
        "clauses": clauses_of(row["contract"]),
        "golden": golden_of(document),
        "digests": {name: row[name] for name in DIGESTS},
        "promotions": promotions(ModelRef(model_name, version), row),
        "calls": calls.calls(named)
        | {"SQL": calls.rows_of_model(named["output_table"], model_name, version)},
    }
    return Page(f"{model_name} {version} in {env()}", "version.html", view)


@page("/models/<model_name>/<version>/contents")
def contents(model_name: str, version: str) -> Page:
    """Show what the pickle of a version is made of, a part of its page."""
    from workers.verification.contents import contents_of

    ref = ModelRef(model_name, version)
    row = row_of(ref)
    view = {
        "model_name": model_name,
        "version": version,
        "parts": contents_of(
            service().clients, env(), ref, generation=row["generation"], size=row["size_bytes"]
        ),
    }
    return Page(f"What {model_name} {version} is made of", "contents.html", view)


def row_of(ref: ModelRef) -> dict[str, Any]:
    """Return the registry's row of a version, with its metadata.

    Raises:
        ModelNotFound: the registry does not have it.
    """
    from workers.registry.table import list_models

    rows, _ = list_models(
        service().clients,
        env(),
        model_name=ref.name,
        limit=1,
        metadata=True,
        after=(ref.name, ref.number + 1),
    )
    if not rows or rows[0]["model_version"] != ref.version:
        raise ModelNotFound(
            f"{ref.name} {ref.version} is not in the registry of {env()}. Look at the model's "
            "versions; a rescan (GET /model-registry) registers what the bucket holds."
        )
    return rows[0]


def promotions(ref: ModelRef, row: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """Return each object that the version was before it was copied, and who copied it when.

    The registry's row has the last step, the object's custom metadata those before it too.
    """
    from mlsys.registry.promotion import promotions_of

    if not row["promoted_from"]:
        return []
    clients = service().clients
    bucket = clients.storage.bucket(clients.settings.models_bucket(env()))
    blob = bucket.get_blob(ref.path, timeout=TIMEOUT)
    if blob is not None and blob.generation == row["generation"]:
        if steps := promotions_of(blob):
            return steps
    return [{"from": row["promoted_from"], "by": row["promoted_by"], "at": row["promoted_at"]}]


def request_of(model_name: str, version: str, document: Mapping[str, Any]) -> dict[str, str]:
    """Return a request that scores a table by the version, with names to fill in."""
    settings = service().settings
    project = settings.project
    tables = {
        "input_table": f"{project}.dataset.input",
        "output_table": f"{project}.dataset.scored",
    }
    if settings.emulators:
        tables = calls.sample_tables(project)
    ids = document.get("id_columns")
    request = {
        "env": env(),
        **tables,
        "model_name": model_name,
        "model_version": version,
    }
    if not isinstance(ids, list) or not ids:
        request["id_columns"] = "id"
    return request


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
