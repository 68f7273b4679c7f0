"""The board of a table's backfill: its partitions by state, and scoring those that are not done.

What a run of a partition would be is taken from the table's latest run of one: its model, its input
and all its other parameters.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, ValidationError
from werkzeug.wrappers import Response

from app import logs, service
from app.api.problems import invalid
from app.api.queries import EnvQuery
from app.console import formats, forms
from app.console.pages import Page, blueprint, env, page, query, see
from mlsys.cloud.tables import TableRef
from mlsys.errors import InvalidRequest, MlsysError, TryAgain

FINE = ("done", "empty")
STARTED = ("failed", "missing", "stale")  # that the button offers
SHOWN = 60  # partitions, unless a range is chosen
NAMED = 100  # partitions of the list below the strip
# Members of a run's request that are not the backfill's
_OF_A_RUN = ("env", "input_table", "output_table", "write_disposition", "run_id")


class Range(EnvQuery):
    """From which partition to which, and how many were requested just now."""

    first: Annotated[str | None, Field(alias="from", max_length=40)] = None
    last: Annotated[str | None, Field(alias="to", max_length=40)] = None
    published: Annotated[int | None, Field(ge=0)] = None


@page("/tables/<table>/backfill")
def backfill(table: str) -> Page:
    """Show the partitions of a table by their states."""
    passed = query(Range)
    chosen = {"from": passed.first or "", "to": passed.last or ""}
    return board_of(table, chosen, published=passed.published)


@blueprint.post("/tables/<table>/backfill", endpoint="start_backfill")
def start(table: str) -> Response:
    """Request a run of each partition in one of the chosen states."""
    passed = forms.fields()
    return forms.answer(
        lambda: _start(table, passed), lambda problem: board_of(table, passed, problem=problem)
    )


def _start(table: str, passed: dict[str, str]) -> Response:
    from app.api.backfill import start
    from app.api.backfill_queries import StartQuery

    only = [state for state in STARTED if passed.pop(f"only_{state}", "") == "true"]
    runs, span = _runs(TableRef.parse(table, partition=True).base), _span(passed)
    try:
        asked = StartQuery.model_validate(
            request_of(runs) | span | {"start": True, "only": ",".join(only)}
        )
    except ValidationError as exc:
        raise invalid(exc) from exc
    logs.note(who=forms.who())
    published = len(start(asked)["published"])
    logs.note(outcome=f"{published} partitions requested")
    return see("console.backfill", table=table, published=published, **span)


def board_of(
    table: str,
    chosen: Mapping[str, str],
    *,
    published: int | None = None,
    problem: forms.Problem | None = None,
) -> Page:
    """Return the page of the board; the range that is not chosen is that of the latest runs."""
    ref = TableRef.parse(table, partition=True).base
    runs = _runs(ref)
    view: dict[str, Any] = {
        "table": str(ref),
        "chosen": {"from": chosen.get("from", ""), "to": chosen.get("to", "")},
        "named": bool(runs),
        "board": None,
        "left": [],
        "offered": {},
        "published": published,
        "problem": problem,
        "who": forms.who(),
    }
    status = 200
    if runs:
        span = _span(chosen) or span_of([row["partition"] for row in runs])
        view["chosen"] = span
        try:
            view["board"] = board = _show(request_of(runs) | span)
            view["offered"] = {s: n for s in STARTED if (n := board["totals"][s])}
            view["left"] = [p for p in board["partitions"] if p["state"] not in FINE][:NAMED]
        except TryAgain:
            raise
        except MlsysError as exc:  # the range does not fit, or a table is gone
            view["problem"], status = forms.refused(exc)
    return Page(f"Partitions of {ref}", "backfill.html", view, status)


def _show(asked: dict[str, Any]) -> dict[str, Any]:
    from app.api.backfill import show
    from app.api.backfill_queries import BackfillQuery

    try:
        return show(BackfillQuery.model_validate(asked))
    except ValidationError as exc:
        raise invalid(exc) from exc


def _runs(ref: TableRef) -> list[dict[str, Any]]:
    """Return the last runs of the latest partitions of a table."""
    from workers.scoring.publishing.table_runs import last_runs_of_partitions

    runs, _ = last_runs_of_partitions(service().clients, env(), ref, limit=SHOWN)
    return runs


def request_of(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the request of the run that ended last, for the whole tables.

    By the alias that it was requested by, so that the board tells what another version scored.

    Raises:
        InvalidRequest: no run of the table named a partition.
    """
    from workers.scoring.status import status

    if not runs:
        raise InvalidRequest(("table", "no run wrote a partition of it: score one, table$20261122"))
    row = max(runs, key=lambda row: row["finished_at"])
    request = status(service().clients, env(), row["run_id"])["request"]
    kept = {name: value for name, value in request.items() if name not in _OF_A_RUN}
    tables = {name: request[name].partition("$")[0] for name in ("input_table", "output_table")}
    version = row["model_alias"] or row["model_version"]
    return kept | tables | {"env": env(), "model_version": version}


def _span(chosen: Mapping[str, str]) -> dict[str, str]:
    if chosen.get("from") and chosen.get("to"):
        return {"from": chosen["from"], "to": chosen["to"]}
    return {}


def span_of(partitions: Sequence[str]) -> dict[str, str]:
    """Return the range of partitions, as the ids of a table name them; days go on to yesterday.

    >>> span_of(["20261122", "20261001"])["from"]
    '2026-10-01'
    """
    first, last = (label_of(pick(partitions)) for pick in (min, max))
    if len(last) == len("2026-11-22"):
        yesterday = (formats.now() - dt.timedelta(days=1)).date().isoformat()
        last = max(last, yesterday)
    return {"from": first, "to": last}


def label_of(partition: str) -> str:
    """Return a partition as a range names it.

    >>> [label_of(name) for name in ("20261122", "202611", "2026112205", "2026", "42")]
    ['2026-11-22', '2026-11', '2026-11-22T05', '2026', '42']
    """
    match = re.fullmatch(r"(\d{4})(\d\d)(\d\d)?(\d\d)?", partition)
    if match is None:
        return partition
    year, month, day, hour = match.groups()
    return f"{year}-{month}" + (f"-{day}" if day else "") + (f"T{hour}" if hour else "")
