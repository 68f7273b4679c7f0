"""A healthy project as `mlsys doctor` sees it, in memory; tests break one thing of it at a time.

Its clients have only the methods that the checks call. What does not exist raises NotFound.
"""

from __future__ import annotations

import datetime as dt
import json
from types import SimpleNamespace
from typing import Any

from google.api_core.exceptions import NotFound

import mlsys
from mlsys.doctor.deployment import Deployment
from mlsys.doctor.shared import SCHEMAS, TABLES
from mlsys.remote.service import RefusedByService, Unreachable
from mlsys.settings import Settings

URL = "https://mlsys-dev-1.us-central1.run.app"
PROJECT = "my-project"
DATASET = f"{PROJECT}.mlsys_dev"
SERVICE = f"projects/{PROJECT}/locations/us-central1/services/mlsys-dev"
CONSOLE = f"projects/{PROJECT}/locations/us-central1/services/mlsys-web-dev"
JOB = f"projects/{PROJECT}/locations/us-central1/jobs/mlsys-score-dev"
TOPICS = f"projects/{PROJECT}/topics"
KINDS = {"model-events": "/events/storage", "predictions": "/events/predictions"}


def _fields(table: str) -> list[SimpleNamespace]:
    columns = json.loads((SCHEMAS / f"{table}.json").read_text())
    return [SimpleNamespace(name=c["name"], field_type=c["type"], mode=c["mode"]) for c in columns]


class Bucket(SimpleNamespace):
    def list_notifications(self, **_: Any) -> list[Any]:
        return self.notifications

    def test_iam_permissions(self, permissions: list[str], **_: Any) -> list[str]:
        return [name for name in permissions if name not in self.denied]


class Project:
    """Everything that can be broken; `deployment` is what the checks get."""

    def __init__(self) -> None:
        self.settings = Settings(PROJECT, envs=("dev",))
        notification = SimpleNamespace(
            topic_name="mlsys-model-events-dev",
            topic_project=PROJECT,
            event_types=["OBJECT_FINALIZE", "OBJECT_DELETE", "OBJECT_ARCHIVE"],
            blob_name_prefix=None,
            payload_format="JSON_API_V1",
        )
        parts = {
            "action": {"type": "Delete"},
            "condition": {"age": 30, "matchesSuffix": [".parquet"]},
        }
        common: dict[str, Any] = {"location": "US-CENTRAL1", "data_locations": None, "denied": ()}
        self.models = Bucket(
            name="mlsys-models-dev",
            versioning_enabled=True,
            notifications=[notification],
            **common,
        )
        self.runs = Bucket(name="mlsys-runs-dev", lifecycle_rules=[parts], **common)
        self.buckets = {bucket.name: bucket for bucket in (self.models, self.runs)}
        self.objects = ["titanic/v1/model.pkl", "titanic/v1/metadata.json"]
        self.registered = ["titanic/v1"]
        self.aliases: list[dict[str, Any]] = []  # rows of their log
        self.dataset = SimpleNamespace(
            location="us-central1",
            max_time_travel_hours="168",
            default_table_expiration_ms=None,
            default_partition_expiration_ms=None,
        )
        self.datasets = {DATASET: self.dataset}
        self.tables = {
            f"{DATASET}.{name}": SimpleNamespace(schema=_fields(name)) for name in TABLES.values()
        }
        self.clock_error = 0.0  # seconds that this machine is ahead of BigQuery
        self.topics = {f"{TOPICS}/mlsys-events-dev"}
        self.subscriptions: dict[str, SimpleNamespace] = {}
        for kind, route in KINDS.items():
            name = f"mlsys-{kind}-dev"
            dead = f"{name}-dead-letter"
            self.topics |= {f"{TOPICS}/{name}", f"{TOPICS}/{dead}"}
            self.subscriptions[name] = _pushing(name, route)
            self.subscriptions[dead] = SimpleNamespace()
        self.image = "us-docker.pkg.dev/my-project/mlsys/mlsys@sha256:1"
        account = f"mlsys-sa-dev@{PROJECT}.iam.gserviceaccount.com"
        self.container = SimpleNamespace(
            image=self.image, env=[SimpleNamespace(name="MLSYS_JOB", value="mlsys-score-dev")]
        )
        self.service = SimpleNamespace(
            template=SimpleNamespace(containers=[self.container], service_account=account),
            latest_ready_revision="",
            traffic_statuses=[
                SimpleNamespace(revision="mlsys-dev-00006-old", percent=0),
                SimpleNamespace(revision="mlsys-dev-00007-abc", percent=100),
            ],
        )
        self.console = SimpleNamespace(
            template=SimpleNamespace(
                containers=[
                    SimpleNamespace(env=[SimpleNamespace(name="MLSYS_IAP_AUDIENCE", value="/p")])
                ]
            ),
            iap_enabled=True,
        )
        self.services = {SERVICE: self.service, CONSOLE: self.console}
        self.revisions = {f"{SERVICE}/revisions/mlsys-dev-00007-abc": [self.image]}
        self.task = SimpleNamespace(
            service_account=account,
            timeout=dt.timedelta(hours=6),
            max_retries=3,
            containers=[
                SimpleNamespace(
                    image=self.image,
                    command=["python", "-m", "workers.scoring.engines.task"],
                )
            ],
        )
        self.jobs = {JOB: SimpleNamespace(template=SimpleNamespace(template=self.task))}
        self.waiting = 0
        self.version = mlsys.__version__
        self.envs = ["dev"]
        self.own: list[dict[str, Any]] = [
            {"id": name, "state": "ok", "seen": "", "fix": None}
            for name in ("apis", "registry-table", "run-job", "walls", "clock", "publish-events")
        ]
        self.service_fault: Exception | None = None
        self.faults: dict[str, Exception] = {}  # by the name of a client's method

    @property
    def deployment(self) -> Deployment:
        clients: Any = SimpleNamespace(
            settings=self.settings,
            storage=_Storage(self),
            bigquery=_BigQuery(self),
            jobs=SimpleNamespace(get_job=self._get_job),
            services=SimpleNamespace(get_service=self._get_service),
            revisions=SimpleNamespace(get_revision=self._get_revision),
            publisher=_PubSub(self),
            subscriber=_PubSub(self),
        )
        service: Any = Service(self)
        return Deployment(
            clients,
            "dev",
            service,
            account=self._account,
            waiting=lambda *_: self._raise("waiting") or self.waiting,
        )

    def _get_job(self, name: str, **_: Any) -> Any:
        return self.get("get_job", self.jobs, name)

    def _get_service(self, name: str, **_: Any) -> Any:
        return self.get("get_service", self.services, name)

    def _get_revision(self, name: str, **_: Any) -> Any:
        images = self.get("get_revision", self.revisions, name)
        return SimpleNamespace(containers=[SimpleNamespace(image=image) for image in images])

    def _account(self) -> str:
        self._raise("account")
        return "me@example.com"

    def _raise(self, method: str) -> None:
        if method in self.faults:
            raise self.faults[method]

    def get(self, method: str, kind: dict[str, Any], name: str) -> Any:
        self._raise(method)
        if name not in kind:
            raise NotFound(f"{name} was not found")
        return kind[name]


def _pushing(name: str, route: str) -> SimpleNamespace:
    token = SimpleNamespace(
        audience=URL, service_account_email=f"mlsys-push-dev@{PROJECT}.iam.gserviceaccount.com"
    )
    return SimpleNamespace(
        topic=f"{TOPICS}/{name}",
        detached=False,
        ack_deadline_seconds=600,
        push_config=SimpleNamespace(push_endpoint=f"{URL}{route}", oidc_token=token),
        dead_letter_policy=SimpleNamespace(
            dead_letter_topic=f"{TOPICS}/{name}-dead-letter", max_delivery_attempts=10
        ),
    )


class _Storage:
    def __init__(self, project: Project) -> None:
        self._project = project

    def get_bucket(self, name: str, **_: Any) -> Bucket:
        return self._project.get("get_bucket", self._project.buckets, name)

    def bucket(self, name: str) -> Bucket:
        return self._project.buckets[name]

    def list_blobs(self, _: str, **__: Any) -> list[Any]:
        return [SimpleNamespace(name=name) for name in self._project.objects]


class _BigQuery:
    def __init__(self, project: Project) -> None:
        self._project = project

    def get_dataset(self, name: str, **_: Any) -> Any:
        return self._project.get("get_dataset", self._project.datasets, name)

    def get_table(self, name: str, **_: Any) -> Any:
        return self._project.get("get_table", self._project.tables, name)

    def query(self, sql: str, **_: Any) -> Any:
        self._project._raise("query")
        rows: list[dict[str, Any]] = [{"key": key} for key in self._project.registered]
        if "FROM model_aliases" in sql:
            rows = self._project.aliases
        if "CURRENT_TIMESTAMP" in sql:
            ahead = dt.timedelta(seconds=self._project.clock_error)
            rows = [{"now": dt.datetime.now(dt.UTC) - ahead}]
        return SimpleNamespace(result=lambda **_: rows)


class _PubSub:
    def __init__(self, project: Project) -> None:
        self._project = project

    def get_topic(self, topic: str, **_: Any) -> Any:
        return self._project.get("get_topic", dict.fromkeys(self._project.topics), topic)

    def get_subscription(self, subscription: str, **_: Any) -> Any:
        name = subscription.removeprefix(f"projects/{PROJECT}/subscriptions/")
        return self._project.get("get_subscription", self._project.subscriptions, name)


class Service:
    """The service behind `URL`."""

    url = URL

    def __init__(self, project: Project) -> None:
        self._project = project

    def copy(self) -> Service:
        return self

    def ask(self, path: str, *_: Any, **__: Any) -> dict[str, Any]:
        if self._project.service_fault:
            raise self._project.service_fault
        self._project._raise(path)
        if path == "/health":
            return {
                "status": "healthy",
                "version": self._project.version,
                "envs": self._project.envs,
            }
        return {"ok": True, "checks": self._project.own}


DOWN = Unreachable(f"{URL} cannot be reached, or hung up")
DENIED = RefusedByService(f"{URL} denies access to your account", status=403)
WRONG_ADDRESS = RefusedByService(f"{URL} answered 404: is it the address of mlsys?", status=404)
