"""Count the columns of Arrow tables while a run reads and scores them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mlsys.columns.bins import CATEGORY, Counts, count, nothing
from mlsys.columns.coded import coded
from mlsys.columns.names import fold
from workers.monitoring.reference import FEATURE, PREDICTION, Reference, Watched

if TYPE_CHECKING:
    import pyarrow as pa


class Tally:
    """The counts of a part's rows: of the features as they are read, of the predictions after."""

    def __init__(self, reference: Reference | None) -> None:
        self._reference = reference
        columns = () if reference is None else reference.columns
        self._sums = [nothing(column.bins) for column in columns]

    def add(self, features: Sequence[Counts], predictions: Iterable[pa.Table]) -> None:
        """Add the rows of a batch: its features' counts, and the rows that were scored."""
        if self._reference is None:
            return
        first = len(features)
        tables = [count_columns(self._reference.of(PREDICTION), table) for table in predictions]
        for start, counts in [(0, features), *((first, counts) for counts in tables)]:
            for place, more in enumerate(counts, start):
                self._sums[place] += more

    def text(self) -> str:
        """Return the counts for a part's footer, or "" if nothing is counted."""
        if self._reference is None:
            return ""
        return json.dumps([counts.to_dict() for counts in self._sums], separators=(",", ":"))


def with_codes(reference: Reference | None, table: pa.Table) -> pa.Table:
    """Return the rows with text features as dictionaries, where each text is looked up once.

    The counts are made of them, and the model's encoders map their few texts to its own codes.
    """
    if reference is None:
        return table
    places = {fold(name): i for i, name in enumerate(table.schema.names)}
    for watched in reference.of(FEATURE):
        if watched.bins.kind == CATEGORY:
            i = places[fold(watched.name)]
            column = coded(table.column(i), watched.bins.values)
            table = table.set_column(i, table.schema.names[i], column)
    return table


def count_features(reference: Reference | None, table: pa.Table) -> list[Counts]:
    """Return the counts of the features in a table that was read."""
    return [] if reference is None else count_columns(reference.of(FEATURE), table)


def count_columns(columns: Sequence[Watched], table: pa.Table) -> list[Counts]:
    """Return the counts of columns in a table, whose names are compared without case."""
    places = {fold(name): i for i, name in enumerate(table.schema.names)}
    return [count(c.bins, table.column(places[fold(c.name)])) for c in columns]


def read_text(text: str) -> list[Counts]:
    """Read what `Tally.text` gave.

    Raises:
        ValueError, TypeError, AttributeError: it is not that.
    """
    return [Counts.from_dict(value) for value in json.loads(text)]


def added(reference: Reference, parts: Iterable[Sequence[Counts]]) -> list[Counts]:
    """Return the sum of the parts' counts.

    Raises:
        ValueError: a part counted other columns, or other bins.
    """
    sums = [nothing(column.bins) for column in reference.columns]
    for part in parts:
        sums = [total + more for total, more in zip(sums, part, strict=True)]
    return sums
