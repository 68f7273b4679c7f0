"""A backfill scores each partition once; its board tells which, and a killed service loses none."""

import datetime as dt
import json
import threading
from typing import Any

import pandas as pd
import pytest
from google.cloud import bigquery
from sklearn.linear_model import LinearRegression

from backfill_cases import MODEL, Command, X
from mlsys.cli import parser as cli
from mlsys.local.stack import LocalStack
from mlsys.models import set_alias
from mlsys.remote.backfill import Backfill
from scoring_cases import Lab
from workers.scoring.planning.find_run import prepare

pytestmark = pytest.mark.usefixtures("environment")

OTHER = LinearRegression().fit(X, X["b"])
ROWS = {"RANGE": [4, 4, 4], "HOUR": [3, 3, 3, 3]}
DAYS = [f"2026-11-2{n}" for n in range(3, 7)]


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.mark.slow
def test_the_board_follows_its_runs_and_can_start_them(lab: Lab, stack: LocalStack) -> None:
    command = Command(lab, DAYS[:2], alias=False)
    assert command.states() == ["missing", "missing", "empty"]
    day = DAYS[0].replace("-", "")
    result = lab.here(command.of(day)).done()
    board = lab.here(command.params, "/backfill").json
    assert [entry["state"] for entry in board["partitions"]] == ["done", "missing", "empty"]
    assert (board["by"], board["column"], board["model_version"]) == ("DAY", "day", "v1")
    assert board["partitions"][0]["run_id"] == result["run_id"]
    assert board["totals"] | {"rows": 12, "partitions": 3, "done": 1} == board["totals"]
    lab.put_alias(command.model, "champion", {"version": "v1"})
    body = command.params | {"start": "true", "model_version": "champion"}
    for published in (["20261124"], []):
        answer = lab.client.post("/backfill", json=body)
        assert (answer.status_code, answer.get_json()["published"]) == (202, published)
        stack.pubsub.wait_until_quiet(60)
        assert command.states() == ["done", "done", "empty"]
        aliases = command.ledger().set_index("output_table")["model_alias"].dropna()
        assert aliases.to_dict() == {f"{command.output}$20261124": "champion"}
    lab.here(command.params | {"input_table": lab.put(X)}, "/backfill").problem(
        422, "schema-mismatch", "is not partitioned"
    )
    lab.here(command.params | {"to": "2026-11-01"}, "/backfill").problem(
        400, "invalid-request", "lies before"
    )


@pytest.mark.slow
def test_a_backfill_whose_alias_is_moved_meanwhile_says_so_and_is_not_done(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Command(lab, DAYS[:2])
    lab.upload(OTHER, X, command.model, "v2", id_columns=["id", "day"], wait=True)
    real = Backfill.score

    def score(self: Backfill, entries: Any, parallel: int) -> Any:
        for outcome in real(self, entries, 1):
            set_alias(command.model, "champion", "v2", why="better")
            yield outcome

    monkeypatch.setattr(Backfill, "score", score)
    assert command.run("--parallel", "1") == 1
    said = capsys.readouterr().err
    assert f"{DAYS[0]}  stale: scored by v1, and champion is now v2" in said
    assert "not done, by what changed meanwhile. Repeat the command." in said
    assert command.run() == 0
    assert "Repeat" not in capsys.readouterr().err
    assert command.states() == ["done", "done", "empty"]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["HOUR", "RANGE"])
def test_hours_and_ranges_of_numbers_are_backfilled_too(lab: Lab, kind: str) -> None:
    numbers = bigquery.PartitionRange(start=0, end=100, interval=4)
    by: Any = {"range_partitioning": bigquery.RangePartitioning(numbers, field="id")}
    bounds, names = {"from": "4", "to": "12"}, ["4", "8", "12"]
    if kind == "HOUR":
        by = {"time_partitioning": bigquery.TimePartitioning(field="at", type_="HOUR")}
        bounds = {"from": "2026-11-23T22", "to": "2026-11-24T01"}
        names = ["2026112322", "2026112323", "2026112400", "2026112401"]
    fields = {"id": "INT64", "at": "TIMESTAMP", "a": "FLOAT64", "b": "FLOAT64"}
    at = [
        pd.Timestamp("2026-11-23T22:15", tz="UTC") + pd.Timedelta(minutes=20 * n) for n in X.index
    ]
    ids = X.index + 4
    table = lab.put(X.assign(id=ids, at=at), lab.create(fields, **by), types=fields)
    model = lab.upload(MODEL, X, id_columns=["id", "at"])
    params = lab.params(table, model) | bounds
    shown = lab.here(params, "/backfill").json
    assert [entry["partition"] for entry in shown["partitions"]] == names
    assert [entry["input_rows"] for entry in shown["partitions"]] == ROWS[kind]
    options = [w for k, v in params.items() for w in (f"--{k.replace('_', '-')}", v)]
    named = options.index("--model-name")
    assert cli.main(["backfill", model, *options[:named], *options[named + 2 :]]) == 0
    shown = lab.here(params, "/backfill").json
    assert {entry["state"] for entry in shown["partitions"]} == {"done"}
    assert lab.rows(params["output_table"])["id"].tolist() == list(ids)
    address = f"/ui/tables/{params['output_table']}"
    last = lab.here({}, f"{address}.json").json["partitions"]
    assert [row["partition"] for row in last] == names[::-1]
    assert lab.here({}, f"{address}/backfill.json").json["chosen"] == bounds


@pytest.mark.slow
def test_a_run_that_was_cancelled_or_whose_rows_are_gone_is_scored_again(
    lab: Lab, stack: LocalStack
) -> None:
    command = Command(lab, DAYS[:1], alias=False)
    day = DAYS[0].replace("-", "")
    params = command.of(day)
    planned = prepare(lab.clients, lab.request(params))
    planned.close()
    run_id = planned.plan.run_id
    [entry, _] = command.board()["partitions"]
    assert (entry["state"], entry["run_id"]) == ("running", run_id)
    assert lab.client.delete(f"/runs/{run_id}?env=dev&why=wrong").status_code == 200
    [entry, _] = command.board()["partitions"]
    assert (entry["state"], "wrong" in entry["reason"]) == ("failed", True)
    lab.client.post("/backfill", json=command.params | {"start": "true"})
    stack.pubsub.wait_until_quiet(60)
    [entry, _] = command.board()["partitions"]
    assert (entry["state"], entry["run_id"]) == ("done", f"{run_id}-2")
    sql = f"DELETE FROM `{command.output}` WHERE TRUE"
    lab.clients.bigquery.query(sql).result(timeout=30)
    [entry, _] = command.board()["partitions"]
    assert (entry["state"], "were deleted" in entry["reason"]) == ("missing", True)
    assert lab.here(params).done()["run_id"] == f"{run_id}-3"
    assert command.states() == ["done", "empty"]
    lab.clients.bigquery.query(f"DELETE FROM `{command.input}` WHERE id = 5").result(timeout=30)
    assert command.states() == ["stale", "empty"]


@pytest.mark.slow
def test_of_two_runs_at_once_the_last_one_to_load_has_the_partition(lab: Lab) -> None:
    """The clock of the machine that ran it may be behind the other's; BigQuery has one."""
    command = Command(lab, DAYS[:1], alias=False)
    lab.upload(OTHER, X, command.model, "v2", id_columns=["id", "day"])
    params = command.of(DAYS[0].replace("-", ""))
    first, second = (lab.here(params | {"model_version": v}).done() for v in ("v1", "v2"))
    ended = [run["loads"][0]["ended_at"] for run in (first, second)]
    recorded = command.ledger().set_index("run_id")["loaded_at"]
    assert recorded[first["run_id"]] == pd.Timestamp(ended[0])
    for sql in (
        f"UPDATE `{command.output}` SET run_id = '{first['run_id']}', predicted_at = TIMESTAMP "
        f"'{first['predicted_at']}' WHERE TRUE",
        "UPDATE mlsys_dev.prediction_runs SET loaded_at = "
        f"TIMESTAMP_ADD(TIMESTAMP '{ended[1]}', INTERVAL 1 SECOND) "
        f"WHERE run_id = '{first['run_id']}'",
    ):
        lab.clients.bigquery.query(sql).result(timeout=30)
    assert [command.states(model_version=v)[0] for v in ("v1", "v2")] == ["done", "stale"]


@pytest.mark.slow
def test_a_run_that_was_undone_leaves_the_state_of_the_one_before(lab: Lab) -> None:
    command = Command(lab, DAYS[:1], alias=False)
    lab.upload(OTHER, X, command.model, "v2", id_columns=["id", "day"])
    params = command.of(DAYS[0].replace("-", ""))
    runs = [lab.here(params | {"model_version": v}).done()["run_id"] for v in ("v1", "v2")]

    def states() -> list[str]:
        return [command.states(model_version=v)[0] for v in ("v1", "v2")]

    assert states() == ["stale", "done"]
    for run_id, then in zip(reversed(runs), (["done", "stale"], ["missing"] * 2), strict=True):
        undone = lab.client.post(f"/runs/{run_id}/undo?env=dev&why=wrong")
        assert undone.status_code == 200, undone.get_data(as_text=True)
        assert states() == then
    assert lab.here(params).done()["run_id"] == f"{runs[0]}-2"
    assert states() == ["done", "stale"]


@pytest.mark.long
@pytest.mark.slow
def test_an_incremental_backfill_adds_what_came_to_a_partition(lab: Lab) -> None:
    command = Command(lab, DAYS[:2])
    assert command.run("--incremental", "ids") == 0
    assert command.states(incremental="ids") == ["done", "done", "empty"]
    late = X.head(3).assign(id=[100, 101, 102], day=dt.date.fromisoformat(DAYS[0]))
    lab.put(late, command.input, types={"day": "DATE"})
    shown = command.board(incremental="ids")["partitions"]
    assert [entry["state"] for entry in shown] == ["stale", "done", "empty"]
    assert "was written since" in shown[0]["reason"]
    before = command.ledger()
    assert command.run("--incremental", "ids") == 0
    after = command.ledger()
    assert sorted(after["rows_scored"]) == sorted([*before["rows_scored"], 3])
    assert lab.rows(command.output)["id"].tolist() == [*range(24), 100, 101, 102]


@pytest.mark.slow
def test_backfills_by_a_column_and_by_ids_leave_each_other_done(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(lab, DAYS[:2], alias=False)
    command.version = "v1"
    for by in ("id", "ids", "id"):
        assert command.run("--model-version", "v1", "--incremental", by) == 0
        assert command.states(incremental=by) == ["done", "done", "empty"], by
    assert "not done" not in capsys.readouterr().err
    assert lab.rows(command.output)["id"].tolist() == list(range(24))
    # Rows that somebody deletes are not new by the column.
    day = f"DELETE FROM `{command.output}` WHERE day = DATE '{DAYS[0]}'"
    lab.clients.bigquery.query(day).result(timeout=60)
    assert command.states(incremental="id") == ["missing", "done", "empty"]
    assert command.run("--model-version", "v1", "--incremental", "id") == 0
    said = capsys.readouterr().err
    assert "1 partition not done, and a repeat would reuse the same runs" in said
    assert "pass --incremental ids" in said
    assert command.run("--model-version", "v1", "--incremental", "ids") == 0
    assert lab.rows(command.output)["id"].tolist() == list(range(24))


@pytest.mark.slow
def test_a_service_that_is_killed_loses_nothing_of_a_backfill(
    lab: Lab, stack: LocalStack, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(lab, DAYS)
    assert command.states() == [*["missing"] * 4, "empty"]
    with stack.rules.holding("POST load", "before") as held:  # type: ignore[attr-defined]
        codes: list[int] = []
        at_work = threading.Thread(target=lambda: codes.append(command.run("--parallel", "2")))
        at_work.start()
        assert held.reached.wait(60)
        stack.kill_service()
        held.release.set()
    stack.restart_service()
    at_work.join(90)
    assert codes == [0]
    command.check()
    before = command.ledger()
    assert command.run("--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out.partition("\n")[2])["totals"]["done"] == 4
    assert "0 of 5 partitions to be scored" in said.err
    pd.testing.assert_frame_equal(command.ledger(), before)

    lab.upload(OTHER, X, command.model, "v2", id_columns=["id", "day"], wait=True)
    set_alias(command.model, "champion", "v2")
    shown = command.board()["partitions"]
    assert [entry["state"] for entry in shown] == [*["stale"] * 4, "empty"]
    assert shown[0]["reason"] == "scored by v1, and champion is now v2"
    assert command.states(model_version="v1")[0] == "done"
    assert command.states(model_version="v1", where="a > 0")[0] == "stale"
    assert command.run("--only", "failed,missing") == 0
    assert command.states() == [*["stale"] * 4, "empty"]
    whole, command.range = command.range, {"from": DAYS[1], "to": DAYS[1]}
    assert command.run() == 0
    command.range = whole
    assert command.states() == ["stale", "done", "stale", "stale", "empty"]
    versions = lab.rows(command.output).groupby("day")["model_version"].unique()
    assert [list(each) for each in versions] == [["v1"], ["v2"], ["v1"], ["v1"]]
    assert command.run("--only", "stale", "--no-wait") == 0
    assert "Requested: 3 partitions." in capsys.readouterr().err
    stack.pubsub.wait_until_quiet(60)
    assert command.states() == [*["done"] * 4, "empty"]
    assert set(lab.rows(command.output)["model_version"]) == {"v2"}
