"""`mlsys doctor --run`: one row from upload to output, and nothing left of it but its records."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from typing import Any

from mlsys.artifact.refs import ModelRef
from mlsys.cloud.clients import TIMEOUT, bigquery_retry
from mlsys.cloud.messages import Use
from mlsys.cloud.tables import TableRef
from mlsys.doctor.check import Check, Finding, Outcome, explain, failed, ok
from mlsys.doctor.deployment import Deployment
from mlsys.errors import MlsysError
from mlsys.plural import plural
from mlsys.remote.answers import RESULT

NAME = "mlsys-doctor"
ANSWER = 600.0  # seconds; a first instance starts, and a first load job may wait
HOURS = 1  # after which BigQuery deletes the tables, if this process could not


def try_run(
    at: Deployment,
    dataset: str,
    upload_model: Callable[..., ModelRef],
    progress: Callable[[str], None],
) -> Finding:
    """Upload a model, score a row with it, compare the row, and delete what was made.

    Both tables are in `dataset`, project.dataset, which the service may write. The run's objects
    and its row in the ledger stay, as those of every run. `upload_model` is the notebook's.
    """
    trial = _Trial(at, dataset, upload_model, progress)
    check = Check(
        "run",
        trial.run,
        Use("Google Cloud", f"a run over {dataset}", ("bigquery.tables.create",)),
        f"gcloud run services logs read mlsys-{at.env} --project={at.clients.settings.project} "
        f"--region={at.clients.settings.region}",
    )
    try:
        outcome = trial.run()
    except Exception as exc:  # of any of the calls: the finding says which
        outcome = failed(f"{trial.doing}: {explain(exc, check)}", check.fix)
    return Finding("run", outcome.state, outcome.seen, outcome.fix)


class _Trial:
    def __init__(
        self,
        at: Deployment,
        dataset: str,
        upload_model: Callable[..., ModelRef],
        progress: Callable[[str], None],
    ) -> None:
        self.at, self.upload_model, self.progress = at, upload_model, progress
        self.doing = ""
        unique = secrets.token_hex(4)  # two people may try it at the same time
        self.model = f"{NAME}-{unique}"
        mark = f"mlsys_doctor_{unique}"
        self.input = TableRef.parse(f"{dataset}.{mark}")
        self.output = TableRef.parse(f"{dataset}.{mark}_scored")

    def run(self) -> Outcome:
        """Do it all; what was made is deleted however it ends."""
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            self._now("Create a table of one row")
            stack.callback(self._drop, self.input)
            self._query(
                f"CREATE TABLE `{self.input}` OPTIONS (expiration_timestamp = TIMESTAMP_ADD("
                f"CURRENT_TIMESTAMP(), INTERVAL {HOURS} HOUR)) AS SELECT 1 AS id, 3.0 AS x"
            )
            self._now(f"Upload {self.model}, and wait until the registry lists it")
            stack.callback(self._delete_model)
            ref = self._upload()
            registered = time.monotonic()
            self._now("Score the row")
            stack.callback(self._drop, self.output)
            result = self._score(ref.version)
            self._now("Read the prediction")
            [row] = self._query(f"SELECT id, prediction FROM `{self.output}`")
            ended = time.monotonic()
        if (result["rows"], row["id"]) != (1, 1) or abs(row["prediction"] - 6.0) > 1e-6:
            return failed(
                f"The model doubles x, and its prediction for 3.0 came back as "
                f"{row['prediction']} in {plural(result['rows'], 'row')}.",
                f"Report it with the run's id, {result['run_id']}",
            )
        return ok(
            f"A model was registered {registered - began:.1f} s after the start, and one row was "
            f"scored in {ended - registered:.1f} s (run {result['run_id']})."
        )

    def _upload(self) -> ModelRef:
        import pandas as pd
        from sklearn.linear_model import LinearRegression

        X = pd.DataFrame({"x": [0.0, 1.0, 2.0]})
        y = pd.Series([0.0, 2.0, 4.0], name="prediction")
        model = LinearRegression().fit(X, y)
        return self.upload_model(model, self.model, X=X, y=y, env=self.at.env, id_columns=["id"])

    def _score(self, version: str) -> dict[str, Any]:
        parameters = {
            "env": self.at.env,
            "input_table": str(self.input),
            "output_table": str(self.output),
            "model_name": self.model,
            "model_version": version,
            "id_columns": "id",
            "prediction_column": "prediction",
        }
        return self.at.service.ask("/predict", parameters, timeout=ANSWER, fields=[RESULT])

    def _query(self, sql: str) -> list[Any]:
        job = self.at.clients.bigquery.query(sql, timeout=TIMEOUT, retry=bigquery_retry())
        return list(job.result(timeout=TIMEOUT, retry=bigquery_retry()))

    def _drop(self, table: TableRef) -> None:
        with self._reported(str(table)):
            self.at.clients.bigquery.delete_table(
                str(table), not_found_ok=True, timeout=TIMEOUT, retry=bigquery_retry()
            )

    def _delete_model(self) -> None:
        bucket = self.at.clients.settings.models_bucket(self.at.env)
        with self._reported(f"gs://{bucket}/{self.model}"):
            blobs = self.at.clients.storage.list_blobs(
                bucket, prefix=f"{self.model}/", timeout=TIMEOUT
            )
            for blob in list(blobs):
                blob.delete(timeout=TIMEOUT)

    @contextlib.contextmanager
    def _reported(self, what: str) -> Any:
        """Report what could not be deleted; the run's own outcome matters more."""
        from google.api_core.exceptions import GoogleAPIError

        try:
            yield
        except (GoogleAPIError, MlsysError, OSError) as exc:
            self.progress(f"{what} could not be deleted: {exc}")

    def _now(self, doing: str) -> None:
        self.doing = doing
        self.progress(f"{doing} ...")
