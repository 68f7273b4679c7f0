"""The board of a table's backfill: its partitions by state, and scoring those that are not done.

What a run of a partition would be is taken from the table's latest run of one: its model, its input
and all its other parameters. The page finds that run. The board is loaded after it: it asks for the
partitions of both tables, and for the runs of each.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError
from werkzeug.wrappers import Response

from app import logs, service
from app.api.parameters import RunId
from app.api.problems import invalid
from app.api.queries import EnvQuery
from app.console import formats, forms
from app.console.pages import Page, blueprint, env, page, query, see
from app.console.rendering import link
from mlsys.cloud.tables import TableRef, find_table
from mlsys.errors import InvalidRequest, MlsysError, RunNotFound, TryAgain

if TYPE_CHECKING:
    from workers.scoring.planning.partitioning import Partitioning

FINE = ("done", "empty")
STARTED = ("failed", "missing", "stale")  # that the button offers
SHOWN = 60  # partitions, unless a range is chosen
LOOK = 5  # runs, for one whose plan can be read
NAMED = 100  # partitions of the list below the strip
# Members of a run's request that are not the backfill's
_OF_A_RUN = ("env", "input_table", "output_table", "write_disposition", "run_id")


class Range(EnvQuery):
    """From which partition to which, and how many were requested just now."""

    first: Annotated[str | None, Field(alias="from", max_length=40)] = None
    last: Annotated[str | None, Field(alias="to", max_length=40)] = None
    published: Annotated[int | None, Field(ge=0)] = None


class BoardQuery(EnvQuery):
    """What the page knows: the run whose request counts, and the range."""

    run_id: RunId
    first: Annotated[str, Field(alias="from", max_length=40)]
    last: Annotated[str, Field(alias="to", max_length=40)]

    @property
    def range(self) -> dict[str, str]:
        """The range, as `/backfill` takes it."""
        return {"from": self.first, "to": self.last}


@page("/tables/<table>/backfill")
def backfill(table: str) -> Page:
    """Show the range of a table's partitions; their states are loaded later."""
    from workers.scoring.publishing.table_runs import last_runs_of_partitions

    passed, ref = query(Range), TableRef.parse(table, partition=True).base
    chosen = {"from": passed.first or "", "to": passed.last or ""}
    runs, _ = last_runs_of_partitions(service().clients, env(), ref, limit=SHOWN)
    latest = sorted(runs, key=lambda row: row["finished_at"], reverse=True)
    run_id = _readable([row["run_id"] for row in latest])
    if runs:
        if not all(chosen.values()):
            span = span_of([row["partition"] for row in runs], _partitioning(ref))
            chosen = {name: chosen[name] or span[name] for name in span}
    return _page(ref, run_id, chosen, published=passed.published)


@page("/tables/<table>/board")
def board(table: str) -> Page:
    """Show the partitions of a table by their states, a part of its page."""
    passed, ref = query(BoardQuery), TableRef.parse(table, partition=True).base
    view: dict[str, Any] = {
        "table": str(ref),
        "run_id": passed.run_id,
        "chosen": passed.range,
        "board": None,
        "left": [],
        "offered": {},
        "adds": False,
        "problem": None,
        "who": forms.who(),
    }
    status = 200
    try:
        request = request_of(ref, passed.run_id)
        view["adds"] = "incremental" in request
        view["board"] = shown = _show(request | passed.range)
        view["offered"] = {s: n for s in STARTED if (n := shown["totals"][s])}
        view["left"] = [p for p in shown["partitions"] if p["state"] not in FINE][:NAMED]
    except (RunNotFound, TryAgain):
        raise
    except MlsysError as exc:  # the range does not fit, or a table is gone
        view["problem"], status = forms.refused(exc)
    return Page(f"States of the partitions of {ref}", "board.html", view, status)


@blueprint.post("/tables/<table>/backfill", endpoint="start_backfill")
def start(table: str) -> Response:
    """Request a run of each partition in one of the chosen states."""
    ref, passed = TableRef.parse(table, partition=True).base, forms.fields()
    chosen = {name: passed.get(name, "") for name in ("from", "to")}
    run_id = passed.get("run_id")

    def again(problem: forms.Problem) -> Page:
        return _page(ref, run_id, chosen, problem=problem)

    return forms.answer(lambda: _start(ref, passed), again)


def _start(ref: TableRef, passed: dict[str, str]) -> Response:
    from app.api.backfill import start
    from app.api.backfill_queries import StartQuery

    only = [state for state in STARTED if passed.pop(f"only_{state}", "") == "true"]
    try:
        of = BoardQuery.model_validate(passed | {"env": env()})
        request = request_of(ref, of.run_id) | of.range
        wanted = StartQuery.model_validate(request | {"start": True, "only": ",".join(only)})
    except ValidationError as exc:
        raise invalid(exc) from exc
    logs.note(who=forms.who())
    published = len(start(wanted)["published"])
    logs.note(outcome=f"{published} partitions requested")
    return see("console.backfill", table=str(ref), published=published, **of.range)


def _page(
    ref: TableRef,
    run_id: str | None,
    chosen: dict[str, str],
    *,
    published: int | None = None,
    problem: forms.Problem | None = None,
) -> Page:
    """Return the page of a table whose partitions a run has scored; None: no run has."""
    address = None
    if run_id is not None:
        address = link("console.board", table=str(ref), run_id=run_id, **chosen)
    view = {
        "table": str(ref),
        "run_id": run_id,
        "chosen": chosen,
        "address": address,
        "published": published,
        "problem": problem,
    }
    return Page(f"Partitions of {ref}", "backfill.html", view)


def _show(query: dict[str, Any]) -> dict[str, Any]:
    from app.api.backfill import show
    from app.api.backfill_queries import BackfillQuery

    try:
        return show(BackfillQuery.model_validate(query))
    except ValidationError as exc:
        raise invalid(exc) from exc


def request_of(ref: TableRef, run_id: str) -> dict[str, Any]:
    """Return the request of a run that scored a partition of a table, for the whole tables.

    By the alias that it was requested by, so that the board tells what another version scored.

    Raises:
        RunNotFound: this environment has no such run.
        InvalidRequest: it is not a run of one of the table's partitions.
    """
    from workers.scoring.answers.status import planned
    from workers.scoring.planning.requested import requested

    store, plan = planned(service().clients, env(), run_id)
    into = plan.output.table
    if into.base != ref or into.partition is None or plan.input_table.partition is None:
        fault = f"{run_id} did not score a partition of {ref}. Choose the table's page again."
        raise InvalidRequest(("run_id", fault))
    asked = requested(store, plan)
    kept = {name: value for name, value in asked.items() if name not in _OF_A_RUN}
    tables = {"input_table": str(plan.input_table.base), "output_table": str(ref)}
    version = plan.model.alias or plan.model.version
    return kept | tables | {"env": env(), "model_version": version}


def _readable(run_ids: Sequence[str]) -> str | None:
    """Return the first of some runs whose plan can be read, or else the first one."""
    from workers.scoring.journal.store import UNREADABLE, RunStore
    from workers.scoring.planning.plan import read_plan

    for run_id in run_ids[:LOOK]:
        try:
            if read_plan(RunStore(service().clients, env(), run_id)) is not None:
                return run_id
        except UNREADABLE:
            pass
    return run_ids[0] if run_ids else None


def _partitioning(ref: TableRef) -> Partitioning | None:
    from workers.scoring.planning.partitioning import Partitioning

    table = find_table(service().clients, ref)
    return None if table is None else Partitioning.of(table)


def span_of(partitions: Sequence[str], by: Partitioning | None) -> dict[str, str]:
    """Return the range of partitions, as the ids of a table name them; days go on to yesterday.

    `by` is how the table is partitioned, None if it is not any more.

    >>> from workers.scoring.planning.partitioning import Partitioning
    >>> span_of(["202611", "202609"], Partitioning("MONTH", "day"))
    {'from': '2026-09', 'to': '2026-11'}
    """
    now = formats.now()
    names = [name for name in partitions if by is not None and by.fault(name, now) is None]
    ends = [pick(names or partitions, key=lambda name: (len(name), name)) for pick in (min, max)]
    if names and by is not None and by.kind != "RANGE":
        ends = [by.label(name) for name in ends]
        if by.kind == "DAY":
            ends[1] = max(ends[1], (now - dt.timedelta(days=1)).date().isoformat())
    return dict(zip(("from", "to"), ends, strict=True))
