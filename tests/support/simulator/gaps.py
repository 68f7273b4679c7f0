"""The one schedule that is known to leave a wrong row: a statement that outlives its handler.

BigQuery ends the statement after the last look of everybody who ended well, because its own handler
is dead or was answered with an error (decision 19). A wrong row is excused only if all of this
holds; every other difference is a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from simulator.statements import Values
from simulator.warehouse import BigQueryClient, Looked, Merge


class Mismatch(AssertionError):
    """What the actors left is not what the bucket demands."""


class Gap(AssertionError):
    """The mismatch of a statement that took effect after everybody's last look (decision 19)."""


@dataclass(frozen=True)
class Wrong:
    """Rows of a key of a table that are not as they should be.

    `is_right(merge, since)` returns whether the rows that a statement left were those of the
    bucket at some moment from `since`, the last look of its owner, to the statement's start.
    """

    text: str
    table: str
    of_key: Callable[[Values], bool]
    looks_at: Callable[[Looked], bool]
    is_right: Callable[[Merge, float], bool]
    extra: Callable[[Values], bool]  # whether a row of the key should not be there
    missing: Callable[[Values], bool] = lambda row: True  # whether a deleted row should be


def excused(warehouse: BigQueryClient, wrong: Wrong) -> bool:
    """Return whether statements that outlived their handlers explain the wrong rows."""
    table = warehouse.tables[wrong.table]
    looks = [look for look in warehouse.looks if wrong.looks_at(look)]
    last = max((look.at for look in looks if look.actor.ended_well), default=-1.0)

    def outlived(merge: Merge) -> bool:
        owner = merge.owner
        if merge.state != "done" or owner is None or owner.ended_well:
            return False
        assert merge.ended is not None
        own = [look.at for look in looks if look.actor is owner and look.at <= merge.asked]
        since = max(own, default=owner.began)
        return merge.ended > last and wrong.is_right(merge, since)

    late = [merge for merge in table.ended if _touches(merge, wrong) and outlived(merge)]
    extra = [row for row in table.rows if wrong.of_key(row.values) and wrong.extra(row.values)]
    if extra:
        return all(row.by in late for row in extra)
    rows = [row for row in table.rows if wrong.of_key(row.values)]
    if any(row.by in late for row in rows):  # one of several that are the same
        return True
    return any(_deleted(merge, wrong) for merge in late)


def check(warehouse: BigQueryClient, wrongs: Iterable[Wrong]) -> str:
    """Return the texts of what is wrong and excused, "" if nothing is.

    Raises:
        Mismatch: something is wrong for another reason.
    """
    texts = []
    for wrong in wrongs:
        if not excused(warehouse, wrong):
            raise Mismatch(wrong.text)
        texts.append(wrong.text)
    return "; ".join(texts)


def _touches(merge: Merge, wrong: Wrong) -> bool:
    return any(map(wrong.of_key, merge.change.rows)) or _deleted(merge, wrong)


def _deleted(merge: Merge, wrong: Wrong) -> bool:
    return any(wrong.of_key(row.values) and wrong.missing(row.values) for row in merge.deletes)


def rows_of(merge: Merge, of_key: Callable[[Values], bool]) -> list[dict[str, Any]]:
    """Return the rows of a key that the statement left."""
    return [row for row in merge.change.rows if of_key(row)]
