"""How far two models agree on the same rows: counts, exact figures, and the rows that differ most.

Nothing depends on the order of the rows or on how they are split into parts, so that the report of
a run is that of a join of two runs, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsys.columns.names import fold
from workers.scoring.planning.plan import Pair, Plan
from workers.scoring.shards.compared_columns import Labels, Numbers, differences
from workers.scoring.shards.quantiles import IN_MEMORY
from workers.scoring.shards.rejects import plain, short

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

MOST_DIFFERENT = 50  # rows that are named
MAX_IDS = 20  # id columns of a row that is named
HELD_BYTES = 8 * IN_MEMORY  # of agreements, until the run is published

DIFFERENCE = "difference"


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one part that both models have scored: the compared columns, and their ids.

    `first` and `second` have the pairs' columns in their order; `ids` returns the id columns of the
    rows at which a mask is True.
    """

    first: Sequence[pa.ChunkedArray]
    second: Sequence[pa.ChunkedArray]
    count: int
    ids: Callable[[np.ndarray], pa.Table]


class MostDifferent:
    """The rows that differ most; of equal differences, those with the smallest ids."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = list(ids)
        self._rows: pa.Table | None = None

    def add(self, sizes: np.ndarray, rows: Rows) -> None:
        """Take the rows of one part; `sizes` are their differences."""
        import numpy as np
        import pyarrow as pa

        if not self._ids or not sizes.any():
            return
        least = self._least()
        candidates = sizes >= least if least > 0 else sizes > 0
        if candidates.sum() > MOST_DIFFERENT:
            highest = np.partition(sizes[candidates], -MOST_DIFFERENT)[-MOST_DIFFERENT]
            candidates &= sizes >= highest
        if not candidates.any():
            return
        table = rows.ids(candidates)
        places = pa.array(np.flatnonzero(candidates))
        columns = {f"id{i}": table.column(name) for i, name in enumerate(self._ids)}
        for side, arrays in (("first", rows.first), ("shadow", rows.second)):
            columns |= {f"{side}{i}": array.take(places) for i, array in enumerate(arrays)}
        self._choose(pa.table(columns | {DIFFERENCE: pa.array(sizes[candidates])}))

    def merge(self, other: MostDifferent) -> None:
        """Take the rows of another part."""
        if other._rows is not None:
            self._choose(other._rows)

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return 0 if self._rows is None else int(self._rows.nbytes)

    def _choose(self, found: pa.Table) -> None:
        import pyarrow as pa

        if self._rows is not None:
            found = pa.concat_tables([self._rows, found])
        order = [(DIFFERENCE, "descending")]
        order += [(name, "ascending") for name in found.column_names if name != DIFFERENCE]
        self._rows = found.sort_by(order).slice(0, MOST_DIFFERENT).combine_chunks()

    def report(self, pairs: Sequence[Pair]) -> list[dict[str, Any]] | None:
        """Return the rows, the most different first, or None without id columns."""
        if not self._ids:
            return None
        rows = self._rows.to_pylist() if self._rows is not None else []
        return [
            {
                "ids": {name: short(plain(r[f"id{i}"])) for i, name in enumerate(self._ids)},
                "first": {p.first: short(plain(r[f"first{i}"])) for i, p in enumerate(pairs)},
                "shadow": {p.second: short(plain(r[f"shadow{i}"])) for i, p in enumerate(pairs)},
                "difference": plain(r[DIFFERENCE]),
            }
            for r in rows
        ]

    def _least(self) -> float:
        """Return the difference that a row needs at least to be among them."""
        if self._rows is None or self._rows.num_rows < MOST_DIFFERENT:
            return 0.0
        return float(self._rows.column(DIFFERENCE)[-1].as_py())


class Agreement:
    """What is known of rows that both models have scored: of a part, or of several merged."""

    def __init__(self, pairs: Sequence[Pair], ids: Sequence[str]) -> None:
        self._columns = [Labels(pair) if pair.labels else Numbers(pair) for pair in pairs]
        self._most = MostDifferent(ids)
        self._rows = self._equal = 0

    def add(self, rows: Rows) -> None:
        """Count rows."""
        import numpy as np

        sizes = np.zeros(rows.count)
        for column, first, second in zip(self._columns, rows.first, rows.second, strict=True):
            sizes = np.maximum(sizes, column.add(first, second))
        self._rows += rows.count
        self._equal += int((sizes == 0).sum())
        self._most.add(sizes, rows)

    def merge(self, other: Agreement) -> None:
        """Add what is known of other rows, of the same models."""
        for column, more in zip(self._columns, other._columns, strict=True):
            column.merge(more)  # type: ignore[arg-type]  # the pair is the same
        self._rows += other._rows
        self._equal += other._equal
        self._most.merge(other._most)

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return self._most.size + sum(column.size for column in self._columns)

    def report(self, parts: Callable[[], Iterable[Rows]]) -> dict[str, Any]:
        """Return the report. Each call of `parts` yields all rows again, for many numbers."""
        import numpy as np

        def passes(place: int) -> Callable[[], Iterable[np.ndarray]]:
            def again() -> Iterable[np.ndarray]:
                for part in parts():
                    found = differences(part.first[place], part.second[place])
                    yield found[np.isfinite(found)]

            return again

        pairs = [column.pair for column in self._columns]
        return {
            "rows": self._rows,
            "equal": self._equal,
            "agreement": self._equal / self._rows if self._rows else None,
            "columns": [
                {"column": column.pair.first, "shadow_column": column.pair.second}
                | column.report(passes(i))
                for i, column in enumerate(self._columns)
            ],
            "most_different": self._most.report(pairs),
        }


class Agreements:
    """The agreements of parts that this process has just scored, as far as memory goes.

    Each is known by the name of the challenger's file, which one try alone has written.
    """

    def __init__(self) -> None:
        self._held: dict[str, Agreement] = {}
        self._room = HELD_BYTES

    def keep(self, name: str, agreement: Agreement) -> None:
        """Hold a part's agreement, if there is room."""
        if agreement.size <= self._room:
            self._room -= agreement.size
            self._held[name] = agreement

    def merge(self, other: Agreements) -> None:
        """Hold those of another stream, if there is room."""
        for name, agreement in other._held.items():
            self.keep(name, agreement)

    def of(self, name: str) -> Agreement | None:
        """Return the agreement of a part, or None: its files have to be read."""
        return self._held.get(name)


def both_scored(
    one: pa.Table,
    two: pa.Table,
    pairs: Sequence[Pair],
    aside: Sequence[Sequence[int]],
    count: int,
    ids: Callable[[np.ndarray], pa.Table],
) -> Rows:
    """Return the rows of two tables that hold `count` rows, without those at `aside`.

    `aside` has the places of the rows that the first and the second table lack, `ids` returns the
    ids at places of the first table.

    Raises:
        ValueError: the tables do not hold these rows.
    """
    import numpy as np

    kept = [np.ones(count, bool) for _ in aside]
    for keep, places in zip(kept, aside, strict=True):
        keep[list(places)] = False
    if (one.num_rows, two.num_rows) != (int(kept[0].sum()), int(kept[1].sum())):
        raise ValueError("The tables hold other rows")
    both = kept[0] & kept[1]
    mine, theirs = both[kept[0]], both[kept[1]]
    return Rows(
        _where(one, [pair.first for pair in pairs], mine),
        _where(two, [pair.second for pair in pairs], theirs),
        int(both.sum()),
        lambda mask: ids(np.flatnonzero(mine)[mask]),
    )


def ids_in_file(plan: Plan) -> dict[str, str]:
    """Return the id columns that are named, as the files of the parts spell them."""
    spelt = {fold(c.name): c.name for c in plan.output.columns}
    return {c.name: spelt[fold(c.name)] for c in plan.ids[:MAX_IDS]}


def _where(table: pa.Table, names: Sequence[str], mask: np.ndarray) -> list[pa.ChunkedArray]:
    import pyarrow as pa

    columns = [table.column(name) for name in names]
    return columns if mask.all() else [c.filter(pa.array(mask)) for c in columns]
