"""The console's actions over the local stack: the service gets their messages, and does the work.

The process that shows the forms plans and scores nothing, and writes no row of the registry.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import requests
from google.cloud.bigquery import TimePartitioning
from sklearn.linear_model import Ridge

from mlsys.local.stack import LocalStack
from scoring_cases import Lab, unique
from workers.quarantine import quarantine
from workers.registry.difference import difference
from workers.scoring.publishing.ledger import list_runs

DATA = pd.DataFrame({"id": range(20), "a": [i % 7 for i in range(20)], "b": range(20)})


@pytest.fixture
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


def eventually(seen: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Return what is seen, once it is true."""
    until = time.monotonic() + seconds
    while not (value := seen()):
        assert time.monotonic() < until
        time.sleep(0.2)
    return value


def sent(lab: Lab, path: str, fields: dict[str, str]) -> requests.Response:
    """Send a form as the console's own page does."""
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Sec-Fetch-Site": "same-origin"}
        url = f"{lab.stack.url}/ui/{path}"
        answer = session.post(url, data=fields, headers=headers, allow_redirects=False)
    assert answer.status_code == 303, answer.text
    return answer


@pytest.mark.slow
def test_forms_have_the_service_score_look_and_read_again(
    lab: Lab, environment: dict[str, str]
) -> None:
    model, name, clients = Ridge().fit(DATA[["a"]], DATA["b"]), unique("by-form"), lab.clients
    lab.upload(model, DATA[["a"]], name, wait=True)

    def send(path: str, **fields: str) -> requests.Response:
        return sent(lab, path, fields)

    # A hint has the service register what the registry lacks.
    clients.bigquery.query_and_wait(
        f"DELETE FROM `{lab.settings.dataset('dev')}.model_registry` WHERE model_name = '{name}'"
    )
    assert f"{name}/v1" in difference(clients, "dev").missing
    assert "hinted=" in send("rescan", do="hint").headers["Location"]
    eventually(lambda: f"{name}/v1" not in difference(clients, "dev").missing)

    # A message in quarantine is published again, and comes back if it still cannot be read.
    body = {"message": {"attributes": {"a": "b"}, "data": "", "messageId": "1"}}
    uri = quarantine(clients, "dev", "/events/predictions", json.dumps(body).encode(), "a test")
    path = uri.split("/", 3)[3]
    assert send("quarantine/message", name=path).headers["Location"] == "/ui/quarantine"

    # A run is planned and scored by the service.
    params = lab.params(lab.put(DATA), name, run_id=unique("by-form"))
    fields = {key: str(value) for key, value in params.items() if key != "env"}
    assert "/ui/requested/" in send("new-run", do="run", **fields).headers["Location"]

    def finished() -> list[dict[str, Any]]:
        rows, _ = list_runs(clients, "dev", model_name=name)
        return [row for row in rows if row["run_id"] == params["run_id"]]

    [row] = eventually(finished)
    assert (row["state"], row["rows_scored"]) == ("succeeded", 20)
    shown = lab.here({}, f"/ui/tables/{row['output_table']}.json")
    assert shown.status == 200 and [r["run_id"] for r in shown.json["runs"]] == [row["run_id"]]

    # It is undone by a decision of the form, and by the service.
    address = f"/ui/runs/{row['run_id']}"
    assert lab.here({}, f"{address}/removals.json").json["tables"][0]["rows_removed"] == 20
    assert send(f"runs/{row['run_id']}/undo", why="a test").headers["Location"] == address

    def undone() -> dict[str, Any] | None:
        said = lab.here({}, f"{address}.json").json["state"]
        return said["undo"] if said["state"] == "undone" and said["undo"]["finished"] else None

    assert eventually(undone)["why"] == "a test"
    assert clients.bigquery.get_table(row["output_table"]).num_rows == 0
    assert "Undone" in lab.here({}, address).text


@pytest.mark.slow
def test_the_board_has_the_service_score_the_days_that_are_missing(
    lab: Lab, environment: dict[str, str]
) -> None:
    days = ["2026-11-23", "2026-11-24", "2026-11-25"]
    fields = {"id": "INT64", "day": "DATE", "a": "INT64"}
    table = lab.create(fields, time_partitioning=TimePartitioning(field="day"))
    dates = pd.Series(pd.to_datetime(days).date).repeat(4).to_numpy()
    lab.put(pd.DataFrame({"id": range(12), "day": dates, "a": 3}), table, types=fields)
    model = lab.upload(Ridge().fit(DATA[["a"]], DATA["b"]), DATA[["a"]], wait=True)
    output = lab.name("output")
    first = lab.params(f"{table}$20261123", model, output_table=f"{output}$20261123")
    lab.http(first | {"id_columns": "id,day", "write_disposition": "WRITE_TRUNCATE"}).done()

    address, span = f"/ui/tables/{output}", {"from": days[0], "to": days[-1]}

    def board() -> list[str]:
        page = lab.here(span, f"{address}/backfill.json").json
        shown = lab.here(span | {"run_id": page["run_id"]}, f"{address}/board.json")
        assert shown.status == 200, shown.text
        return [each["state"] for each in shown.json["board"]["partitions"]]

    assert board() == ["done", "missing", "missing"]
    run_id = lab.here(span, f"{address}/backfill.json").json["run_id"]
    answer = sent(
        lab, f"tables/{output}/backfill", span | {"run_id": run_id, "only_missing": "true"}
    )
    assert "published=2" in answer.headers["Location"]
    eventually(lambda: board() == ["done"] * 3)
    shown = lab.here({}, address).text
    assert "Its partitions" in shown and "20261125" in shown
    assert model in lab.here({}, "/ui/costs").text
