"""Health: versions, quarantine, and what the service's own checks see."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import mlsys
from app import service
from app.console import forms
from app.console.pages import Page, env, page
from workers.sandbox import walls

PACKAGES = ("scikit-learn", "numpy", "pandas", "pyarrow")
ORDER = ("failed", "warning", "ok", "skipped")
# What the console's own account lacks on purpose, so that it says nothing about the service
# (docs/decisions/0121).
OF_THE_SERVICE = ("runs-bucket", "run-job")


@page("/health")
def health() -> Page:
    """Show the versions; everything that has to be looked up is loaded later."""
    settings = service().settings
    view = {
        "versions": {"mlsys": mlsys.__version__, "Python": platform.python_version()}
        | {name: version(name) for name in PACKAGES},
        "serves": {"all": "API and console", "api": "API", "web": "console"}[settings.role],
        "walls": str(walls.available()),
        "project": settings.project,
        "who": forms.who(),
    }
    return Page(f"Health of {env()}", "health.html", view)


@page("/health/doctor")
def doctor() -> Page:
    """Show the checks of tables, buckets, topics and rights, a part of the page of health."""
    from workers.checks import check

    alone = service().settings.role == "web"
    findings = check(service().clients, env())
    checks: list[dict[str, Any]] = [
        asdict(finding) for finding in findings if not (alone and finding.id in OF_THE_SERVICE)
    ]
    checks.sort(key=lambda each: ORDER.index(each["state"]))
    bad = sum(each["state"] == "failed" for each in checks)
    view = {"checks": checks, "failed": bad, "alone": alone}
    return Page(f"Checks of {env()}", "doctor.html", view)
