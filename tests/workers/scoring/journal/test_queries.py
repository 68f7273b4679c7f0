"""What BigQuery charges for a run's queries, also for those that nobody waited for."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, ServiceUnavailable

from console_cloud import World, moment, plan_of, put_run, result_of
from mlsys.errors import SchemaMismatch, TryAgain
from workers.scoring.journal.outcomes import Result
from workers.scoring.journal.queries import OF_UNDO, Notes, bytes_queried, noting, select_for
from workers.scoring.journal.store import RunStore
from workers.scoring.journal.undone import Undone
from workers.scoring.planning.price import price_of
from workers.scoring.publishing.costs import costs_so_far
from workers.scoring.publishing.ledger import _row

COSTS = ("bytes_billed", "estimated_cost")
STORED = "a-run/queries/"


class Asked(World):
    """A world whose queries have jobs."""

    fault: Exception | None = None
    answered: int | None = 100  # by the answer

    def _query(self, sql: str, job_config: Any, **_: Any) -> Any:
        def result(**_: Any) -> Any:
            if self.fault is not None:
                raise self.fault
            job.total_bytes_billed = self.answered
            return iter(["a row"])

        job = SimpleNamespace(job_id=f"job-{len(self.jobs)}", location="EU", result=result)
        self.jobs[job.job_id] = SimpleNamespace(total_bytes_billed=100)
        return job


@pytest.fixture
def world() -> Asked:
    return Asked()


@pytest.fixture
def store(world: Asked) -> RunStore:
    return RunStore(world, "dev", "a-run")  # type: ignore[arg-type]


def ask(world: Asked, notes: Notes | None) -> None:
    assert list(select_for(notes, world, "SELECT 1")) == ["a row"]  # type: ignore[arg-type]


def test_a_query_is_noted_before_its_answer(world: Asked, store: RunStore) -> None:
    ask(world, Notes(store))
    ask(world, None)  # of a dry run
    world.fault = BadRequest("it was killed here")
    with pytest.raises(BadRequest):
        ask(world, Notes(store))
    assert bytes_queried(store, store.names()) == 200 and len(world.jobs) == 3
    noted = [name for _, name in world.objects]
    assert noted == [f"{STORED}job-0.json", f"{STORED}job-2.json"]
    named = [{"job_id": name, "location": "EU"} for name in ("job-0", "job-2")]
    assert store.read("queries/job-0.json") == named[0] | {"bytes_billed": 100}
    assert store.read("queries/job-2.json") == named[1]


@pytest.mark.parametrize(
    ("fault", "left"),
    [
        (None, 3),
        (SchemaMismatch("NULLs. Fill them."), 1),  # nothing is left but the earlier query's
        (TryAgain("It is busy: try again"), 3),
        (ServiceUnavailable("later"), 3),
    ],
)
def test_a_refusal_takes_back_its_own_notes(
    world: Asked, store: RunStore, fault: Exception | None, left: int
) -> None:
    ask(world, Notes(store))
    with contextlib.suppress(Exception), noting(store) as notes:
        for _ in range(2):
            ask(world, notes)
        if fault is not None:
            raise fault
    assert len(world.objects) == left


def test_what_bigquery_does_not_tell_counts_nothing(
    world: Asked, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(world, Notes(store))
    world.answered = None
    for _ in range(3):
        ask(world, Notes(store))
    world.jobs["job-1"].total_bytes_billed = None  # it runs still
    del world.jobs["job-2"]
    assert bytes_queried(store, store.names()) == 200

    def busy(*_: Any) -> None:
        raise ServiceUnavailable("later")

    monkeypatch.setattr("workers.scoring.journal.queries.find_job", busy)
    assert bytes_queried(store, store.names()) == 100


def test_a_run_costs_what_its_sessions_its_copy_and_its_queries_read(
    world: Asked, store: RunStore
) -> None:
    plan = plan_of()
    put_run(world, plan)
    session = store.read("session-0.json") or {}
    for number, size in enumerate((5_000, 7_000)):  # the first one was given up
        read = {"number": number, "bytes": size, "bytes_queried": 300}
        world.put(f"a-run/session-{number}.json", session | read)
    before = costs_so_far(store, plan)
    assert before.bytes_billed == 12_300
    ask(world, Notes(store))
    ask(world, Notes(store, OF_UNDO))
    costs = costs_so_far(store, plan)
    assert (costs.bytes_billed, costs.estimated_cost) == (12_400, price_of(12_000, 400))


def test_a_run_that_ended_while_its_rows_were_copied_costs_the_copy(
    world: Asked, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = replace(plan_of(), is_query=True)
    world.put("a-run/plan.json", copied.to_dict())
    for k, size in enumerate((None, 900)):  # the first try failed
        world.jobs[f"{copied.job_stem}_V{k}"] = SimpleNamespace(total_bytes_billed=size)
    assert costs_so_far(store, copied).bytes_billed == 900
    assert costs_so_far(store, plan_of()).bytes_billed == 0

    def busy(*_: Any) -> None:
        raise ServiceUnavailable("later")

    monkeypatch.setattr("workers.scoring.shards.materialized_view.known_jobs", busy)
    assert costs_so_far(store, copied).bytes_billed == 0


def test_the_ledger_adds_what_an_undo_costs() -> None:
    plan = plan_of()
    end = Result.from_dict(result_of(plan, bytes_billed=1_000, estimated_cost=0.5))
    said = (plan.token, "a-run", moment(2).isoformat(), "ada", "wrong", moment(1).isoformat(), ())
    for undone, size, usd in (
        (None, 1_000, 0.5),
        (Undone(*said), 1_000, 0.5),  # of an older release
        (Undone(*said, 200, 0.25), 1_200, 0.75),
    ):
        row = _row(plan, end, undone, {})
        assert (row["bytes_billed"], row["estimated_cost"]) == (size, usd)
        assert undone is None or Undone.from_dict(undone.to_dict()) == undone
    older = {k: v for k, v in Undone(*said).to_dict().items() if k not in COSTS}
    assert Undone.from_dict(older) == Undone(*said)
    unknown = Result.from_dict(result_of(plan))
    assert _row(plan, unknown, Undone(*said, 200, 0.25), {})["bytes_billed"] is None
