"""Checks of the models bucket and the runs bucket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlsys.cloud.messages import Use
from mlsys.doctor.check import CALL, Check, Outcome, failed, ok, warning
from mlsys.doctor.deployment import Deployment

EVENTS = ("OBJECT_FINALIZE", "OBJECT_DELETE", "OBJECT_ARCHIVE")
UPLOADS = tuple(f"storage.objects.{verb}" for verb in ("create", "delete", "get", "list"))
PARTS = ".parquet"
SHORTEST_DAYS = 2  # a read session lasts six hours, and a suspended run continues later


def bucket_checks(at: Deployment) -> list[Check]:
    """Return the checks of both buckets."""
    return _Buckets(at).all()


class _Buckets:
    def __init__(self, at: Deployment) -> None:
        self.at = at
        self.settings = at.clients.settings
        self.models = self.settings.models_bucket(at.env)
        self.runs = self.settings.runs_bucket(at.env)

    def all(self) -> list[Check]:
        """Return the checks."""
        check, models, runs = self.at.check, self.models, self.runs

        def use(bucket: str, *permissions: str) -> Use:
            return Use("Cloud Storage", f"gs://{bucket}", permissions)

        get = "storage.buckets.get"
        fake = "fake-gcs-server has"
        return [
            check("models-bucket", lambda: self._exists(models), use(models, get)),
            check(
                "versioning",
                self._versioning,
                use(models, get),
                "models-bucket",
                on_cloud=f"{fake} no versions",
            ),
            check(
                "notification",
                self._notification,
                use(models, get),
                "models-bucket",
                on_cloud=f"{fake} no notification configurations",
            ),
            check(
                "upload-rights",
                self._uploads,
                use(models, *UPLOADS),
                "models-bucket",
                on_cloud=f"{fake} no permissions",
            ),
            check("runs-bucket", lambda: self._exists(runs), use(runs, get)),
            check(
                "runs-lifecycle",
                self._lifecycle,
                use(runs, get),
                "runs-bucket",
                on_cloud=f"{fake} no lifecycle rules",
            ),
        ]

    def _get(self, name: str) -> Any:
        return self.at.clients.storage.get_bucket(name, timeout=CALL, retry=None)

    def _exists(self, name: str) -> Outcome:
        return ok(f"gs://{name} is in {self._get(name).location}.")

    def _versioning(self) -> Outcome:
        if self._get(self.models).versioning_enabled:
            return ok("Overwritten models are kept for the runs that use them.")
        return failed(
            f"gs://{self.models} keeps no versions: a run whose model is overwritten fails.",
            f"gcloud storage buckets update gs://{self.models} --versioning",
        )

    def _notification(self) -> Outcome:
        """Check that every upload is announced on the topic that the service hears of."""
        project, _, topic = self.settings.model_events_topic(self.at.env).split("/")[1:]
        configured = self._get(self.models).list_notifications(timeout=CALL, retry=None)
        faults = []
        for each in configured:
            # None stands for all events.
            lacks = [e for e in EVENTS if each.event_types and e not in each.event_types]
            if each.topic_name != topic or each.topic_project not in (project, None):
                faults.append(f"one goes to {each.topic_project}/{each.topic_name}")
            elif lacks:
                faults.append(f"the one to {topic} lacks {', '.join(lacks)}")
            elif each.blob_name_prefix:
                faults.append(f"the one to {topic} is only for {each.blob_name_prefix}")
            elif each.payload_format != "JSON_API_V1":
                faults.append(f"the one to {topic} has the payload {each.payload_format}")
            else:
                return ok(f"Uploads to gs://{self.models} are announced on {topic}.")
        why = "; ".join(faults) or "it has no notification"
        return failed(
            f"Uploads to gs://{self.models} are not announced on {topic}: {why}.",
            f"gcloud storage buckets notifications create gs://{self.models} "
            f"--topic=projects/{project}/topics/{topic} --payload-format=json "
            f"--event-types={','.join(EVENTS)}",
        )

    def _uploads(self) -> Outcome:
        bucket = self.at.clients.storage.bucket(self.models)
        granted = bucket.test_iam_permissions(list(UPLOADS), timeout=CALL, retry=None)
        lacks = [name for name in UPLOADS if name not in granted]
        if not lacks:
            return ok(f"You may upload to gs://{self.models}.")
        return warning(
            f"You lack {', '.join(lacks)} on gs://{self.models}: you cannot upload models.",
            f"Add yourself to model_writers in infrastructure/envs/{self.at.env}/main.tf, then "
            f"{self.at.fix}",
        )

    def _lifecycle(self) -> Outcome:
        """Check that parts are deleted after a while, and the results of runs never."""
        conditions = [
            rule.get("condition", {})
            for rule in self._get(self.runs).lifecycle_rules
            if rule.get("action", {}).get("type") == "Delete"
        ]
        deleting = [condition for condition in conditions if _deletes_live(condition)]
        narrow = [c for c in deleting if set(c.get("matchesSuffix", ())) == {PARTS}]
        if len(narrow) < len(deleting):
            return failed(
                f"A lifecycle rule of gs://{self.runs} deletes more than {PARTS}: without "
                "result.json a repeated request is a new run, and appends its rows again.",
                self.at.fix,
            )
        if any(condition.get("age", 0) < SHORTEST_DAYS for condition in narrow):
            return failed(
                f"A lifecycle rule of gs://{self.runs} deletes parts of runs that are not "
                f"finished: keep them at least {SHORTEST_DAYS} days.",
                self.at.fix,
            )
        if not narrow:
            return warning(
                f"gs://{self.runs} keeps the parts of runs, and bills them.", self.at.fix
            )
        return ok(f"Parts in gs://{self.runs} are deleted; results of runs stay.")


def _deletes_live(condition: Mapping[str, Any]) -> bool:
    """Return whether a lifecycle rule deletes current objects of runs.

    Quarantined messages lie beside them, and markers of the runs that work.
    """
    prefixes = condition.get("matchesPrefix", ())
    if prefixes and all(prefix.startswith(("quarantine/", "_running/")) for prefix in prefixes):
        return False
    noncurrent = ("daysSinceNoncurrentTime", "noncurrentTimeBefore", "numNewerVersions")
    return condition.get("isLive") is not False and not any(key in condition for key in noncurrent)
