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


@pytest.mark.slow
def test_forms_have_the_service_score_look_and_read_again(
    lab: Lab, environment: dict[str, str]
) -> None:
    model, name, clients = Ridge().fit(DATA[["a"]], DATA["b"]), unique("by-form"), lab.clients
    lab.upload(model, DATA[["a"]], name, wait=True)

    def send(path: str, **fields: str) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            headers = {"Sec-Fetch-Site": "same-origin"}
            url = f"{lab.stack.url}/ui/{path}"
            answer = session.post(url, data=fields, headers=headers, allow_redirects=False)
        assert answer.status_code == 303, answer.text
        return answer

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
