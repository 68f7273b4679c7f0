"""Checks of the environment's dataset, and whether the registry and the bucket agree."""

from __future__ import annotations

from typing import Any

from mlsys.artifact.refs import ModelRef
from mlsys.cloud.locations import loads_from
from mlsys.cloud.messages import Use
from mlsys.doctor.check import CALL, Check, Outcome, failed, ok, retry, skipped, warning
from mlsys.doctor.deployment import Deployment
from mlsys.doctor.shared import Clock, table_checks
from mlsys.errors import InvalidRequest, TableNotFound
from mlsys.plural import plural

DEFAULT_TIME_TRAVEL = 168  # hours: https://cloud.google.com/bigquery/docs/time-travel
MOST_OBJECTS = 20_000  # of a models bucket that is compared with the registry
NAMED = 5  # models of one sentence


def warehouse_checks(at: Deployment) -> list[Check]:
    """Return the checks of the dataset and its tables."""
    return _Warehouse(at).all()


class _Warehouse:
    def __init__(self, at: Deployment) -> None:
        self.at = at
        self.name = at.clients.settings.dataset(at.env)

    def all(self) -> list[Check]:
        """Return the checks."""
        use = Use("BigQuery", self.name, ("bigquery.datasets.get",), missing=TableNotFound)
        rows = Use(
            "BigQuery",
            f"{self.name}.model_registry",
            ("bigquery.tables.getData", "storage.objects.list"),
            missing=TableNotFound,
        )
        check = self.at.check
        return [
            check("dataset", self._exists, use),
            check("location", self._location, use, "dataset", "runs-bucket"),
            check("time-travel", self._time_travel, use, "dataset"),
            check("expiration", self._expiration, use, "dataset"),
            *table_checks(self.at.clients, self.at.env, ("credentials", "dataset"), "skipped"),
            *Clock(self.at.clients, "This machine's").checks(_may_query(self.at), ("credentials",)),
            check("registry", self._agrees, rows, "registry-table", "models-bucket", "queries"),
        ]

    def _dataset(self) -> Any:
        return self.at.clients.bigquery.get_dataset(self.name, timeout=CALL, retry=retry())

    def _exists(self) -> Outcome:
        return ok(f"{self.name} is in {self._dataset().location}.")

    def _location(self) -> Outcome:
        bucket = self.at.clients.storage.get_bucket(
            self.at.clients.settings.runs_bucket(self.at.env), timeout=CALL, retry=None
        )
        location = self._dataset().location
        if not location or not bucket.location:
            return skipped(f"The location of {self.name} or gs://{bucket.name} is not known.")
        seen = f"{self.name} is in {location}, gs://{bucket.name} in {bucket.location}"
        if loads_from(location, bucket.location, bucket.data_locations or ()):
            return ok(f"{seen}.")
        return failed(
            f"{seen}: no load job can read the one and write the other.",
            f"Set `location` in infrastructure/envs/{self.at.env}/terraform.tfvars (that deletes "
            f"the data of the environment), then {self.at.fix}",
        )

    def _time_travel(self) -> Outcome:
        hours = int(getattr(self._dataset(), "max_time_travel_hours", None) or DEFAULT_TIME_TRAVEL)
        if hours >= DEFAULT_TIME_TRAVEL:
            return ok(f"{self.name} keeps {plural(hours // 24, 'day')} of time travel.")
        return warning(
            f"{self.name} keeps {hours} hours of time travel: a run over one of its tables cannot "
            "be resumed after that.",
            f"bq update --max_time_travel_hours={DEFAULT_TIME_TRAVEL} {_for_bq(self.name)}",
        )

    def _expiration(self) -> Outcome:
        """Check that nothing deletes the registry and the ledger."""
        dataset = self._dataset()
        after = [
            f"{what} after {milliseconds / 86_400_000:.0f} days"
            for what, milliseconds in (
                ("tables", dataset.default_table_expiration_ms),
                ("partitions", dataset.default_partition_expiration_ms),
            )
            if milliseconds
        ]
        if not after:
            return ok(f"Tables of {self.name} do not expire.")
        return failed(
            f"BigQuery deletes new {' and '.join(after)} in {self.name}.",
            "bq update --default_table_expiration=0 --default_partition_expiration=0 "
            f"{_for_bq(self.name)}",
        )

    def _agrees(self) -> Outcome:
        """Compare names: the registry has a row for each model object, and no other rows."""
        bucket = self.at.clients.settings.models_bucket(self.at.env)
        blobs = self.at.clients.storage.list_blobs(
            bucket,
            max_results=MOST_OBJECTS,
            fields="items(name),nextPageToken",
            timeout=CALL,
            retry=None,
        )
        names = [blob.name for blob in blobs]
        if len(names) == MOST_OBJECTS:
            return skipped(f"gs://{bucket} has more than {MOST_OBJECTS:,} objects.")
        uploaded = {str(ref) for name in names if (ref := _model(name)) is not None}
        sql = (
            "SELECT DISTINCT CONCAT(model_name, '/', model_version) AS key "
            f"FROM `{self.name}.model_registry`"
        )
        job = self.at.clients.bigquery.query(sql, timeout=CALL, retry=retry())
        listed = {row["key"] for row in job.result(timeout=CALL, retry=retry())}
        if uploaded == listed:
            return ok(f"The registry lists the {plural(len(listed), 'model')} of gs://{bucket}.")
        faults = [
            f"{what}: {', '.join(sorted(keys)[:NAMED])}{', …' if len(keys) > NAMED else ''}"
            for what, keys in (
                ("not registered", uploaded - listed),
                ("registered and not in the bucket", listed - uploaded),
            )
            if keys
        ]
        return failed(
            f"gs://{bucket} has {plural(len(uploaded), 'model')}, the registry {len(listed)}. "
            f"{'; '.join(faults)}.",
            f'curl -H "Authorization: Bearer $(gcloud auth print-identity-token)" '
            f'"{self.at.service.url}/model-registry?env={self.at.env}"',
        )


def _may_query(at: Deployment) -> str:
    return (
        f"gcloud projects add-iam-policy-binding {at.clients.settings.project} "
        '--role=roles/bigquery.jobUser --member="user:$(gcloud config get account)"'
    )


def _model(name: str) -> ModelRef | None:
    """Return the model version whose `model.pkl` has this name, or None."""
    try:
        ref, kind = ModelRef.of_object(name)
    except InvalidRequest:
        return None
    return ref if kind == "model" else None


def _for_bq(dataset: str) -> str:
    return dataset.replace(".", ":")
