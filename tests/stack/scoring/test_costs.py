"""A run may cost no more than its request says, and what it cost is in the ledger."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from mlsys.errors import TryAgain
from mlsys.local.stack import LocalStack
from scoring_cases import Lab, unique
from workers.scoring.journal import queries
from workers.scoring.planning import find_run

pytestmark = pytest.mark.usefixtures("environment")

ROWS = 50
X = pd.DataFrame({"a": np.linspace(0, 1, ROWS), "b": np.linspace(3, -2, ROWS)})
MODEL = LinearRegression().fit(X, X["a"])
SIZE = ROWS * 3 * 8  # of the input: id, a, b


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


def test_a_limit_refuses_a_run_before_anything_is_read_and_what_it_cost_is_summed(lab: Lab) -> None:
    table = lab.put(X.assign(id=range(ROWS)))
    params = lab.params(table, lab.upload(MODEL, X))
    verdict = lab.here(params | {"dry_run": "true", "max_bytes": f"{SIZE - 1}"}).json
    [problem] = verdict["problems"]
    assert not verdict["ok"] and verdict["bytes"] == SIZE == problem["price"]["bytes"]
    for limit, slug in ({"max_bytes": "1KB"}, "1,000 bytes"), ({"max_cost": "0"}, "0 USD"):
        refused = lab.here(params | limit).problem(409, "price-limit", f"{SIZE:,} bytes", slug)
        assert refused["price"]["price_usd"] > 0
        assert lab.objects(verdict["run_id"]) == {}
    assert not lab.exists(params["output_table"])
    result = lab.here(params | {"max_bytes": "1.2KB", "max_cost": "0.01"}).done()
    assert result["run_id"] == verdict["run_id"]
    assert result["bytes_billed"] >= SIZE
    assert 0 < result["estimated_cost"] < 0.01 and result["vcpu_seconds"] > 0
    assert lab.here(params | {"max_bytes": "1"}).done()["reused"]  # it costs nothing
    of_model = {"env": "dev", "model_name": params["model_name"]}
    [row] = lab.here(of_model, "/runs").json["runs"]
    names = ("bytes_billed", "estimated_cost", "vcpu_seconds")
    assert {name: row[name] for name in names} == {name: result[name] for name in names}
    [costs] = lab.here(of_model | {"sum": "month"}, "/runs").json["costs"]
    assert costs == {
        "month": result["finished_at"][:7],
        "model_name": params["model_name"],
        "runs": 1,
        "rows_scored": ROWS,
        **{name: result[name] for name in names},
    }
    for name, value in (
        *(("state", "failed"), ("sort", "rows"), ("sort", "finished"), ("limit", "100")),
        ("after", f"1.{result['run_id']}"),
    ):
        both = of_model | {"sum": "month", name: value}
        problem = lab.here(both, "/runs").problem(400, "invalid-request", f"{name}: sum=month")
        assert [each["name"] for each in problem["parameters"]] == [name]


@pytest.mark.slow
def test_the_queries_of_a_run_and_of_its_undo_are_part_of_its_costs(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = 10**6  # the local BigQuery says nothing of what it charges for
    monkeypatch.setattr(queries, "billed_for", lambda *_: each)
    table, run_id = lab.put(X.assign(id=range(ROWS))), unique("billed")
    params = lab.params(table, lab.upload(MODEL, X), incremental="id", run_id=run_id)
    assert lab.here(params | {"dry_run": "true"}).json["rows"] == ROWS
    assert lab.objects(run_id) == {}

    def end(*_: object) -> None:
        raise TryAgain("It was killed here")

    with monkeypatch.context() as patch:  # when its rows were counted
        patch.setattr(find_run, "add_shadow", end)
        lab.here(params).problem(503, "try-again")
    [name] = lab.objects(run_id)
    assert name.startswith(f"{run_id}/queries/")
    result = lab.here(params).done()
    read = (lab.store(run_id).read("session-0.json") or {})["bytes"]
    assert result["bytes_billed"] == read + 2 * each
    assert lab.client.post(f"/runs/{run_id}/undo?env=dev&why=wrong").status_code == 200
    counted = len(lab.objects(f"{run_id}/undo-queries/"))
    [row] = lab.here({"env": "dev", "model_name": params["model_name"]}, "/runs").json["runs"]
    assert (row["state"], counted) == ("undone", 1)
    assert row["bytes_billed"] == result["bytes_billed"] + each
    assert row["estimated_cost"] > result["estimated_cost"]
