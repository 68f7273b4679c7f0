"""`contract.json`: the rules that a model's input has to meet, beside its `model.pkl`.

```json
{"version": 1, "clauses": [
 {"column": "Age", "check": "in_range", "min_value": 0, "max_value": 120, "action": "reject"},
 {"column": "Fare", "check": "not_null", "max_share": 0.05, "action": "warn"},
 {"check": "row_count", "min_value": 300, "action": "stop"}
]}
```

A clause has a check with its parameters and an action: `warn`, `reject` (the row is set aside) or
`stop` (nothing is published). The names of the checks are pandera's, those of whole tables
pointblank's. A value check ignores NULL and NaN, as pandera does; `not_null` is about those.
Anyone with write access to the bucket can write the file: unknown keys, and values of the wrong
form, are refused with their JSON pointer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Any, Self

from mlsys.arguments import shown
from mlsys.artifact.contract_values import fault_of, fitting_fault
from mlsys.artifact.documents import read_document
from mlsys.columns.names import fold
from mlsys.errors import ContractInvalid, MetadataInvalid

VERSION = 1
MAX_BYTES = 262_144
MAX_CLAUSES = 1_000
WARN, REJECT, STOP = ACTIONS = ("warn", "reject", "stop")

# The parameters of each check: those it needs, then those it may have. `range` is at least one of
# min_value and max_value.
COMPARED = {"gt": ("value",), "ge": ("value",), "lt": ("value",), "le": ("value",)}
VALUE_CHECKS: dict[str, tuple[str, ...]] = COMPARED | {
    "not_null": (),
    "in_range": ("range",),
    "isin": ("values",),
    "notin": ("values",),
    "str_matches": ("pattern",),
    "str_length": ("range",),
}
TABLE_CHECKS: dict[str, tuple[str, ...]] = {
    "exists": (),
    "type": ("types",),
    "row_count": ("range",),
    "freshness": ("max_age_hours",),
}
CHECKS = VALUE_CHECKS | TABLE_CHECKS
_RANGE = ("min_value", "max_value")


@dataclass(frozen=True, slots=True)
class Clause:
    """One rule: a check of a column or of the table, and what follows if it fails."""

    check: str
    action: str
    column: str | None = None  # None: of the whole table
    parameters: Mapping[str, Any] = field(default_factory=dict)
    max_share: float | None = None  # of the rows that may fail a value check
    note: str | None = None  # the owner's, which has no effect

    @property
    def of_values(self) -> bool:
        """Whether it is checked for each row."""
        return self.check in VALUE_CHECKS

    def allowed(self, rows: int) -> int:
        """Return how many of `rows` rows may fail."""
        share = _exact(self.max_share or 0)
        return share.numerator * rows // share.denominator

    @property
    def subject(self) -> str:
        """The column and the check: `Age in_range`."""
        return f"{self.column or ''} {self.check}".strip()

    @property
    def limits(self) -> str:
        """The parameters, and the share of the rows that has to meet them: `0..120`."""
        text = " ".join(filter(None, _shown_parameters(self.parameters)))
        share = "" if self.max_share is None else f"for {1 - self.max_share:.4g} of rows"
        return f"{text} {share}".strip()

    def __str__(self) -> str:
        return f"{self.subject} {self.limits}".strip()

    def to_dict(self) -> dict[str, Any]:
        """Return the clause as JSON values, as in `contract.json`."""
        own: dict[str, Any] = {} if self.column is None else {"column": self.column}
        own |= {"check": self.check} | dict(self.parameters)
        more = {"max_share": self.max_share, "action": self.action, "note": self.note}
        return own | {name: value for name, value in more.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Contract:
    """The clauses of a `contract.json`, in their order."""

    clauses: tuple[Clause, ...] = ()

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Parse the bytes of a `contract.json`.

        Raises:
            ContractInvalid: they are too large or not a JSON object, or a part has the wrong form;
                the places are named.
        """
        if len(content) > MAX_BYTES:
            raise ContractInvalid(
                ("", f"it has {len(content):,} bytes, and the limit is {MAX_BYTES:,}")
            )
        try:
            return cls.from_dict(read_document(content, "it"))
        except MetadataInvalid as exc:
            raise ContractInvalid(("", str(exc))) from exc

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Return the contract of a document that `read_document` has accepted.

        Raises:
            ContractInvalid: a part has the wrong form.
        """
        problems = list(_unknown(document, ("version", "clauses"), ""))
        if document.get("version") is not VERSION:
            problems.append(("/version", f"is {shown(document.get('version'))}: write {VERSION}"))
        items = document.get("clauses")
        if not isinstance(items, list) or len(items) > MAX_CLAUSES:
            problems.append(("/clauses", f"is not a list of at most {MAX_CLAUSES:,} clauses"))
            items = []
        clauses = [_clause(item, f"/clauses/{i}", problems) for i, item in enumerate(items)]
        if problems:
            raise ContractInvalid(*problems)
        return cls(tuple(clause for clause in clauses if clause is not None))

    def check_types(self, types: Mapping[str, str]) -> None:
        """Check that each clause can be asked of its column, where the column's type is known.

        `types` are BigQuery's, by name.

        Raises:
            ContractInvalid: one compares with values of another type.
        """
        known = {fold(name): kind for name, kind in types.items()}
        problems = [
            (f"/clauses/{i}", fault)
            for i, clause in enumerate(self.clauses)
            if (kind := known.get(fold(clause.column or ""))) is not None
            and (fault := fitting_fault(clause.check, clause.parameters, kind)) is not None
        ]
        if problems:
            raise ContractInvalid(*problems)

    def to_dict(self) -> dict[str, Any]:
        """Return the contract as JSON values."""
        return {"version": VERSION, "clauses": [clause.to_dict() for clause in self.clauses]}

    def content(self) -> bytes:
        """Return the bytes of a `contract.json`: one line a clause, to be edited."""
        lines = [json.dumps(clause.to_dict(), ensure_ascii=False) for clause in self.clauses]
        joined = ",\n".join(f" {line}" for line in lines)
        return f'{{"version": {VERSION}, "clauses": [\n{joined}\n]}}\n'.encode()


@cache
def _exact(share: float) -> Fraction:
    return Fraction(str(share))


def _clause(item: Any, place: str, problems: list[tuple[str, str]]) -> Clause | None:
    """Return a clause, or add what is wrong with it to `problems`."""
    if not isinstance(item, Mapping):
        problems.append((place, f"is {shown(item)}: write an object with check and action"))
        return None
    check, action = item.get("check"), item.get("action")
    if not isinstance(check, str) or check not in CHECKS:
        text = f"is {shown(check)}: write one of {', '.join(CHECKS)}"
        problems.append((f"{place}/check", text))
        return None
    faults = list(_faults(item, check, place))
    if action not in ACTIONS:
        faults.append((f"{place}/action", f"is {shown(action)}: write {', '.join(ACTIONS)}"))
    elif action == REJECT and (check in TABLE_CHECKS or "max_share" in item):
        what = "max_share" if check in VALUE_CHECKS else f"{check}, which is not about single rows"
        faults.append((f"{place}/action", f"is reject beside {what}: write warn or stop"))
    if faults:
        problems += faults
        return None
    return Clause(
        check,
        str(action),
        item.get("column"),
        {name: item[name] for name in _names(CHECKS[check]) if name in item},
        item.get("max_share"),
        item.get("note"),
    )


def _faults(item: Mapping[str, Any], check: str, place: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the keys and values of a clause, but for its action."""
    parameters = _names(CHECKS[check])
    optional = ("max_share",) if check in VALUE_CHECKS else ()
    columns = () if check == "row_count" else ("column",)
    known = (*columns, "check", *parameters, *optional, "action", "note")
    yield from _unknown(item, known, place)
    if check not in ("row_count", "freshness") and "column" not in item:
        yield f"{place}/column", f"is missing: name the column of {check}"
    required = [name for name in CHECKS[check] if name != "range" and name not in item]
    yield from ((f"{place}/{name}", f"is missing: {check} needs it") for name in required)
    if parameters == _RANGE and not any(name in item for name in _RANGE):
        yield place, f"{check} needs min_value, max_value or both"
    wrong = False
    for name in known:
        if name in item and (fault := fault_of(name, item[name], check)) is not None:
            wrong = True
            yield f"{place}/{name}", fault
    low, high = (item.get(name) for name in _RANGE)
    if not wrong and parameters == _RANGE and low is not None and high is not None:
        if isinstance(low, str) != isinstance(high, str):
            yield place, "min_value and max_value differ in type: write two numbers or two texts"
        elif not isinstance(low, str) and low > high:
            yield place, f"min_value {shown(low)} is above max_value {shown(high)}"


def _unknown(
    item: Mapping[str, Any], known: tuple[str, ...], place: str
) -> Iterator[tuple[str, str]]:
    for name in item:
        if name not in known:
            pointer = name.replace("~", "~0").replace("/", "~1")
            yield f"{place}/{pointer[:80]}", f"is unknown: write only {', '.join(known)}"


def _names(parameters: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys that parameters stand for."""
    return _RANGE if parameters == ("range",) else parameters


def _shown_parameters(parameters: Mapping[str, Any]) -> Iterator[str]:
    low, high = (parameters.get(name) for name in _RANGE)
    if low is not None or high is not None:
        yield f"{'' if low is None else shown(low)}..{'' if high is None else shown(high)}"
    for name, value in parameters.items():
        if name == "max_age_hours":
            yield f"{value:g} h"
        elif isinstance(value, list):
            yield shown(", ".join(map(str, value)))[1:-1] if value else ""
        elif name not in _RANGE:
            yield shown(value)
