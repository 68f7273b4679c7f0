"""Checks of the Cloud Run job: it is there, and it is the service's own release and account."""

from __future__ import annotations

from typing import Any

from mlsys.cloud.messages import Use
from mlsys.doctor.check import CALL, Check, Outcome, failed, ok, skipped, warning
from mlsys.doctor.deployment import Deployment

COMMAND = ("python", "-m", "workers.scoring.engines.task")
LEAST_SECONDS = 600  # of a task: a slow model's part takes minutes, and so does a large one's load
LOCAL = "The local stack makes its job itself"


def job_checks(at: Deployment) -> list[Check]:
    """Return the checks of the job that scores what one instance cannot."""
    return _Job(at).checks()


class _Job:
    def __init__(self, at: Deployment) -> None:
        settings = at.clients.settings
        self.at = at
        self.name = f"mlsys-score-{at.env}"
        self.parent = f"projects/{settings.project}/locations/{settings.region}"
        self.where = f"--project={settings.project} --region={settings.region}"
        self._job: Any = None
        self._service: Any = None

    def checks(self) -> list[Check]:
        """Return the checks."""
        job = Use("Cloud Run", self.name, ("run.jobs.get",))
        service = Use("Cloud Run", f"mlsys-{self.at.env}", ("run.services.get",))
        revision = Use("Cloud Run", f"mlsys-{self.at.env}", ("run.revisions.get",))
        return [
            self.at.check("job", self._exists, job, on_cloud=LOCAL),
            self.at.check("job-setting", self._is_set, service, "job", on_cloud=LOCAL),
            self.at.check("job-limits", self._limits, job, "job", on_cloud=LOCAL),
            self.at.check("job-account", self._account, job, "job-setting", on_cloud=LOCAL),
            self.at.check("job-image", self._image, revision, "job-setting", on_cloud=LOCAL),
        ]

    def _exists(self) -> Outcome:
        from google.api_core.exceptions import NotFound

        jobs, name = self.at.clients.jobs, f"{self.parent}/jobs/{self.name}"
        try:
            self._job = jobs.get_job(name=name, timeout=CALL, retry=None)
        except NotFound:
            return failed(f"{self.name} does not exist: engine=job is refused.", self.at.fix)
        return ok(f"{self.name} exists.")

    def _is_set(self) -> Outcome:
        """Check that the service would start this job."""
        services, name = self.at.clients.services, f"{self.parent}/services/mlsys-{self.at.env}"
        self._service = services.get_service(name=name, timeout=CALL, retry=None)
        [container] = self._service.template.containers
        seen = {each.name: each.value for each in container.env}.get("MLSYS_JOB", "")
        if seen != self.name:
            says = f"MLSYS_JOB is {seen}" if seen else "MLSYS_JOB is not set"
            return failed(f"{says} in the service, and the job is {self.name}.", self.at.fix)
        return ok(f"The service starts {self.name}.")

    def _limits(self) -> Outcome:
        """Check what Cloud Run executes, for how long, and how often."""
        task = self._job.template.template
        [container] = task.containers
        if (*container.command,) != COMMAND:
            command = " ".join(container.command) or "that of the image"
            return failed(f"{self.name} executes {command}, which scores nothing.", self.at.fix)
        seconds = int(task.timeout.total_seconds())
        if seconds < LEAST_SECONDS:
            return failed(
                f"A task is ended after {seconds} s, perhaps before its first part.", self.at.fix
            )
        if not task.max_retries:
            return warning("A task that ends early is not started again.", self.at.fix)
        return ok(f"A task has {seconds} s, and {task.max_retries} retries.")

    def _account(self) -> Outcome:
        mine, its = self._service.template.service_account, self._job.template.template
        if its.service_account != mine:
            return failed(
                f"{self.name} runs as {its.service_account or 'the default account'}, and the "
                f"service as {mine}.",
                self.at.fix,
            )
        return ok(f"Both run as {mine}.")

    def _image(self) -> Outcome:
        """Compare the job's image with that of the revision that has the traffic."""
        served = max(self._service.traffic_statuses, key=lambda t: t.percent, default=None)
        revision = served.revision if served is not None else ""
        name = revision or self._service.latest_ready_revision.rpartition("/")[2]
        if not name:
            return skipped("The service has no revision yet.")
        path = f"{self.parent}/services/mlsys-{self.at.env}/revisions/{name}"
        current = self.at.clients.revisions.get_revision(name=path, timeout=CALL, retry=None)
        [theirs], [ours] = current.containers, self._job.template.template.containers
        if ours.image != theirs.image:
            return failed(
                f"{self.name} has the image {ours.image}, and {name} has {theirs.image}.",
                f"gcloud run jobs update {self.name} --image={theirs.image} {self.where}",
            )
        return ok(f"{self.name} has the image of {name}.")
