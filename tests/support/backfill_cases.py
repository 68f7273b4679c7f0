"""A backfill of a table by days: its command, its board, and what each day has to hold."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
from google.cloud import bigquery
from sklearn.linear_model import LinearRegression

from mlsys.cli import parser as cli
from mlsys.models import set_alias
from scoring_cases import Lab

X = pd.DataFrame({"a": np.linspace(0, 1, 12), "b": np.linspace(3, -2, 12)})
MODEL = LinearRegression().fit(X, X["a"])


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

    def __init__(
        self, lab: Lab, days: list[str], rows: int = len(X), *, alias: bool = True
    ) -> None:
        self.lab, self.days, self.rows = lab, days, rows
        self.input, self.output = days_of(lab, days, rows), lab.name("output")
        self.model = lab.upload(MODEL, X, id_columns=["id", "day"], wait=alias)
        self.version = "champion" if alias else "v1"
        if alias:
            set_alias(self.model, "champion", "v1")
        after = dt.date.fromisoformat(days[-1]) + dt.timedelta(days=1)  # has no rows
        self.range = {"from": days[0], "to": after.isoformat()}

    @property
    def words(self) -> list[str]:
        """The words of the command line after `mlsys`."""
        known = {"env": "dev", "input-table": self.input, "output-table": self.output}
        options = [w for k, v in (known | self.range).items() for w in (f"--{k}", v)]
        return ["backfill", self.model, *options]

    def run(self, *more: str) -> int:
        """Run the command."""
        return cli.main([*self.words, *more])

    @property
    def params(self) -> dict[str, str]:
        """The parameters of the board."""
        params = self.lab.params(self.input, self.model, output_table=self.output)
        return params | self.range | {"model_version": self.version}

    def of(self, partition: str) -> dict[str, str]:
        """Return the parameters of the run of one partition."""
        params = self.lab.params(f"{self.input}${partition}", self.model)
        output = f"{self.output}${partition}"
        return params | {"output_table": output, "write_disposition": "WRITE_TRUNCATE"}

    def board(self, **more: str) -> dict[str, Any]:
        """Return the board, as the service gives it."""
        ask = self.lab.http if self.version == "champion" else self.lab.here
        answer = ask(self.params | more, "/backfill")
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
        assert rows["id"].tolist() == list(range(len(self.days) * self.rows))
        assert set(rows["run_id"]) == set(ledger["run_id"])
        assert set(ledger["model_alias"].dropna()) == {self.version} - {"v1"}
        begun = {name.split("/")[0] for name in self.lab.objects(f"{self.model}-v1-")}
        assert begun == set(ledger["run_id"])
