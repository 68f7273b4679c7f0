"""All models, and one model: its versions, aliases and metrics."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from app import service
from app.api.queries import EnvQuery
from app.console import calls, formats
from app.console.formats import is_number
from app.console.pages import Page, env, page, query
from mlsys.artifact.refs import ModelRef
from mlsys.errors import ModelNotFound

EACH = 50  # models of a page
DAYS = 30  # that runs are counted for
VERSIONS = 50  # of a page, and moves of aliases
MAX_METRICS = 6


class Filter(EnvQuery):
    """Which models, in which order."""

    q: Annotated[str, Field(max_length=63)] = ""
    status: Literal["", "ready", "rejected"] = ""
    sort: Literal["name", "uploaded", "run"] = "name"
    page: Annotated[int, Field(ge=1, le=10_000)] = 1


@page("/models")
def models() -> Page:
    """List the models, each with its newest version, aliases and latest runs."""
    from workers.registry.at_a_glance import list_at_a_glance

    passed = query(Filter)
    rows, more = list_at_a_glance(
        service().clients,
        passed.env,
        since=formats.now() - dt.timedelta(days=DAYS),
        text=passed.q.strip().lower(),
        status=passed.status,
        sort=passed.sort,
        limit=EACH,
        skip=EACH * (passed.page - 1),
    )
    filters = passed.model_dump(exclude={"env"})
    view = {
        "filters": filters,
        "models": rows,
        "more": more,
        "days": DAYS,
        "upload": None if rows else calls.upload(service().settings),
    }
    return Page(f"Models in {passed.env}", "models.html", view)


class Earlier(EnvQuery):
    """From which version on: those below this number."""

    below: Annotated[int | None, Field(ge=1, lt=10**9)] = None


@page("/models/<model_name>")
def model(model_name: str) -> Page:
    """Show a model's versions, where its aliases point, and how its metrics went."""
    from workers.registry.alias_sync import look
    from workers.registry.table import list_models

    clients, name, below = service().clients, env(), query(Earlier).below
    ModelRef(model_name, "v1")  # the name
    after = None if below is None else (model_name, below)
    rows, more = list_models(clients, name, model_name=model_name, limit=VERSIONS, after=after)
    seen = look(clients, name, model=model_name)
    if not rows and not seen.wanted:
        raise ModelNotFound(f"{model_name} is not in the registry of {name}. Look at all models.")
    moves = sorted(seen.wanted.values(), key=lambda row: row.moved_at, reverse=True)
    view = {
        "model_name": model_name,
        "versions": rows,
        "next": rows[-1]["version_number"] if more else None,
        "first": below is None,
        "aliases": [move(row) for row in sorted(seen.now(), key=lambda row: row.alias)],
        "history": [move(row) for row in moves[:VERSIONS]],
        "moves": len(moves),
        "metrics": metrics_over(list(reversed(rows))),
    }
    return Page(f"{model_name} in {name}", "model.html", view)


def move(row: Any) -> dict[str, Any]:
    """Return a row of the log of an alias as the page shows it."""
    names = (
        *("alias", "version", "previous_version", "who", "why", "forced", "evidence"),
        *("deleted", "source", "problem", "generation", "guarded"),
    )
    return {name: getattr(row, name) for name in names} | {"moved_at": row.moved_at.isoformat()}


def metrics_over(versions: Sequence[Mapping[str, Any]], least: int = 2) -> list[dict[str, Any]]:
    """Return each metric that is a number in at least `least` versions, with its value in each.

    `versions` are in the order of their numbers; one without the metric is left out.
    """
    numbers: dict[str, dict[str, float]] = {}
    for row in versions:
        metrics = row["metrics"]
        for name, value in metrics.items() if isinstance(metrics, Mapping) else ():
            if is_number(value):
                numbers.setdefault(str(name), {})[row["model_version"]] = value
    names = [row["model_version"] for row in versions]
    out: list[dict[str, Any]] = []
    for name, by in numbers.items():
        having = [version for version in names if version in by]
        if len(having) >= least and len(out) < MAX_METRICS:
            values = [by[version] for version in having]
            out.append(
                {"name": name, "versions": having, "values": values, "change": change(values)}
            )
    return out


def change(values: Sequence[float]) -> float | None:
    """Return the last value less the one before it, without the noise of binary fractions."""
    if len(values) < 2:
        return None
    step = values[-1] - values[-2]
    largest = max(abs(values[-1]), abs(values[-2]), 1e-290)
    return round(step, 12 - math.ceil(math.log10(largest)))
