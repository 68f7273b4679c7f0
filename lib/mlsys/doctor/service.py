"""Checks of the service: is it there, may the caller call it, and what it says of itself."""

from __future__ import annotations

from typing import Any

from mlsys import __version__
from mlsys.cloud.messages import Use
from mlsys.doctor.check import Check, Finding, Outcome, failed, ok, warning
from mlsys.doctor.deployment import Deployment
from mlsys.errors import CredentialsMissing
from mlsys.plural import plural
from mlsys.remote.answers import Fields
from mlsys.remote.service import RefusedByService

HEALTH: Fields = {"status": str, "version": str, "envs": list}
CHECKS: Fields = {"ok": bool, "checks": list}
DENIED = (401, 403)
SECONDS = 55.0  # of its own checks
STATES = ("ok", "warning", "failed", "skipped")


class ServiceChecks:
    """The checks of the service, and its own, which `own` holds after them."""

    def __init__(self, at: Deployment) -> None:
        self.at = at
        self.own: list[Finding] = []
        self._health: dict[str, Any] = {}
        self._denied = ""

    def checks(self) -> list[Check]:
        """Return the checks."""
        use = Use("The service", self.at.service.url, ())
        env, settings = self.at.env, self.at.clients.settings
        where = f"--project={settings.project} --region={settings.region}"
        start = f"gcloud run services describe mlsys-{env} {where}"
        if self.at.local:
            start = "mlsys local up"
        invite = (
            f"gcloud run services add-iam-policy-binding mlsys-{env} {where} "
            '--role=roles/run.invoker --member="user:$(gcloud config get account)"'
        )
        return [
            Check("service", self._reach, use, start),
            Check("invoke", lambda: self._may_call(invite), use, invite, ("service",)),
            Check("version", self._same_version, use, self.at.fix, ("invoke",)),
            Check("environment", self._serves, use, self.at.fix, ("invoke",)),
            Check(
                "own-checks",
                self._own,
                use,
                self.at.fix,
                ("version", "environment"),
                seconds=SECONDS,
            ),
        ]

    def _reach(self) -> Outcome:
        url = self.at.service.url
        try:
            self._health = self.at.service.ask("/health", timeout=12.0, fields=[HEALTH])
        except CredentialsMissing as exc:
            self._denied = str(exc)
            return ok(f"Not called without an identity token: {url}.")
        except RefusedByService as exc:
            if exc.status not in DENIED:
                raise
            self._denied = str(exc)
            return ok(f"{url} answers {exc.status}.")
        return ok(f"{url} answers.")

    def _may_call(self, invite: str) -> Outcome:
        if self._denied:
            return failed(self._denied, invite)
        return ok("You may call it.")

    def _same_version(self) -> Outcome:
        if self._health["version"] == __version__:
            return ok(f"Service and library are mlsys {__version__}.")
        return failed(
            f"The service is mlsys {self._health['version']}, and this library {__version__}.",
            f"Deploy this release, or pip install 'mlsys=={self._health['version']}'",
        )

    def _serves(self) -> Outcome:
        envs = ", ".join(map(str, self._health["envs"]))
        if self.at.env in self._health["envs"]:
            return ok(f"It serves {envs}.")
        return failed(
            f"{self.at.service.url} serves {envs}, and not {self.at.env}.",
            f'export MLSYS_URL="$(terraform -chdir=infrastructure/envs/{self.at.env} output '
            '-json mlsys | jq -r .service_url)"',
        )

    def _own(self) -> Outcome:
        """Ask for the checks by the service's own account."""
        answer = self.at.service.copy().ask(
            "/check", {"env": self.at.env}, timeout=SECONDS, fields=[CHECKS]
        )
        self.own = [
            Finding(f"service:{each['id']}", each["state"], str(each.get("seen")), each.get("fix"))
            for each in answer["checks"]
            if isinstance(each, dict) and "id" in each and each.get("state") in STATES
        ]
        if not self.own:
            return warning("The service made no checks.", self.at.fix)
        return ok(f"The service made {plural(len(self.own), 'check')} by its own account.")


def without_repeats(findings: list[Finding], own: list[Finding]) -> list[Finding]:
    """Return the findings, and those of the service that say something else.

    What the caller and the service both see to be broken is one fault.
    """
    states = {finding.id: finding.state for finding in findings}

    def says_more(each: Finding) -> bool:
        of_ours = states.get(each.id.removeprefix("service:"))
        return each.state != of_ours and (each.state != "ok" or of_ours is None)

    return findings + [each for each in own if says_more(each)]
