"""The check of the console: it is there, and behind Identity-Aware Proxy if it expects to be.

Terraform's provider cannot keep the proxy on (docs/decisions/0149).
"""

from __future__ import annotations

from mlsys.cloud.messages import Use
from mlsys.doctor.check import CALL, Check, Outcome, failed, ok
from mlsys.doctor.deployment import Deployment

AUDIENCE = "MLSYS_IAP_AUDIENCE"  # in its environment: it accepts only what the proxy has signed
LOCAL = "The local stack serves the console itself"


def console_checks(at: Deployment) -> list[Check]:
    """Return the check of the console's service."""
    settings = at.clients.settings
    name = f"mlsys-web-{at.env}"
    path = f"projects/{settings.project}/locations/{settings.region}/services/{name}"
    update = (
        f"gcloud run services update {name} --project={settings.project} --region={settings.region}"
    )

    def look() -> Outcome:
        from google.api_core.exceptions import NotFound

        try:
            service = at.clients.services.get_service(name=path, timeout=CALL, retry=None)
        except NotFound:
            return failed(f"{name} does not exist.", at.fix)
        expected = any(
            each.name == AUDIENCE
            for container in service.template.containers
            for each in container.env
        )
        if expected and not service.iap_enabled:
            return failed(
                f"Identity-Aware Proxy in front of {name} is off: nobody can call the console.",
                f"{update} --iap",
            )
        if service.iap_enabled and not expected:
            return failed(
                f"Identity-Aware Proxy in front of {name} is on, and console_iap is false: "
                "console_users cannot call the console.",
                f"{update} --no-iap",
            )
        return ok(f"{name} is {'behind' if expected else 'not behind'} Identity-Aware Proxy.")

    use = Use("Cloud Run", name, ("run.services.get",))
    return [at.check("console", look, use, on_cloud=LOCAL)]
