"""A run after it ended: its columns beside the training data, and what labels say of it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from app import service
from app.console.drift import compared
from app.console.pages import Page, env, page
from app.console.views.models import metrics_over
from mlsys.artifact.refs import ModelRef
from workers.scoring.journal.store import check_run_id

# Of these metrics first, if they were measured
FIRST = ("accuracy", "roc_auc", "f1", "log_loss", "brier", "r2", "rmse", "mae", "mean_error")


@page("/runs/<run_id>/drift")
def drift(run_id: str) -> Page:
    """Show how far a run's columns are from the training data and from the run before."""
    from workers.monitoring.looking_back import distances
    from workers.scoring.answers.status import planned

    planned(service().clients, env(), run_id)
    profile = profile_of(run_id)
    since = distances(service().clients, env(), run_id) if profile else []
    previous = next((row["previous_run_id"] for row in since if row["previous_run_id"]), None)
    before = profile_of(previous) if previous else ()
    view = {
        "run_id": run_id,
        "columns": compared(profile, since, before),
        "previous_run_id": previous,
    }
    return Page(f"Drift of {run_id}", "drift.html", view)


@page("/runs/<run_id>/measured")
def measured(run_id: str) -> Page:
    """Show the metrics of a run by labels that arrived later, a part of its page."""
    from workers.monitoring.looking_back import metrics_of_run
    from workers.scoring.answers.status import planned

    rows = metrics_of_run(service().clients, env(), check_run_id(run_id))
    if not rows:
        planned(service().clients, env(), run_id)
    view = {"run_id": run_id, "evaluations": evaluations(rows)}
    return Page(f"Metrics of {run_id}", "measured.html", view)


@page("/models/<model_name>/measured")
def measured_versions(model_name: str) -> Page:
    """Show the metrics of a model's versions by labels that arrived later, a part of its page."""
    from workers.monitoring.looking_back import metrics_of_versions
    from workers.registry.versions import check_registered

    ModelRef(model_name, "v1")  # the name
    rows = metrics_of_versions(service().clients, env(), model_name)
    if not rows:
        check_registered(service().clients, env(), model_name)
    by_version: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=_place):
        by_version.setdefault(row["model_version"], {})[row["metric"]] = row["mean"]
    versions = sorted(by_version, key=lambda v: ModelRef(model_name, v).number)
    listed = [{"model_version": v, "metrics": by_version[v]} for v in versions]
    view = {
        "model_name": model_name,
        "metrics": metrics_over(listed, least=1),
        "rows_evaluated": max((row["rows_evaluated"] for row in rows), default=0),
    }
    return Page(f"Measured metrics of {model_name}", "measured_versions.html", view)


def profile_of(run_id: str) -> tuple[Mapping[str, Any], ...]:
    """Return the rows of a run's profile; none of a run that has decided nothing."""
    from workers.scoring.journal.decisions import Decision, read_decision
    from workers.scoring.journal.store import RunStore

    decision = read_decision(RunStore(service().clients, env(), run_id))
    return decision.profile if isinstance(decision, Decision) else ()


def evaluations(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the metrics grouped by what they were measured against."""

    def key(row: Mapping[str, Any]) -> tuple[str, str, str]:
        return row["labels_table"], row["label_column"], row["prediction_column"]

    out = []
    for (table, label, prediction), some in groupby(rows, key):
        each = list(some)
        out.append(
            {
                "labels_table": table,
                "label_column": label,
                "prediction_column": prediction,
                "rows_evaluated": each[0]["rows_evaluated"],
                "evaluated_at": each[0]["evaluated_at"],
                "metrics": {row["metric"]: row["value"] for row in sorted(each, key=_place)},
            }
        )
    return out


def _place(row: Mapping[str, Any]) -> tuple[int, str]:
    """Return where the metric stands among those of a page."""
    name = row["metric"]
    return (FIRST.index(name) if name in FIRST else len(FIRST)), name
