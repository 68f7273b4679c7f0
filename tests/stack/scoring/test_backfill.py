"""A backfill scores each partition once; its board tells which, and a killed service loses none."""

import datetime as dt
import json
import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.cloud import bigquery
from sklearn.linear_model import LinearRegression

from mlsys.cli import parser as cli
from mlsys.local.stack import LocalStack
from mlsys.models import set_alias
from scoring_cases import Lab

pytestmark = pytest.mark.usefixtures("environment")

X = pd.DataFrame({"a": np.linspace(0, 1, 12), "b": np.linspace(3, -2, 12)})
MODEL = LinearRegression().fit(X, X["a"])
OTHER = LinearRegression().fit(X, X["b"])
DAYS = [f"2026-11-2{n}" for n in range(3, 7)]


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


def days_of(lab: Lab, days: list[str], rows: int = len(X)) -> str:
    """Return a table that is partitioned by day, with as many rows a day."""
    fields = {"id": "INT64", "day": "DATE", "a": "FLOAT64", "b": "FLOAT64"}
    name = lab.create(fields, time_partitioning=bigquery.TimePartitioning(field="day"))
    dates = pd.Series(pd.to_datetime(days).date).repeat(rows)
    picked = X.iloc[np.arange(len(dates)) % len(X)].reset_index(drop=True)
    lab.put(picked.assign(id=range(len(dates)), day=dates.to_numpy()), name, types=fields)
    return name


class Command:
    """`mlsys backfill` of one table, as people repeat it."""

    def __init__(self, lab: Lab, days: list[str], **more: str) -> None:
        self.lab, self.days = lab, days
        self.input, self.output = days_of(lab, days), lab.name("output")
        self.model = lab.upload(MODEL, X, id_columns=["id", "day"], wait=True)
        set_alias(self.model, "champion", "v1")
        after = dt.date.fromisoformat(days[-1]) + dt.timedelta(days=1)  # has no rows
        self.range = {"from": days[0], "to": after.isoformat()}

    def run(self, *more: str) -> int:
        """Run the command."""
        known = {"env": "dev", "input-table": self.input, "output-table": self.output}
        options = [w for k, v in (known | self.range).items() for w in (f"--{k}", v)]
        return cli.main(["backfill", self.model, *options, *more])

    @property
    def params(self) -> dict[str, str]:
        """The parameters of the board."""
        params = self.lab.params(self.input, self.model, output_table=self.output)
        return params | self.range | {"model_version": "champion"}

    def board(self, **more: str) -> dict[str, Any]:
        """Return the board, as the service gives it."""
        answer = self.lab.http(self.params | more, "/backfill")
        assert answer.status == 200, answer.text
        board: dict[str, Any] = answer.json
        return board

    def states(self, **more: str) -> list[str]:
        """Return the state of each partition."""
        return [entry["state"] for entry in self.board(**more)["partitions"]]

    def ledger(self) -> pd.DataFrame:
        """Return the ledger's runs of the output table."""
        sql = "SELECT * FROM mlsys_dev.prediction_runs WHERE STARTS_WITH(output_table, @table)"
        config = bigquery.QueryJobConfig(
            query_parameters=[bigquery.ScalarQueryParameter("table", "STRING", self.output)]
        )
        job = self.lab.clients.bigquery.query(sql, job_config=config)
        return pd.DataFrame([dict(row.items()) for row in job.result(timeout=30)])

    def check(self) -> None:
        """Check that each partition is scored once, and each of its rows is there once."""
        assert self.states() == [*["done"] * len(self.days), "empty"]
        ledger = self.ledger()
        assert sorted(ledger["output_table"]) == [
            f"{self.output}${day.replace('-', '')}" for day in self.days
        ]
        rows = self.lab.rows(self.output)
        assert rows["id"].tolist() == list(range(len(self.days) * len(X)))
        assert set(rows["run_id"]) == set(ledger["run_id"])


def test_the_board_follows_its_runs_and_can_start_them(lab: Lab, stack: LocalStack) -> None:
    command = Command(lab, DAYS[:2])
    assert command.states() == ["missing", "missing", "empty"]
    day = DAYS[0].replace("-", "")
    params = lab.params(f"{command.input}${day}", command.model)
    params |= {"output_table": f"{command.output}${day}", "write_disposition": "WRITE_TRUNCATE"}
    result = lab.here(params).done()
    board = lab.here(command.params, "/backfill").json
    assert [entry["state"] for entry in board["partitions"]] == ["done", "missing", "empty"]
    assert (board["by"], board["column"], board["model_alias"]) == ("DAY", "day", "champion")
    assert board["partitions"][0]["run_id"] == result["run_id"]
    assert board["totals"] | {"rows": 12, "partitions": 3, "done": 1} == board["totals"]
    for published in (["20261124"], []):
        body = command.params | {"start": "true"}
        answer = lab.client.post("/backfill", json=body)
        assert (answer.status_code, answer.get_json()["published"]) == (202, published)
        stack.pubsub.wait_until_quiet(60)
        command.check()
    lab.here(command.params | {"input_table": lab.put(X)}, "/backfill").problem(
        422, "schema-mismatch", "is not partitioned"
    )
    lab.here(command.params | {"to": "2026-11-01"}, "/backfill").problem(
        400, "invalid-request", "lies before"
    )


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
