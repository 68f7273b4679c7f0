"""`GET /check`: may the service do what it has to? Read-only, by its own account."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any, Literal

from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel

import mlsys
from app import logs, service
from app.api.problems import documented
from app.api.queries import EnvQuery

api = APIBlueprint("checks", __name__, abp_tags=[Tag(name="health")])


class CheckResult(BaseModel):
    """One check: what was seen, and the command that fixes it."""

    id: str
    state: Literal["ok", "warning", "failed", "skipped"]
    seen: str
    fix: str | None = None


class CheckList(BaseModel):
    """All checks; `ok` is false if one failed."""

    env: str
    version: str
    ok: bool
    seconds: float
    checks: list[CheckResult]


@api.get(
    "/check",
    summary="Check tables, buckets, topics and rights of an environment, changing nothing",
    responses={200: CheckList, **documented(400, 503)},
)
def check(query: EnvQuery) -> dict[str, Any]:
    from workers import checks

    env = service().settings.require_env(query.env)
    began = time.monotonic()
    findings = checks.check(service().clients, env)
    bad = [finding.id for finding in findings if finding.state == "failed"]
    logs.note(outcome={"failed": bad})
    return CheckList(
        env=env,
        version=mlsys.__version__,
        ok=not bad,
        seconds=round(time.monotonic() - began, 3),
        checks=[CheckResult(**asdict(finding)) for finding in findings],
    ).model_dump()
