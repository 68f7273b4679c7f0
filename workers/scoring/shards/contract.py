"""Check each batch of a run against the model's contract, before the model sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mlsys.artifact.contract import REJECT, Clause
from mlsys.columns.bins import Counts as ColumnCounts
from mlsys.columns.names import fold
from workers.monitoring.contract import MAX_EXAMPLES, ContractCounts
from workers.monitoring.contract_checks import Failing, failing, newest
from workers.monitoring.contract_known import Known, known
from workers.monitoring.reference import FEATURE
from workers.scoring.planning.plan import Plan
from workers.scoring.shards.rejects import Reject, plain, short

if TYPE_CHECKING:
    import pyarrow as pa

MAX_IDS = 3  # columns of an example


@dataclass(frozen=True, slots=True)
class Checked:
    """What the clauses say of a batch: the counts, and the rows that are to be set aside."""

    counts: ContractCounts = field(default_factory=ContractCounts)
    refusing: Mapping[int, Any] = field(default_factory=dict)  # masks of failing rows, by place
    clauses: Sequence[Clause] = ()

    def kept(self, rows: pa.Table) -> pa.Table:
        """Return the rows that no clause sets aside."""
        import pyarrow.compute as pc

        return rows if not self.refusing else rows.filter(pc.invert(self._refused()))

    def places(self) -> list[int]:
        """Return the places in the batch of the rows that are kept."""
        import pyarrow.compute as pc

        kept: list[int] = pc.indices_nonzero(pc.invert(self._refused())).to_pylist()
        return kept

    def rejects(self, rows: pa.Table, most: int) -> list[Reject]:
        """Return the rows that are set aside, in order, with the clauses they fail; `most` of them.

        `rows` are all rows of the batch, with the columns of the clauses.
        """
        import pyarrow.compute as pc

        if not self.refusing:
            return []
        places = pc.indices_nonzero(self._refused())[:most]
        reasons: list[list[str]] = [[] for _ in places]
        for place, mask in self.refusing.items():
            clause = self.clauses[place]
            values = rows.column(clause.column).take(places).to_pylist()
            for i, fails in enumerate(mask.take(places).to_pylist()):
                if fails:
                    reasons[i].append(f"{clause}, and it is {short(plain(values[i]))!r}")
        taken = rows.take(places).to_pylist()
        return [
            Reject(row, f"contract: {'; '.join(why)}.", place)
            for row, why, place in zip(taken, reasons, places.to_pylist(), strict=True)
        ]

    def merged(self, refused: Sequence[Reject], bad: Sequence[Reject]) -> list[Reject]:
        """Return both the rows that were set aside and those the model cannot score, in order."""
        if not self.refusing:
            return list(bad)
        places = self.places() if bad else []
        moved = [replace(reject, place=places[reject.place]) for reject in bad]
        return sorted([*refused, *moved], key=lambda reject: reject.place)

    def _refused(self) -> Any:
        import pyarrow.compute as pc

        first, *others = self.refusing.values()
        for mask in others:
            first = pc.or_(first, mask)
        return first


class InputCheck:
    """The clauses of a plan's contract, ready for its batches."""

    def __init__(self, plan: Plan) -> None:
        self._contract, self._ids = plan.contract, [c.name for c in plan.ids[:MAX_IDS]]
        watched = () if plan.reference is None else plan.reference.of(FEATURE)
        self._bins = {fold(column.name): (i, column.bins) for i, column in enumerate(watched)}
        self._counted: list[tuple[int, Clause, _Check | None]] | None = None

    def check(self, rows: pa.Table, features: Sequence[ColumnCounts]) -> Checked:
        """Return what the clauses say of a batch; `features` are its counts (`count_features`).

        A clause looks at the values only if the counts do not tell how many rows fail it, or if
        they are more than may fail: then it names some.
        """
        contract = self._contract
        if contract is None:
            return Checked()
        if self._counted is None:
            self._counted = [
                (place, clause, self._check(clause, rows.schema))
                for place in contract.counted
                if (clause := contract.clauses[place])
            ]
        counts: dict[int, int] = {}
        latest: dict[int, int] = {}
        examples: dict[int, Sequence[Mapping[str, Any]]] = {}
        refusing = {}
        for place, clause, check in self._counted:
            if check is None:
                if (value := newest(rows.column(clause.column))) is not None:
                    latest[place] = value
                continue
            if (number := check.known(features)) == 0:
                continue
            allowed = clause.allowed(rows.num_rows)
            if number is None or number > allowed:
                mask = check.failing(rows.column(clause.column))
                number = 0 if mask is None else _count(mask)
                if number > allowed:
                    examples[place] = self._examples(rows, clause, mask)
                if number and contract.rejects and clause.action == REJECT:
                    refusing[place] = mask
            if number:
                counts[place] = number
        return Checked(ContractCounts(counts, latest, examples), refusing, contract.clauses)

    def _check(self, clause: Clause, schema: pa.Schema) -> _Check | None:
        """Return how the clause's column is checked, or None if its newest value is looked for."""
        if not clause.of_values:
            return None
        kind = schema.field(clause.column).type
        place, bins = self._bins.get(fold(clause.column or ""), (0, None))
        of_counts = None if bins is None else known(clause, kind, bins)
        return _Check(failing(clause, kind), of_counts, place)

    def _examples(self, rows: pa.Table, clause: Clause, mask: Any) -> list[dict[str, Any]]:
        import pyarrow.compute as pc

        first = rows.select([*dict.fromkeys([*self._ids, clause.column])])
        first = first.take(pc.indices_nonzero(mask)[:MAX_EXAMPLES])
        return [
            {
                "ids": {name: short(plain(row[name])) for name in self._ids},
                "value": short(plain(row[clause.column])),
            }
            for row in first.to_pylist()
        ]


def _count(mask: Any) -> int:
    import pyarrow.compute as pc

    return int(pc.sum(mask).as_py())


@dataclass(frozen=True, slots=True)
class _Check:
    """A clause of a column: what marks its failing rows, and what reads them off its counts."""

    failing: Failing
    of_counts: Known | None
    place: int  # of the column among the features that are counted

    def known(self, features: Sequence[ColumnCounts]) -> int | None:
        return None if self.of_counts is None else self.of_counts(features[self.place])
