"""The answer to `preview`: rows with their predictions, and nothing written."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class PreviewRow(BaseModel):
    """A row as the output table would have it, and as it was read; `reason` says why it has none.

    A value of more than 100,000 characters is null, and `left_out` names its column.
    """

    output: dict[str, Any] | None
    input: dict[str, Any]
    reason: str | None


class Preview(BaseModel):
    """The answer to `preview`: the first rows, scored; nothing was written.

    `columns` are those of `output`, `inputs` those of `input`, each with its type in BigQuery.
    """

    model_name: str
    model_version: str
    model_generation: int
    loader: str
    path: str
    columns: list[dict[str, str]]
    inputs: list[dict[str, str]]
    rows: list[PreviewRow]
    warnings: list[str]
