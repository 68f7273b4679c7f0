"""A table: the runs that wrote it, and the last one of each of its partitions."""

from __future__ import annotations

from app import service
from app.console.pages import Page, env, page
from mlsys.cloud.tables import TableRef

EACH = 50  # runs, and partitions


@page("/tables/<table>", of_twin="/tables/<table:table>")
def table(table: str) -> Page:
    """Show which runs wrote a table, the latest first."""
    from workers.scoring.journal.at_work import runs_at_work
    from workers.scoring.publishing.table_runs import last_runs_of_partitions, runs_of_table

    clients, name = service().clients, env()
    ref = TableRef.parse(table, partition=True).base
    runs, more = runs_of_table(clients, name, ref, limit=EACH)
    partitions, more_partitions = last_runs_of_partitions(clients, name, ref, limit=EACH)
    working, _ = runs_at_work(clients, name, table=ref, limit=EACH)
    view = {
        "table": str(ref),
        "working": working,
        "runs": runs,
        "more": more,
        "partitions": partitions,
        "more_partitions": more_partitions,
    }
    return Page(f"Table {ref}", "table.html", view)
