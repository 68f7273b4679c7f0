"""A run is undone: its rows go, those that it replaced return, and nobody gets it again."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from mlsys.local.stack import LocalStack
from scoring_cases import Lab
from undo_histories import one_history
from undo_world import DAYS, INPUT, MODEL, ROWS, UndoWorld, X
from workers.scoring.publishing import removable, undo
from workers.scoring.publishing.undo import decide_undo

pytestmark = pytest.mark.usefixtures("environment")

LONG = 200


@pytest.fixture(scope="module")
def new_world(stack: LocalStack) -> Callable[[], UndoWorld]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        return UndoWorld.of(Lab(stack))


def refused(answer: Any, *words: str) -> None:
    assert answer.status == 409, answer.text
    for word in words:
        assert word in answer.json["detail"], answer.json["detail"]


def runs_in(world: UndoWorld, table: str) -> dict[str, int]:
    """Return how many rows of each run a table has."""
    sql = f"SELECT run_id, COUNT(*) AS n FROM `{table}` GROUP BY run_id"
    return {row.run_id: row.n for row in world.lab.clients.bigquery.query(sql).result(timeout=60)}


def test_a_run_is_undone_and_its_request_is_another_run_then(
    new_world: Callable[[], UndoWorld], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = new_world()
    lab = world.lab
    first = world.score()
    monday = world.score(day=DAYS[0], replace=True)
    world.check()
    verdict = world.undo(monday, dry_run="true").json
    [table] = verdict["tables"]
    assert verdict["state"] == "succeeded" and verdict["undone_at"] is None
    assert (table["how"], table["rows_removed"], table["rows_restored"]) == ("restore", ROWS, ROWS)
    world.check()
    answer = world.undo(monday).json
    assert answer["tables"] == verdict["tables"] and not answer["already"]
    assert (answer["why"], answer["state"]) == ("a test", "undone")
    world.note_undone(monday)
    world.check()
    again = world.undo(monday, why="another").json
    assert again["already"] and again["why"] == "a test"
    assert {k: again[k] for k in ("undone_at", "tables")} == {
        k: answer[k] for k in ("undone_at", "tables")
    }
    # The ledger has who and why, beside the figures of the run.
    state = world.state(monday)
    assert (state["state"], state["result"]["rows"], state["undo"]["finished"]) == (
        "undone",
        ROWS,
        True,
    )
    listed = lab.here({"env": "dev", "state": "undone", "limit": "1000"}, "/runs").json["runs"]
    [row] = [row for row in listed if row["run_id"] == monday]
    assert (row["undone_why"], row["undone_at"]) == ("a test", answer["undone_at"])
    assert (row["rows_scored"], row["finished_at"]) == (ROWS, state["result"]["finished_at"])
    sql = f"SELECT COUNT(*) AS n FROM mlsys_dev.prediction_profiles WHERE run_id = '{monday}'"
    assert next(iter(lab.clients.bigquery.query(sql).result())).n == 0
    # No request is answered by it.
    request = dict(state["request"]) | {"run_id": monday}
    assert lab.here(request).problem(409, "run-undone", "a test")
    # The first run is whole again, and is undone too.
    world.undo(first)
    world.note_undone(first)
    world.check()
    assert not world.rows


@pytest.mark.slow
def test_a_request_without_a_run_id_scores_again_after_an_undo(
    new_world: Callable[[], UndoWorld],
) -> None:
    world = new_world()
    lab = world.lab
    model = lab.upload(MODEL, X, id_columns=["id", "day"])
    lab.upload(MODEL, X, model, "v2", id_columns=["id", "day"])
    faulty = INPUT.assign(a=INPUT["a"].where(INPUT["id"] != 0))  # a row without a feature
    params = lab.params(
        *(lab.put(faulty), model),
        output_table=lab.name("output"),
        write_disposition="WRITE_TRUNCATE",
        shadow="v2",
        max_rejects="1",
    )
    done = lab.here(params).done()
    assert lab.here(params).done()["reused"]
    tables = [params["output_table"] + word for word in ("", "_rejects", "_shadow")]
    good = 2 * ROWS - 1
    assert [lab.count(table) for table in tables] == [good, 1, good]
    answer = world.undo(done["run_id"]).json
    assert [(t["table"], t["how"], t["rows_removed"]) for t in answer["tables"]] == [
        (table, "delete", rows) for table, rows in zip(tables, (good, 1, good), strict=True)
    ]  # the run created the tables
    assert [lab.count(table) for table in tables] == [0, 0, 0]
    second = lab.here(params).done()
    assert second["run_id"] == f"{done['run_id']}-2" and not second["reused"]
    assert [lab.count(table) for table in tables] == [good, 1, good]
    assert lab.here(params).done()["run_id"] == second["run_id"]


@pytest.mark.slow
def test_an_undo_is_refused_where_others_have_written_since(
    new_world: Callable[[], UndoWorld], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = new_world()
    lost = world.score()
    whole = world.score(replace=True)
    refused(world.undo(lost), f"is left in {world.table}", whole, "return once it is undone")
    world.add_by_hand(7)
    refused(world.undo(whole), "was changed since", "by-hand")
    assert world.lab.objects(f"{whole}/undo") == {}
    assert world.lab.here({"env": "dev"}, f"/runs/{whole}").json["state"] == "succeeded"
    # A row that somebody changed counts too, one by one.
    tuesday = world.score(day=DAYS[1], replace=True)
    sql = f"UPDATE `{world.table}` SET prediction = 9 WHERE run_id = '{tuesday}' AND id = {ROWS}"
    world.lab.clients.bigquery.query(sql).result(timeout=60)
    refused(world.undo(tuesday), "was changed since")
    later = world.score(day=DAYS[0], replace=True)
    monkeypatch.setattr(removable, "_age", lambda _: dt.timedelta(days=7, seconds=1))
    refused(world.undo(later), "cannot be read any more", "168 hours", "DELETE FROM")
    monkeypatch.undo()
    world.lab.clients.bigquery.delete_table(world.table)
    refused(world.undo(later), "was deleted", "nothing to undo")


def test_no_other_run_is_to_be_undone_for_rows_that_somebody_deleted(
    new_world: Callable[[], UndoWorld],
) -> None:
    world = new_world()
    kept, lost = world.score(), world.score()
    sql = f"DELETE FROM `{world.table}` WHERE run_id = '{lost}'"
    world.lab.clients.bigquery.query(sql).result(timeout=60)
    answer = world.undo(lost)
    refused(answer, "have deleted or replaced them", "There is nothing to undo, and")
    assert kept not in answer.text and "DELETE" not in answer.text


def test_a_run_that_was_undone_is_not_said_to_have_rows(new_world: Callable[[], UndoWorld]) -> None:
    world = new_world()
    run_id = world.score()
    path, query = f"/runs/{run_id}", {"env": "dev", "why": "wrong model"}
    for blank in ("", "   "):
        answer = world.lab.client.post(f"{path}/undo", query_string=query | {"why": blank})
        problem = {"name": "why", "problem": "is empty: pass the reason"}
        assert (answer.status_code, answer.json["parameters"]) == (400, [problem])
    assert world.undo(run_id, why="  wrong model ").json["why"] == "wrong model"
    cancelled = world.lab.client.delete(path, query_string=query)
    assert cancelled.status_code == 409
    assert "was undone at" in cancelled.json["detail"]
    assert "mlsys undo" not in cancelled.json["detail"]


@pytest.mark.slow
def test_what_cannot_be_undone_says_what_to_do(new_world: Callable[[], UndoWorld]) -> None:
    world = new_world()
    lab = world.lab
    missing = lab.client.post("/runs/nowhere/undo", query_string={"env": "dev", "why": "x"})
    assert missing.status_code == 404
    wordless = lab.client.post("/runs/nowhere/undo", query_string={"env": "dev"})
    assert wordless.json["parameters"] == [{"name": "why", "problem": "is missing"}]
    run_id = world.score()
    lab.store(run_id).blob("result.json").delete()
    refused(world.undo(run_id), "has published nothing yet", "cancel it")
    failure = {"run_id": run_id, "state": "failed", "detail": "x", "max_rejects": "0"}
    failure |= {"seconds": 1.0, "finished_at": "2026-11-28T01:00:00+00:00"}
    lab.store(run_id).note("failure.json", failure)
    refused(world.undo(run_id), "failed, and published nothing")


@pytest.mark.slow
def test_an_undo_that_is_decided_is_carried_out_by_its_message(
    new_world: Callable[[], UndoWorld],
) -> None:
    world = new_world()
    lab = world.lab
    run_id = world.score()
    unasked = {"env": "dev", "undo": run_id}

    def push(message: dict[str, str]) -> int:
        data = base64.b64encode(json.dumps(message).encode()).decode()
        body = {"message": {"data": data, "messageId": "1"}, "subscription": "s"}
        return lab.push(json.dumps(body).encode()).status

    assert push(unasked) == 204  # nobody has decided it
    world.check()
    assert decide_undo(lab.clients, "dev", run_id, by="me@example.com", why="by the console")[1]
    state = world.state(run_id)
    assert (state["state"], state["undo"]["finished"]) == ("undone", False)
    request = dict(state["request"])
    lab.here(request | {"run_id": run_id}).problem(409, "run-undone", "by the console")
    assert push(unasked) == 204
    world.note_undone(run_id)
    world.check()
    assert world.state(run_id)["undo"]["finished"]
    assert push(unasked) == 204


@pytest.mark.slow
def test_rows_of_a_run_that_was_undone_do_not_return(new_world: Callable[[], UndoWorld]) -> None:
    world = new_world()
    both = world.score()
    monday = world.score(day=DAYS[0], replace=True)
    for run_id in (both, monday):  # of the first one, Monday's rows are replaced
        assert world.undo(run_id).status == 200
        world.note_undone(run_id)
        world.check()
    assert not world.rows


@pytest.mark.slow
def test_what_others_write_after_the_decision_stays(new_world: Callable[[], UndoWorld]) -> None:
    """The decision is not the change: a run that replaces the rows in between is not touched."""
    world = new_world()
    world.score()
    first, second = world.score(replace=True), world.score(day=DAYS[0])
    assert decide_undo(world.lab.clients, "dev", second, by=None, why="a test")[1]
    later = world.score(replace=True)
    answer = world.undo(second).json
    world.check()
    assert answer["already"] and answer["tables"][0]["rows_removed"] == 0
    assert decide_undo(world.lab.clients, "dev", later, by=None, why="a test")[1]
    latest = world.score(replace=True)
    [table] = world.undo(later).json["tables"]
    assert (table["how"], table["rows_restored"]) == ("restore", 0)
    assert runs_in(world, table["copy"]) == {first: 2 * ROWS}
    world.check()
    assert {key[2] for key in world.rows} == {latest}
    refused(world.undo(first), "was changed since", latest)


@pytest.mark.slow
def test_rows_that_cannot_return_are_kept_in_the_copy(new_world: Callable[[], UndoWorld]) -> None:
    """A run replaced one day of the table after its undo was decided."""
    world = new_world()
    first, whole = world.score(), world.score(replace=True)
    assert decide_undo(world.lab.clients, "dev", whole, by=None, why="a test")[1]
    monday = world.score(day=DAYS[0], replace=True)
    [table] = world.undo(whole).json["tables"]
    assert (table["rows_removed"], table["rows_restored"]) == (ROWS, 0)
    assert runs_in(world, world.table) == {monday: ROWS}
    assert runs_in(world, table["copy"]) == {first: 2 * ROWS}
    assert table["copy"].startswith(f"{world.table.rpartition('.')[0]}.undo_output_{whole}")
    assert world.undo(whole).json["tables"] == [table]


@pytest.mark.parametrize("dry_run", ["false", "true"])
def test_an_undo_that_another_one_overtakes_is_answered_with_it(
    new_world: Callable[[], UndoWorld], monkeypatch: pytest.MonkeyPatch, dry_run: str
) -> None:
    world = new_world()
    world.score()
    appended = world.score()
    real = undo.check_removal

    def overtaken(*arguments: Any) -> Any:
        monkeypatch.setattr(undo, "check_removal", real)
        assert not world.undo(appended).json["already"]
        return real(*arguments)

    monkeypatch.setattr(undo, "check_removal", overtaken)
    answer = world.undo(appended, why="another", dry_run=dry_run).json
    assert (answer["already"], answer["why"]) == (True, "a test")
    monkeypatch.setattr(undo, "undo_of", lambda *_: None)
    refused(world.undo(appended), "is left in", "There is nothing to undo")


@pytest.mark.slow
def test_random_histories_with_incremental_runs_equal_their_model(
    new_world: Callable[[], UndoWorld],
) -> None:
    happened = one_history(new_world(), 36) + one_history(new_world(), 39)
    for kind in ("new by n", "new by ids", "again by n", "again by ids", "refused", "kills"):
        assert happened[kind], happened


@pytest.mark.long
@pytest.mark.timeout(2 * 3600)
def test_many_random_histories_equal_their_model(new_world: Callable[[], UndoWorld]) -> None:
    seed, happened = dt.date.today().toordinal() * LONG, Counter[str]()
    for number in range(LONG):
        happened += one_history(new_world(), seed + number, 12)
        print(f"{number + 1} of {LONG} histories: {happened}", flush=True)
    for kind in (
        "undone",
        "undone after a kill",
        "refused",
        "new by n",
        "new by ids",
        "again by ids",
    ):
        assert happened[kind] > LONG / 10, happened
    assert happened["again by n"], happened
