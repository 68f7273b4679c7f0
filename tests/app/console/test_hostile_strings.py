"""No string of a model, a request, a reason or a message changes what a page consists of.

Each page is rendered with its own values, then again with hostile strings in the place of each
text and of each name that a person chose. The elements and their attributes stay the same.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import pytest
from flask.testing import FlaskClient

from action_world import World, console, world
from app.console import rendering
from boards import DECISION, board, cost
from console_cloud import World as Cloud
from console_cloud import (
    alias_row,
    client_of,
    decision_of,
    model_row,
    moment,
    parquet,
    plan_of,
    profile_row,
    put_run,
    result_of,
    run_row,
)
from hostile_strings import STRINGS
from mlsys.doctor.check import Finding

__all__ = ["console", "world"]

BATCH = 12  # strings of one rendering, in each field one after the other
# Whose keys are names that a person chose
NAMED = ("metrics", "aliases", "headers", "evidence", "repeat", "request", "parameters", "calls")
ADDRESSES = ("href", "src", "action", "formaction", "hx-get", "hx-post", "content")
# Texts that decide what a page consists of, as `state == "running"`: they are not anybody's
FIXED = ("state", "status", "level", "kind", "step", "link", "address")


class Structure(HTMLParser):
    """The elements of a page with their attributes' names, and the addresses in it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, ...]] = []
        self.addresses: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, *(name for name, _ in attrs)))
        for name, value in attrs:
            if name in ADDRESSES and value and tag != "meta":
                self.addresses.add(value)

    def handle_comment(self, data: str) -> None:
        self.elements.append(("comment",))

    def handle_decl(self, decl: str) -> None:
        self.elements.append(("declaration", decl))


def replaced(value: Any, text: Callable[[], str], key: str = "") -> Any:
    """Return the view with another text in the place of each one, and of each chosen name."""
    if isinstance(value, str):
        return value if key in FIXED else text()
    if isinstance(value, dict) and key in NAMED:
        return {f"{text()} {n}": replaced(v, text) for n, v in enumerate(value.values())}
    if isinstance(value, dict):
        return {name: replaced(inner, text, name) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [replaced(inner, text) for inner in value]
    return value


BATCHES = [" ".join(STRINGS[at : at + BATCH]) for at in range(0, len(STRINGS), BATCH)]


@dataclass(frozen=True)
class Shown:
    """A page as it was shown: its address, and what `rendering.render` got."""

    address: str
    template: str
    title: str
    view: dict[str, Any]


def cloud() -> Cloud:
    """Return a world with models, aliases and runs, for the pages that look."""
    made = Cloud()
    made.rows["list_models"] = [model_row(2, status="rejected", status_reason="x"), model_row(1)]
    made.rows["versions_of_model"] = [model_row(2), model_row(1)]
    made.rows["recorded_aliases"] = [alias_row(why="x", problem="x")]
    made.rows["list_runs"] = [
        run_row("third", state="failed", failure="x", model_alias="champion"),
        run_row("second", rows_rejected=3),
    ]
    for name in ("runs_of_table", "last_run_of_partitions"):
        made.rows[name] = [run_row("first", output_table="my-project.titanic.scored$20261122")]
    made.put("m/v1/model.pkl", b"x", bucket="mlsys-models-dev")
    made.put("x.txt", b"x", bucket="mlsys-models-dev")
    record = {"received_at": "x", "route": "x", "reason": "x", "body": "x", "headers": {"a": "x"}}
    made.put("quarantine/2026-11-28/ab.json", record)
    put_run(made, plan_of())
    tables = {name: f"my-project.titanic.{name}$20261122" for name in ("test", "scored")}
    first = {"input_table": tables["test"], "output_table": tables["scored"]}
    for name, request in (("first", first), ("drifted", {})):
        put_run(made, plan_of(name, **request))
    put_run(made, plan_of("undone-run"))
    made.put("undone-run/result.json", result_of(plan_of("undone-run")))
    made.put("undone-run/undo.json", DECISION.to_dict())
    failed = plan_of("failed-run")
    put_run(made, failed)
    made.put("failed-run/failure.json", FAILURE)
    made.put("drifted/part", parquet({}, y=["x", "x"], run_id=["x", "x"]))
    made.put(
        "drifted/publish.json",
        decision_of([profile_row("x"), profile_row("x", "prediction")]) | {"parts": ["part"]},
    )
    made.rows["metrics_of_run"] = [{**MEASURED, "metric": "x", "value": 1.0}]
    made.rows["metrics_of_versions"] = [
        MEASURED
        | {"model_name": "titanic-survival", "model_version": version, "metric": "x", "mean": 1.0}
        for version in ("v1", "v2")
    ]
    made.rows["drifted_runs"] = [
        {"run_id": "drifted", "model_name": "m", "model_version": "v1", "input_table": "x"}
        | {"predicted_at": moment(9), "columns_drifted": "x", "number_drifted": 1}
    ]
    return made


FAILURE = {
    **{"run_id": "failed-run", "state": "failed", "detail": "x", "max_rejects": "0"},
    **{"seconds": 12.0, "finished_at": "2026-11-28T10:00:00+00:00"},
    "rows": [{"PassengerId": 7, "reason": "x"}],
}
MEASURED = {
    **{"labels_table": "x", "label_column": "x", "prediction_column": "x"},
    **{"rows_evaluated": 9, "evaluated_at": "2026-11-28T10:00:00+00:00"},
}
LOOKS = [
    *("/ui/", "/ui/numbers", "/ui/checks", "/ui/models", "/ui/runs"),
    *("/ui/models/titanic-survival", "/ui/models/titanic-survival/v2"),
    "/ui/models/titanic-survival/v2/contents",
    "/ui/models/titanic-survival/compare?a=v1&b=v2&all=true",
    *("/ui/runs/a-run", "/ui/runs/failed-run", "/ui/runs/undone-run", "/ui/runs/a-run/progress"),
    *(
        "/ui/runs/a-run/rejects",
        "/ui/runs/drifted/rows",
        "/ui/tables/my-project.titanic.scored",
        "/ui/quarantine",
        "/ui/rescan",
        "/ui/health",
    ),
    *("/ui/runs/drifted/drift", "/ui/runs/a-run/measured"),
    "/ui/models/titanic-survival/measured",
    *("/ui/tables/my-project.titanic.scored/backfill", "/ui/costs"),
    "/ui/tables/my-project.titanic.scored/board?run_id=first&from=2026-11-20&to=2026-11-26",
    *("/ui/quarantine/message?name=quarantine/2026-11-28/ab.json", "/ui/nothing"),
]
RUN = {"input_table": "p.d.t", "output_table": "my-project.d.o", "model_name": "m"}
ACTIONS: list[tuple[str, dict[str, str] | None]] = [
    ("/ui/new-run", None),
    ("/ui/new-run", RUN | {"model_version": "v1"}),
    ("/ui/new-run", {"where": "x", "input_table": "x"}),
    ("/ui/requested/run-1", None),
    ("/ui/runs/run-1/cancel", None),
    ("/ui/runs/run-1/cancel", {"why": "x" * 501}),
    ("/ui/runs/run-1/undo", None),
    ("/ui/runs/run-1/removals", None),
    ("/ui/runs/run-1/undo", {"why": "x" * 501}),
    ("/ui/models/titanic/set-alias", None),
    ("/ui/models/titanic/set-alias", {"alias": "champion", "version": "v1", "why": "x"}),
    ("/ui/models/titanic/set-alias", {"alias": "../x"}),
    ("/ui/health/doctor", None),
    ("/ui/rescan?hinted=3", None),
]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, world: World, console: FlaskClient) -> list[Shown]:
    """Return every page, with the values that it shows."""
    pages: list[Shown] = []
    real = rendering.render

    def render(template: str, title: str, env: str, view: dict[str, Any], *, part: bool) -> str:
        pages.append(Shown(address, template, title, view))
        return real(template, title, env, view, part=part)

    world.verdict |= {
        "ok": False,
        "problems": [{"detail": "x", "columns": [{"name": "x", "problem": "x"}]}],
        "warnings": ["x"],
    }
    undone = DECISION, list(DECISION.tables)
    monkeypatch.setattr("workers.scoring.publishing.undo.preview_undo", lambda *_: undone)
    planned = None, plan_of("run-1")
    monkeypatch.setattr("workers.scoring.answers.status.planned", lambda *_: planned)
    finding = Finding("x", "failed", "x", "x")
    monkeypatch.setattr("workers.checks.check", lambda *_: [finding])
    monkeypatch.setattr("app.console.pages.rendering.render", render)
    for address, data in ACTIONS:
        (console.get if data is None else functools.partial(console.post, data=data))(address)
    monkeypatch.undo()
    names = [{"name": "x", "line": "x", "rule": "x"}]
    parts = {"fault": None, "names": names}
    monkeypatch.setattr("workers.verification.contents.contents_of", lambda *_, **__: parts)
    monkeypatch.setattr("app.api.backfill.show", lambda _: board())
    path = "workers.scoring.publishing.costs_table.costs_by_month"
    monkeypatch.setattr(path, lambda *_, **__: [cost("2026-11", "x")])
    monkeypatch.setattr("app.console.pages.rendering.render", render)
    client = client_of(cloud())
    for address in LOOKS:
        assert client.get(address).status_code in (200, 404), address
    monkeypatch.undo()
    assert len(pages) == len(ACTIONS) + len(LOOKS)
    return pages


def render(page: Shown, text: str) -> str:
    """Return the page with this text in every field."""
    view = replaced(page.view, lambda: text)
    return rendering.render(page.template, text, "dev", view, part=False)


@pytest.mark.slow
def test_every_page_stays_what_it_is_whatever_its_texts_are(shown: list[Shown]) -> None:
    templates = {page.template for page in shown}
    sources = [path.read_text() for path in (rendering.FOLDER.parent / "views").glob("*.py")]
    pages = {name for text in sources for name in re.findall(r'"(\w+\.html)"', text)}
    assert pages <= templates
    app = client_of(cloud()).application
    for page in shown:
        with app.test_request_context(page.address):
            plain = Structure(render(page, "x"))
            assert len(plain.elements) > 20
            for batch in BATCHES:
                text = render(page, batch)
                text.encode()
                hostile = Structure(text)
                assert hostile.elements == plain.elements, (page.template, batch[:200])
                assert all(a.startswith(("/ui", "#")) for a in hostile.addresses), page.template
