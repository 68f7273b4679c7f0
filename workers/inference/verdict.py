"""The verdict on a model, from its golden rows and the libraries' releases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlsys.artifact.estimators.fitted import not_fitted
from mlsys.artifact.estimators.inputs import one_column
from mlsys.artifact.estimators.randomness import ANSWERS_VARY, draws_answers
from mlsys.artifact.estimators.set_output import restore_output
from mlsys.artifact.golden import golden_table, replay
from mlsys.artifact.loading import LoadedModel
from mlsys.artifact.metadata import ModelMetadata, version_warnings
from mlsys.artifact.other_release import advice, unusable
from mlsys.errors import MetadataInvalid, ModelUnusable

MAX_REASON = 2000  # characters

Status = Literal["ready", "rejected"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a model may be used, and why."""

    status: Status
    reason: str | None = None
    sklearn_version: str | None = None  # the release that saved it, from the model's file
    crashed: str | None = None  # how it ended the sandbox that judged it
    golden_rows: int = 0  # that were replayed, and match


def judge(loaded: LoadedModel, metadata: ModelMetadata) -> Verdict:
    """Return the verdict on a model that could be loaded, by its golden rows.

    Raises:
        ModelUnusable: it is not fitted, takes rows that no table holds, or was saved with another
            scikit-learn and does not work with this one.
    """
    check_release(loaded)
    if (unfitted := not_fitted(loaded.model)) is not None:
        whole = type(loaded.model).__name__
        part = "" if unfitted == whole else f" (its {unfitted} is not)"
        raise ModelUnusable(
            f"The model, a {whole}, is not fitted{part}: call fit, then upload it again"
        )
    one_column(loaded.model)
    if draws_answers(loaded.model):
        return Verdict("rejected", ANSWERS_VARY)
    try:
        golden = golden_table(metadata)
        if golden is not None:  # its golden rows prove what is restored
            restore_output(loaded.model)
        different = replay(loaded.model, metadata)
    except MetadataInvalid as exc:
        return Verdict("ready", f"the golden rows were not replayed: {exc}")
    if different is not None:
        return Verdict("rejected", different)
    mismatch = [loaded.version_mismatch] if loaded.version_mismatch else []
    if mismatch and golden is None:
        mismatch = [f"{mismatch[0]}: no golden rows show whether its answers are the same"]
    reasons = dict.fromkeys([*mismatch, *version_warnings(metadata), *loaded.warnings])
    replayed = 0 if golden is None else golden.num_rows
    return Verdict("ready", "; ".join(reasons) or None, golden_rows=replayed)


def check_release(loaded: LoadedModel) -> None:
    """Check that this scikit-learn can use a model that another release saved, as far as known.

    Raises:
        ModelUnusable: it raises, or its answers would be wrong.
    """
    if loaded.version_mismatch is None or loaded.sklearn_version is None:
        return
    if (reason := unusable(loaded.model, loaded.sklearn_version)) is not None:
        text = f"{loaded.version_mismatch}, with which {reason}. {advice(loaded.sklearn_version)}"
        raise ModelUnusable(text[0].upper() + text[1:])


def short(reason: str | None) -> str | None:
    """Return the reason as a row can hold it: a model's texts have any length and characters."""
    if reason is None:
        return None
    clean = reason.encode("utf-8", "backslashreplace").decode()
    return clean if len(clean) <= MAX_REASON else f"{clean[:MAX_REASON]}..."
