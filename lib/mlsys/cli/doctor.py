"""`mlsys doctor`: check a deployment, and print the commands that correct it."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mlsys.doctor.check import Finding
from mlsys.errors import SettingsError
from mlsys.settings import ENVS

STATES = ("ok", "warning", "failed", "skipped")
_WIDTH = 27  # of an id


def add_to(commands: Any) -> None:
    """Add the command to the parser's others."""
    doctor = commands.add_parser(
        "doctor",
        help="check a deployment, and print the command that fixes what fails",
        description="Check the service, the buckets, the dataset, the topics and the rights of an "
        "environment, by your account and by the service's own. Changes nothing, unless --run. "
        "Exit code 1 if a check failed.",
    )
    doctor.set_defaults(run=_doctor)
    doctor.add_argument("--env", required=True, choices=ENVS, help="the environment")
    doctor.add_argument("--url", help="the service's address (default: MLSYS_URL)")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.add_argument(
        "--run",
        dest="dataset",
        metavar="PROJECT.DATASET",
        help="if nothing failed, also upload a model mlsys-doctor-… and score one row with it, by "
        "tables in this dataset; model and tables are deleted",
    )


def _doctor(options: argparse.Namespace) -> int:
    findings = _examine(options)
    if options.json:
        failed = any(finding.state == "failed" for finding in findings)
        answer = {"env": options.env, "ok": not failed, "checks": list(map(asdict, findings))}
        print(json.dumps(answer, indent=2))
    else:
        print(written(findings))
    return int(any(finding.state == "failed" for finding in findings))


def written(findings: Sequence[Finding]) -> str:
    """Return the findings for a person: a line each, and one with their counts."""
    lines = []
    for each in findings:
        lines.append(f"{each.state:<8} {each.id:<{_WIDTH}} {each.seen}")
        if each.fix and each.state in ("failed", "warning"):
            lines.append(f"{'':<8} {'':<{_WIDTH}} to fix it: {each.fix}")
    counts = Counter[str](each.state for each in findings)
    return "\n".join([*lines, "", ", ".join(f"{counts[state]} {state}" for state in STATES)])


def _examine(options: argparse.Namespace) -> list[Finding]:
    from mlsys.cloud.clients import default_clients
    from mlsys.doctor.deployment import Deployment
    from mlsys.doctor.examination import examine
    from mlsys.doctor.trial import try_run
    from mlsys.models import upload_model
    from mlsys.remote.service import Service, service_url

    try:
        at = Deployment(default_clients(), options.env, Service(service_url(options.url)))
    except SettingsError as exc:
        return [Finding("settings", "failed", f"{exc}.", _exports(options.env))]
    seen = f"{at.clients.settings.project}, {at.service.url}."
    findings = [Finding("settings", "ok", seen), *examine(at)]
    if options.dataset is None:
        return findings
    if any(finding.state == "failed" for finding in findings):
        return [*findings, Finding("run", "skipped", "It needs every check to pass.")]
    trial = try_run(at, options.dataset, upload_model, lambda line: print(line, file=sys.stderr))
    return [*findings, trial]


def _exports(env: str) -> str:
    output = f"$(terraform -chdir=infrastructure/envs/{env} output -json mlsys | jq -r"
    models, runs = f"GCS_BUCKET_MODELS_{env.upper()}", f"GCS_BUCKET_RUNS_{env.upper()}"
    return (
        f'export GCP_PROJECT_ID=PROJECT MLSYS_URL="{output} .service_url)" '
        f'{models}="{output} .models_bucket)" {runs}="{output} .runs_bucket)"'
    )
