"""Each action shows what it would do and who is recorded, does it once, and keeps the input."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from action_world import MESSAGE, World, console, world
from app.auth import LOCAL_ACCOUNT
from boards import DECISION
from console_cloud import Seen, client_of, plan_of, put_run, result_of
from console_cloud import World as Cloud
from mlsys.errors import (
    AliasMoved,
    GuardRefused,
    InvalidRequest,
    ModelUnusable,
    RunPublished,
    TableNotFound,
    TryAgain,
)
from workers.registry.difference import Difference

__all__ = ["console", "world"]  # fixtures

RUN = {
    "input_table": "my-project.titanic.test",
    "output_table": "my-project.titanic.scored",
    "model_name": "titanic",
    "model_version": "champion",
    "where": "Age > 30 AND Name != 'O\"Neill'",
}


def hidden(text: str) -> dict[str, str]:
    """Return the hidden fields of a page's form."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', text))


def test_the_form_of_a_run_is_filled_in_by_the_address(console: FlaskClient) -> None:
    text = console.get("/ui/new-run", query_string=RUN).text
    assert 'value="my-project.titanic.scored"' in text
    assert "Age &gt; 30 AND Name != &#39;O&#34;Neill&#39;" in text
    assert LOCAL_ACCOUNT in text


def test_a_check_shows_the_verdict_and_starts_nothing(console: FlaskClient, world: World) -> None:
    answer = console.post("/ui/new-run", data=RUN | {"do": "check"})
    assert answer.status_code == 200 and world.done == []
    assert "It would work." in answer.text
    assert (
        'name="do" value="run"' in answer.text
        and 'value="my-project.titanic.scored"' in answer.text
    )


def test_a_run_is_requested_by_its_message(console: FlaskClient, world: World) -> None:
    answer = console.post("/ui/new-run", data=RUN | {"do": "run"})
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/ui/requested/run-1?since=")
    [(_, request, run_id)] = world.done
    assert run_id == "run-1"
    named = {"model_version": "v2", "model_alias": "champion"}  # as it was checked
    assert request.to_dict() == RUN | {"env": "dev"} | named


@pytest.mark.parametrize("done", [True, False])
def test_a_run_that_cannot_start_is_not_requested(
    console: FlaskClient, world: World, done: bool
) -> None:
    problems = [{"detail": "A column is missing.", "columns": [{"name": "Age", "problem": "no"}]}]
    world.verdict |= {"run_is_done": True} if done else {"ok": False, "problems": problems}
    answer = console.post("/ui/new-run", data=RUN | {"do": "run"})
    assert world.done == []
    if done:
        assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/runs/run-1")
    else:
        assert answer.status_code == 422 and "A column is missing." in answer.text
        assert 'name="do" value="run"' not in answer.text


@pytest.mark.parametrize(
    ("changed", "fault", "status", "says"),
    [
        ({"input_table": "nonsense"}, None, 400, "input_table"),
        ({"input_table": ""}, None, 400, "is missing"),
        ({"colour": "red"}, None, 400, "is not a parameter"),
        ({"model_version": "v0"}, None, 400, "model_version"),
        ({"output_table": "others.titanic.scored"}, None, 403, "may not write"),
        ({}, TableNotFound("The table does not exist. Create it."), 404, "Create it."),
        ({}, TryAgain("BigQuery is busy: try again"), 503, "BigQuery is busy"),
        ({}, RuntimeError("a secret"), 500, "log has the reason"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_on_the_form(
    console: FlaskClient,
    world: World,
    changed: dict[str, str],
    fault: Exception | None,
    status: int,
    says: str,
) -> None:
    world.fault = fault
    answer = console.post("/ui/new-run", data=RUN | changed | {"do": "run"})
    assert answer.status_code == status and says in answer.text and "a secret" not in answer.text
    assert world.done == []
    kept = (RUN | changed)["output_table"]
    assert f'name="output_table" type="text" value="{kept}"' in answer.text
    assert ("Retry-After" in answer.headers) is (status == 503)


def test_a_page_waits_until_the_service_has_taken_a_run(console: FlaskClient, world: World) -> None:
    text = console.get("/ui/requested/run-1", query_string={"since": 9_000_000_000}).text
    assert 'http-equiv="refresh" content="2"' in text
    text = console.get("/ui/requested/run-1", query_string={"since": 1}).text
    assert "/ui/quarantine" in text
    world.taken = True
    assert 'content="0;url=/ui/runs/run-1"' in console.get("/ui/requested/run-1").text
    assert console.get("/ui/requested/..%2Fx").status_code in (400, 404)


def test_a_cancellation_is_asked_for_and_recorded(console: FlaskClient, world: World) -> None:
    text = console.get("/ui/runs/run-1/cancel").text
    assert LOCAL_ACCOUNT in text and "10 of 418 rows" in text and world.done == []
    answer = console.post("/ui/runs/run-1/cancel", data={"why": "wrong table"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/runs/run-1")
    assert world.done == [("cancelled", "run-1", LOCAL_ACCOUNT, "wrong table")]


def test_a_run_that_has_ended_has_no_form_that_cancels_it() -> None:
    cloud = Cloud()
    client = client_of(cloud)
    for undo, text, form in (
        (None, "Undoing it removes its rows", True),
        (DECISION, "There is nothing to cancel", False),
    ):
        cloud.put("ended/plan.json", plan_of("ended").to_dict())
        cloud.put("ended/result.json", result_of(plan_of("ended")))
        if undo is not None:
            cloud.put("ended/undo.json", undo.to_dict())
        page = Seen(client.get("/ui/runs/ended/cancel").text)
        assert text in page.text and "Cancel the run" not in page.text
        assert ("/ui/runs/ended/undo" in page.links) is form


def test_a_run_that_is_decided_is_not_cancelled(console: FlaskClient, world: World) -> None:
    world.fault = RunPublished("run-1 has published its rows.")
    answer = console.post("/ui/runs/run-1/cancel", data={"why": "wrong <table>"})
    assert answer.status_code == 409 and "has published its rows" in answer.text
    assert ">wrong &lt;table&gt;</textarea>" in answer.text
    assert console.post("/ui/runs/run-1/cancel", data={"why": "x" * 501}).status_code == 400
    assert console.get("/ui/runs/other/cancel").status_code == 404


MOVE = {"alias": "champion", "version": "v2", "why": "better"}
FORM = "/ui/models/titanic/set-alias"


def test_an_alias_is_set_after_its_check(console: FlaskClient, world: World) -> None:
    text = console.get(FORM).text
    assert '<option value="v2" selected>' in text and "champion names v1" in text
    checked = console.post(FORM, data=MOVE | {"do": "check"})
    assert checked.status_code == 200 and world.done == [] and LOCAL_ACCOUNT in checked.text
    fields = hidden(checked.text)
    assert fields["expected"] == "v1"
    answer = console.post(FORM, data=MOVE | fields | {"do": "set"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/models/titanic")
    [(_, request)] = world.done
    assert (str(request.ref), request.version, request.expected) == ("titanic/champion", "v2", "v1")
    assert (request.who, request.why) == (LOCAL_ACCOUNT, "better")
    assert request.request_id == fields["request_id"]


def test_another_move_than_the_checked_one_is_checked_first(
    console: FlaskClient, world: World
) -> None:
    fields = hidden(console.post(FORM, data=MOVE | {"do": "check"}).text)
    for changed in ({"version": "v1"}, {"alias": "challenger"}, {"checked": ""}, {"expected": ""}):
        answer = console.post(FORM, data=MOVE | fields | {"do": "set"} | changed)
        assert answer.status_code == 200 and world.done == []
    assert hidden(console.post(FORM, data=MOVE | {"alias": "new"}).text)["expected"] == "none"


def test_the_clauses_of_a_guard_are_shown(console: FlaskClient, world: World) -> None:
    clauses = [
        {"name": "runs", "ok": False, "wanted": 3, "seen": 1, "problem": "only 1 run"},
        {"name": "ready", "ok": True, "wanted": "ready", "seen": "ready", "problem": None},
    ]
    world.fault = GuardRefused("The guard of champion refuses v2.", clauses)
    answer = console.post(FORM, data=MOVE | {"do": "check"})
    assert answer.status_code == 403 and "only 1 run" in answer.text
    assert re.findall(r'data-label="Clause">(\w+)<', answer.text) == ["runs", "ready"]


@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        (AliasMoved("champion of titanic names v3, not v1."), 409, "names v3"),
        (ModelUnusable("titanic/v2 is rejected in dev."), 422, "is rejected"),
        (InvalidRequest(("why", "is missing: pass the reason")), 400, "is missing"),
    ],
)
def test_a_refused_move_keeps_the_form(
    console: FlaskClient, world: World, fault: Exception, status: int, says: str
) -> None:
    fields = hidden(console.post(FORM, data=MOVE | {"do": "check"}).text)
    world.fault = fault
    for data in (MOVE | {"do": "check"}, MOVE | fields | {"do": "set"}):
        answer = console.post(FORM, data=data)
        assert (
            answer.status_code == status
            and says in answer.text
            and ">better</textarea>" in answer.text
        )
        assert 'value="set"' not in answer.text


@pytest.mark.parametrize(
    "changed", [{"alias": "latest"}, {"alias": "../x"}, {"version": "7"}, {"why": "x" * 5000}]
)
def test_a_move_that_cannot_be_is_said_on_the_form(
    console: FlaskClient, world: World, changed: dict[str, str]
) -> None:
    answer = console.post(FORM, data=MOVE | changed)
    assert answer.status_code == 400 and world.done == []


def test_a_message_is_published_again(console: FlaskClient, world: World) -> None:
    assert MESSAGE.reason in console.get("/ui/quarantine").text
    path, name = "/ui/quarantine/message", {"name": MESSAGE.name}
    text = console.get(path, query_string=name).text
    assert hidden(text) == name and LOCAL_ACCOUNT in text
    answer = console.post(path, data=name)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/quarantine")
    assert world.done == [("replayed", MESSAGE.name)]
    world.fault = InvalidRequest((MESSAGE.name, "cannot be published again"))
    assert console.post(path, data=name).status_code == 400
    assert console.post(path, data={"name": "quarantine/other.json"}).status_code == 404
    for other in ("", "a-run/plan.json", "../quarantine/x.json"):
        assert console.post(path, data={"name": other}).status_code == 400


def test_a_rescan_hints_at_what_differs(console: FlaskClient, world: World) -> None:
    text = console.get("/ui/rescan").text
    assert "titanic/v4" in text and "2 versions differ" in text and LOCAL_ACCOUNT in text
    answer = console.post("/ui/rescan")
    assert answer.status_code == 415  # not a form
    answer = console.post("/ui/rescan", data={"x": "y"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/rescan?hinted=2")
    assert world.done == [("hinted", ("titanic/v4", "gone/v1"))]
    world.difference = Difference((), (), ())
    text = console.get("/ui/rescan?hinted=2").text
    assert "look at 2 versions" in text and "<form" not in text


PATHS = ["/ui/new-run", FORM, "/ui/runs/run-1/cancel", "/ui/quarantine/message", "/ui/rescan"]


@pytest.mark.parametrize("path", PATHS)
def test_no_action_is_done_for_another_site_or_by_get(
    console: FlaskClient, world: World, path: str
) -> None:
    data = RUN | MOVE | {"do": "run", "name": MESSAGE.name, "why": "x"}
    answer = console.post(path, data=data, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    for method in ("GET", "HEAD", "OPTIONS"):
        console.open(path, method=method, query_string={"name": MESSAGE.name, "do": "run"})
    for kind in ("application/json", "text/plain", "multipart/form-data"):
        sent: Any = console.post(path, data="{}", content_type=kind)
        assert sent.status_code in (400, 415)
    assert world.done == []


@pytest.mark.parametrize(
    ("objects", "taken"),
    [
        ({}, False),
        ({"plan.json": {}}, True),
        ({"plan.json": {}, "failure.json": "2026-11-28T10:00:00+00:00"}, False),  # an old one
        ({"plan.json": {}, "failure.json": "2026-11-28T10:00:02+00:00"}, True),
    ],
)
def test_a_failure_from_before_is_not_the_requested_run(
    objects: dict[str, Any], taken: bool
) -> None:
    """A repeated request resumes a failed run, whose page says why it failed until then."""
    since = dt.datetime(2026, 11, 28, 10, 0, 1, tzinfo=dt.UTC).timestamp()
    cloud = Cloud()
    if objects:
        put_run(cloud, plan_of())
    if failed_at := objects.get("failure.json"):
        failure = {"run_id": "a-run", "state": "failed", "detail": "x", "max_rejects": "0"}
        cloud.put("a-run/failure.json", failure | {"seconds": 1.0, "finished_at": failed_at})
    address = f"/ui/requested/a-run?since={int(since)}"
    assert ("0;url=/ui/runs/a-run" in client_of(cloud).get(address).text) is taken
