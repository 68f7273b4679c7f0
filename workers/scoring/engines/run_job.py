"""Start the Cloud Run job for a run, and say what to do where Cloud Run refuses."""

from __future__ import annotations

from mlsys.cloud.clients import TIMEOUT, Clients, is_passing
from mlsys.cloud.quotas import is_quota
from mlsys.errors import Conflict, ObjectNotFound, PermissionMissing, TryAgain
from mlsys.plural import plural


def run_job(clients: Clients, arguments: list[str], tasks: int) -> str:
    """Have Cloud Run start the job with `arguments`, and return the execution's name.

    Raises:
        ObjectNotFound: the job does not exist.
        PermissionMissing: the service's account may not run it.
        Conflict: Cloud Run refuses the request as it is.
        TryAgain: a quota is used up, or Cloud Run does not answer.
    """
    from google.api_core import exceptions
    from google.cloud import run_v2

    job = clients.settings.job_name
    container = run_v2.RunJobRequest.Overrides.ContainerOverride(args=arguments)
    overrides = run_v2.RunJobRequest.Overrides(container_overrides=[container], task_count=tasks)
    request = run_v2.RunJobRequest(name=job, overrides=overrides)
    try:
        return str(clients.jobs.run_job(request, timeout=TIMEOUT).metadata.name)
    except exceptions.NotFound as exc:
        raise ObjectNotFound(
            f"The Cloud Run job {job} does not exist. Create it with Terraform "
            "(docs/deploying.md), set MLSYS_JOB to another one, or pass engine=service."
        ) from exc
    except exceptions.GoogleAPICallError as exc:
        if isinstance(exc, exceptions.TooManyRequests) or is_quota(exc):
            raise TryAgain(
                f"Cloud Run refuses to start {job} for a quota. Repeat the request later, ask for "
                "more CPU in the region (docs/operations.md), lower MLSYS_JOB_TASKS (job_tasks in "
                "Terraform), or pass engine=service."
            ) from exc
        if is_passing(exc):
            raise TryAgain(f"Cloud Run did not start {job} just now. Repeat the request.") from exc
        if isinstance(exc, exceptions.Forbidden | exceptions.Unauthorized):
            raise PermissionMissing(
                f"The service may not run the Cloud Run job {job} with overrides. Grant its "
                "account roles/run.jobsExecutorWithOverrides on the job, or pass engine=service."
            ) from exc
        raise Conflict(
            f"Cloud Run refuses to start {job} with {plural(tasks, 'task')}: {exc.message}. "
            "Correct the job (docs/operations.md), or pass engine=service."
        ) from exc
