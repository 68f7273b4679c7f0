"""A contract from its draft to a run that it stops, and to the repeat that publishes it."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mlsys.cli import main
from mlsys.contracts import get_contract, set_contract
from mlsys.errors import Conflict, ContractInvalid
from mlsys.gcs import gcs_put
from mlsys.local.stack import LocalStack
from mlsys.models import ModelRef
from mlsys.registry.contract_file import read_contract_file, write_contract_file
from scoring_cases import Lab, rejects_of
from workers.registry.table import list_models

ROWS = 600
X = pd.DataFrame({"a": np.linspace(-1, 1, ROWS), "b": np.linspace(3, -2, ROWS)})
MODEL = LogisticRegression().fit(X, X["a"] > 0)
OUTSIDE = [3, 4, 5, 77, 200, 300, 599]  # 7 rows: more than 1 % of 600
RANGE: dict[str, Any] = {"column": "A", "check": "in_range", "min_value": -1, "max_value": 1}


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        yield Lab(stack)


@pytest.fixture(scope="module")
def table(lab: Lab) -> str:
    """Return a table with two columns that the model does not read, beside its id."""
    rows = X.assign(id=range(ROWS), source="web", seen_at=dt.datetime.now(dt.UTC))
    rows.loc[OUTSIDE, "a"] = 50.0
    rows.loc[OUTSIDE[0], "source"] = 'it\'s "x"'
    return lab.put(rows)


@pytest.fixture(scope="module")
def model(lab: Lab) -> str:
    return lab.upload(MODEL, X)


def edit(model: str, *clauses: dict[str, Any]) -> int:
    return set_contract(model, "v1", {"version": 1, "clauses": list(clauses)})


def parts(lab: Lab, run_id: str) -> dict[str, int]:
    return lab.objects(f"{run_id}/parts/")


def test_a_draft_only_warns_and_an_edit_survives_the_next_upload(
    lab: Lab, table: str, model: str
) -> None:
    ref = ModelRef(model, "v1")
    draft = read_contract_file(lab.clients, "dev", ref)
    assert draft.is_draft
    contract = get_contract(model, "v1")
    assert {clause["action"] for clause in contract["clauses"]} == {"warn"}
    result, rows = lab.score(table, model)
    assert (result["rows"], len(rows)) == (ROWS, ROWS)
    assert result["contract"]["generation"] == draft.generation
    [broken] = result["contract"]["broken"]
    assert (broken["column"], broken["check"], broken["failing"]) == ("a", "in_range", 7)
    assert len(broken["examples"]) == 3
    for example in broken["examples"]:
        assert example["ids"]["id"] in OUTSIDE and example["value"] == 50.0
    assert any(text.startswith("contract: a in_range") for text in result["warnings"])

    lab.upload(MODEL, X, model)  # the draft is written again
    again = read_contract_file(lab.clients, "dev", ref)
    assert again.is_draft and again.generation != draft.generation
    with pytest.raises(Conflict, match="just replaced"):
        write_contract_file(lab.clients, "dev", ref, draft.content, draft.generation)
    edited = edit(model, RANGE | {"action": "reject"})
    with pytest.warns(UserWarning, match=r"contract\.json of .* was edited, and stays"):
        lab.upload(MODEL, X, model)
    assert read_contract_file(lab.clients, "dev", ref).generation == edited
    with pytest.raises(ContractInvalid, match="/clauses/0 "):
        edit(model, {"column": "a", "check": "isin", "values": ["x"], "action": "warn"})


@pytest.mark.slow
def test_reject_sets_rows_aside_with_the_clause_as_reason(lab: Lab, table: str, model: str) -> None:
    known = {"column": "SOURCE", "check": "isin", "values": ["web"], "action": "reject"}
    edit(model, RANGE | {"action": "reject"}, known)
    params = lab.params(table, model)
    body = lab.here(params).problem(422, "prediction-failed", "fail its contract", "max_rejects")
    assert "contract: a in_range -1..1, and it is 50.0" in body["rows"][0]["reason"]
    result = lab.here(params | {"max_rejects": "1%"})
    result.problem(422, "prediction-failed")
    done = lab.here(params | {"max_rejects": "7"}).done()
    assert (done["rows"], done["rows_rejected"], done["rows_read"]) == (593, 7, 600)
    aside = rejects_of(lab, done["rejects_table"])
    assert sorted(ids["id"] for ids in aside["ids"]) == OUTSIDE
    reasons = dict(zip((ids["id"] for ids in aside["ids"]), aside["reason"], strict=True))
    assert reasons[OUTSIDE[0]].count(";") == 1  # both clauses
    assert "source isin" in reasons[OUTSIDE[0]]
    assert not set(lab.rows(done["output_table"])["id"]) & set(OUTSIDE)
    # What is set aside is pinned: the same run keeps it, and says so.
    again = lab.here(params | {"max_rejects": "7", "contract": "warn"}).done()
    assert again["reused"] and any("contract=enforce" in text for text in again["warnings"])
    warned, _ = lab.score(table, model, contract="warn")
    assert (warned["rows"], warned["contract"]["failing"]) == (ROWS, 2)
    unchecked, _ = lab.score(table, model, contract="off")
    assert (unchecked["rows"], unchecked["contract"]) == (ROWS, None)


def test_stop_publishes_nothing_until_a_repeat_with_warn_which_scores_nothing(
    lab: Lab, table: str, model: str
) -> None:
    fresh = {"column": "seen_at", "check": "freshness", "max_age_hours": 24, "action": "stop"}
    generation = edit(model, RANGE | {"action": "stop"}, fresh)
    params = lab.params(table, model)
    body = lab.here(params).problem(422, "contract-broken", "a in_range", "contract=warn")
    assert body["clauses"][0]["failing"] == 7
    assert not lab.exists(params["output_table"])
    run_id = lab.here(params | {"dry_run": "true"}).json["run_id"]
    state = lab.here({"env": "dev"}, f"/runs/{run_id}").json
    assert (state["state"], state["failure"]["clauses"][0]["failing"]) == ("failed", 7)
    before = parts(lab, run_id)
    assert before
    put(lab, model, b"{")  # an edit in flight changes nothing
    done = lab.here(params | {"contract": "warn"}).done()
    assert parts(lab, run_id) == before
    assert (done["run_id"], done["rows"], lab.count(done["output_table"])) == (run_id, ROWS, ROWS)
    contract = done["contract"]
    assert (contract["generation"], contract["mode"], contract["failing"]) == (
        generation,
        "warn",
        1,
    )
    listed = lab.here({"env": "dev", "model_name": model}, "/runs").json["runs"]
    [row] = [run for run in listed if run["run_id"] == run_id]
    assert row["contract"]["broken"][0]["failing"] == 7


def test_what_is_known_before_the_rows_stops_before_a_session_is_opened(
    lab: Lab, table: str, model: str
) -> None:
    cases = [
        ({"check": "row_count", "min_value": 10_000}, "there are 600 rows"),
        ({"column": "gone", "check": "exists"}, "no such column"),
        ({"column": "a", "check": "type", "types": ["INT64"]}, "the column is FLOAT64"),
        ({"column": "source", "check": "gt", "value": 1}, "cannot be asked"),
        ({"column": "seen_at", "check": "freshness", "max_age_hours": 1e-6}, "hours old"),
        ({"check": "freshness", "max_age_hours": 1e-6}, "hours old"),
    ]
    edit(model, *(clause | {"action": "stop"} for clause, _ in cases))
    params = lab.params(table, model)
    body = lab.here(params).problem(422, "contract-broken")
    assert [c["clause"] for c in body["clauses"]] == [f"/clauses/{i}" for i in range(6)]
    for clause, (_, why) in zip(body["clauses"], cases, strict=True):
        assert why in clause["problem"]
    verdict = lab.here(params | {"dry_run": "true"}).json
    assert not verdict["ok"] and len(verdict["problems"][0]["clauses"]) == 6
    assert not lab.objects(verdict["run_id"])
    warned = lab.here(params | {"dry_run": "true", "contract": "warn"}).json
    assert warned["ok"] and warned["contract"]["failing"] == 6
    done = lab.here(params | {"contract": "warn"}).done()
    assert (done["rows"], done["contract"]["failing"]) == (ROWS, 6)


def put(lab: Lab, model: str, content: bytes) -> None:
    gcs_put(content, lab.settings.models_bucket("dev"), f"{model}/v1/contract.json")


def test_a_malformed_contract_is_refused_at_registration_with_the_place(
    lab: Lab, table: str, model: str
) -> None:
    def registered() -> dict[str, Any]:
        event = {
            "eventType": "OBJECT_FINALIZE",
            "bucketId": lab.settings.models_bucket("dev"),
            "objectId": f"{model}/v1/contract.json",
        }
        body = json.dumps({"message": {"attributes": event, "messageId": "1"}}).encode()
        assert lab.push(body, "/events/storage").status == 204
        rows, _ = list_models(lab.clients, "dev", model_name=model, metadata=True)
        [row] = rows
        return row

    put(
        lab, model, b'{"version": 1, "clauses": [{"column": "a", "check": "ge", "action": "warn"}]}'
    )
    row = registered()
    assert row["status"] == "rejected" and row["contract"] is None
    assert "contract.json: /clauses/0/value is missing" in row["status_reason"]
    params = lab.params(table, model)
    lab.here(params).problem(422, "model-unusable", "/clauses/0/value", "mlsys contract edit")
    done = lab.here(params | {"contract": "warn"}).done()
    assert any("the contract was left out" in text for text in done["warnings"])
    generation = edit(model, RANGE | {"action": "warn"})
    row = registered()
    assert (row["status"], row["contract_generation"]) == ("ready", generation)
    assert row["contract"]["clauses"] == [RANGE | {"action": "warn"}]


def test_the_command_line_shows_and_edits_a_contract(
    lab: Lab, model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(verb: str, *more: str) -> tuple[int, str, str]:
        code = main(["contract", verb, model, "v1", "--env", "dev", *more])
        return code, *capsys.readouterr()

    edit(model, RANGE | {"action": "warn"})
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "sed -i s/warn/stop/")
    assert run("edit")[0] == 0
    code, shown, about = run("show")
    assert (code, json.loads(shown)["clauses"]) == (0, [RANGE | {"action": "stop"}])
    assert "edited" in about
    assert "Nothing was changed" in run("edit")[2]
    monkeypatch.setenv("EDITOR", "sed -i s/in_range/within/")
    code, _, why = run("edit")
    assert code == 1 and "/clauses/0/check is 'within'" in why
    kept = Path(re.findall(r"--file (\S+)", why)[0])
    kept.write_bytes(kept.read_bytes().replace(b"within", b"in_range").replace(b"stop", b"warn"))
    assert run("edit", "--file", str(kept))[0] == 0
    kept.unlink()
    assert get_contract(model, "v1")["clauses"] == [RANGE | {"action": "warn"}]
    monkeypatch.setenv("EDITOR", "false")
    assert "the editor 'false' failed" in run("edit")[2]
    monkeypatch.delenv("EDITOR")
    assert "no editor is set" in run("edit")[2]
