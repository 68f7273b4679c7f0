"""The load job of a run replaces only rows where the output table keeps its schema."""

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest

from mlsys.bq import TableRef
from workers.scoring.publishing.load import job_disposition, written_at


@pytest.mark.parametrize(
    ("requested", "exists", "partition", "sent"),
    [
        ("WRITE_TRUNCATE", True, None, "WRITE_TRUNCATE_DATA"),
        ("WRITE_TRUNCATE", True, "20261123", "WRITE_TRUNCATE"),
        ("WRITE_TRUNCATE", False, None, "WRITE_TRUNCATE"),
        ("WRITE_APPEND", True, None, "WRITE_APPEND"),
        ("WRITE_EMPTY", True, None, "WRITE_EMPTY"),
    ],
)
def test_an_existing_table_keeps_its_schema(
    requested: str, exists: bool, partition: str | None, sent: str
) -> None:
    table = TableRef("my-project", "d", "t", partition)
    into: Any = SimpleNamespace(table=table, exists=exists, write_disposition=requested)
    assert job_disposition(into) == sent


@pytest.mark.parametrize(("later", "known"), [(0, True), (-1, True), (1, False)])
def test_a_table_that_others_changed_after_the_load_is_not_as_the_run_left_it(
    later: int, known: bool
) -> None:
    """Also if they had removed rows before the run looked at the table: an undo took a second."""
    ended = dt.datetime(2026, 11, 29, tzinfo=dt.UTC)
    job: Any = SimpleNamespace(ended=ended)
    table: Any = SimpleNamespace(modified=ended + dt.timedelta(milliseconds=later))
    assert written_at(job, table) == (table.modified.isoformat() if known else None)
