"""The first page: what needs attention, the latest runs; and two parts that are loaded later."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from app import service
from app.console import calls, formats
from app.console.pages import Page, env, page
from app.console.rendering import link
from mlsys.plural import plural

STRIP, SHOWN = 50, 10  # runs in the strip, and in the table
DAYS = 14
RECENT = dt.timedelta(days=7)  # within which a failed run needs attention
MAX_NAMED = 5  # of each kind

Row = Mapping[str, Any]


@page("/")
def overview() -> Page:
    """Show what needs attention, and the latest runs."""
    from workers.registry.table import list_models
    from workers.scoring.journal.at_work import runs_at_work
    from workers.scoring.publishing.ledger import list_runs

    clients, name = service().clients, env()
    runs, _ = list_runs(clients, name, limit=STRIP)
    some = list_models(clients, name, status="rejected" if runs else None, limit=MAX_NAMED)
    rejected, more = [row for row in some[0] if row["status"] == "rejected"], some[1] and bool(runs)
    attention = [*of_rejected(rejected, more), *of_failed(runs, formats.now())]
    working, _ = runs_at_work(clients, name, limit=SHOWN)
    view = {
        "attention": attention,
        "strip": brief(runs),
        "working": working,
        "runs": runs[:SHOWN],
        "first_steps": None if runs else first_steps(some[0]),
    }
    return Page(f"Overview of {name}", "overview.html", view)


@page("/numbers")
def numbers() -> Page:
    """Show the figures of the last days, a part of the overview."""
    from workers.scoring.publishing.ledger import daily_runs

    today = formats.now().date()
    days = [today - dt.timedelta(days=n) for n in reversed(range(DAYS))]
    since = dt.datetime.combine(days[0], dt.time(), dt.UTC)
    rows = daily_runs(service().clients, env(), since=since)
    view = {"days": [day.isoformat() for day in days], "figures": figures(rows, days)}
    return Page(f"The last {DAYS} days", "numbers.html", view)


@page("/checks")
def checks() -> Page:
    """Show drift, and what a look at the buckets tells, a part of the overview."""
    from mlsys.cloud import quarantine
    from workers.monitoring.looking_back import drifted_runs
    from workers.registry.difference import difference

    clients, name = service().clients, env()
    differs = difference(clients, name)
    waiting = len(quarantine.objects(clients, name))
    drifted = drifted_runs(clients, name, since=formats.now() - RECENT, limit=MAX_NAMED)
    kinds = {
        "not registered": differs.missing,
        "changed since": differs.outdated,
        "in the registry only": differs.gone,
    }
    attention = [
        _item(
            "drift",
            "warn",
            f"{row['model_name']} {row['model_version']} scored rows of {row['input_table']} that "
            "drifted",
            row["columns_drifted"],
            link("console.run", run_id=row["run_id"]),
            row["predicted_at"],
        )
        for row in drifted
    ]
    if differs.total:
        named = "; ".join(
            f"{kind}: {', '.join(keys[:MAX_NAMED])}{' …' if len(keys) > MAX_NAMED else ''}"
            for kind, keys in kinds.items()
            if keys
        )
        versions = plural(differs.total, "version")
        attention.append(
            _item("bucket", "warn", f"The registry differs from the bucket: {versions}", named)
            | {"command": f'curl "$MLSYS_URL/model-registry?env={name}"'}
        )
    if waiting:
        messages = plural(waiting, "message")
        attention.append(
            _item("quarantine", "warn", f"{messages} in quarantine", "The service could not read.")
            | {"command": f"mlsys quarantine list --env {name}"}
        )
    return Page("Buckets and messages", "checks.html", {"attention": attention})


def first_steps(models: Sequence[Row]) -> dict[str, Any]:
    """Return what somebody does who has no run yet: the upload of a model, then the form of a run.

    The local stack has sample tables, so that there the commands are whole and the form is filled.
    """
    settings = service().settings
    filled = calls.sample_tables(settings.project) if settings.emulators else {}
    ready = [row["model_name"] for row in models if row["status"] == "ready"]
    return {
        "local": bool(settings.emulators),
        "upload": calls.upload(settings),
        "model_name": ready[0] if ready else None,
        "form": link("console.new_run", model_name=ready[0], **filled) if ready else None,
    }


def of_rejected(rows: Sequence[Row], more: bool) -> list[dict[str, Any]]:
    """Return what needs attention because the registry rejects versions of models."""
    items = [
        _item(
            "rejected",
            "bad",
            f"{row['model_name']} {row['model_version']} is rejected",
            row["status_reason"] or "",
            link("console.version", model_name=row["model_name"], version=row["model_version"]),
            row["registered_at"],
        )
        for row in rows
    ]
    if more:
        address = link("console.models", status="rejected")
        items.append(_item("rejected", "bad", "More versions are rejected", "", address))
    return items


def of_failed(runs: Sequence[Row], now: dt.datetime) -> list[dict[str, Any]]:
    """Return the recent failed runs after which none of the same model and table succeeded."""
    items = []
    fine: set[tuple[Any, Any]] = set()
    for row in runs:  # the latest first
        about = (row["model_name"], row["output_table"])
        at = formats.moment(row["finished_at"])
        if row["state"] == "succeeded":
            fine.add(about)
        elif row["state"] == "failed" and about not in fine and at and now - at < RECENT:
            fine.add(about)  # one is enough
            text = (
                f"{row['model_name']} {row['model_version']} failed to score {row['input_table']}"
            )
            address = link("console.run", run_id=row["run_id"])
            items.append(
                _item("failed", "bad", text, row["failure"] or "", address, row["finished_at"])
            )
    return items[:MAX_NAMED]


def figures(rows: Sequence[Row], days: Sequence[dt.date]) -> list[dict[str, Any]]:
    """Return each figure with its total and its values by day."""
    by_day = {str(row["day"]): row for row in rows}
    kinds = {
        "Runs": "runs",
        "Failed runs": "failed",
        "Rows scored": "rows_scored",
        "Rows set aside": "rows_rejected",
    }
    out = []
    for title, column in kinds.items():
        values = [int(by_day.get(day.isoformat(), {}).get(column) or 0) for day in days]
        out.append({"title": title, "total": sum(values), "values": values})
    return out


def brief(runs: Sequence[Row]) -> list[dict[str, Any]]:
    """Return what the strip of runs shows of each, the oldest first."""
    kept = ("run_id", "state", "model_name", "model_version", "seconds", "finished_at")
    return [{name: row[name] for name in kept} for row in reversed(runs)]


def _item(
    kind: str, level: str, title: str, detail: str, link: str | None = None, at: str | None = None
) -> dict[str, Any]:
    return {
        "kind": kind,
        "level": level,
        "title": title,
        "detail": detail,
        "link": link,
        "at": at,
        "command": None,
    }
