"""May the service do what it has to, with what is there? Read-only checks by its own account.

`GET /check` answers with them. A release is given traffic only if the tables have the columns that
it writes (`.github/scripts/deploy.sh`); `mlsys doctor` shows them all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from mlsys.cloud.clients import Clients
from mlsys.cloud.errors import translated
from mlsys.cloud.locations import loads_from
from mlsys.cloud.messages import Use
from mlsys.doctor.check import (
    CALL,
    Check,
    Finding,
    Outcome,
    apply,
    failed,
    ok,
    retry,
    run_checks,
    skipped,
    warning,
)
from mlsys.doctor.shared import Clock, table_checks
from mlsys.errors import ObjectNotFound, PermissionMissing, TableNotFound
from mlsys.plural import plural
from workers import machine
from workers.registry.broken import broken
from workers.registry.move import aliases_now
from workers.sandbox import walls

SECONDS = 12.0  # of one check; all together take at most three times as long
MAX_NAMED = 10  # aliases of an answer
SMALL = 64 * 2**20  # bytes; with a smaller limit ordinary forests are refused
RUNS = ("run.jobs.run", "run.jobs.runWithOverrides")
KEEPS = tuple(f"storage.objects.{verb}" for verb in ("create", "delete", "get", "list"))

log = logging.getLogger(__name__)


def check(clients: Clients, env: str) -> list[Finding]:
    """Return what the service's account sees of the environment. Changes nothing."""
    return run_checks(
        _Checks(clients, env).all(), clients.settings.project, seconds=SECONDS, explain=_explain
    )


class _Checks:
    def __init__(self, clients: Clients, env: str) -> None:
        self.clients, self.env = clients, env
        self.settings = clients.settings
        self.fix = apply(self.settings, env)

    def all(self) -> list[Check]:
        """Return every check, in the order of the answer."""
        settings, env = self.settings, self.env
        dataset = settings.dataset(env)
        models, runs = settings.models_bucket(env), settings.runs_bucket(env)
        objects = ("storage.objects.list",)
        own = Use("BigQuery", dataset, ("bigquery.datasets.get",), missing=TableNotFound)
        read = Use(
            "BigQuery Storage Read API",
            f"{dataset}.model_registry",
            ("bigquery.readsessions.create", "bigquery.tables.getData"),
            missing=TableNotFound,
        )
        return [
            *table_checks(self.clients, env),
            *Clock(self.clients, "The service's").checks(self.fix),
            self._check("read-session", self._read_session, read, needs=("registry-table",)),
            self._check(
                "models-bucket",
                lambda: self._lists(models),
                Use("Cloud Storage", f"gs://{models}", objects),
            ),
            self._check(
                "runs-bucket",
                lambda: self._keeps(runs),
                Use("Cloud Storage", f"gs://{runs}", objects),
            ),
            self._aliases(models),
            self._check("location", self._location, own, needs=("runs-bucket", "registry-table")),
            self._check("datasets", self._datasets, own, needs=("location",)),
            self._topic("publish-predictions", settings.predictions_topic(env)),
            self._topic("publish-events", settings.events_topic(env)),
            *self._job(),
            self._check("walls", self._walls, Use("this instance", "the sandboxes", ())),
            self._check("machine", self._machine, Use("this instance", "the machine", ())),
        ]

    def _check(
        self, id: str, ask: Callable[[], Outcome], use: Use, needs: tuple[str, ...] = ()
    ) -> Check:
        return Check(id, ask, use, self.fix, needs=needs)

    def _aliases(self, models: str) -> Check:
        use = Use("Cloud Storage", f"gs://{models}/*/aliases", ("storage.objects.list",))
        needs = ("aliases-table", "models-bucket", "queries")
        return self._check("aliases", self._all_usable, use, needs)

    def _all_usable(self) -> Outcome:
        """Check that each alias names a version that is there, and that its guard was asked."""
        rows = aliases_now(self.clients, self.env)
        problems = broken(self.clients, self.env, rows)
        for row in rows:
            guard = self.settings.alias_guard(self.env, row.model_name, row.alias)
            if guard is not None and row.guarded is False:
                problems.setdefault(row.name, "it was changed in the bucket past its guard")
        if not problems:
            return ok(f"Every alias names a version that can be scored ({len(rows)}).")
        first = sorted(problems)
        texts = [f"{name}: {problems[name]}" for name in first[:MAX_NAMED]]
        more = f"; and {len(first) - MAX_NAMED} more" if len(first) > MAX_NAMED else ""
        return failed(
            f"{'; '.join(texts)}{more}.",
            f"mlsys alias set {first[0].replace('/', ' ')} VERSION --env {self.env}",
        )

    def _topic(self, id: str, topic: str) -> Check:
        use = Use("Pub/Sub", topic, ("pubsub.topics.publish",))
        return self._check(id, lambda: self._publishes(topic), use)

    def _job(self) -> list[Check]:
        if not self.settings.job:
            return []
        use = Use("Cloud Run", self.settings.job, ("run.jobs.get", "run.executions.list"))
        return [self._check("run-job", self._may_run, use)]

    def _may_run(self) -> Outcome:
        """Check the right to start the job, and to see how its executions go."""
        jobs, name = self.clients.jobs, self.settings.job_name
        jobs.get_job(name=name, timeout=CALL, retry=None)
        request: dict[str, Any] = {"resource": name, "permissions": list(RUNS)}
        granted = jobs.test_iam_permissions(request=request, timeout=CALL, retry=None).permissions
        if lacks := [permission for permission in RUNS if permission not in granted]:
            return failed(
                f"The service's account lacks {', '.join(lacks)} on {self.settings.job}.", self.fix
            )
        request = {"parent": name, "page_size": 1}
        self.clients.executions.list_executions(request=request, timeout=CALL, retry=None)
        return ok(f"{self.settings.job} can be run with overrides, and its executions seen.")

    def _read_session(self) -> Outcome:
        """Open a session that nothing is read from, which costs nothing."""
        project, dataset = self.settings.dataset(self.env).split(".")
        table = f"projects/{project}/datasets/{dataset}/tables/model_registry"
        session = self.clients.bigquery_read.create_read_session(
            parent=f"projects/{self.settings.project}",
            read_session={"table": table, "data_format": "ARROW"},  # type: ignore[arg-type]
            max_stream_count=1,
            timeout=CALL,
            retry=None,
        )
        return ok(
            f"A read session of model_registry opens ({plural(len(session.streams), 'stream')})."
        )

    def _lists(self, bucket: str) -> Outcome:
        storage = self.clients.storage
        list(storage.list_blobs(bucket, max_results=1, timeout=CALL, retry=None))
        return ok(f"gs://{bucket} can be listed.")

    def _keeps(self, bucket: str) -> Outcome:
        outcome = self._lists(bucket)
        if self.settings.emulators:  # fake-gcs-server knows no permissions
            return outcome
        existing = self.clients.storage.bucket(bucket)
        granted = existing.test_iam_permissions(list(KEEPS), timeout=CALL, retry=None)
        if lacks := [name for name in KEEPS if name not in granted]:
            return failed(
                f"The service's account lacks {', '.join(lacks)} on gs://{bucket}.", self.fix
            )
        return ok(f"gs://{bucket} can be listed, read and written.")

    def _location(self) -> Outcome:
        own, bucket = self.settings.dataset(self.env), self._runs_bucket()
        location = self.clients.bigquery.get_dataset(own, timeout=CALL, retry=retry()).location
        if not bucket.location or not location:
            return skipped(f"The location of {own} or gs://{bucket.name} is not known.")
        seen = f"{own} is in {location}, gs://{bucket.name} in {bucket.location}"
        if not loads_from(location, bucket.location, bucket.data_locations or ()):
            return failed(
                f"{seen}: no load job can read the one and write the other.",
                f"Set `location` in infrastructure/envs/{self.env}/terraform.tfvars (that deletes "
                f"the data of the environment), then {self.fix}",
            )
        return ok(f"{seen}.")

    def _datasets(self) -> Outcome:
        """Check that the datasets of the settings exist, and that load jobs can write to them."""
        bucket = self._runs_bucket()
        read = [name for name in self.settings.input_datasets if not name.endswith(".*")]
        written = [name for name in self.settings.output_datasets if not name.endswith(".*")]
        for name in dict.fromkeys([*read, *written]):
            use = Use("BigQuery", name, ("bigquery.datasets.get",), missing=TableNotFound)
            try:
                dataset = self.clients.bigquery.get_dataset(name, timeout=CALL, retry=retry())
            except Exception as exc:
                known = self._check("datasets", self._datasets, use)
                return failed(
                    _explain(exc, known),
                    f"Correct the datasets in infrastructure/envs/{self.env}/main.tf, or create "
                    f"{name}; then {self.fix}",
                )
            places = bucket.location, bucket.data_locations or ()
            if name in written and dataset.location and not loads_from(dataset.location, *places):
                return failed(
                    f"{name} is in {dataset.location}, and gs://{bucket.name} in "
                    f"{bucket.location}: no load job can write to it.",
                    f"Remove {name} from output_datasets in infrastructure/envs/{self.env}/main.tf",
                )
        if not read and not written:
            return ok(f"Every dataset of {self.settings.project} may be read and written.")
        return ok(f"{len({*read, *written})} datasets of the settings exist.")

    def _publishes(self, topic: str) -> Outcome:
        """Check the permission: a published message would be a request.

        A topic that does not exist grants nothing
        (https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.topics/testIamPermissions).
        """
        wanted = "pubsub.topics.publish"
        answer = self.clients.publisher.test_iam_permissions(
            request={"resource": topic, "permissions": [wanted]}, timeout=CALL, retry=None
        )
        if wanted not in answer.permissions:
            return failed(
                f"The service's account may not publish to {topic}, or it does not exist.", self.fix
            )
        return ok(f"{topic} can be published to.")

    def _walls(self) -> Outcome:
        held = walls.available()
        if held.filter:
            return ok(f"Models are kept apart: {held}.")
        seen = f"Models are not kept apart: {held.missing}."
        fix = f"{self.fix}  # execution_environment = EXECUTION_ENVIRONMENT_GEN2"
        if self.settings.on_cloud_run:
            return failed(seen, fix)
        return warning(seen, "Run the service on Linux, on x86-64 or arm64")

    def _machine(self) -> Outcome:
        limit = machine.max_model_bytes(self.settings.max_model_bytes)
        seen = (
            f"{plural(machine.cores(), 'core')}, {machine.memory() // 2**20:,} MiB of memory; "
            f"models up to {limit // 2**20:,} MiB."
        )
        if limit < SMALL:
            return warning(
                seen, f"Raise `memory` in infrastructure/envs/{self.env}/main.tf, then {self.fix}"
            )
        return ok(seen)

    def _runs_bucket(self) -> Any:
        name = self.settings.runs_bucket(self.env)
        return self.clients.storage.get_bucket(name, timeout=CALL, retry=None)


def _explain(exc: Exception, check: Check) -> str:
    """Return what is wrong without Google's own words, which go to the log."""
    log.warning("The check %s failed", check.id, exc_info=exc)
    error = translated(exc, check.use)
    if isinstance(error, PermissionMissing):
        lacks = " or ".join(check.use.permissions) or "a permission"
        return f"The service's account lacks {lacks} on {check.use.resource}."
    if isinstance(error, ObjectNotFound | TableNotFound):
        return f"{check.use.resource} does not exist."
    return f"{check.use.service} did not answer about {check.use.resource}; the log has the reason."
