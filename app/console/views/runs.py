"""The runs, and one run in whatever state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator
from werkzeug.wrappers import Response

from app import service
from app.api.queries import RunsQuery
from app.api.runs import list_of
from app.console import calls
from app.console.formats import now
from app.console.pages import Page, env, lead, page, query
from app.console.views.progress import progress_of
from mlsys.artifact.output_names import STAMPS
from workers.scoring.journal.store import check_run_id

EACH = 50  # runs of a page
MAX_WORKING = 20  # runs that still work, above those that ended
MAX_ATTEMPTS = 20


class Filter(RunsQuery):
    """Which runs: those of the API's list, or the one of a name."""

    limit: Annotated[int, Field(ge=1, le=1000)] = EACH
    run_id: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _by_time(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Order runs that work by time, whatever the form's field says: they have one order."""
        return values | ({"sort": "finished"} if values.get("state") == "running" else {})

    @field_validator("sum", "months", mode="before")
    @classmethod
    def _elsewhere(cls, _: Any) -> None:
        raise ValueError("the page /ui/costs adds up what runs cost: leave it out")

    @field_validator("run_id")
    @classmethod
    def _name(cls, value: str | None) -> str | None:
        return value if value is None else check_run_id(value.strip())


@page("/runs")
def runs() -> Page | Response:
    """List the runs: those that still work, then those that ended. A run's id leads to its page."""
    from workers.scoring.journal.at_work import runs_at_work

    passed = query(Filter)
    if passed.run_id is not None:
        return lead("console.run", run_id=passed.run_id)
    listed = list_of(passed)
    working: list[dict[str, Any]] = []
    if passed.state is None and passed.after is None:
        working, _ = runs_at_work(
            service().clients, passed.env, model_name=passed.model_name, limit=MAX_WORKING
        )
    view = {
        "filters": passed.model_dump(include={"model_name", "state", "sort"}),
        "working": working,
        "runs": listed["runs"],
        "next": listed["next"],
        "first": passed.after is None,
    }
    return Page(f"Runs in {passed.env}", "runs.html", view)


@page("/runs/<run_id>")
def run(run_id: str) -> Page:
    """Show a run: its state, its steps, its rows, and how to repeat it."""
    from workers.scoring.answers.status import status
    from workers.scoring.journal.attempts import latest
    from workers.scoring.journal.store import RunStore
    from workers.scoring.planning.plan import read_plan

    clients, name = service().clients, env()
    state = status(clients, name, run_id)
    store = RunStore(clients, name, run_id)
    plan = read_plan(store)
    assert plan is not None  # `status` has read it
    attempts = latest(store, MAX_ATTEMPTS)
    result = state.get("result") or {}
    about = {
        "model_name": plan.model.name,
        "model_version": plan.model.version,
        "model_alias": plan.model.alias,
        "input_table": str(plan.input_table),
        "output_table": str(plan.output.table),
        "write_disposition": plan.output.write_disposition,
        "path": result.get("path") or plan.path or None,
        "engine": result.get("engine"),
        "engine_reason": result.get("engine_reason"),
        "snapshot_at": plan.snapshot_at,
        "created_at": plan.created_at,
        "warnings": list(result.get("warnings") or plan.warnings),
    }
    request = state["request"]
    ids = [column.name for column in plan.ids]
    view = {
        "run_id": run_id,
        "state": state,
        "about": about,
        "progress": progress_of(state),
        "attempts": [attempt(each) for each in attempts],
        "timeline": timeline_of(store, plan, attempts, state),
        "failed_rows": examples((state.get("failure") or {}).get("rows") or []),
        "contract": contract_of(state),
        "cost": cost(state, plan.is_copied),
        "repeat": {name: value for name, value in request.items() if name != "env"},
        "calls": calls.calls(request),
        "lineage": calls.lineage(
            *(str(plan.input_table.base), str(plan.output.table.base), run_id, ids),
            None if plan.is_query else plan.snapshot_at,
        ),
    }
    return Page(f"Run {run_id}: {state['state']}", "run.html", view)


@page("/runs/<run_id>/rejects")
def rejects(run_id: str) -> Page:
    """Show some of the rows that a run set aside, a part of its page."""
    from workers.scoring.answers.status import planned
    from workers.scoring.journal.decisions import Decision, read_decision
    from workers.scoring.shards.rejects import read_rejects

    store, _ = planned(service().clients, env(), run_id)
    decision = read_decision(store)
    names = decision.rejects if isinstance(decision, Decision) else ()
    rows = [{"row": dict(each.row), "reason": each.reason} for each in read_rejects(store, names)]
    return Page(f"Rows that {run_id} set aside", "rejects.html", {"run_id": run_id, "rows": rows})


@page("/runs/<run_id>/rows")
def rows(run_id: str) -> Page:
    """Show some of the rows that a run wrote, a part of its page."""
    from workers.scoring.answers.status import planned
    from workers.scoring.publishing.sample import some_rows

    store, _ = planned(service().clients, env(), run_id)
    some = some_rows(store)
    names = list(some[0]) if some else []
    columns = [name for name in names if name not in STAMPS]
    view = {
        "run_id": run_id,
        "columns": columns,
        "stamps": [name for name in names if name in STAMPS],
        "rows": [[row[name] for name in columns] for row in some],
    }
    return Page(f"Rows of {run_id}", "rows.html", view)


def contract_of(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how the input kept the model's contract: the clauses, and those that it broke.

    None without a contract, and before the run has ended.
    """
    if clauses := (state.get("failure") or {}).get("clauses"):
        return {"clauses": None, "broken": [clause_of(each) for each in clauses]}
    known = (state.get("result") or {}).get("contract")
    if not known:
        return None
    broken = [clause_of(each) for each in known.get("broken") or ()]
    return {"clauses": known.get("clauses"), "broken": broken}


def clause_of(each: Mapping[str, Any]) -> dict[str, Any]:
    """Return a broken clause as the page shows it."""
    return {name: each.get(name) for name in ("name", "action", "problem", "failing", "rows")}


def examples(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows that a failed run names, the reason of each beside its values."""
    return [
        {
            "row": {name: value for name, value in row.items() if name != "reason"},
            "reason": str(row.get("reason", "")),
        }
        for row in rows
    ]


def attempt(each: Any) -> dict[str, Any]:
    """Return a try of a run as the page shows it."""
    return {"at": each.at, "until": each.until, "progress": each.progress, "end": each.end}


def timeline_of(store: Any, plan: Any, attempts: Any, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the steps of the run on one axis, in seconds since it was planned."""
    from workers.scoring.answers.timeline import timeline

    cancelled = state["state"] == "cancelled"
    spans = timeline(plan, store.created(), attempts, state.get("result"), cancelled=cancelled)
    if not spans:
        return {"seconds": 0.0, "spans": []}
    begin = min(span.start for span in spans)
    ends = [span.end for span in spans if span.end is not None]
    last = now() if state["state"] == "running" else max([begin, *ends])

    def since(moment: Any) -> float:
        return round((moment - begin).total_seconds(), 3)

    return {
        "seconds": since(last),
        "spans": [
            {
                "step": span.step,
                "name": span.name,
                "start": since(span.start),
                "end": since(span.end or max(last, span.start)),
                "open": span.end is None,
                "parts": [{"at": since(at), "row": row} for at, row in span.parts],
            }
            for span in spans
        ],
    }


def cost(state: Mapping[str, Any], copied: bool) -> dict[str, Any] | None:
    """Return what the run cost by BigQuery's list prices, and its vCPU time; None if unknown.

    Of a run of an older release it is an estimate by the size of the rows in memory.
    """
    from workers.scoring.planning.price import PRICE_BASIS, price_of

    end = state.get("result") or state.get("failure") or {}
    size, usd = end.get("bytes_billed"), end.get("estimated_cost")
    if not isinstance(usd, int | float):
        size = end.get("bytes_read")
        if not isinstance(size, int):
            return None
        usd = price_of(0, size) if copied else price_of(size)
    vcpu = end.get("vcpu_seconds")
    return {"bytes": size, "usd": usd, "vcpu_seconds": vcpu, "basis": PRICE_BASIS}
