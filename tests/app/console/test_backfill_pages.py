"""The board of a table's backfill, its button, and what runs cost."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from action_world import OWN
from app.auth import LOCAL_ACCOUNT
from app.console import charts
from app.console.views.backfill import span_of
from app.console.views.costs import by_month
from boards import STATES, TABLE, board, cost
from console_cloud import (
    NOW,
    Seen,
    World,
    client_of,
    moment,
    partitioned,
    plan_of,
    put_partitions,
    put_run,
    result_of,
    run_row,
)
from mlsys.errors import SchemaMismatch, TryAgain
from workers.scoring.planning.partitioning import Partitioning

ADDRESS = f"/ui/tables/{TABLE}/backfill"
SPAN = {"from": "2026-11-20", "to": "2026-11-26"}
OF_RUN = SPAN | {"run_id": "newer"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let the API's functions answer with the board; return their queries."""
    queries: list[Any] = []
    monkeypatch.setattr("app.console.formats.now", lambda: NOW)
    monkeypatch.setattr("app.api.backfill.show", lambda query: queries.append(query) or board())
    monkeypatch.setattr(
        "app.api.backfill.start",
        lambda query: queries.append(query) or board() | {"published": ["20261122", "20261123"]},
    )
    return queries


@pytest.fixture
def world() -> World:
    """Return a table with runs of two partitions."""
    world = World()
    request = {"where": "Age > 1", "id_columns": "PassengerId"}
    tables = {name: f"my-project.titanic.{name}$20261121" for name in ("test", "scored")}
    request |= {"input_table": tables["test"], "output_table": tables["scored"]}
    plan = plan_of("newer", **request)
    plan = replace(plan, beside={"max_rejects": "1%", "contract": "warn"})
    put_run(world, replace(plan, model=replace(plan.model, alias="champion")))
    world.put("newer/result.json", result_of(plan))
    put_run(world, plan_of("whole"))
    world.tables[TABLE] = partitioned()
    world.rows["last_run_of_partitions"] = [
        run_row("older", output_table=f"{TABLE}$20261122", finished_at=moment(50)),
        run_row("newer", output_table=f"{TABLE}$20261121", finished_at=moment(5)),
    ]
    return world


@pytest.fixture
def client(asked: list[Any], world: World) -> FlaskClient:
    return client_of(world)


def loaded(page: Seen) -> str:
    """Return the address of the page's part, which is a link without JavaScript."""
    [address] = [v["hx-get"] for _, v in page.elements if "hx-get" in v]
    assert address in page.links
    return str(address)


def test_the_board_is_of_the_request_of_the_latest_run(
    client: FlaskClient, asked: list[Any]
) -> None:
    board = loaded(Seen(client.get(ADDRESS).text))
    assert not asked
    page = Seen(client.get(board).text)
    [query] = asked
    assert (str(query.input_table), str(query.output_table)) == ("my-project.titanic.test", TABLE)
    assert (query.model_version, query.where, query.id_columns) == (
        *("champion", "Age > 1", ("PassengerId",)),
    )
    assert (str(query.max_rejects), query.contract) == ("10", "warn")  # 10 was the last try's
    assert (query.first, query.last) == ("2026-11-21", "2026-11-27")  # yesterday
    for state, text in (("stale", "1 other version or changed"), ("failed", "why it is failed")):
        assert text in page.text, state
    cells = [v["class"] for tag, v in page.elements if tag == "rect"]
    assert cells == [f"cell cell-{state}" for state in STATES]
    assert "/ui/runs/run-3" in page.links and LOCAL_ACCOUNT in page.text
    twin = client.get(board.replace("/board?", "/board.json?")).json
    assert twin["board"]["totals"]["done"] == 2
    part = client.get(board, headers={"HX-Request": "true"}).text
    assert "<html" not in part and 'name="only_missing"' in part
    assert client.get(f"{ADDRESS}.json").json["run_id"] == "newer"


def test_the_button_says_what_becomes_of_the_rows(
    client: FlaskClient, asked: list[Any], world: World
) -> None:
    address = f"/ui/tables/{TABLE}/board"
    assert "which replaces its rows" in client.get(address, query_string=OF_RUN).text
    tables = {f"{n}put_table": f"my-project.titanic.{n}$20261121" for n in ("in", "out")}
    tables["output_table"] = f"{TABLE}$20261121"
    put_run(world, plan_of("new-rows", incremental="ids", **tables))
    added = client.get(address, query_string=OF_RUN | {"run_id": "new-rows"}).text
    assert "which adds what is new" in added


def test_a_range_is_chosen_by_the_address(client: FlaskClient, asked: list[Any]) -> None:
    span = {"from": "2026-10-01", "to": "2026-10-31"}
    page = Seen(client.get(loaded(Seen(client.get(ADDRESS, query_string=span).text))).text)
    assert (asked[0].first, asked[0].last) == ("2026-10-01", "2026-10-31")
    hidden = {v["name"]: v["value"] for _, v in page.elements if v.get("type") == "hidden"}
    assert hidden == span | {"run_id": "newer"}
    for name, other in (("from", {"to": "2026-11-27"}), ("to", {"from": "2026-11-21"})):
        half = {name: "2026-11-22"}  # the other end is that of the runs
        assert client.get(f"{ADDRESS}.json", query_string=half).json["chosen"] == half | other


def test_the_button_requests_the_chosen_states(client: FlaskClient, asked: list[Any]) -> None:
    chosen = OF_RUN | {"only_failed": "true", "only_missing": "true"}
    answer = client.post(ADDRESS, data=chosen, headers=OWN)
    assert answer.status_code == 303 and "published=2" in answer.headers["Location"]
    assert asked[-1].start is True and asked[-1].only == "failed,missing"
    assert asked[-1].model_version == "champion"
    assert "2 runs requested" in Seen(client.get(answer.headers["Location"]).text).text


@pytest.mark.parametrize(
    ("chosen", "fault", "status", "says"),
    [
        (OF_RUN, None, 400, "only"),
        (SPAN | {"only_failed": "true"}, None, 400, "run_id is missing"),
        (OF_RUN | {"run_id": "whole"}, None, 400, "did not score a partition of"),
        (OF_RUN | {"only_failed": "true"}, SchemaMismatch("It is a view."), 422, "a view"),
        (OF_RUN | {"only_failed": "true"}, TryAgain("It is busy: try again"), 503, "busy"),
    ],
)
def test_what_is_wrong_is_said_on_the_page(
    client: FlaskClient,
    monkeypatch: pytest.MonkeyPatch,
    chosen: dict[str, str],
    fault: Exception | None,
    status: int,
    says: str,
) -> None:
    if fault is not None:
        monkeypatch.setattr("app.api.backfill.start", lambda _: (_ for _ in ()).throw(fault))
    answer = client.post(ADDRESS, data=chosen, headers=OWN)
    assert answer.status_code == status and says in Seen(answer.text).text
    if "run_id" in chosen:
        assert 'value="2026-11-20"' in answer.text and "from=2026-11-20" in answer.text
    forged = client.post(ADDRESS, data=chosen, headers={"Sec-Fetch-Site": "cross-site"})
    assert forged.status_code == 403


def test_a_range_that_does_not_fit_can_be_corrected(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Any) -> Any:
        raise SchemaMismatch("2026-10 is a month, and the table has days. Pass 2026-10-01.")

    monkeypatch.setattr("app.api.backfill.show", refuse)
    text = client.get(ADDRESS, query_string={"from": "2026-10", "to": "2026-11"}).text
    assert 'name="from" type="text" value="2026-10"' in text
    answer = client.get(loaded(Seen(text)))
    assert answer.status_code == 422 and "Pass 2026-10-01." in answer.text


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"run_id": "nobody"}, 404),
        ({"run_id": "whole"}, 400),  # of the whole table
        ({"run_id": ""}, 400),
        ({"to": ""}, 400),
        ({"colour": "red"}, 400),
    ],
)
def test_a_board_is_of_a_run_of_a_partition_of_the_table(
    client: FlaskClient, asked: list[Any], changed: dict[str, str], status: int
) -> None:
    address = f"/ui/tables/{TABLE}/board"
    assert client.get(address, query_string=OF_RUN | changed).status_code == status
    other = "/ui/tables/my-project.titanic.other/board"
    assert client.get(other, query_string=OF_RUN).status_code == 400
    assert not asked


def test_a_table_without_partitions_says_what_to_do(asked: list[Any]) -> None:
    page = Seen(client_of(World()).get(ADDRESS).text)
    assert "mlsys backfill MODEL --env dev" in page.text and not asked
    assert ADDRESS not in Seen(client_of(World()).get(f"/ui/tables/{TABLE}").text).links


def test_page_and_board_ask_bigquery_three_times_in_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The board is the API's own here: nothing of it is replaced."""
    monkeypatch.setattr("app.console.formats.now", lambda: NOW)
    sent: list[Any] = []
    monkeypatch.setattr("app.api.backfill.publish_requests", lambda them: sent.extend(them))
    put_partitions(world)
    client = client_of(world)
    board = loaded(Seen(client.get(ADDRESS, query_string=SPAN).text))
    assert [name for name, _ in world.queries] == ["last_run_of_partitions"]
    world.queries.clear()
    view = client.get(board.replace("/board?", "/board.json?")).json
    two = ["partitions", "runs_of_partitions"]
    assert [name for name, _ in world.queries] == two
    states = [each["state"] for each in view["board"]["partitions"]]
    assert states == ["missing", "stale", "missing", *["empty"] * 4]
    assert view["board"]["partitions"][1]["reason"] == "scored by v1, and champion is now v2"
    world.queries.clear()
    chosen = OF_RUN | {"only_missing": "true", "only_stale": "true"}
    assert client.post(ADDRESS, data=chosen, headers=OWN).status_code == 303
    assert [name for name, _ in world.queries] == two
    assert [(r.model_version, r.model_alias) for r, _ in sent] == [("v2", "champion")] * 3
    world.queries.clear()
    assert client.post(ADDRESS, data=OF_RUN, headers=OWN).status_code == 400
    assert world.queries == []


def test_partitions_are_drawn_by_month_day_and_year() -> None:
    days = [(dt.date(2026, 10, 30) + dt.timedelta(i)).isoformat() for i in range(4)]
    october, november = charts.calendar("DAY", days)
    assert (october.name, october.marks) == ("2026-10", ((29, 0), (30, 1)))
    assert (november.places, november.marks) == (31, ((0, 2), (1, 3)))
    [hours] = charts.calendar("HOUR", ["2026-10-01T00", "2026-10-01T23"])
    assert (hours.places, hours.marks) == (24, ((0, 0), (23, 1)))
    rows = charts.calendar("RANGE", [str(100 * i) for i in range(25)])
    assert [(row.name, len(row.marks)) for row in rows] == [("0", 20), ("2000", 5)]
    assert charts.calendar("DAY", []) == []


@pytest.mark.parametrize(
    ("kind", "partitions", "span"),
    [
        ("MONTH", ["202611", "202601"], ("2026-01", "2026-11")),
        ("HOUR", ["2026112205", "2026112123"], ("2026-11-21T23", "2026-11-22T05")),
        ("DAY", ["20271201", "20271130"], ("2027-11-30", "2027-12-01")),
        ("DAY", ["20261120", "20261119"], ("2026-11-19", "2026-11-27")),  # yesterday
        ("DAY", ["20261120", "202609"], ("2026-11-20", "2026-11-27")),  # by months before
        ("RANGE", ["100", "20"], ("20", "100")),
        ("RANGE", ["202610", "900000"], ("202610", "900000")),
        (None, ["20261120", "20261119"], ("20261119", "20261120")),
    ],
)
def test_the_range_without_a_choice_is_that_of_the_runs(
    monkeypatch: pytest.MonkeyPatch, kind: str | None, partitions: list[str], span: tuple[str, str]
) -> None:
    monkeypatch.setattr("app.console.formats.now", lambda: NOW)
    by = None if kind is None else Partitioning(kind, "n", end=1_000_000, width=10)
    assert span_of(partitions, by) == dict(zip(("from", "to"), span, strict=True))


def test_costs_are_added_up_by_month() -> None:
    nothing = dict.fromkeys(("bytes_billed", "estimated_cost", "vcpu_seconds"))
    months = by_month(
        [cost("2026-11", "a"), cost("2026-11", "b", **nothing), cost("2026-10", "a", **nothing)]
    )
    assert [(m["month"], m["runs"], m["estimated_cost"]) for m in months] == [
        ("2026-11", 4, 1.25),
        ("2026-10", 2, None),
    ]
    assert [row["model_name"] for row in months[0]["models"]] == ["a", "b"]


def test_the_page_of_costs_shows_months_and_models(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[dict[str, Any]] = []
    path = "workers.scoring.publishing.costs_table.costs_by_month"
    monkeypatch.setattr(path, lambda *_, **more: passed.append(more) or [cost("2026-11", "churn")])
    client = client_of(World())
    page = Seen(client.get("/ui/costs?model_name=churn&months=3").text)
    assert "/ui/costs?model_name=churn&months=36" in page.links
    text = page.text
    assert "2026-11" in text and "$1.25" in text and "1.0 GiB" in text and "1 min 30 s" in text
    assert passed == [{"model_name": "churn", "months": 3}]
    assert client.get("/ui/costs?months=0").status_code == 400
    monkeypatch.setattr(path, lambda *_, **__: [])
    assert "Nothing was billed" in client.get("/ui/costs").text
