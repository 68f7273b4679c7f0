"""Compare two versions of a model by what the registry, the ledger and their files say of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlsys.artifact.aliases import read_alias
from mlsys.artifact.contract import Contract
from mlsys.artifact.profile import figures
from mlsys.artifact.refs import LATEST, VERSION, ModelRef
from mlsys.cloud.clients import Clients
from mlsys.errors import (
    AliasInvalid,
    AliasNotFound,
    ContractInvalid,
    InvalidRequest,
    MlsysError,
    bounded,
)
from mlsys.plural import plural
from workers.json_values import flat, json_value
from workers.query import run
from workers.registry.versions import check_version, rows_of
from workers.sql import statement
from workers.verification.opened import opened

MAX_VALUE = 1_000  # characters of a value
# In the order of the answer; `about` is of the registry's row.
SECTIONS = (
    *("metrics", "parameters", "columns", "contract", "versions", "profile", "about", "runs"),
)
_ABOUT = (
    *("model_class", "status", "status_reason", "target", "size_bytes", "crc32c", "uploaded_at"),
    *("loader", "promoted_from"),
)
_OF_METADATA = ("id_columns", "description")


def compare(
    clients: Clients, env: str, name: str, a: str, b: str, *, everything: bool = False
) -> dict[str, Any]:
    """Return what differs between two versions of a model; with `everything` also what does not.

    `a` and `b` are v1, v2, ..., latest, or an alias of the model.

    Raises:
        ModelNotFound: one of them is not in the registry; the message names those that are.
        InvalidRequest: both are the same version.
        AliasNotFound, AliasInvalid: see `read_alias`.
        TryAgain: see `workers.query.run`.
    """
    named = [_named(clients, env, name, each) for each in (a, b)]
    rows = rows_of(clients, env, name, *(each for each in named if isinstance(each, str)))
    sides = [_version(env, name, each, list(rows)) for each in named]
    if sides[0] == sides[1]:
        text = f"{a!r} and {b!r} are both {sides[0]}: pass two versions"
        raise InvalidRequest(("b", text))
    left, right = (_Side(clients, env, name, rows[version]) for version in sides)
    runs = _runs(clients, env, name, sides)
    facts = {
        section: (getattr(left, section)(), getattr(right, section)())
        for section in SECTIONS
        if section != "runs"
    }
    facts["runs"] = (runs.get(sides[0], _NO_RUNS), runs.get(sides[1], _NO_RUNS))
    compared = {
        section: list(_differences(*facts[section], everything=everything)) for section in SECTIONS
    }
    return {
        "env": env,
        "model_name": name,
        "a": sides[0],
        "b": sides[1],
        **compared,
        "notes": [*left.notes, *right.notes],
    }


def _named(clients: Clients, env: str, name: str, given: str) -> str | MlsysError:
    """Return the version that `given` names, or `latest`; for an alias without one, the error."""
    if given == LATEST or VERSION.fullmatch(given):
        return given
    bucket = clients.storage.bucket(clients.settings.models_bucket(env))
    try:
        return read_alias(bucket, name, given).version
    except (AliasNotFound, AliasInvalid) as exc:  # that the model is not there is said first
        return exc


def _version(env: str, name: str, named: str | MlsysError, known: Sequence[str]) -> str:
    check_version(env, name, None, known)
    if isinstance(named, MlsysError):
        raise named
    version = known[0] if named == LATEST else named
    check_version(env, name, version, known)
    return version


class _Side:
    """One of the two versions."""

    def __init__(self, clients: Clients, env: str, name: str, row: Mapping[str, Any]) -> None:
        self._clients, self._env, self._row = clients, env, row
        self._ref = ModelRef(name, row["model_version"])
        document = json.loads(row["metadata"]) if row["metadata"] else {}
        self._document: Mapping[str, Any] = document
        self.notes: list[str] = []
        if not document:
            self.notes.append(
                f"{row['model_version']} has no metadata.json (upload_model writes one): its "
                "metrics, profile and column types are unknown"
            )

    def metrics(self) -> dict[str, Any]:
        metrics = json.loads(self._row["metrics"]) if self._row["metrics"] else {}
        return dict(flat(metrics)) if isinstance(metrics, Mapping) else {"metrics": metrics}

    def parameters(self) -> dict[str, Any]:
        """Return those of metadata.json, else of the model itself, in a sandbox."""
        if isinstance(known := self._document.get("parameters"), Mapping):
            return dict(known)
        size, generation = self._row["size_bytes"], self._row["generation"]
        try:
            with opened(self._clients, self._env, self._ref, generation, size=size) as model:
                return dict(model.parameters())
        except MlsysError as exc:
            version = self._ref.version
            self.notes.append(bounded(f"The parameters of {version} are unknown: {exc}", MAX_VALUE))
            return {}

    def columns(self) -> dict[str, Any]:
        """Return each column of the input with its type and dtype, and its place."""
        signature = self._document.get("signature")
        features = signature.get("features") if isinstance(signature, Mapping) else None
        if isinstance(features, list) and features:
            return {
                str(f.get("name")): _joined(f.get("type"), f.get("dtype"), _categories(f))
                for f in features
                if isinstance(f, Mapping)
            }
        return {str(name): "unknown type" for name in self._row["feature_names"] or ()}

    def versions(self) -> dict[str, Any]:
        known = self._document.get("versions")
        if isinstance(known, Mapping):
            return dict(known)
        saved = {"scikit-learn": "sklearn_version", "python": "python_version"}
        return {name: self._row[column] for name, column in saved.items() if self._row[column]}

    def profile(self) -> dict[str, Any]:
        """Return the figures of the training data: `Age.mean`."""
        known = flat(figures(self._document))
        return {name.removeprefix("columns."): value for name, value in known}

    def contract(self) -> dict[str, Any]:
        """Return each clause: `Age in_range` is `reject: 0..120`; nothing without a contract."""
        content = self._row["contract"]
        try:
            contract = Contract.from_dict(json.loads(content) if content else _NO_CONTRACT)
        except ContractInvalid as exc:  # another release registered it
            version = self._ref.version
            self.notes.append(bounded(f"The contract of {version} is unknown: {exc}", MAX_VALUE))
            return {}
        numbers, clauses = Counter[str](), {}
        for clause in contract.clauses:
            numbers[clause.subject] += 1
            more = f" ({number})" if (number := numbers[clause.subject]) > 1 else ""
            limits = f": {clause.limits}" if clause.limits else ""
            clauses[f"{clause.subject}{more}"] = f"{clause.action}{limits}"
        return clauses

    def about(self) -> dict[str, Any]:
        known = {name: self._row[name] for name in _ABOUT}
        known |= {name: self._document.get(name) for name in _OF_METADATA}
        return {name: value for name, value in known.items() if value not in (None, [], ())}


_NO_CONTRACT = Contract().to_dict()
_NO_RUNS = {"succeeded": 0, "failed": 0, "rows_scored": 0}


def _runs(
    clients: Clients, env: str, name: str, versions: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return the counts of each version's finished runs."""
    from google.cloud import bigquery

    selected = run(
        clients,
        env,
        statement("runs_of_versions"),
        bigquery.ScalarQueryParameter("model_name", "STRING", name),
        bigquery.ArrayQueryParameter("versions", "STRING", list(versions)),
    )
    return {
        row["model_version"]: {
            "succeeded": row["succeeded"],
            "failed": row["failed"],
            "rows_scored": row["rows_scored"] or 0,
            "latest": row["latest"],
        }
        for row in selected
    }


def _differences(
    left: Mapping[str, Any], right: Mapping[str, Any], *, everything: bool
) -> Iterator[dict[str, Any]]:
    """Yield each name with both values, as JSON; a name that one side lacks is null there."""
    for name in dict.fromkeys((*left, *right)):
        a, b = (json_value(side.get(name)) for side in (left, right))
        if a == b and not everything:
            continue
        fact = {"name": name, "a": _short(a), "b": _short(b), "differs": a != b}
        if _is_number(a) and _is_number(b):
            fact["change"] = json_value(b - a)
        yield fact


def _categories(feature: Mapping[str, Any]) -> str | None:
    categories = feature.get("categories")
    return (
        plural(len(categories), "category", "categories") if isinstance(categories, list) else None
    )


def _joined(*texts: Any) -> str:
    return ", ".join(str(text) for text in texts if text is not None) or "unknown type"


def _short(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value)
    return value if len(text) <= MAX_VALUE else bounded(text, MAX_VALUE)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
