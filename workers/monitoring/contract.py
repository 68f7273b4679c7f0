"""A model's contract within a run: what its clauses count, and the verdict from the counts.

The counts are integers, so those of the parts add up to those of the run, in any order.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from mlsys.artifact.contract import REJECT, STOP, Clause, Contract
from mlsys.errors import ContractBroken
from mlsys.plural import does, part, plural

ENFORCE, WARN, OFF = MODES = ("enforce", "warn", "off")
MAX_EXAMPLES = 3  # rows of a clause that an answer names
MAX_EXPLAINED = 20  # clauses with examples in one part
MAX_LISTED = 50  # clauses of a result
HOUR = 3_600_000_000  # microseconds


@dataclass(frozen=True, slots=True)
class PlannedContract:
    """The contract of a run as its plan pins it; columns are spelt as in the input table.

    `known` holds the clauses that fail whatever the rows hold, by their place, and why. `rejects`
    tells whether rows that fail a clause with `reject` are set aside.
    """

    generation: int | None  # of contract.json; None: the model has none, or it is not checked
    mode: str = ENFORCE  # of the request that planned the run
    clauses: tuple[Clause, ...] = ()
    known: Mapping[str, str] = field(default_factory=dict)

    @property
    def rejects(self) -> bool:
        """Whether rows that fail a clause with `reject` are set aside."""
        return self.mode == ENFORCE and any(clause.action == REJECT for clause in self.clauses)

    @property
    def counted(self) -> list[int]:
        """The places of the clauses that are counted as the rows pass."""
        return [
            i
            for i, clause in enumerate(self.clauses)
            if str(i) not in self.known
            and (clause.of_values or (clause.check == "freshness" and clause.column))
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the contract as JSON values."""
        clauses = [clause.to_dict() for clause in self.clauses]
        own = {"generation": self.generation, "mode": self.mode}
        return own | {"clauses": clauses, "known": dict(self.known)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave."""
        contract = Contract.from_dict({"version": 1, "clauses": value["clauses"]})
        return cls(value["generation"], value["mode"], contract.clauses, dict(value["known"]))


@dataclass(frozen=True, slots=True)
class ContractCounts:
    """What the clauses counted, by their places: failing rows, and newest values.

    `newest` is in microseconds since 1970. `examples` are a few failing rows, the first ones of the
    batches where more fail than the clause allows.
    """

    failing: Mapping[int, int] = field(default_factory=dict)
    newest: Mapping[int, int] = field(default_factory=dict)
    examples: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    def __add__(self, other: ContractCounts) -> ContractCounts:
        places = [*self.newest, *(p for p in other.newest if p not in self.newest)]
        newest = {p: max(c.newest[p] for c in (self, other) if p in c.newest) for p in places}
        examples = dict(self.examples)
        for place, rows in other.examples.items():
            examples[place] = [*examples.get(place, ()), *rows][:MAX_EXAMPLES]
        failing = Counter(self.failing) + Counter(other.failing)
        return ContractCounts(dict(failing), newest, examples)

    def explained(self) -> ContractCounts:
        """Return the counts with examples for the first clauses only, as a part keeps them."""
        few = {place: self.examples[place] for place in sorted(self.examples)[:MAX_EXPLAINED]}
        return ContractCounts(self.failing, self.newest, few)

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON values; equal counts give equal texts."""
        return {
            name: {str(place): by_place[place] for place in sorted(by_place)}
            for name, by_place in asdict(self).items()
            if by_place
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave."""
        names = ("failing", "newest", "examples")
        return cls(*({int(p): v for p, v in value.get(name, {}).items()} for name in names))


@dataclass(frozen=True, slots=True)
class Broken:
    """A clause that the input breaks: how many of the rows fail it, and the first of them."""

    clause: Clause
    place: int
    why: str
    failing: int | None = None  # rows; None: the clause is about the table
    rows: int | None = None
    examples: Sequence[Mapping[str, Any]] = ()

    @property
    def shown(self) -> str:
        """Why it fails, with the first row: `2 of 8 rows fail (first PassengerId=5: 130)`."""
        if not self.examples:
            return self.why
        first = self.examples[0]
        ids = ", ".join(f"{name}={value!r}" for name, value in first["ids"].items())
        return f"{self.why} (first {ids or 'value'}: {first['value']!r})"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, as a run's result has it."""
        return {
            "clause": f"/clauses/{self.place}",
            "column": self.clause.column,
            "check": self.clause.check,
            "action": self.clause.action,
            "name": str(self.clause),
            "problem": self.shown,
            "failing": self.failing,
            "rows": self.rows,
            "examples": [dict(example) for example in self.examples],
        }


def judge(
    contract: PlannedContract, counts: ContractCounts, rows: int, at: dt.datetime
) -> list[Broken]:
    """Return the clauses that the `rows` rows break, in the contract's order.

    `at` is the moment of the input's snapshot, which the age of its newest values is taken from.
    """
    broken = []
    for place, clause in enumerate(contract.clauses):
        if (why := contract.known.get(str(place))) is not None:
            broken.append(Broken(clause, place, why))
        elif clause.check == "row_count":
            if why := row_count_fault(clause, rows):
                broken.append(Broken(clause, place, why))
        elif clause.check == "freshness" and clause.column is not None:
            newest = counts.newest.get(place)
            if why := freshness_fault(clause, newest, at):
                broken.append(Broken(clause, place, why))
        elif (failing := counts.failing.get(place, 0)) > clause.allowed(rows):
            why = part(failing, rows, "row", "fails")
            examples = counts.examples.get(place, ())
            broken.append(Broken(clause, place, why, failing, rows, examples))
    return broken


def row_count_fault(clause: Clause, rows: int) -> str | None:
    """Return why the number of rows breaks the clause, or None."""
    low, high = (clause.parameters.get(name) for name in ("min_value", "max_value"))
    if (low is None or rows >= low) and (high is None or rows <= high):
        return None
    return f"there {does(rows, 'is')} {plural(rows, 'row')}"


def freshness_fault(clause: Clause, newest: int | None, at: dt.datetime) -> str | None:
    """Return why the newest value (microseconds since 1970, None: no value) is too old, or None."""
    if newest is None:
        return "the column has no value"
    epoch = dt.datetime.fromtimestamp(0, dt.UTC)
    hours = ((at - epoch) // dt.timedelta(microseconds=1) - newest) / HOUR
    if hours <= clause.parameters["max_age_hours"]:
        return None
    return f"the newest value is {hours:,.1f} hours old"


def stopped_by(broken: Iterable[Broken], mode: str) -> list[Broken]:
    """Return the broken clauses that let the run publish nothing."""

    def stops(each: Broken) -> bool:  # nor can rows be set aside by what cannot be asked
        return each.clause.action == STOP or (each.clause.action == REJECT and each.rows is None)

    return [each for each in broken if mode == ENFORCE and stops(each)]


def stop_error(broken: Sequence[Broken], then: str) -> ContractBroken:
    """Return the error for broken clauses with `stop`; `then` says what to do."""
    first = broken[0]
    others = len(broken) - 1
    more = f", and {plural(others, 'more clause')} {does(others, 'fails')}" if others else ""
    return ContractBroken(
        f"The input breaks the model's contract: {first.clause}: {first.shown}"
        f"{more}. Nothing was published. {then}",
        [each.to_dict() for each in broken[:MAX_LISTED]],
    )


def contract_summary(
    contract: PlannedContract | None, broken: Sequence[Broken], mode: str
) -> dict[str, Any] | None:
    """Return what a run's result says of its contract, None without one.

    `text` is a sentence: `2 of 14 clauses fail: Age in_range 0..120 (3 of 418 rows fail)`.
    """
    if contract is None or contract.generation is None:
        return None
    shown = "; ".join(f"{each.clause} ({each.why})" for each in broken[:MAX_EXAMPLES])
    number = len(contract.clauses)
    return {
        "generation": contract.generation,
        "mode": mode,
        "clauses": number,
        "failing": len(broken),
        "broken": [each.to_dict() for each in broken[:MAX_LISTED]],
        "text": f"{part(len(broken), number, 'clause', 'fails')}{': ' if shown else ''}{shown}",
    }


def warnings_of(broken: Iterable[Broken]) -> list[str]:
    """Return a warning for each broken clause that did not stop the run."""
    return [f"contract: {each.clause}: {each.shown}" for each in broken][:MAX_LISTED]
