"""What runs cost, by month and model: a part of the list of runs, and a page of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Annotated, Any

from pydantic import Field

from app import service
from app.api.parameters import ModelName
from app.api.queries import EnvQuery
from app.console.formats import is_number
from app.console.pages import Page, page, query

SUMS = ("runs", "rows_scored", "bytes_billed", "estimated_cost", "vcpu_seconds")


class CostsQuery(EnvQuery):
    """Which model, and how many months."""

    model_name: ModelName | None = None
    months: Annotated[int, Field(ge=1, le=120)] = 12


@page("/costs")
def costs() -> Page:
    """Show what runs cost in each month, and which models they were of."""
    from workers.scoring.planning.price import PRICE_BASIS
    from workers.scoring.publishing.costs_table import costs_by_month

    passed = query(CostsQuery)
    rows = costs_by_month(
        service().clients, passed.env, model_name=passed.model_name, months=passed.months
    )
    view = {
        "filters": passed.model_dump(include={"model_name", "months"}),
        "months": by_month(rows),
        "price_basis": PRICE_BASIS,
    }
    return Page(f"Costs of runs in {passed.env}", "costs.html", view)


def by_month(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each month with its sums and its models, in the order of the rows."""
    months = []
    for month, group in groupby(rows, key=lambda row: row["month"]):
        models = [{"model_name": row["model_name"]} | _sums([row]) for row in group]
        months.append({"month": month, "models": models} | _sums(models))
    return months


def _sums(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sum of each figure; None where no row knows it."""
    rows = list(rows)
    known = {name: [row[name] for row in rows if is_number(row[name])] for name in SUMS}
    return {name: sum(values) if values else None for name, values in known.items()}
