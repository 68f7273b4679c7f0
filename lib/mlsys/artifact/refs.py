"""Model versions and aliases by name: the rules for names, and the paths and keys of objects.

>>> ref = ModelRef("titanic-survival", "v1")
>>> ref.path
'titanic-survival/v1/model.pkl'
>>> AliasRef("titanic-survival", "champion").path
'titanic-survival/aliases/champion.json'
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, Self

from mlsys.errors import InvalidRequest

NAME_RULE = "pass lower-case words joined by hyphens, at most 63 characters"
NAME = re.compile(r"(?=.{1,63}\Z)[a-z0-9]+(-[a-z0-9]+)*")
VERSION = re.compile(r"v[1-9][0-9]{0,8}")
LATEST = "latest"  # the ready version with the highest number: computed, never stored
ALIAS_RULE = f"{NAME_RULE}; not {LATEST}, and not a number or the form of a version"
_RESERVED = re.compile(rf"{LATEST}|v?[0-9]+")
# Custom metadata key for a pickled model's class and versions, which the registry shows without
# loading the pickle.
DESCRIPTION_KEY = "mlsys"
PROMOTION_KEY = "mlsys-promotion"  # and for where a promoted model came from, and who promoted it
ALIASES, _JSON = "aliases", ".json"
DRAFT_KEY = "mlsys-draft"  # and for a contract that upload_model wrote and nobody has edited
_FILES = {
    "model.pkl": "model",
    "metadata.json": "metadata",
    "model.sig": "signature",
    "contract.json": "contract",
}


@dataclass(frozen=True, slots=True, order=True)
class ModelRef:
    """A model version by its two names, both checked."""

    name: str
    version: str

    def __post_init__(self) -> None:
        problems = []
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            problems.append(("model_name", f"{str(self.name)[:80]!r}: {NAME_RULE}"))
        if not isinstance(self.version, str) or not VERSION.fullmatch(self.version):
            text = f"{str(self.version)[:80]!r}: pass v1, v2, v3, ..."
            problems.append(("model_version", text))
        if problems:
            raise InvalidRequest(*problems)

    @classmethod
    def of_object(
        cls, path: str
    ) -> tuple[Self, Literal["model", "metadata", "signature", "contract"]]:
        """Parse an object's path into its model version and its role.

        Raises:
            InvalidRequest: the path is not `{model-name}/v{N}/model.pkl`, nor a `metadata.json`,
                `model.sig` or `contract.json` beside it.
        """
        parts = path.split("/")
        if len(parts) != 3 or parts[2] not in _FILES:
            expected = "{model-name}/v{N}/model.pkl, or metadata.json, model.sig or contract.json"
            raise InvalidRequest(("path", f"{path[:200]!r} is not {expected}: pass such a path"))
        kind: Any = _FILES[parts[2]]
        return cls(parts[0], parts[1]), kind

    @property
    def number(self) -> int:
        """The version's number, for sorting."""
        return int(self.version[1:])

    @property
    def path(self) -> str:
        """The model's path in the environment's models bucket."""
        return f"{self.name}/{self.version}/model.pkl"

    @property
    def metadata_path(self) -> str:
        """The path of the model's metadata."""
        return f"{self.name}/{self.version}/metadata.json"

    @property
    def signature_path(self) -> str:
        """The path of the model's signature, if it has one."""
        return f"{self.name}/{self.version}/model.sig"

    @property
    def contract_path(self) -> str:
        """The path of the contract of the model's input, if it has one."""
        return f"{self.name}/{self.version}/contract.json"

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


def is_alias(name: object) -> bool:
    """Return whether `name` is a valid alias: a model's name, but not `latest`, `7` or `v7`.

    >>> is_alias("champion"), is_alias("latest"), is_alias("v0")
    (True, False, False)
    """
    valid = isinstance(name, str) and NAME.fullmatch(name)
    return bool(valid and not _RESERVED.fullmatch(str(name)))


@dataclass(frozen=True, slots=True, order=True)
class AliasRef:
    """An alias of a model by its two names, both checked."""

    model: str
    alias: str

    def __post_init__(self) -> None:
        problems = []
        if not isinstance(self.model, str) or not NAME.fullmatch(self.model):
            problems.append(("model_name", f"{str(self.model)[:80]!r}: {NAME_RULE}"))
        if not is_alias(self.alias):
            problems.append(("alias", f"{str(self.alias)[:80]!r}: {ALIAS_RULE}"))
        if problems:
            raise InvalidRequest(*problems)

    @classmethod
    def of_object(cls, path: str) -> Self:
        """Parse an object's path into its alias.

        Raises:
            InvalidRequest: the path is not `{model-name}/aliases/{alias}.json`.
        """
        parts = path.split("/")
        if len(parts) != 3 or parts[1] != ALIASES or not parts[2].endswith(_JSON):
            expected = "{model-name}/aliases/{alias}.json"
            raise InvalidRequest(("path", f"{path[:200]!r} is not {expected}: pass such a path"))
        return cls(parts[0], parts[2].removesuffix(_JSON))

    @property
    def path(self) -> str:
        """The alias's path in the environment's models bucket."""
        return f"{aliases_prefix(self.model)}{self.alias}{_JSON}"

    def __str__(self) -> str:
        return f"{self.model}/{self.alias}"


def aliases_prefix(model: str) -> str:
    """Return the prefix of the paths of a model's aliases.

    >>> aliases_prefix("titanic-survival")
    'titanic-survival/aliases/'
    """
    return f"{model}/{ALIASES}/"
