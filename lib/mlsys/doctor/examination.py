"""All checks of a deployment, in the order in which a person reads them."""

from __future__ import annotations

from mlsys.cloud.messages import Use
from mlsys.doctor.buckets import bucket_checks
from mlsys.doctor.check import Check, Finding, Outcome, ok, run_checks
from mlsys.doctor.console import console_checks
from mlsys.doctor.deployment import Deployment
from mlsys.doctor.job import job_checks
from mlsys.doctor.messages import message_checks
from mlsys.doctor.service import ServiceChecks, without_repeats
from mlsys.doctor.warehouse import warehouse_checks


def examine(at: Deployment) -> list[Finding]:
    """Return what the caller and the service see of the deployment. Changes nothing."""
    service = ServiceChecks(at)
    checks = [
        _credentials(at),
        *service.checks(),
        *bucket_checks(at),
        *warehouse_checks(at),
        *job_checks(at),
        *console_checks(at),
        *message_checks(at),
    ]
    findings = run_checks(checks, at.clients.settings.project)
    return without_repeats(findings, service.own)


def _credentials(at: Deployment) -> Check:
    settings = at.clients.settings

    def sign_in() -> Outcome:
        if at.local:
            return ok(f"The local stack asks for none; the project is {settings.project}.")
        return ok(f"Signed in as {at.account()}; the project is {settings.project}.")

    use = Use("Google Cloud", settings.project, ())
    return Check("credentials", sign_in, use, "gcloud auth application-default login")
