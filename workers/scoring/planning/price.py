"""What BigQuery charges for a run: the estimate before it, and the limits of its request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlsys.cloud.clients import Clients
from mlsys.cloud.tables import find_table
from mlsys.errors import PriceLimit
from workers.query import column_sql, dry_run
from workers.scoring.planning.new_rows import lacking_rows
from workers.scoring.planning.partition_filter import all_of
from workers.scoring.planning.plan import Plan
from workers.scoring.request.parsed import ScoringRequest

if TYPE_CHECKING:
    from google.cloud.bigquery import Table

TIB = 2**40
# List prices in the US multi-region, before each month's free use (1 TiB of queries, 300 TiB of
# the Storage Read API); loading is free: https://cloud.google.com/bigquery/pricing
USD_PER_TIB_READ = 1.10
USD_PER_TIB_QUERIED = 6.25
PRICE_BASIS = (
    "US list prices, before the monthly free tier: 1.10 USD per TiB that the Storage Read API "
    "reads, 6.25 USD per TiB that a query reads. A query copies the rows first, for the Storage "
    "Read API, of a view, with incremental=ids, or for column names beyond letters, digits and "
    "underscores"
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The bytes that BigQuery would charge for, and their price in US dollars."""

    bytes: int
    usd: float


def price_of(read: int, queried: int = 0) -> float:
    """Return the price of bytes that the Storage Read API reads, and of those of a query."""
    return (read * USD_PER_TIB_READ + queried * USD_PER_TIB_QUERIED) / TIB


def estimate(clients: Clients, plan: Plan, table: Table | None = None) -> Estimate:
    """Return what reading the input would cost; `table` is the input's resource, if it is known.

    The bytes are those of the columns that are read; for a view, those that its query reads. Both
    are charged by the columns' logical size, whatever `where` lets through.
    """
    columns = ", ".join(column_sql(plan.input_table, n) for n in plan.read_columns) or "1"
    later = plan.is_query and not plan.aliased  # the filter is applied, and may name any column
    if plan.restriction and later:
        columns = "*"
    sql = f"SELECT {columns} FROM `{plan.input_table.base}`"
    by_ids = plan.incremental is not None and plan.incremental.is_by_ids
    lacking = lacking_rows(clients, plan) if by_ids else None  # reads the output's ids, too
    if condition := all_of(None if later else plan.restriction, lacking):
        sql += f" WHERE (\n{condition}\n)"  # some tables cannot be queried without
    size = dry_run(clients, sql).bytes
    if not size:  # the local BigQuery does not estimate queries
        table = table or find_table(clients, plan.input_table)
        size = (table.num_bytes if table is not None else None) or 0
    return Estimate(size, price_of(0, size) if plan.is_copied else price_of(size))


def check_price(expected: Estimate, request: ScoringRequest) -> None:
    """Check that a run costs no more than its request allows.

    Raises:
        PriceLimit: it would cost more than `max_bytes` or `max_cost`.
    """
    most = None if request.max_cost is None else float(request.max_cost)
    over = []
    if request.max_bytes is not None and expected.bytes > request.max_bytes:
        over.append(f"max_bytes allows {request.max_bytes:,} bytes")
    if most is not None and expected.usd > most:
        over.append(f"max_cost allows {request.max_cost} USD")
    if over:
        raise PriceLimit(
            f"The run would read {expected.bytes:,} bytes, for about {expected.usd:.6f} USD, and "
            f"{' and '.join(over)}: nothing was read. Pass a larger limit, or read less: a "
            "partition of the input, or a where on the column that partitions it.",
            {
                "bytes": expected.bytes,
                "max_bytes": request.max_bytes,
                "price_usd": expected.usd,
                "max_cost": most,
            },
        )


def has_limit(request: ScoringRequest) -> bool:
    """Return whether the request says what the run may cost."""
    return request.max_bytes is not None or request.max_cost is not None
