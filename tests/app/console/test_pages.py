"""The pages of the console over BigQuery and Cloud Storage in memory."""

from __future__ import annotations

import gzip
import json
import re
import time
from typing import Any
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient

from app.console.views.new_run import FIELDS
from boards import cost
from console_cloud import (
    NOW,
    RUNS,
    Seen,
    World,
    alias_row,
    client_of,
    decision_of,
    model_row,
    moment,
    parquet,
    plan_of,
    profile_row,
    put_partitions,
    put_run,
    put_working,
    result_of,
    run_row,
)
from mlsys.settings.reading import Emulators

EMPTY = ("/ui/", "/ui/models", "/ui/runs", "/ui/numbers", "/ui/checks")


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.console.formats.now", lambda: NOW)
    monkeypatch.setattr("app.console.views.runs.now", lambda: NOW)


@pytest.fixture
def world() -> World:
    """Return two versions of a model with an alias, and a run in each state."""
    world = World()
    world.rows["list_models"] = [
        model_row(2, status="rejected", status_reason="it calls os.system"),
        model_row(1),
    ]
    world.rows["list_runs"] = [
        run_row("third", state="failed", failure="10 rows cannot be scored", rows_scored=None),
        run_row("second", finished_at=moment(60), rows_rejected=3, model_alias="champion"),
        run_row("first", finished_at=moment(90), state="cancelled", output_table="p.d.other"),
    ]
    world.rows["recorded_aliases"] = [alias_row()]
    world.rows["models_at_a_glance"] = [glance("titanic-survival"), glance("churn", runs=None)]
    return world


def glance(name: str, **values: Any) -> dict[str, Any]:
    """Return a row of the list of models."""
    row = {name: value for name, value in model_row(2, name).items() if name in GLANCE}
    more = {"versions": 2, "versions_rejected": 1, "aliases": "champion v1,old v2", "runs": 3}
    return row | more | {"runs_failed": 1, "last_run_at": moment(3)} | values


GLANCE = (
    *("model_name", "model_version", "version_number", "status", "status_reason"),
    *("model_class", "uploaded_at"),
)


MESSAGE = {
    **{"received_at": NOW.isoformat(), "route": "/events/storage", "reason": "no JSON"},
    **{"body": "{", "headers": {}},
}


def seen(client: FlaskClient, address: str, status: int = 200, **headers: str) -> Seen:
    answer = client.get(address, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "text/html"
    return Seen(answer.text)


def titles(text: str) -> list[str]:
    return re.findall(r"<title>([^<]*) · mlsys</title>", text)


@pytest.mark.parametrize("address", EMPTY)
def test_an_empty_environment_says_what_to_do_next(address: str) -> None:
    world = World()
    page = seen(client_of(world), address)
    said = {
        "/ui/": "upload_model(model",
        "/ui/models": "upload_model(model",
        "/ui/runs": "Score a table with a registered model",
        "/ui/numbers": "Rows scored",
        "/ui/checks": "the registry equals the bucket, and quarantine is empty.",
    }
    assert said[address] in page.text
    assert len(world.queries) <= 2


def test_a_first_run_is_one_link_from_the_overview_once_a_model_is_there(world: World) -> None:
    world.rows["list_runs"] = []
    page = seen(client_of(world, emulators=Emulators()), "/ui/")
    assert "titanic-survival v2 is rejected" in page.text
    assert "/ui/new-run?model_name=titanic-survival" in page.links
    page = seen(client_of(world), "/ui/")
    assert any("input_table=my-project.titanic.test" in link for link in page.links)
    world.rows["list_models"] = world.rows["models_at_a_glance"] = []
    for address in ("/ui/", "/ui/models"):
        page = seen(client_of(world), address)
        assert "FROM `my-project.titanic.train`" in page.text and ". .local/env" in page.text
    page = seen(client_of(world, emulators=Emulators()), "/ui/")
    assert "No run has failed" in page.text and ".local/env" not in page.text


def test_the_form_of_a_run_offers_tables_and_keeps_what_it_does_not_show(world: World) -> None:
    world.datasets = {("my-project", "titanic"): ["test", "train"], ("my-project", "mlsys_dev"): []}
    page = seen(client_of(world), "/ui/new-run?profile=false&contract=warn&model_name=m")
    offered = [v["value"] for tag, v in page.elements if tag == "option"]
    assert {"my-project.titanic.test", "my-project.titanic.train"} <= set(offered)
    assert ("input", {"type": "hidden", "name": "profile", "value": "false"}) in page.elements
    assert ("option", {"value": "warn", "selected": None}) in page.elements
    world.datasets = {("a", "b"): []}
    client = client_of(world, input_datasets=("a.b", "gone.gone"))
    assert "such as my-project.titanic.test" in seen(client, "/ui/new-run").text


def test_every_parameter_of_a_run_is_in_its_form(world: World) -> None:
    """Running it again must be the same request."""
    values = dict.fromkeys(FIELDS, "1")
    page = seen(client_of(world), f"/ui/new-run?{urlencode(values)}")
    names = {v.get("name") for tag, v in page.elements if tag in ("input", "select", "textarea")}
    assert set(FIELDS) <= names


def test_some_of_the_rows_of_a_run_are_shown(running: World) -> None:
    name = "parts/0/00000-000000000000.parquet"
    rows = {"PassengerId": [7, 8], "Survived": [1, None], "run_id": ["a-run"] * 2}
    running.put(f"a-run/{name}", parquet({}, **rows))
    client = client_of(running)
    assert "published no rows" in seen(client, "/ui/runs/a-run/rows").text
    decision = decision_of([]) | {"parts": [name]}
    running.put("a-run/publish.json", decision)
    running.put("a-run/result.json", result_of(plan_of()))
    assert "/ui/runs/a-run/rows" in seen(client, "/ui/runs/a-run").links
    answer = client.get("/ui/runs/a-run/rows.json").json
    assert answer["columns"] == ["PassengerId", "Survived"] and answer["stamps"] == ["run_id"]
    assert answer["rows"] == [[7, 1], [8, None]]
    running.put(f"a-run/{name}", b"no parquet")
    assert "kept for 30 days" in seen(client, "/ui/runs/a-run/rows", 404).text


def test_the_overview_begins_with_what_needs_attention(world: World) -> None:
    page = seen(client_of(world), "/ui/")
    first = page.text.index("titanic-survival v2 is rejected")
    failed = page.text.index("titanic-survival v1 failed to score my-project.titanic.test")
    assert first < failed < page.text.index("Latest runs")
    assert "it calls os.system" in page.text
    assert "/ui/runs/third" in page.links and "/ui/models/titanic-survival/v2" in page.links


def test_a_failure_that_a_later_run_made_good_needs_no_attention(world: World) -> None:
    world.rows["list_models"] = []
    world.rows["list_runs"].insert(0, run_row("fourth", finished_at=moment(1)))
    page = seen(client_of(world), "/ui/")
    assert "The latest runs succeeded" in page.text and "failed to score" not in page.text


def test_an_old_failure_needs_no_attention(world: World) -> None:
    world.rows["list_models"] = []
    world.rows["list_runs"][0]["finished_at"] = moment(60 * 24 * 8)
    assert "failed to score" not in seen(client_of(world), "/ui/").text


def test_the_figures_are_of_each_of_the_last_days(world: World) -> None:
    day = {"runs": 4, "failed": 1, "rows_scored": 1234567, "rows_rejected": None}
    world.rows["daily_runs"] = [{"day": NOW.date(), **day}]
    answer = client_of(world).get("/ui/numbers.json").json
    assert len(answer["days"]) == 14 and answer["days"][-1] == "2026-11-28"
    assert [figure["total"] for figure in answer["figures"]] == [4, 1, 1234567, 0]
    assert "1,234,567" in seen(client_of(world), "/ui/numbers").text


def test_the_checks_name_what_the_registry_lacks_and_what_waits(world: World) -> None:
    world.put("m/v1/model.pkl", b"x", bucket="mlsys-models-dev")
    world.put("m/aliases/champion.json", b"{}", bucket="mlsys-models-dev")
    world.put("quarantine/2026-11-28/ab.json", b"{}")
    page = seen(client_of(world), "/ui/checks")
    assert "1 version" in page.text and "not registered: m/v1" in page.text
    assert "1 message in quarantine" in page.text


def test_models_are_filtered_sorted_and_paged_by_the_address(world: World) -> None:
    page = seen(client_of(world), "/ui/models?q=Tit&sort=run&status=ready&page=3")
    assert world.queries[-1][1] | {"since": None} == {
        "text": "tit",
        "status": "ready",
        "sort": "run",
        "since": None,
        "limit": 51,
        "skip": 100,
    }
    assert "/ui/models?q=Tit&sort=run&status=ready&page=2" in page.links
    assert ("option", {"value": "run", "selected": None}) in page.elements
    assert "champion v1" in page.text and "1 failed" in page.text


def test_an_empty_field_of_a_form_filters_nothing(world: World) -> None:
    page = seen(client_of(world), "/ui/runs?model_name=&state=&run_id=")
    assert "third" in page.text and "second" in page.text


def test_the_filter_of_runs_that_work_has_no_other_order(world: World) -> None:
    page = seen(client_of(world), "/ui/runs?state=running&sort=rows")
    assert ("option", {"value": "finished", "selected": None}) in page.elements


def test_the_id_of_a_run_leads_to_its_page(world: World) -> None:
    client = client_of(world)
    for end in ("", ".json"):
        answer = client.get(f"/ui/runs{end}?env=dev&state=failed&run_id=+third+")
        assert (answer.status_code, answer.headers["Location"]) == (302, f"/ui/runs/third{end}")
    assert "pass at most 128" in seen(client, "/ui/runs?run_id=Third", 400).text
    assert world.queries == []


def test_a_model_shows_its_versions_aliases_and_their_history(world: World) -> None:
    page = seen(client_of(world), "/ui/models/titanic-survival")
    for text in ("it calls os.system", "ada@example.com", "it is better", "champion", "accuracy"):
        assert text in page.text
    assert [name for name, _ in world.queries] == ["list_models", "recorded_aliases"]


def test_a_move_past_the_guard_of_an_alias_is_marked(world: World) -> None:
    assert "past its guard" not in seen(client_of(world), "/ui/models/titanic-survival").text
    world.rows["recorded_aliases"] = [alias_row(guarded=False, who=None, source="file")]
    page = seen(client_of(world), "/ui/models/titanic-survival")
    assert "past its guard" in page.text and "somebody, past the service" in page.text


def test_a_model_with_many_versions_is_paged(world: World) -> None:
    world.rows["list_models"] = [model_row(n) for n in range(70, 0, -1)]
    world.rows["recorded_aliases"] = [alias_row(n, generation=n) for n in range(70)]
    client = client_of(world)
    answer = client.get("/ui/models/titanic-survival", headers={"Accept-Encoding": "gzip"})
    assert len(answer.data) <= 12_000
    page = seen(client, "/ui/models/titanic-survival")
    assert re.search(r"The latest 50 of 7\d moves", page.text)
    [following] = [link for link in page.links if "below=21" in link]
    seen(client, following)
    listed = [passed for name, passed in world.queries if name == "list_models"]
    assert (listed[-1]["after_name"], listed[-1]["after_number"]) == ("titanic-survival", 21)


def test_versions_are_compared_by_two_queries_whatever_names_them(world: World) -> None:
    contract = json.dumps({"version": 1, "clauses": []})
    world.rows["versions_of_model"] = [model_row(2, contract=contract), model_row(1)]
    alias = {"version": "v1"}
    world.put("titanic-survival/aliases/champion.json", alias, bucket="mlsys-models-dev")
    page = seen(client_of(world), "/ui/models/titanic-survival/compare?a=champion&b=latest")
    assert "titanic-survival v1 and v2" in page.text
    assert "Contract" in page.text and "reject: 0..120" in page.text
    assert [name for name, _ in world.queries] == ["versions_of_model", "runs_of_versions"]
    assert world.queries[0][1]["versions"] == ["v1", "latest"]


def test_a_model_that_is_not_registered_is_a_404_page() -> None:
    page = seen(client_of(World()), "/ui/models/nobody", 404)
    assert "nobody is not in the registry of dev" in page.text


def test_a_version_shows_its_input_golden_rows_and_calls(world: World) -> None:
    world.rows["list_models"] = [model_row(1, promoted_from="gs://b/o#7", promoted_by="grace")]
    page = seen(client_of(world), "/ui/models/titanic-survival/v1")
    for text in (
        "Who survived the Titanic.",
        "0.42 to 80, mean 29.7, 177 missing",
        "male",
        'curl -G "$MLSYS_URL/predict"',
        "mlsys predict",
        "from mlsys.runs import predict",
        'WHERE model_name = "titanic-survival" AND model_version = "v1"',
        "min_value 0, max_value 120",
        "2 clauses: 1 reject, 1 stop",
        "gs://b/o#7",
        "by grace",
    ):
        assert text in page.text, text
    assert "male: 577" in page.text  # the title of a bar
    assert len(world.queries) == 1 and world.queries[0][1]["after_number"] == 2


def test_a_version_shows_every_step_of_its_promotion(world: World) -> None:
    first = {"from": "gs://dev/o#1", "by": "ada", "at": moment(90).isoformat()}
    last = {"from": "gs://staging/o#2", "by": "grace", "at": moment(60).isoformat()}
    row = model_row(1, promoted_from=last["from"], promoted_by="grace", generation=1)
    world.rows["list_models"] = [row]
    name = "titanic-survival/v1/model.pkl"
    world.put(name, b"x", bucket="mlsys-models-dev")
    for before, steps in (
        ([first], [first, last]),
        ("odd", [last]),
        ([3, {"from": 5}, {"by": "x"}], [last]),
    ):
        world.metadata[name] = {"mlsys-promotion": json.dumps(last | {"before": before})}
        answer = client_of(world).get("/ui/models/titanic-survival/v1.json")
        assert answer.json["promotions"] == steps
    world.metadata[name] = {"mlsys-promotion": json.dumps(last | {"before": [first]})}
    text = seen(client_of(world), "/ui/models/titanic-survival/v1").text
    places = ["Uploaded as gs://dev/o#1", "Copied to gs://staging/o#2", "by ada", "by grace"]
    assert [text.index(place) for place in places] == sorted(text.index(p) for p in places)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        [],
        {"signature": 3, "profile": [], "golden": {"rows": "x"}},
        {"signature": {"features": [3, {"name": 5}]}, "profile": {"columns": [1]}},
        {"profile": {"columns": {"Age": {"top": {"a": "b"}, "min": "x", "max": []}}}},
        {"golden": {"rows": [3], "predictions": [[1, {}]]}, "versions": "x", "parameters": 3},
    ],
)
def test_a_version_with_any_metadata_has_a_page(world: World, metadata: Any) -> None:
    world.rows["list_models"] = [model_row(1, metadata=json.dumps(metadata), metrics="3")]
    seen(client_of(world), "/ui/models/titanic-survival/v1")


def test_runs_that_work_are_on_the_overview_the_list_and_their_tables_page(world: World) -> None:
    put_working(world, "at-work")
    client = client_of(world)
    for address in ("/ui/", "/ui/runs", "/ui/tables/my-project.titanic.scored"):
        page = seen(client, address)
        assert "At work" in page.text and "/ui/runs/at-work" in page.links, address
    assert [row["run_id"] for row in client.get("/ui/runs.json").json["working"]] == ["at-work"]
    page = seen(client, "/ui/runs?state=running")
    assert "/ui/runs/at-work" in page.links and "/ui/runs/second" not in page.links
    for address in ("/ui/runs?state=failed", "/ui/runs?model_name=other"):
        assert "/ui/runs/at-work" not in seen(client, address).links
    world.put("at-work/result.json", result_of(plan_of("at-work")))
    assert "No run is at work" in seen(client, "/ui/runs?state=running").text


@pytest.mark.parametrize(("sort", "place"), [("rows", 418), ("seconds", 192_000)])
def test_runs_are_sorted_by_the_address(world: World, sort: str, place: int) -> None:
    page = seen(client_of(world), f"/ui/runs?sort={sort}&limit=2")
    assert world.queries[-1][1]["sort"] == sort
    assert ("option", {"value": sort, "selected": None}) in page.elements
    [following] = [link for link in page.links if "after=" in link]
    assert f"sort={sort}" in following and f"after={place}.second" in following


def test_runs_are_paged_by_a_cursor(world: World) -> None:
    client = client_of(world)
    page = seen(client, "/ui/runs?limit=2&state=")
    [following] = [link for link in page.links if "after=" in link]
    seen(client, following)
    assert world.queries[-1][1]["after_run"] == "second"
    assert [name for name, _ in world.queries] == ["list_runs", "list_runs"]


@pytest.fixture
def running(world: World) -> World:
    put_run(world, plan_of())
    return world


def test_a_running_run_is_refreshed_and_a_finished_one_is_not(running: World) -> None:
    client = client_of(running)
    page = seen(client, "/ui/runs/a-run")
    assert "600 of 1,000" in page.text and "60%" in page.text
    [polled] = [v for _, v in page.elements if v.get("hx-trigger") == "every 2s"]
    assert polled["hx-get"] == "/ui/runs/a-run/progress"
    assert any(v.get("http-equiv") == "refresh" for _, v in page.elements)  # without JavaScript
    part = client.get("/ui/runs/a-run/progress", headers={"HX-Request": "true"})
    assert "<html" not in part.text and "600 of 1,000" in part.text
    assert "HX-Refresh" not in part.headers
    running.put("a-run/result.json", result_of(plan_of()))
    page = seen(client, "/ui/runs/a-run")
    assert not any(v.get("hx-trigger") == "every 2s" for _, v in page.elements)
    assert not any(v.get("http-equiv") for _, v in page.elements)
    assert client.get("/ui/runs/a-run/progress").headers["HX-Refresh"] == "true"


def test_a_run_shows_its_steps_request_lineage_and_cost(running: World) -> None:
    running.put("a-run/publish.json", {}, 17)
    running.put("a-run/result.json", result_of(plan_of()), 16.8)
    attempt = {"at": moment(19).isoformat(), "end": "done"}
    running.put("a-run/attempts/20261128T194100000000.json", attempt, 16.7)
    page = seen(client_of(running), "/ui/runs/a-run")
    for text in (
        "wait for work to begin",
        "open read session 0",
        "stream 0",
        "load job",
        "record in the ledger",
        "FOR SYSTEM_TIME AS OF TIMESTAMP",
        "--data-urlencode input_table=my-project.titanic.test",
        "below $0.01",
        "3 min 12 s",
    ):
        assert text in page.text, text
    assert not running.queries


def test_a_run_shows_what_it_cost_and_which_rows_were_new(running: World) -> None:
    costs = {"bytes_billed": 2**30, "estimated_cost": 1.25, "vcpu_seconds": 90.0}
    new = {"incremental": "day", "watermark_before": "2026-11-26", "watermark": "2026-11-27"}
    running.put("a-run/result.json", result_of(plan_of(), **costs, **new, rows_late=3))
    text = seen(client_of(running), "/ui/runs/a-run").text
    for says in (
        *("$1.25", "1.0 GiB", "1 min 30 s", "by day, beyond 2026-11-26 up to 2026-11-27"),
        "3 late rows",
    ):
        assert says in text, says
    running.put("a-run/result.json", result_of(plan_of(), incremental="ids"))
    assert "by ids" in seen(client_of(running), "/ui/runs/a-run").text


def test_a_failed_run_says_why_and_which_rows(running: World) -> None:
    failure = {
        "run_id": "a-run",
        "state": "failed",
        "detail": "3 of 1000 rows cannot be scored",
        "max_rejects": "0",
        "seconds": 12.0,
        "finished_at": NOW.isoformat(),
        "rows": [{"PassengerId": 7, "reason": "Age is <script>"}, {"reason": "no columns"}],
    }
    running.put("a-run/failure.json", failure)
    page = seen(client_of(running), "/ui/runs/a-run")
    assert "3 of 1000 rows cannot be scored" in page.text
    assert '{"PassengerId": 7}' in page.text
    assert "Age is <script>" in page.text  # as text
    assert "no columns" in page.text and "{}" not in page.text
    assert "Repeat the run with columns to carry over" in page.text


def test_some_of_the_rows_that_a_run_set_aside_are_shown(running: World) -> None:
    name = "rejects/0/00000-000000000000-ab.parquet"
    rows = {"row": ['{"Age": "x"}'], "reason": ["Age is not a number"]}
    running.put(f"a-run/{name}", parquet({}, **rows))
    running.put("a-run/publish.json", decision_of([], (name,)))
    page = seen(client_of(running), "/ui/runs/a-run/rejects")
    assert "Age is not a number" in page.text and '{"Age": "x"}' in page.text


def test_drift_is_shown_beside_the_training_data_and_the_run_before(running: World) -> None:
    fare = profile_row("Fare", level="drift", distance=0.31, why="distance 0.31")
    answer = profile_row("Survived", "prediction")
    running.put("a-run/publish.json", decision_of([profile_row("Age"), fare, answer]))
    running.put("before/publish.json", decision_of([answer]))
    since = {"role": "feature", "previous_run_id": "before", "distance_previous": 0.07}
    more = {"week_run_id": None, "distance_week": None}
    running.rows["distances_of_run"] = [{"column_name": "Fare"} | since | more]
    page = seen(client_of(running), "/ui/runs/a-run/drift")
    order = [page.text.index(text) for text in ("Survived", "Fare", "Age")]
    assert order == sorted(order)
    for text in ("distance 0.31", "0.07", "was 19%", "(0, 30]: 69.3% in training"):
        assert text in page.text, text
    assert "(0, 30]: 47.8% in the run before" in page.text
    assert "/ui/runs/before" in page.links and len(running.queries) == 1


def test_a_run_without_a_profile_says_how_to_get_one(running: World) -> None:
    assert "upload_model writes one" in seen(client_of(running), "/ui/runs/a-run/drift").text
    running.put("a-run/result.json", result_of(plan_of()))
    assert "The run counted no columns" in seen(client_of(running), "/ui/runs/a-run").text
    drift = {"level": "drift", "columns": 3, "over": [], "text": "1 of 3 columns (Fare 0.31)"}
    running.put("a-run/result.json", result_of(plan_of(), drift=drift))
    page = seen(client_of(running), "/ui/runs/a-run")
    assert "1 of 3 columns (Fare 0.31)" in page.text and "/ui/runs/a-run/drift" in page.links


def test_a_run_with_a_challenger_says_how_far_both_agree(running: World) -> None:
    report = {"rows": 990, "equal": 950, "agreement": 0.9595959}
    shadow = {"requested": "challenger", "model_version": "v5", "output_table": "p.d.t_shadow"}
    running.put("a-run/result.json", result_of(plan_of(), shadow=shadow | {"report": report}))
    page = seen(client_of(running), "/ui/runs/a-run")
    assert "96%" in page.text and "950 of 990 rows" in page.text and "p.d.t_shadow" in page.text
    gone = {"report": None, "reason": "the model raised", "model_version": None}
    running.put("a-run/result.json", result_of(plan_of(), shadow=shadow | gone))
    assert "the model raised" in seen(client_of(running), "/ui/runs/a-run").text


def test_a_run_shows_how_its_input_kept_the_contract(running: World) -> None:
    clause = {"name": "Age in_range 0 to 120", "action": "stop", "problem": "2 of 8 rows fail"}
    clause |= {"failing": 2, "rows": 8}
    kept = {"generation": 1, "clauses": 5, "failing": 0, "broken": []}
    running.put("a-run/result.json", result_of(plan_of(), contract=kept))
    assert "keeps all 5 clauses" in seen(client_of(running), "/ui/runs/a-run").text
    warned = {"contract": kept | {"broken": [clause]}, "warnings": ("contract: 8 rows", "other")}
    running.put("a-run/result.json", result_of(plan_of(), **warned))
    page = seen(client_of(running), "/ui/runs/a-run")
    assert page.text.count("2 of 8 rows fail") == 2  # in the table, and in the JSON
    del running.objects[RUNS, "a-run/result.json"]
    failure = {"run_id": "a-run", "state": "failed", "detail": "the contract", "max_rejects": "0"}
    more = {"seconds": 1.0, "finished_at": NOW.isoformat(), "clauses": [clause]}
    running.put("a-run/failure.json", failure | more)
    assert "Age in_range 0 to 120" in seen(client_of(running), "/ui/runs/a-run").text


def test_a_run_that_drifted_needs_attention(world: World) -> None:
    about = {"run_id": "second", "model_name": "titanic-survival", "model_version": "v1"}
    more = {"predicted_at": moment(60), "columns_drifted": "Fare, Age", "number_drifted": 2}
    world.rows["drifted_runs"] = [about | more | {"input_table": "p.d.t"}]
    page = seen(client_of(world), "/ui/checks")
    assert "titanic-survival v1 scored rows of p.d.t that drifted" in page.text
    assert "Fare, Age" in page.text and "/ui/runs/second" in page.links


def test_what_labels_say_is_shown_of_runs_and_of_versions(running: World) -> None:
    client = client_of(running)
    assert "mlsys evaluate a-run --env dev" in seen(client, "/ui/runs/a-run/measured").text
    running.rows["versions_of_model"] = [model_row(1)]
    assert "was measured yet" in seen(client, "/ui/models/titanic-survival/measured").text
    about = {"labels_table": "p.d.labels", "label_column": "y", "prediction_column": "Survived"}
    more = {"rows_evaluated": 400, "evaluated_at": moment(3)}
    running.rows["metrics_of_run"] = [
        about | more | {"metric": metric, "value": value}
        for metric, value in (("accuracy", 0.8125), ("roc_auc", 0.87))
    ]
    page = seen(client, "/ui/runs/a-run/measured")
    assert "0.8125" in page.text and "p.d.labels" in page.text and "400 rows" in page.text
    running.rows["metrics_of_versions"] = [
        more
        | {"model_name": "titanic-survival", "model_version": version, "metric": "accuracy"}
        | {"mean": mean, "runs": 2, "last_predicted_at": moment(9)}
        for version, mean in (("v10", 0.85), ("v2", 0.8))
    ]
    page = seen(client, "/ui/models/titanic-survival/measured")
    assert "v10: 0.85" in page.text and "+0.05" in page.text  # v2 comes before v10


def test_the_page_of_a_table_called_json_is_not_the_twin_of_another(world: World) -> None:
    client = client_of(world)
    for table in ("some-project.d.json", "some-project.d.t", "example.com:some-project.d.json"):
        page, twin = client.get(f"/ui/tables/{table}"), client.get(f"/ui/tables/{table}.json")
        assert (page.status_code, page.mimetype) == (200, "text/html")
        assert f'href="/ui/tables/{table}.json' in page.text
        assert (twin.status_code, twin.json["table"]) == (200, table)
    wrong = client.get("/ui/tables/some-project.d.json?env=nowhere")
    assert (wrong.status_code, wrong.mimetype) == (400, "text/html")
    for address in ("/ui/tables/d.json", "/ui/tables/some-project.d.t.json?env=nowhere"):
        wrong = client.get(address)
        assert (wrong.status_code, wrong.mimetype) == (400, "application/problem+json")


@pytest.mark.parametrize("address", ["/ui/runs?sum=month", "/ui/runs?months=3"])
def test_the_list_of_runs_leads_to_what_they_cost(world: World, address: str) -> None:
    answer = client_of(world).get(address)
    assert answer.status_code == 400
    assert "/ui/costs adds up what runs cost" in answer.text


def test_a_run_that_does_not_exist_is_a_404_page(world: World) -> None:
    assert "GET /runs lists" in seen(client_of(world), "/ui/runs/nobody", 404).text
    answer = client_of(world).get("/ui/runs/nobody.json")
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("address", "status", "text"),
    [
        ("/ui/nothing", 404, "route does not exist"),
        ("/ui/runs?state=odd", 400, "state"),
        ("/ui/runs?env=prod", 400, "is not served here"),
        ("/ui/models?sort=color", 400, "sort"),
        ("/ui/models?page=0", 400, "page"),
        ("/ui/models/Titanic", 400, "lower-case words"),
        ("/ui/models/m/x1", 400, "pass v1, v2, v3"),
        ("/ui/runs/A%20b", 400, "lower-case letters"),
    ],
)
def test_a_wrong_address_is_a_page_that_says_what_to_do(
    world: World, address: str, status: int, text: str
) -> None:
    assert text in seen(client_of(world), address, status).text


# Pages that need more than the clients of this world; tests of their own show them.
ELSEWHERE = {"contents": "opens the model in a sandbox", "doctor": "looks at everything"}


def pages(world: World) -> list[str]:
    """Return the address of every page and part that this world has."""
    plan = plan_of()
    put_run(world, plan)
    world.put("ended/plan.json", plan_of("ended").to_dict())
    world.put("ended/result.json", result_of(plan_of("ended"), rejects_table=None))
    world.put("quarantine/2026-11-28/ab.json", MESSAGE)
    tables = {name: f"my-project.titanic.{name}$20261121" for name in ("test", "scored")}
    request = {"input_table": tables["test"], "output_table": tables["scored"]}
    put_run(world, plan_of("newer", **request))
    put_partitions(world)
    about = {"output_table": tables["scored"], "finished_at": moment(5)}
    world.rows["last_run_of_partitions"] = [run_row("newer", **about)]
    world.rows["count_written"] = [{"total": 990, "own": 990, "content": 0}]
    world.rows["sum_costs"] = [cost("2026-11", "titanic-survival")]
    world.rows["versions_of_model"] = [model_row(2), model_row(1)]
    return [
        *EMPTY,
        "/ui/models/titanic-survival",
        "/ui/models/titanic-survival/v2",
        "/ui/models/titanic-survival/compare?a=v1&b=v2",
        "/ui/models/titanic-survival/compare?a=v1&b=v2&all=true",
        "/ui/runs/a-run",
        "/ui/runs/a-run/progress",
        "/ui/runs/a-run/rejects",
        "/ui/runs/a-run/rows",
        "/ui/runs/a-run/drift",
        "/ui/runs/a-run/measured",
        "/ui/models/titanic-survival/measured",
        "/ui/models/titanic-survival/set-alias",
        "/ui/runs/a-run/cancel",
        "/ui/runs/ended/undo",
        "/ui/runs/ended/removals",
        "/ui/requested/a-run",
        "/ui/new-run",
        "/ui/tables/my-project.titanic.scored",
        "/ui/tables/my-project.titanic.scored/backfill",
        "/ui/tables/my-project.titanic.scored/board?run_id=newer&from=2026-11-20&to=2026-11-26",
        "/ui/costs",
        "/ui/health",
        "/ui/rescan",
        "/ui/quarantine",
        "/ui/quarantine/message?name=quarantine/2026-11-28/ab.json",
    ]


def test_every_page_is_looked_at(world: World) -> None:
    rules = client_of(world).application.url_map
    paths = rules.bind("localhost")
    looked_at = {paths.match(address.partition("?")[0])[0] for address in pages(world)}
    served = {
        rule.endpoint
        for rule in rules.iter_rules()
        if rule.endpoint.startswith("console.") and "GET" in (rule.methods or ())
    }
    twins = {endpoint for endpoint in served if endpoint.endswith("_json")}
    assert {f"{endpoint}_json" for endpoint in looked_at} <= twins
    others = {f"console.{name}" for name in (*ELSEWHERE, "static_file", "missing")}
    assert served - twins == looked_at | others


def test_every_page_has_a_title_a_twin_and_at_most_two_queries(world: World) -> None:
    """Nothing between the page and the clients is replaced: these are the queries that it sends."""
    client = client_of(world)
    found: set[str] = set()
    for address in pages(world):
        world.queries.clear()
        answer = client.get(address)
        assert answer.status_code == 200, (address, answer.text)
        assert len(world.queries) <= 2, address
        [title] = titles(answer.text)
        assert title not in found or "compare" in address or address == "/ui/runs/a-run/progress"
        found.add(title)
        path, _, passed = address.partition("?")
        twin = f"{path}overview.json" if path.endswith("/") else f"{path}.json"
        values = client.get(f"{twin}?{passed}").json
        assert values["title"] == title.replace("&amp;", "&") and values["env"] == "dev"
        assert f"{twin}{'?' if passed else ''}{passed}".replace("&", "&amp;") in answer.text
        part = client.get(address, headers={"HX-Request": "true"}).text
        assert "<html" not in part and part.strip()


def test_pages_hold_no_script_style_or_handler_and_load_only_our_files(world: World) -> None:
    """The Content-Security-Policy refuses them."""
    client = client_of(world)
    for address in pages(world):
        for tag, values in seen(client, address).elements:
            assert "style" not in values and tag != "style", (address, tag)
            assert not [name for name in values if name.startswith("on")], (address, tag)
            for name in ("src", "href", "action", "hx-get"):
                value = values.get(name)
                assert value is None or value.startswith(("/ui", "#")), (address, value)
            if tag == "script":
                assert values["src"]


def test_every_control_has_a_label_every_table_its_headers_and_every_chart_a_name(
    world: World,
) -> None:
    client = client_of(world)
    for address in pages(world):
        page = seen(client, address)
        labels = {v.get("for") for tag, v in page.elements if tag == "label"}
        ids = [v["id"] for _, v in page.elements if "id" in v]
        assert len(ids) == len(set(ids)), address
        for tag, values in page.elements:
            if tag in ("select", "input") and values.get("type") != "hidden":
                assert values["id"] in labels, (address, values)
            if tag == "th":
                assert values.get("scope") in ("col", "row"), address
            if tag == "svg" and "chart" in (values.get("class") or ""):
                assert values.get("aria-label") and values.get("role"), address
        assert sum(tag == "h1" for tag, _ in page.elements) == 1
        assert sum(tag == "main" for tag, _ in page.elements) == 1


def test_pages_stay_in_the_environment(world: World) -> None:
    client = client_of(world, envs=("dev", "staging"))
    page = seen(client, "/ui/?env=staging")
    own = [link for link in page.links if link.startswith("/ui") and "static" not in link]
    away = [link for link in own if "env=staging" not in link]
    assert away == ["/ui/?env=dev"]
    fields = seen(client, "/ui/runs?env=staging").elements
    assert ("input", {"type": "hidden", "name": "env", "value": "staging"}) in fields


def test_a_cold_visit_is_small_and_a_warm_one_smaller(world: World) -> None:
    world.rows["list_runs"] = [run_row(f"run-{i:04}", seconds=float(i)) for i in range(50)]
    client = client_of(world)
    squeezed = {"Accept-Encoding": "gzip"}
    page = client.get("/ui/", headers=squeezed)
    assert page.headers["Content-Encoding"] == "gzip"
    text = gzip.decompress(page.data).decode()
    files = re.findall(r'(?:src|href)="(/ui/static/[^"]+)"', text)
    sizes = {}
    for address in files:
        answer = client.get(address, headers=squeezed)
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["Content-Encoding"] == "gzip"
        sizes[address] = len(answer.data)
    parts = sum(len(client.get(f"/ui/{p}", headers=squeezed).data) for p in ("numbers", "checks"))
    assert len(files) >= 4
    assert len(page.data) + parts <= 12_000
    assert len(page.data) + parts + sum(sizes.values()) <= 120_000
    runs = client.get("/ui/runs", headers=squeezed)
    assert len(runs.data) <= 12_000


def test_a_static_file_is_kept_only_under_its_own_digest(world: World) -> None:
    client = client_of(world)
    answer = client.get("/ui/static/0000/console.css")
    assert answer.headers["Cache-Control"] == "no-store" and b"--good" in answer.data
    for name in ("vendor/SHA512SUMS", "../pages.py", "nothing.css", "%2e%2e/formats.py"):
        assert client.get(f"/ui/static/0000/{name}").status_code == 404, name


def test_the_footer_of_a_damaged_part_stops_no_page(running: World) -> None:
    running.put("a-run/parts/0/00001-000000000000.parquet", b"no parquet")
    assert "600 of 1,000" in seen(client_of(running), "/ui/runs/a-run").text


def test_a_page_takes_little_time_of_its_own_with_many_models_and_runs(world: World) -> None:
    world.rows["list_runs"] = [run_row(f"run-{i:05}") for i in range(10_000)]
    world.rows["models_at_a_glance"] = [glance(f"model-{i}") for i in range(1_000)]
    put_run(world, plan_of())
    client = client_of(world)
    for address in ("/ui/", "/ui/runs", "/ui/models", "/ui/runs/a-run"):
        client.get(address)  # compiles its template
        took = []
        for _ in range(10):
            began = time.process_time()
            assert client.get(address).status_code == 200
            took.append(time.process_time() - began)
        assert sorted(took)[-2] <= 0.15, (address, took)
