"""The versions of a model that the registry has, and the answer where it has none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlsys.artifact.refs import LATEST
from mlsys.artifact.versions import MAX_NAMED
from mlsys.cloud.clients import Clients
from mlsys.errors import ModelNotFound
from workers.query import run
from workers.sql import statement


def rows_of(clients: Clients, env: str, name: str, *versions: str) -> dict[str, Mapping[str, Any]]:
    """Return the model's rows by version, newest first, with the files of some versions.

    `latest` may be among these.

    Raises:
        TryAgain: see `workers.query.run`.
    """
    from google.cloud import bigquery

    selected = run(
        clients,
        env,
        statement("versions_of_model"),
        bigquery.ScalarQueryParameter("model_name", "STRING", name),
        bigquery.ArrayQueryParameter("versions", "STRING", list(versions)),
        bigquery.ScalarQueryParameter("newest", "BOOL", LATEST in versions),
    )
    rows: dict[str, Mapping[str, Any]] = {}
    for row in selected:
        rows.setdefault(row["model_version"], dict(row.items()))
    return rows


def check_version(env: str, name: str, version: str | None, known: Iterable[str]) -> None:
    """Check that the version is among those `known`; None: that there is one.

    Raises:
        ModelNotFound: the message names those that are.
    """
    versions = list(known)
    if not versions:
        raise ModelNotFound(
            f"{name} is not in the registry of {env}: GET /models?env={env} lists the models"
        )
    if version is not None and version not in versions:
        has = ", ".join(versions[:MAX_NAMED])
        raise ModelNotFound(f"{name} {version} is not in the registry of {env}: it has {has}")


def check_registered(clients: Clients, env: str, name: str, version: str | None = None) -> None:
    """Check that the registry has the model, and the version if one is named.

    Raises:
        ModelNotFound: see `check_version`.
        TryAgain: see `workers.query.run`.
    """
    check_version(env, name, version, rows_of(clients, env, name))
