"""A model's aliases by the service: which version each names, its history, and moving it."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from mlsys.errors import TryAgain
from mlsys.remote.answers import Fields
from mlsys.remote.lists import pages
from mlsys.remote.service import RefusedByService, Service

if TYPE_CHECKING:
    from mlsys.artifact.refs import ModelRef

TRIES = 5
_TEXT = (str, type(None))
_NUMBER = (int, type(None))
MOVED: Fields = {
    "model_name": str,
    "alias": str,
    "version": _TEXT,
    "previous_version": _TEXT,
    "moved": bool,
    "who": str,
    "why": _TEXT,
    "generation": _NUMBER,
    "moved_at": _TEXT,
    "evidence": dict,
}
LISTED: Fields = {"aliases": list}


@dataclass(frozen=True, slots=True)
class AliasMove:
    """A move of an alias; `moved` is False if it named the version already, or on a dry run."""

    model_name: str
    alias: str
    version: str | None  # None: the alias was removed
    previous_version: str | None
    moved: bool
    who: str
    why: str | None
    generation: int | None
    moved_at: str | None
    evidence: dict[str, Any]  # what the checks saw; `guard` has every clause of the alias's guard


class Aliases:
    """The aliases of an environment.

    Its methods raise RefusedByService, TryAgain and CredentialsMissing: see `Service.ask`.
    """

    def __init__(self, service: Service, env: str) -> None:
        self._service = service
        self._env = env

    def move(
        self,
        model: str,
        alias: str,
        version: str,
        why: str | None = None,
        expected: str | None = None,
        force: bool = False,
        dry_run: bool = False,
    ) -> AliasMove:
        """Have the alias name a version, if it names the expected one."""
        body = _given(version=version, why=why, expected=expected, force=force, dry_run=dry_run)
        return self._change("POST", model, alias, body)

    def remove(
        self,
        model: str,
        alias: str,
        why: str | None = None,
        expected: str | None = None,
        force: bool = False,
        dry_run: bool = False,
    ) -> AliasMove:
        """Remove the alias; its history stays."""
        return self._change(
            "DELETE",
            model,
            alias,
            _given(why=why, expected=expected, force=force, dry_run=dry_run),
        )

    def of_model(self, model: str) -> list[dict[str, Any]]:
        """Return the model's aliases, by name."""
        answer = self._service.ask(f"/models/{model}/aliases", {"env": self._env}, fields=[LISTED])
        return [dict(row) for row in answer["aliases"]]

    def versions(self, model: str) -> dict[str, str]:
        """Return the version that each alias names; nothing for a model without a version yet."""
        try:
            return {row["alias"]: row["version"] for row in self.of_model(model)}
        except RefusedByService as exc:
            if (exc.body or {}).get("type") != "urn:mlsys:problem:model-not-found":
                raise
            return {}

    def history(self, model: str, alias: str, limit: int) -> tuple[list[dict[str, Any]], bool]:
        """Return the versions that the alias named, the latest first, and whether more exist."""
        path = f"{_path(model, alias)}/history"
        return pages(self._service, path, "history", {"env": self._env}, limit)

    def _change(self, method: str, model: str, alias: str, values: dict[str, Any]) -> AliasMove:
        """Send a change; repeated with the same request_id, it takes effect once."""
        values = values | {"request_id": secrets.token_hex(16)}
        in_url = {} if method == "POST" else {name: _text(v) for name, v in values.items()}
        for attempt in range(TRIES):
            try:
                answer = self._service.ask(
                    _path(model, alias),
                    {"env": self._env} | in_url,
                    timeout=300,
                    fields=[MOVED],
                    method=method,
                    body=values if method == "POST" else None,
                )
                break
            except TryAgain as exc:
                if attempt + 1 == TRIES:
                    raise
                time.sleep(exc.retry_after)
        return AliasMove(**{field.name: answer[field.name] for field in fields(AliasMove)})


def move_to_new(
    aliases: Aliases,
    ref: ModelRef,
    alias: str,
    why: str | None,
    expected: str | None = None,
    done: str = "uploaded",
) -> AliasMove:
    """Have the alias name a version that was just uploaded or promoted.

    Raises:
        RefusedByService, TryAgain: the alias was not moved; the message says that the version is
            there all the same.
    """
    text = f"{ref} is {done}, and {alias} was not moved"
    try:
        return aliases.move(ref.name, alias, ref.version, why, expected)
    except RefusedByService as exc:
        raise RefusedByService(f"{text}: {exc}", exc.body, exc.status) from exc
    except TryAgain as exc:
        raise TryAgain(f"{text}: {exc}. Move it by `mlsys alias set` or set_alias") from exc


def _path(model: str, alias: str) -> str:
    return f"/models/{model}/aliases/{alias}"


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, False)}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
