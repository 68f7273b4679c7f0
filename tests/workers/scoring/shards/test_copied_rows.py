"""A query that copies the input's rows fails for good only for a reason that lasts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest

from mlsys.cloud.tables import TableRef
from mlsys.errors import SchemaMismatch, TryAgain
from workers.scoring.shards import materialized_view, refusals
from workers.scoring.shards.materialized_view import check_rows, materialize

NOW = dt.datetime.now(dt.UTC)
PLAN: Any = SimpleNamespace(
    run_id="run",
    token="token",
    job_stem="job",
    incremental=None,
    is_query=False,
    aliased=True,
    aliases={"c0": "first name"},
    restriction=None,
    input_table=TableRef("my-project", "d", "people"),
    snapshot_at=NOW.isoformat(),
    model=SimpleNamespace(name="m", version="v1"),
)
CLIENTS: Any = SimpleNamespace(settings=SimpleNamespace(dataset=lambda env: "my-project.mlsys_dev"))


class Cloud:
    """BigQuery, which refuses the first queries, and answers `valid` to each dry run."""

    def __init__(self, patch: pytest.MonkeyPatch, refused: int, *valid: bool) -> None:
        self.left, self.valid = refused, iter(valid)
        patch.setattr(materialized_view, "dataset_location", lambda *_: "EU")
        patch.setattr(materialized_view, "jobs_of", lambda *_: self.jobs())
        patch.setattr(materialized_view, "finish", lambda *_: None)
        patch.setattr(materialized_view, "find_table", lambda *_: SimpleNamespace(num_rows=3))
        patch.setattr(materialized_view, "is_valid", lambda *_: next(self.valid))
        patch.setattr(materialized_view, "dry_run", lambda *_: self.run())
        patch.setattr(refusals, "find_table", lambda *_: SimpleNamespace(created=None))
        patch.setattr(refusals, "_bigquery_time", lambda _: NOW)

    def jobs(self) -> Iterator[Any]:
        self.run()
        yield SimpleNamespace(total_bytes_billed=5)

    def run(self) -> None:
        self.left -= 1
        if self.left >= 0:
            raise BadRequest("Invalid snapshot time")


def test_a_snapshot_that_became_readable_since_it_was_refused_is_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Cloud(monkeypatch, 1, True)
    _, rows, billed = materialize(CLIENTS, "dev", PLAN, lambda: False)
    assert (rows, billed) == (3, 5)


def test_a_valid_query_that_fails_as_it_runs_is_repeated_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cloud = Cloud(monkeypatch, 9, True, True)
    with pytest.raises(SchemaMismatch, match="run its query by hand"):
        materialize(CLIENTS, "dev", PLAN, lambda: False)
    assert cloud.left == 7


def test_a_snapshot_that_is_refused_still_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    Cloud(monkeypatch, 9, False, True, True)
    with pytest.raises(TryAgain, match="cannot be read as of"):
        materialize(CLIENTS, "dev", PLAN, lambda: False)


def test_a_check_of_rows_that_became_readable_finds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Cloud(monkeypatch, 1, True)
    check_rows(CLIENTS, PLAN)
