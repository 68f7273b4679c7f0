"""Cut the rows of a part into the batches that a model may be given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from workers.scoring.shards.read_rows import BATCH_BYTES

if TYPE_CHECKING:
    import pyarrow as pa


class Cutter:
    """Cuts rows into batches of `most`, from where a part begins."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: list[pa.Table] = []
        self.rows = 0  # held back

    def add(self, table: pa.Table) -> Iterator[pa.Table]:
        """Yield the batches that are full with the rows of `table`."""
        start = 0
        while start < table.num_rows:
            some = table.slice(start, self._most - self.rows)
            start += some.num_rows
            self._held.append(some)
            self.rows += some.num_rows
            if self.rows >= self._most or sum(t.nbytes for t in self._held) >= BATCH_BYTES:
                yield from self.rest()

    def rest(self) -> Iterator[pa.Table]:
        """Yield the rows that are held back, if there are any."""
        import pyarrow as pa

        if self._held:
            held, self._held, self.rows = self._held, [], 0
            yield held[0] if len(held) == 1 else pa.concat_tables(held)
