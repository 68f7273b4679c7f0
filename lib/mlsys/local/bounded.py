"""Limit bqemulator's memory: a query that needs more fails, and the server survives.

DuckDB evaluates constants as it plans, in a dry run too, and its own limit does not count strings
and lists: `REPEAT('x', 4000000000)` in a filter took all of the machine's memory. The kernel's
limit makes such an allocation fail, which DuckDB reports as an error of the query.
"""

from __future__ import annotations

import contextlib
import os
import resource
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

DUCKDB_SHARE = 0.75  # of the limit; beyond it DuckDB spills to its folder
COPIED_BYTES = 64 * 2**20  # larger results use most of their reserved memory
# Of a batch of a result. Each thread reserves a batch of each column: with DuckDB's million rows
# one query of 250 columns took 5 GiB of the limit.
BATCH_ROWS = 2**14


def default_limit() -> int:
    """Return three quarters of the machine's memory, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4


def bound(limit: int) -> None:
    """Limit what this process may allocate, and what DuckDB keeps in memory."""
    from bqemulator.storage.engine import DuckDBEngine, _annotate_with_duckdb_types

    with contextlib.suppress(OSError, ValueError):  # macOS may not support it
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    own = DuckDBEngine._apply_session_pragmas

    def apply(self: Any) -> None:
        own(self)
        megabytes = int(limit * DUCKDB_SHARE) // 2**20
        self.connection.execute(f"SET memory_limit = '{megabytes}MiB'")

    def fetch(self: Any, sql: str, parameters: list[Any] | None = None) -> pa.Table:
        result = self.execute(sql, parameters)
        types = result.description
        return _copied(_annotate_with_duckdb_types(result.to_arrow_table(BATCH_ROWS), types))

    DuckDBEngine._apply_session_pragmas = apply  # type: ignore[method-assign]
    DuckDBEngine.fetch_arrow = fetch  # type: ignore[method-assign]


def _copied(result: pa.Table) -> pa.Table:
    """Return a small result in buffers of its own size.

    DuckDB reserves a batch of each column. bqemulator keeps the results, and the limit counts
    reserved memory, used or not.
    """
    import pyarrow as pa

    if result.nbytes > COPIED_BYTES:
        return result
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, result.schema) as writer:
        writer.write_table(result)
    return pa.ipc.open_stream(sink.getvalue()).read_all()
