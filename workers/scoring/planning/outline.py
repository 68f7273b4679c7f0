"""Describe to people what a plan reads, writes and compares."""

from __future__ import annotations

from typing import Any

from mlsys.cloud.clients import Clients
from mlsys.cloud.tables import find_table
from mlsys.columns.names import fold
from workers.monitoring.reference import ROLES, Reference
from workers.scoring.planning.plan import Plan, Shadow


def outline(clients: Clients, plan: Plan) -> dict[str, Any]:
    """Return the tables and columns that the plan reads and writes, and what it would compare."""
    labels = {fold(name): label for name, label in plan.labels.items()}
    return {
        "reads": list(plan.read_columns),
        "writes": [
            {"name": c.name, "type": c.type}
            | ({"label": labels[fold(c.name)]} if fold(c.name) in labels else {})
            for c in plan.output.columns
        ],
        "output_table_exists": find_table(clients, plan.output.table) is not None,
        "rejects_table": str(plan.rejects.table),
        "shadow": _shadow(plan.shadow),
        "drift": _drift(plan.reference),
    }


def _drift(reference: Reference | None) -> dict[str, Any] | None:
    """Return which columns would be compared, and with what; None if nothing would be counted."""
    if reference is None:
        return None
    compared = [column for column in reference.columns if column.counts is not None]
    sources = dict.fromkeys(column.source for column in compared)
    return {
        "reference": next(iter(sources), None),
        "columns": len(compared),
        **{f"{role}s": [c.name for c in compared if c.role == role] for role in ROLES},
    }


def _shadow(shadow: Shadow | None) -> dict[str, Any] | None:
    """Return what the challenger would write, or why it would not."""
    if shadow is None:
        return None
    plan = shadow.plan
    return {
        "requested": shadow.requested,
        "model_version": None if plan is None else plan.model.version,
        "output_table": None if plan is None else str(plan.output.table),
        "warnings": [] if plan is None else list(plan.warnings),
        "reason": shadow.fault or None,
    }
