"""The messages of `mlsys-predictions-{env}`: a run that is to be scored, or undone."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from app.api.alias_queries import AliasName
from app.api.parameters import RunId
from app.api.predict_queries import PredictQuery
from app.api.queries import EnvQuery
from mlsys.artifact.refs import VERSION
from mlsys.settings import Settings
from workers.scoring.request.parsed import ScoringRequest


class PredictMessage(PredictQuery):
    """A scoring request, as people, schedules and the service itself publish it."""

    model_alias: Annotated[
        AliasName | None,
        Field(description="That named `model_version` when the service published the message"),
    ] = None

    @field_validator("model_alias")
    @classmethod
    def _of_a_version(cls, value: str | None, info: ValidationInfo) -> str | None:
        version = info.data.get("model_version")
        if value is not None and version and not VERSION.fullmatch(version):
            raise ValueError(f"names what {version[:80]!r} does: pass one of them as model_version")
        return value

    def to_request(self, settings: Settings) -> ScoringRequest:
        """Return the request as the workers take it, as `PredictQuery.to_request` does."""
        return replace(super().to_request(settings), model_alias=self.model_alias)


class UndoMessage(EnvQuery):
    """The message that a run, whose undo is decided, is to be undone."""

    undo: RunId
