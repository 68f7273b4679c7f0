"""All settings of a process: names that derive from them, and what they allow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from mlsys.errors import InvalidRequest, NotAllowed, SettingsError
from mlsys.settings.guards import AliasGuard, AliasGuards
from mlsys.settings.reading import (
    ENVS,
    JOB_CPUS,
    JOB_TASKS,
    Emulators,
    environment,
    read_settings,
)

_ADDRESS = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?")

_GOOGLE = Emulators()  # none of them


@dataclass(frozen=True, slots=True)
class Settings:
    """All values that differ between machines and environments. Immutable and hashable."""

    project: str
    region: str = "us-central1"
    envs: tuple[str, ...] = ENVS
    models_buckets: tuple[tuple[str, str], ...] = ()  # (env, bucket), where not the default name
    runs_buckets: tuple[tuple[str, str], ...] = ()
    emulators: Emulators = _GOOGLE
    role: str = "all"  # what a process serves: the API (api), the console (web), or both
    iap_audience: str | None = None  # of the console behind Identity-Aware Proxy
    push_auth: str = "app"
    push_audience: str | None = None
    push_service_account: str | None = None
    url: str | None = None  # the service's own address, https://HOST, for links in its answers
    request_timeout: float = 3600.0  # seconds; Cloud Run's limit for one request
    on_cloud_run: bool = False
    input_datasets: tuple[str, ...] = ()  # project.dataset or project.*; empty: the project's own
    output_datasets: tuple[str, ...] = ()
    trusted_globals: tuple[str, ...] = ()  # module.Name, in addition to the allow-list
    models: str = "listed"  # what models may be made of: listed names, or any installed code
    signing_keys: tuple[str, ...] = ()  # public ones; empty: models need no signature
    max_model_bytes: int | None = None  # of a model.pkl, packed and unpacked; None: what fits
    max_runs: int | None = None  # at the same time in an instance; None: those that fit
    job: str = ""  # the Cloud Run job that scores what one instance cannot; empty: none
    job_tasks: int = JOB_TASKS  # at most, of one execution
    job_cpus: int = JOB_CPUS  # of a task
    alias_guards: AliasGuards = ()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the settings from `environ` (default: the process's, over the nearest `.env`).

        Raises:
            SettingsError: with every missing or malformed key in one message.
        """
        return cls(**read_settings(environment() if environ is None else environ))

    def check_service(self) -> None:
        """Refuse settings under which anybody could push events, or nobody.

        Raises:
            SettingsError: a setting is missing or contradicts another; all of them are named.
        """
        errors = []
        if self.on_cloud_run and self.role == "all":
            errors.append(
                "MLSYS_ROLE is not set: pass api or web, because the console and the API are two "
                "services on Cloud Run"
            )
        if self.role == "web" and self.iap_audience is None and self.push_auth == "app":
            errors.append(
                "MLSYS_IAP_AUDIENCE is not set: pass /projects/NUMBER/locations/REGION/services/"
                "SERVICE, or MLSYS_PUSH_AUTH=platform for a console that Cloud Run's IAM guards"
            )
        if self.push_auth == "off" and (self.on_cloud_run or not self.emulators):
            errors.append(
                "MLSYS_PUSH_AUTH=off is only for the local stack: set it to app, with "
                "MLSYS_PUSH_AUDIENCE and MLSYS_PUSH_SERVICE_ACCOUNT"
            )
        if self.push_auth == "platform" and not self.on_cloud_run:
            errors.append(
                "MLSYS_PUSH_AUTH=platform trusts Cloud Run to have verified the token, and this is "
                "not Cloud Run: set it to app"
            )
        if self.push_auth in ("app", "platform") and self.serves_api:
            if not self.push_audience:
                errors.append("MLSYS_PUSH_AUDIENCE is not set: pass the service's URL")
            if not self.push_service_account:
                errors.append(
                    "MLSYS_PUSH_SERVICE_ACCOUNT is not set: pass the e-mail of the account "
                    "that the push subscriptions sign in with"
                )
        if self.url is not None and not _ADDRESS.fullmatch(self.url):
            errors.append(f"MLSYS_URL is {self.url!r}: pass https://HOST, or http://127.0.0.1:PORT")
        if self.on_cloud_run and self.emulators:
            errors.append("emulator variables are set on Cloud Run: remove them")
        if errors:
            raise SettingsError("; ".join(errors))

    @property
    def serves_api(self) -> bool:
        """Whether this process answers the API's routes."""
        return self.role != "web"

    @property
    def serves_console(self) -> bool:
        """Whether this process answers the pages under `/ui`."""
        return self.role != "api"

    def require_env(self, env: str) -> str:
        """Return `env` if this service serves it.

        Raises:
            InvalidRequest: it does not; the message names the environments that it serves.
        """
        if env not in self.envs:
            raise InvalidRequest(
                ("env", f"{env!r} is not served here: pass {' or '.join(self.envs)}")
            )
        return env

    def alias_guard(self, env: str, model: str, alias: str) -> AliasGuard | None:
        """Return the guard of a model's alias: its own, else that of every model's, else None."""
        guards = {name: guard for each, name, guard in self.alias_guards if each == env}
        return guards.get(f"{model}/{alias}") or guards.get(alias)

    def models_bucket(self, env: str) -> str:
        """Return the bucket of the environment's models, `mlsys-models-{env}` unless configured."""
        return dict(self.models_buckets).get(env, f"mlsys-models-{env}")

    def runs_bucket(self, env: str) -> str:
        """Return the bucket of the environment's runs, `mlsys-runs-{env}` unless configured."""
        return dict(self.runs_buckets).get(env, f"mlsys-runs-{env}")

    def env_of_models_bucket(self, bucket: str) -> str | None:
        """Return the served environment whose models are in `bucket`, or None."""
        return next((e for e in self.envs if self.models_bucket(e) == bucket), None)

    def dataset(self, env: str) -> str:
        """Return the environment's own dataset, `project.mlsys_{env}`."""
        return f"{self.project}.mlsys_{env}"

    def model_events_topic(self, env: str) -> str:
        """Return the full name of the topic for the models bucket's notifications."""
        return f"projects/{self.project}/topics/mlsys-model-events-{env}"

    def predictions_topic(self, env: str) -> str:
        """Return the full name of the topic for scoring requests with `wait=false`."""
        return f"projects/{self.project}/topics/mlsys-predictions-{env}"

    def events_topic(self, env: str) -> str:
        """Return the full name of the topic on which mlsys announces models and runs."""
        return f"projects/{self.project}/topics/mlsys-events-{env}"

    @property
    def job_name(self) -> str:
        """The full name of the Cloud Run job."""
        return f"projects/{self.project}/locations/{self.region}/jobs/{self.job}"

    def check_input(self, project: str, dataset: str, parameter: str = "input_table") -> None:
        """Refuse to read a dataset that MLSYS_INPUT_DATASETS does not allow.

        `parameter` is what names the table, for the message.

        Raises:
            NotAllowed: it may not be read; the message names the datasets that may.
        """
        if dataset.casefold() in {f"mlsys_{env}" for env in ENVS if env not in self.envs}:
            raise NotAllowed(
                f"{parameter}: {project}.{dataset} belongs to another environment: pass a table of "
                "another dataset"
            )
        self._check_listed(parameter, "input", "read", self.input_datasets, project, dataset)

    def check_output(self, project: str, dataset: str) -> None:
        """Refuse to write mlsys's own dataset, or one that MLSYS_OUTPUT_DATASETS does not allow.

        Raises:
            NotAllowed: it may not be written; the message names the datasets that may.
        """
        if dataset.casefold() in {f"mlsys_{env}" for env in ENVS}:
            raise NotAllowed(
                f"output_table: {project}.{dataset} holds mlsys's own registry and ledger: pass a "
                "table of another dataset"
            )
        self._check_listed(
            "output_table", "output", "write", self.output_datasets, project, dataset
        )

    def _check_listed(
        self,
        parameter: str,
        which: str,
        verb: str,
        listed: tuple[str, ...],
        project: str,
        dataset: str,
    ) -> None:
        allowed = listed or (f"{self.project}.*",)
        if f"{project}.{dataset}" not in allowed and f"{project}.*" not in allowed:
            raise NotAllowed(
                f"{parameter}: the service may not {verb} {project}.{dataset}: pass a table of "
                f"{', '.join(listed) or f'a dataset of {self.project}'}, or add the dataset to "
                f"MLSYS_{which.upper()}_DATASETS"
            )
