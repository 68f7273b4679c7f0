"""The list of the runs that still work: markers lead to them, their own objects decide."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import Forbidden, ServiceUnavailable

from console_cloud import NOW, RUNS, Blob, World, moment, plan_of, put_working
from mlsys.cloud.tables import TableRef
from workers.scoring.journal.at_work import MOST, mark, runs_at_work, unmark
from workers.scoring.journal.decisions import Cancellation
from workers.scoring.journal.store import RunStore


@pytest.fixture
def world() -> World:
    """Return an older and a newer run that read rows."""
    world = World()
    put_working(world, "older", 30)
    put_working(world, "newer", 10, output_table="my-project.titanic.other$20261122")
    return world


def names(world: Any, **filters: Any) -> list[str]:
    return [row["run_id"] for row in runs_at_work(world, "dev", **filters)[0]]


def test_a_run_that_works_is_listed_until_its_marker_is_removed(world: World) -> None:
    [newer, older] = runs_at_work(world, "dev")[0]
    assert newer["run_id"] == "newer"
    assert (older["state"], older["stage"], older["model_name"]) == (
        *("running", "reading", "titanic-survival"),
    )
    assert older["started_at"] == moment(30).isoformat() and older["finished_at"] is None
    unmark(RunStore(world, "dev", "older"))
    unmark(RunStore(world, "dev", "older"))
    assert names(world) == ["newer"]


def test_runs_are_listed_by_model_and_by_table(world: World) -> None:
    assert names(world, model_name="titanic-survival") == ["newer", "older"]
    assert names(world, model_name="other") == []
    assert names(world, table=TableRef.parse("my-project.titanic.other")) == ["newer"]
    assert runs_at_work(world, "dev", limit=1)[1] is True
    assert names(world, limit=1) == ["newer"]


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ({"result.json": {}}, None),
        ({"failure.json": {}}, None),
        ({"publish.json": {}}, "loading"),
        ({"publish.json": Cancellation("t", "older", NOW.isoformat(), 1.0).to_dict()}, None),
    ],
    ids=["done", "failed", "to be loaded", "cancelled"],
)
def test_the_runs_objects_decide_and_not_a_marker_that_was_left(
    world: World, written: dict[str, Any], left: str | None
) -> None:
    for name, content in written.items():
        world.put(f"older/{name}", content)
    stages = {row["run_id"]: row["stage"] for row in runs_at_work(world, "dev")[0]}
    assert stages.get("older") == left


@pytest.mark.parametrize("marker", [b"", b"[]", b"{}", b'{"run_id": "older"}', b"\xff"])
def test_a_marker_that_cannot_be_read_shows_nothing(world: World, marker: bytes) -> None:
    world.put("_running/older.json", marker)
    world.put("_running/a/b.json", marker)
    world.put("_running/newer-2.json", world.objects[RUNS, "_running/newer.json"][0])
    assert names(world) == ["newer"]


def test_a_run_without_a_plan_is_not_listed(world: World) -> None:
    del world.objects[RUNS, "older/plan.json"]
    assert names(world) == ["newer"]


def test_many_markers_cost_a_bounded_number_of_requests(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    download = Blob.download_as_bytes
    monkeypatch.setattr(
        Blob, "download_as_bytes", lambda blob, **_: read.append(blob.name) or download(blob)
    )
    for number in range(MOST + 50):
        world.put(f"_running/r-{number}.json", b"{}", 60)
    rows, more = runs_at_work(world, "dev")
    assert [row["run_id"] for row in rows] == ["newer", "older"]
    assert len(read) == MOST and more


@pytest.mark.parametrize("fault", [Forbidden("no"), ServiceUnavailable("later")])
def test_a_marker_that_cannot_be_written_or_removed_costs_no_run(
    world: World, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise fault

    for verb in ("upload_from_string", "delete"):
        monkeypatch.setattr(Blob, verb, refuse)
    store = RunStore(world, "dev", "older")
    mark(store, plan_of("older").ledger_row)
    unmark(store)
    assert names(world) == ["newer", "older"]
