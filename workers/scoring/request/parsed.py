"""A scoring request after parsing."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Self

from mlsys.artifact.refs import LATEST as LATEST
from mlsys.artifact.refs import is_alias
from mlsys.cloud.tables import TableRef
from mlsys.columns.names import fold, name_fault
from mlsys.errors import InvalidRequest
from workers.monitoring.contract import ENFORCE

OUTPUTS = ("predict", "predict_proba", "decision_function", "score_samples", "transform")
TOLERANCES = (
    *("max_rejects", "max_drift", "contract"),
    *("allow_rejected", "allow_version_mismatch", "max_bytes", "max_cost"),
)
# What changes no row that a run writes
BESIDE = (*TOLERANCES, "engine", "shadow", "profile", "model_alias")
IDS = "ids"  # in place of a column: the rows whose ids the output lacks
AUTO, SERVICE, JOB = ENGINES = ("auto", "service", "job")

_DISTANCE = re.compile(r"0?\.[0-9]{1,4}|[01](\.0{1,4})?")
_COUNT = re.compile(r"[0-9]{1,15}")
_SHARE = re.compile(r"(0?\.[0-9]{1,9})|([0-9]{1,3}(?:\.[0-9]{1,9})?)%")


@dataclass(frozen=True, slots=True)
class MaxRejects:
    """The rows that a run may set aside: a count, or a share of the rows it reads."""

    rows: int = 0
    share: Fraction | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a count (`100`) or a share (`0.01` or `1%`).

        >>> MaxRejects.parse("1%").limit(250)
        2

        Raises:
            InvalidRequest: the text is neither.
        """
        if _COUNT.fullmatch(text):
            return cls(int(text))
        if match := _SHARE.fullmatch(text):
            share = Fraction(match[1] or "0") if match[1] else Fraction(match[2]) / 100
            if share <= 1:
                return cls(share=share)
        raise InvalidRequest(
            (
                "max_rejects",
                f"{text[:80]!r} is not a number of rows or a share of them: pass 100, 0.01 or 1%",
            )
        )

    def limit(self, rows: int) -> int:
        """Return how many of `rows` rows may be set aside."""
        return self.rows if self.share is None else int(self.share * rows)

    def __str__(self) -> str:
        if self.share is None:
            return str(self.rows)
        return f"{float(self.share * 100):.9f}".rstrip("0").rstrip(".") + "%"


def read_max_drift(text: str) -> float:
    """Read the distance beyond which a run publishes nothing, from 0 to 1.

    Raises:
        InvalidRequest: the text is not such a number.
    """
    if _DISTANCE.fullmatch(text):
        return float(text)
    raise InvalidRequest(("max_drift", f"{text[:80]!r} is not a distance from 0 to 1: pass 0.3"))


def read_incremental(text: str) -> str:
    """Read the column by which a run finds the rows that are new, or `ids`.

    A column that is named `ids` keeps the backticks that tell it from the word.

    >>> read_incremental("`updated_at`"), read_incremental("ids"), read_incremental("`ids`")
    ('updated_at', 'ids', '`ids`')

    Raises:
        InvalidRequest: a column cannot have that name.
    """
    quoted = len(text) > 2 and text[0] == text[-1] == "`"
    name = text[1:-1] if quoted else text
    if fold(name) == IDS:
        return f"`{name}`" if quoted else IDS
    if (fault := name_fault(name)) is not None:
        raise InvalidRequest(
            ("incremental", f"{text[:80]!r} {fault}: pass a column of the input, or ids")
        )
    return name


@dataclass(frozen=True, slots=True)
class ScoringRequest:
    """A scoring request; equal requests on an unchanged table and model are the same run."""

    env: str
    input_table: TableRef
    output_table: TableRef
    model_name: str
    model_version: str  # v1, v2, ..., latest or an alias
    id_columns: tuple[str, ...] | None = None  # None: the model's, else every column not a feature
    outputs: tuple[str, ...] = ("predict",)
    class_columns: str | None = None  # names for classes, as `read_class_columns` returns them
    prediction_column: tuple[str, ...] | None = None  # None: the target's name, else prediction
    write_disposition: str = "WRITE_APPEND"
    where: str | None = None
    max_rejects: MaxRejects = MaxRejects()
    allow_rejected: bool = False
    allow_version_mismatch: bool = False
    engine: str = AUTO  # of ENGINES: where the rows are scored
    shadow: str | None = None  # another version, which scores the same rows to be compared
    max_drift: float | None = None  # the distance of a column at which the run publishes nothing
    profile: bool = True  # count the columns, and compare them with the training data
    contract: str = ENFORCE  # of MODES: what follows from the clauses of the model's contract
    max_bytes: int | None = None  # that BigQuery may charge for
    max_cost: Decimal | None = None  # in US dollars, at list prices
    incremental: str | None = None  # as `read_incremental` returns it: score only what is new
    model_alias: str | None = None  # that the caller named, and that meant `model_version` then

    def to_dict(self) -> dict[str, Any]:
        """Return the request as the texts that `GET /predict` takes, without defaults."""
        defaults = {f.name: f.default for f in fields(self)}
        names = [n for n in defaults if getattr(self, n) != defaults[n]]
        out: dict[str, Any] = {name: getattr(self, name) for name in names}
        for name, value in out.items():
            out[name] = ",".join(value) if isinstance(value, tuple) else str(value)
            if isinstance(value, bool):
                out[name] = "true" if value else "false"
        return out

    def for_version(self, version: str) -> Self:
        """Return the request with the version that it means, and the alias that it named.

        A message about the run carries both: moving the alias does not change the run, and the
        ledger still names the alias.
        """
        alias = self.model_version if is_alias(self.model_version) else self.model_alias
        return replace(self, model_version=version, model_alias=alias)

    def identity(self) -> dict[str, Any]:
        """Return the texts of the request that decide the written rows, and so identify its run.

        Defaults are left out, so that a parameter that a later version adds changes nothing for
        those who do not pass it. Tolerances are not part of it: a run that failed over
        its bad rows can be resumed with a larger `max_rejects`, one that the model's contract
        stopped with another `contract`. Nor is the engine, which changes only how long it takes,
        nor the challenger (`shadow`) and the counting (`profile`), which never change the run's
        rows, nor the alias (`model_alias`) that named the version.
        """
        return {k: v for k, v in self.to_dict().items() if k not in BESIDE}

    def beside(self) -> dict[str, Any]:
        """Return the texts of what the caller passed that is not part of the identity."""
        passed = set(BESIDE) - {"model_alias"}
        return {k: v for k, v in self.to_dict().items() if k in passed}
