"""One model version's row in an environment's `model_registry`."""

from __future__ import annotations

from dataclasses import dataclass

from mlsys.artifact.refs import ModelRef
from mlsys.cloud.clients import TIMEOUT, Clients, bigquery_retry
from mlsys.cloud.errors import cloud_errors
from mlsys.cloud.messages import Use
from mlsys.cloud.progress import progress
from mlsys.errors import NotRegistered

SECONDS = 240.0  # for the registration of an upload: others may be verified first

_QUERY = """
SELECT generation, status, status_reason
FROM model_registry
WHERE model_name = @model_name AND model_version = @model_version
ORDER BY registered_at DESC
LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Registered:
    """The state of a model version in the registry."""

    generation: int
    status: str
    status_reason: str | None


def registered(clients: Clients, env: str, ref: ModelRef) -> Registered | None:
    """Return the model version's state in the registry, or None if it is not registered.

    Raises:
        NotRegistered: the environment does not have a registry.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    with cloud_errors(_use(clients, env)):
        return _row(clients, env, ref)


def _use(clients: Clients, env: str, note: str = "") -> Use:
    needed = ("bigquery.jobs.create", "bigquery.tables.getData")
    return Use("BigQuery", f"{clients.settings.dataset(env)}.model_registry{note}", needed)


def _row(clients: Clients, env: str, ref: ModelRef) -> Registered | None:
    from google.api_core.exceptions import NotFound
    from google.cloud import bigquery

    config = bigquery.QueryJobConfig(
        default_dataset=clients.settings.dataset(env),
        query_parameters=[
            bigquery.ScalarQueryParameter("model_name", "STRING", ref.name),
            bigquery.ScalarQueryParameter("model_version", "STRING", ref.version),
        ],
    )
    retry = bigquery_retry()
    try:
        job = clients.bigquery.query(_QUERY, job_config=config, timeout=TIMEOUT, retry=retry)
        rows = [Registered(*row.values()) for row in job.result(timeout=TIMEOUT, retry=retry)]
    except NotFound as exc:
        raise NotRegistered(
            f"{env} has no registry {clients.settings.dataset(env)}.model_registry: create it "
            "(docs/deploying.md)"
        ) from exc
    return rows[0] if rows else None


def wait_until_registered(clients: Clients, env: str, ref: ModelRef, generation: int) -> Registered:
    """Wait until the registry shows that generation of `model.pkl`, and return its state.

    Raises:
        NotRegistered: the registry does not show it after four minutes, or does not exist.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    import tenacity

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda row: row is None or row.generation != generation),
        wait=tenacity.wait_exponential(multiplier=0.25, max=3),
        stop=tenacity.stop_after_delay(SECONDS),
    )
    try:
        doing = progress(f"Waiting until the registry of {env} shows {ref}")
        with cloud_errors(_use(clients, env, f" ({ref} is uploaded)")), doing:
            row = retrying(_row, clients, env, ref)
        assert row is not None
        return row
    except NotRegistered as exc:
        raise NotRegistered(f"{ref} is uploaded, and {exc}") from exc
    except tenacity.RetryError as exc:
        raise NotRegistered(
            f"{ref} is uploaded to {env}, and the registry does not show it after {SECONDS:.0f} "
            "seconds. It may still be being verified: look again later. If the notification was "
            f"lost, request a full rescan: GET /model-registry?env={env}"
        ) from exc
