"""A run is undone by a form that shows what is removed, a decision, and a message."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from action_world import OWN
from app.auth import LOCAL_ACCOUNT
from boards import DECISION, TABLES
from console_cloud import (
    NOW,
    Seen,
    World,
    client_of,
    moment,
    plan_of,
    put_run,
    result_of,
)
from mlsys.errors import Conflict, TryAgain
from workers.scoring.journal.undone import Removal, Undo, Undone

ADDRESS = "/ui/runs/a-run/undo"
FORM = "/ui/runs/a-run/removals"


class Service:
    """What the workers answer about a run, and what was decided and published."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.decision: Undo | None = None
        self.fault: Exception | None = None
        self.done: list[tuple[str, ...]] = []
        patch.setattr("workers.scoring.publishing.undo.preview_undo", self.preview)
        patch.setattr("workers.scoring.publishing.undo.decide_undo", self.decide)
        patch.setattr("app.continuations.publish_undo", lambda *a: self.done.append(a))
        patch.setattr("app.console.formats.now", lambda: NOW)

    def preview(self, *_: Any) -> tuple[Undo | None, list[Removal]]:
        if self.fault is not None:
            raise self.fault
        return self.decision, list(TABLES)

    def decide(
        self, _: Any, env: str, run_id: str, *, by: str, why: str, notes: bool
    ) -> tuple[Undo, bool]:
        assert not notes  # the console's account may not write them
        if self.fault is not None:
            raise self.fault
        self.done.append((env, run_id, by, why))
        return self.decision or DECISION, self.decision is None


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    return Service(monkeypatch)


@pytest.fixture
def world() -> World:
    """Return a run that succeeded."""
    world = World()
    put_run(world, plan_of())
    world.put("a-run/result.json", result_of(plan_of()))
    return world


@pytest.fixture
def client(service: Service, world: World) -> FlaskClient:
    return client_of(world)


def test_a_run_that_does_not_exist_has_no_form(client: FlaskClient) -> None:
    assert client.get("/ui/runs/nobody/undo").status_code == 404


def test_the_form_shows_what_would_be_removed_and_changes_nothing(
    client: FlaskClient, service: Service
) -> None:
    assert ADDRESS in Seen(client.get("/ui/runs/a-run").text).links
    page = Seen(client.get(ADDRESS).text)
    assert "takes the run's rows out of my-project.titanic.scored" in page.text
    assert FORM in page.links  # without JavaScript
    assert [v["hx-get"] for _, v in page.elements if "hx-get" in v] == [FORM]
    text = Seen(client.get(FORM).text).text
    assert "removes 990 rows, and puts back the 1,000 that they replaced" in text
    assert "removes 1 row from those set aside" in text and LOCAL_ACCOUNT in text
    assert "others replaced them" not in text
    assert not service.done
    assert client.get(f"{FORM}.json").json["tables"][0]["how"] == "restore"


def test_an_undo_is_decided_in_the_persons_name_and_then_published(
    client: FlaskClient, service: Service
) -> None:
    answer = client.post(ADDRESS, data={"why": "the wrong table"}, headers=OWN)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/runs/a-run")
    assert service.done == [
        ("dev", "a-run", LOCAL_ACCOUNT, "the wrong table"),
        ("dev", "a-run"),
    ]


def test_a_lost_message_is_published_again_by_the_same_form(
    client: FlaskClient, service: Service
) -> None:
    service.decision = DECISION
    text = client.get(FORM).text
    assert "ada@example.com has decided it: wrong" in text and 'value="wrong"' in text
    assert client.post(ADDRESS, data={"why": "wrong"}, headers=OWN).status_code == 303
    assert service.done[-1] == ("dev", "a-run")


@pytest.mark.parametrize(
    ("why", "fault", "status", "says"),
    [
        ("", None, 400, "why"),
        ("x" * 501, None, 400, "why"),
        ("wrong", Conflict("A later run has written. Nothing was changed."), 409, "A later run"),
        ("wrong", TryAgain("BigQuery is busy: try again"), 503, "busy"),
    ],
)
def test_what_speaks_against_an_undo_is_said_on_the_form(
    client: FlaskClient, service: Service, why: str, fault: Exception | None, status: int, says: str
) -> None:
    service.fault = fault
    answer = client.post(ADDRESS, data={"why": why}, headers=OWN)
    assert answer.status_code == status and says in Seen(answer.text).text
    assert service.done == []
    if status == 409:
        assert client.get(FORM).status_code == 409
        assert "Undo the run</button>" not in client.get(FORM).text


@pytest.mark.parametrize("site", ["cross-site", "same-site", None])
def test_another_site_cannot_undo_a_run(
    client: FlaskClient, service: Service, site: str | None
) -> None:
    headers = {} if site is None else {"Sec-Fetch-Site": site}
    answer = client.post(ADDRESS, data={"why": "x"}, headers=headers)
    assert answer.status_code == 403 and service.done == []


def test_an_undone_run_says_so_and_is_followed_until_its_rows_are_gone(
    client: FlaskClient, world: World
) -> None:
    world.put("a-run/undo.json", DECISION.to_dict())
    page = Seen(client.get("/ui/runs/a-run").text)
    assert "Being undone" in page.text and "by ada@example.com: wrong" in page.text
    [polled] = [v["hx-get"] for _, v in page.elements if v.get("hx-trigger") == "every 3s"]
    assert client.get(polled).headers["HX-Refresh"] == "true"
    assert any(v.get("http-equiv") == "refresh" for _, v in page.elements)  # without JavaScript
    assert ADDRESS in page.links  # to request it again
    said = DECISION.undone_at, DECISION.by, DECISION.why
    undone = Undone(DECISION.token, "a-run", *said, moment(0).isoformat(), TABLES)
    world.put("a-run/undone.json", undone.to_dict())
    page = Seen(client.get("/ui/runs/a-run").text)
    assert "Undone" in page.text and "Being undone" not in page.text
    assert not any(v.get("http-equiv") for _, v in page.elements)
    assert not any(v.get("hx-trigger") == "every 3s" for _, v in page.elements)
    assert ADDRESS not in page.links and "/ui/runs/a-run/rows" not in page.links
    kept = replace(TABLES[0], copy="my-project.titanic.undo_output")
    world.put("a-run/undone.json", replace(undone, tables=(kept,)).to_dict())
    text = Seen(client.get("/ui/runs/a-run").text).text
    assert "others replaced them meanwhile: my-project.titanic.undo_output has the" in text
