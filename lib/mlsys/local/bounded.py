"""A limit on bqemulator's memory: a query that needs more fails, and the server lives.

DuckDB works out constants as it plans, in a dry run too, and its own limit does not count strings
and lists: `REPEAT('x', 4000000000)` in a filter took all of the machine's memory. The kernel's
limit makes such an allocation fail, which DuckDB reports as an error of the query.
"""

import contextlib
import os
import resource
from typing import Any

DUCKDB_SHARE = 0.75  # of the limit; beyond it DuckDB writes to its folder


def default_limit() -> int:
    """Half of the machine's memory, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def bound(limit: int) -> None:
    """Limit what this process may allocate, and what DuckDB keeps in memory."""
    from bqemulator.storage.engine import DuckDBEngine

    with contextlib.suppress(OSError, ValueError):  # macOS does not have to know it
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    own = DuckDBEngine._apply_session_pragmas

    def apply(self: Any) -> None:
        own(self)
        megabytes = int(limit * DUCKDB_SHARE) // 2**20
        self.connection.execute(f"SET memory_limit = '{megabytes}MiB'")

    DuckDBEngine._apply_session_pragmas = apply  # type: ignore[method-assign]
