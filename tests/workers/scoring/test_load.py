"""The load job of a run replaces only rows where the output table keeps its schema."""

from types import SimpleNamespace
from typing import Any

import pytest

from mlsys.bq import TableRef
from workers.scoring.publishing.load import job_disposition


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
