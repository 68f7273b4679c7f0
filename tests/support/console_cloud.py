"""The console over clients in memory: BigQuery's answers by statement, and buckets of objects."""

from __future__ import annotations

import datetime as dt
import functools
import html
import io
import json
import re
from dataclasses import asdict, dataclass, field, replace
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flask.testing import FlaskClient
from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from app import create_app
from edge_cases import SERVICE
from mlsys.cloud.tables import TableRef
from mlsys.columns.features import Feature
from workers.scoring.journal.at_work import mark
from workers.scoring.journal.decisions import Counts, Decision
from workers.scoring.journal.outcomes import Result
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.columns import Column
from workers.scoring.planning.destination import REJECTS, Destination
from workers.scoring.planning.model_pin import ModelPin
from workers.scoring.planning.plan import Plan
from workers.scoring.shards.part import Footer
from workers.scoring.shards.read_session import Session
from workers.sql import statement

NOW = dt.datetime(2026, 11, 28, 20, 0, tzinfo=dt.UTC)
STATEMENTS = (
    *("list_models", "list_runs", "models_at_a_glance", "daily_runs", "recorded_models"),
    *("recorded_aliases", "versions_of_model", "runs_of_versions", "distances_of_run"),
    *("drifted_runs", "metrics_of_run", "metrics_of_versions", "runs_of_table"),
    *("last_run_of_partitions", "list_drift", "list_alias_history", "runs_of_partitions"),
    *("sum_costs", "undone_runs"),
)
# Of those that are made for the tables that they are about
MADE = {"INFORMATION_SCHEMA.PARTITIONS": "partitions", "AS content": "count_written"}
DATASET = SimpleNamespace(location="US", max_time_travel_hours=168)
MODELS, RUNS = "mlsys-models-dev", "mlsys-runs-dev"


def moment(minutes: float) -> dt.datetime:
    """Return the time that many minutes before now."""
    return NOW - dt.timedelta(minutes=minutes)


@dataclass
class Blob:
    """An object, or the place of one."""

    world: World
    bucket_name: str
    name: str
    size: int = 10
    generation: int = 1
    md5_hash = time_deleted = None
    crc32c = "AAAAAA=="

    @property
    def bucket(self) -> SimpleNamespace:
        return SimpleNamespace(name=self.bucket_name)

    @property
    def metadata(self) -> dict[str, str] | None:
        return self.world.metadata.get(self.name)

    @property
    def _stored(self) -> tuple[bytes, dt.datetime]:
        try:
            return self.world.objects[self.bucket_name, self.name]
        except KeyError:
            raise NotFound(self.name) from None

    @property
    def time_created(self) -> dt.datetime:
        return self._stored[1]

    updated = time_created

    def upload_from_string(self, data: str, **_: Any) -> None:
        self.world.objects[self.bucket_name, self.name] = (data.encode(), NOW)

    def delete(self, **_: Any) -> None:
        self._stored  # noqa: B018 - raises if it does not exist
        del self.world.objects[self.bucket_name, self.name]

    def download_as_bytes(self, **_: Any) -> bytes:
        return self._stored[0]

    def open(self, *_: Any, **__: Any) -> io.BytesIO:
        return io.BytesIO(self._stored[0])


class Listed(list[Blob]):
    """The objects of a listing, and the folders beside them."""

    def __init__(self, blobs: list[Blob], prefixes: set[str]) -> None:
        super().__init__(blobs)
        self.prefixes = prefixes


def _existing[T](values: dict[str, T], name: str) -> T:
    if name not in values:
        raise NotFound(name)
    return values[name]


def partitioned(**values: Any) -> Any:
    """Return the resource of a table that is partitioned by day."""
    known = {"table_type": "TABLE", "schema": (), "streaming_buffer": None, "location": None}
    known |= {"num_rows": 30, "created": moment(60 * 24 * 30), "modified": moment(60 * 24)}
    known |= {"time_partitioning": bigquery.TimePartitioning(field="day")}
    known |= {"range_partitioning": None, "require_partition_filter": False}
    return SimpleNamespace(**known | values)


@dataclass
class World:
    """Clients whose queries answer with `rows` by statement, and whose objects are `objects`."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    objects: dict[tuple[str, str], tuple[bytes, dt.datetime]] = field(default_factory=dict)
    queries: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    datasets: dict[Any, list[str]] = field(default_factory=dict)  # tables by project and dataset
    tables: dict[str, Any] = field(default_factory=dict)  # their resources, by name
    jobs: dict[str, Any] = field(default_factory=dict)  # by id
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)  # of objects, by name

    settings = SERVICE

    @property
    def bigquery(self) -> SimpleNamespace:
        datasets = [SimpleNamespace(project=p, dataset_id=d) for p, d in self.datasets]
        return SimpleNamespace(
            query=self._query,
            get_table=lambda name, **_: _existing(self.tables, name),
            get_job=lambda job_id, **_: _existing(self.jobs, job_id),
            get_dataset=lambda *_, **__: DATASET,
            list_datasets=lambda *_, **__: datasets,
            list_tables=lambda name, **_: [
                SimpleNamespace(table_id=t) for t in self.datasets[tuple(name.split("."))]
            ],
        )

    @property
    def storage(self) -> SimpleNamespace:
        return SimpleNamespace(bucket=self._bucket, list_blobs=self._list)

    def _query(self, sql: str, job_config: Any, **_: Any) -> SimpleNamespace:
        known = (name for name in STATEMENTS if statement(name) == sql)
        name = next(known, None) or next(name for text, name in MADE.items() if text in sql)
        parameters = {
            p.name: getattr(p, "value", getattr(p, "values", None))
            for p in job_config.query_parameters
        }
        self.queries.append((name, parameters))
        rows = self.rows.get(name, [])
        for key in ("model_name", "state", "status"):
            if wanted := parameters.get(key):
                rows = [row for row in rows if row[key] == wanted]
        rows = rows[: parameters.get("limit") or None]
        return SimpleNamespace(result=lambda **_: rows)

    def _bucket(self, bucket: str) -> SimpleNamespace:
        def get_blob(name: str, **_: Any) -> Blob | None:
            return Blob(self, bucket, name) if (bucket, name) in self.objects else None

        def blob(name: str, **_: Any) -> Blob:
            return Blob(self, bucket, name)

        return SimpleNamespace(name=bucket, blob=blob, get_blob=get_blob)

    def _list(
        self, bucket: str, prefix: str | None = None, delimiter: str | None = None, **_: Any
    ) -> Listed:
        begin = prefix or ""
        names = [n for where, n in sorted(self.objects) if where == bucket and n.startswith(begin)]
        folders = {
            begin + name.removeprefix(begin).partition("/")[0] + "/"
            for name in names
            if delimiter and "/" in name.removeprefix(begin)
        }
        direct = (n for n in names if not any(n.startswith(folder) for folder in folders))
        return Listed([Blob(self, bucket, name) for name in direct], folders)

    def put(self, name: str, content: Any, minutes: float = 0, bucket: str = RUNS) -> None:
        """Store an object that was written that many minutes ago."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.objects[bucket, name] = (data, moment(minutes))


@functools.cache
def _application() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.logs.configure", lambda: None)
        return create_app(SERVICE, World())  # type: ignore[arg-type]


def client_of(world: World, **settings: Any) -> FlaskClient:
    """Return a client of a service over this world."""
    app = _application()
    service = app.extensions["mlsys"]
    own = replace(SERVICE, **settings) if settings else SERVICE
    app.extensions["mlsys"] = replace(service, clients=world, settings=own)
    return app.test_client()


def model_row(version: int = 1, name: str = "titanic-survival", **values: Any) -> dict[str, Any]:
    """Return a row of the registry, JSON columns as text."""
    row = {
        "model_name": name,
        "model_version": f"v{version}",
        "version_number": version,
        "environment": "dev",
        "gcs_uri": f"gs://{MODELS}/{name}/v{version}/model.pkl",
        "generation": 1700 + version,
        "metadata_generation": 1,
        "signature_generation": None,
        "verified_with": "abcdef",
        "size_bytes": 20_480,
        "crc32c": "AAAAAA==",
        "md5": "x",
        "uploaded_at": moment(60 * 24 * (10 - version)),
        "registered_at": moment(60 * 24 * (10 - version)),
        "registered_by": "event",
        "status": "ready",
        "status_reason": None,
        "model_class": "Pipeline(OneHotEncoder, LogisticRegression)",
        "feature_names": ["Pclass", "Sex", "Age"],
        "target": ["Survived"],
        "sklearn_version": "1.9.0",
        "python_version": "3.12.3",
        "promoted_from": None,
        "promoted_by": None,
        "promoted_at": None,
        "metrics": json.dumps({"accuracy": 0.78 + version / 100, "auc": 0.85 - version / 100}),
        "metadata": json.dumps(DOCUMENT),
        "contract_generation": 1,
        "contract": json.dumps(CONTRACT),
        "loader": "listed",
    }
    return row | values


DOCUMENT: dict[str, Any] = {
    "model_class": "Pipeline(OneHotEncoder, LogisticRegression)",
    "description": "Who survived the Titanic.",
    "parameters": {"C": "1.0", "max_iter": "1000"},
    "signature": {
        "features": [
            {"name": "Pclass", "type": "INT64", "dtype": "int64", "nullable": False},
            {"name": "Sex", "type": "STRING", "dtype": "str"},
            {"name": "Age", "type": "FLOAT64", "dtype": "float64"},
        ]
    },
    "id_columns": ["PassengerId"],
    "versions": {"scikit-learn": "1.9.0", "python": "3.12.3"},
    "profile": {
        "rows": 891,
        "columns": {
            "Pclass": {"nulls": 0, "min": 1, "max": 3, "mean": 2.31},
            "Sex": {"nulls": 0, "distinct": 2, "top": {"male": 577, "female": 314}},
            "Age": {"nulls": 177, "min": 0.42, "max": 80.0, "mean": 29.7},
        },
    },
    "golden": {"rows": [[3, "male", 22.0], [1, "female", None]], "predictions": [0, 1]},
}


CONTRACT = {
    "version": 1,
    "clauses": [
        {
            "column": "Age",
            "check": "in_range",
            "min_value": 0,
            "max_value": 120,
            "action": "reject",
        },
        {"check": "row_count", "min_value": 300, "action": "stop"},
    ],
}


def run_row(run_id: str = "a-run", **values: Any) -> dict[str, Any]:
    """Return a row of the ledger, JSON columns as text."""
    row = {
        "run_id": run_id,
        "state": "succeeded",
        "failure": None,
        "model_name": "titanic-survival",
        "model_version": "v1",
        "model_generation": 1701,
        "model_crc32c": "AAAAAA==",
        "input_table": "my-project.titanic.test",
        "output_table": "my-project.titanic.scored",
        "rejects_table": None,
        "write_disposition": "WRITE_APPEND",
        "request": "{}",
        "snapshot_at": moment(20),
        "started_at": moment(20),
        "finished_at": moment(17),
        "seconds": 192.0,
        "rows_read": 418,
        "rows_scored": 418,
        "rows_rejected": 0,
        "bytes_read": 40_000,
        "shards": 2,
        "attempts": 1,
        "path": "arrow",
        "job_id": "job",
        "loader": "listed",
        "model_alias": None,
        "contract": None,
    }
    return row | values


def alias_row(minutes: float = 5.0, **values: Any) -> dict[str, Any]:
    """Return a row of the log of aliases, JSON as text."""
    row = {
        "model_name": "titanic-survival",
        "alias": "champion",
        "environment": "dev",
        "version": "v1",
        "previous_version": None,
        "who": "ada@example.com",
        "why": "it is better",
        "forced": False,
        "evidence": json.dumps({"golden": "same"}),
        "moved_at": moment(minutes),
        "generation": 1,
        "previous_generation": None,
        "deleted": False,
        "source": "service",
        "move_id": None,
        "problem": None,
        "learnt_by": "move",
        "guarded": None,
    }
    return row | values


def plan_of(run_id: str = "a-run", **request: str) -> Plan:
    """Return the plan of a run of the Titanic model."""
    name = request.get("output_table", "my-project.titanic.scored")
    output = TableRef.parse(name, partition=True)
    columns = (Column("PassengerId", "INT64"), Column("Survived", "INT64"))
    destination = Destination(output, columns, True, (), "predicted_at", "WRITE_APPEND")
    rejects = tuple(Column(name, kind) for name, kind in REJECTS.items())
    passed = {
        "env": "dev",
        "input_table": "my-project.titanic.test",
        "output_table": str(output),
        "model_name": "titanic-survival",
        "model_version": "v1",
    }
    return Plan(
        run_id=run_id,
        token="0123456789abcdef",
        request=passed | request,
        model=ModelPin(
            MODELS, "titanic-survival/v1/model.pkl", 1, "x", "titanic-survival", "v1", 9
        ),
        is_query=False,
        snapshot_at=moment(20).isoformat(),
        created_at=moment(20).isoformat(),
        rows_expected=1000,
        features=(Feature("Age", "FLOAT64", "float64"),),
        ids=(Column("PassengerId", "INT64"),),
        read_columns=("PassengerId", "Age"),
        outputs={"predict": ("Survived",)},
        output=destination,
        rejects=Destination(output, rejects, False, (), "rejected_at", "WRITE_APPEND"),
        location="US",
        path="arrow",
    )


def put_run(world: World, plan: Plan) -> None:
    """Store a run that has scored one of two streams."""
    world.put(f"{plan.run_id}/plan.json", plan.to_dict(), 19.9)
    attempt = {"at": moment(19).isoformat(), "until": NOW.isoformat(), "progress": "planned"}
    world.put(f"{plan.run_id}/attempts/20261128T194100000000.json", attempt, 19)
    session = Session(0, ("s0", "s1"), None, 1000)
    world.put(f"{plan.run_id}/session-0.json", asdict(session), 18.5)
    footer = Footer(Counts(600, 590, 10, 9_000), "rejects/0/00000-000000000000-ab.parquet", "arrow")
    world.put(f"{plan.run_id}/parts/0/00000-000000000000.parquet", parquet(footer.notes()), 18)


def put_working(world: World, run_id: str, minutes: float = 19, **values: str) -> None:
    """Store a run that reads rows, with its marker, which may have other values."""
    plan = plan_of(run_id)
    put_run(world, plan)
    mark(RunStore(world, "dev", run_id), plan.ledger_row)  # type: ignore[arg-type]
    name = f"_running/{run_id}.json"
    marker = json.loads(world.objects[RUNS, name][0])
    world.put(name, marker | {"started_at": moment(minutes).isoformat()} | values, minutes)


def put_partitions(world: World) -> None:
    """Store what the board of the Titanic's tables looks at: three days, and one that is scored.

    It is scored by v1, and champion is v2 now.
    """
    for name in ("test", "scored"):
        world.tables[f"my-project.titanic.{name}"] = partitioned()
    world.rows["partitions"] = [
        {"place": 0, "partition_id": f"2026112{n}", "total_rows": 10, "modified": moment(9_000)}
        for n in range(3)
    ] + [{"place": 1, "partition_id": "20261121", "total_rows": 9, "modified": moment(20)}]
    scored = run_row("newer", output_table="my-project.titanic.scored$20261121", rows_read=10)
    world.rows["runs_of_partitions"] = [scored | {"request": "{}", "model_alias": "champion"}]
    for version in ("v1", "v2"):
        world.put(f"titanic-survival/{version}/model.pkl", b"x", bucket=MODELS)
    world.put("titanic-survival/aliases/champion.json", {"version": "v2"}, bucket=MODELS)


def result_of(plan: Plan, **values: Any) -> dict[str, Any]:
    """Return a `result.json`."""
    known = {
        "run_id": plan.run_id,
        "state": "succeeded",
        "env": "dev",
        "model_name": plan.model.name,
        "model_version": plan.model.version,
        "model_generation": 1,
        "input_table": str(plan.input_table),
        "output_table": str(plan.output.table),
        "rejects_table": "my-project.titanic.scored_rejects",
        "write_disposition": "WRITE_APPEND",
        "rows": 990,
        "rows_read": 1000,
        "rows_rejected": 10,
        "max_rejects": "10",
        "bytes_read": 20_000_000,
        "path": "arrow",
        "shards": 2,
        "attempts": 1,
        "seconds": 192.0,
        "predicted_at": plan.created_at,
        "snapshot_at": plan.snapshot_at,
        "job_id": "job",
        "output_created": None,
        "finished_at": moment(16.8).isoformat(),
    }
    return Result(**(known | values)).to_dict()


def parquet(notes: dict[str, str], **columns: Any) -> bytes:
    """Return a Parquet file with these notes in its footer."""
    table = pa.table(columns or {"x": [1]}).replace_schema_metadata(notes)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


class Seen(HTMLParser):
    """What a page holds: its text, its links, and its elements with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.elements.append((tag, values))
        if tag == "a" and (address := values.get("href")):
            self.links.append(address)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", html.unescape("".join(self.words)))


def profile_row(column: str, role: str = "feature", **values: Any) -> dict[str, Any]:
    """Return a row of a run's profile, as its decision holds it."""
    bins = [{"bin": "missing", "rows": 86, "before": 177}, {"bin": "above", "rows": 0}]
    bins += [{"bin": "(0, 30]", "rows": 200, "before": 400}, {"bin": "(30, 80]", "rows": 132}]
    row = {
        "column_name": column,
        "role": role,
        "level": "ok",
        "distance": 0.1,
        "psi": 0.01,
        "null_share": 0.2,
        "null_share_before": 0.19,
        "unseen_share": None,
        "out_of_range_share": 0.0,
        "mean_shift": 0.1,
        "importance": None,
        "why": None,
        "reference": "training",
        "row_count": 418,
        "bins_id": "abc",
        "bins": bins,
    }
    return row | values


def decision_of(profile: list[dict[str, Any]], rejects: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a `publish.json`."""
    counts = Counts(1000, 990, 10, 9_000)
    return Decision("0123456789abcdef", (), rejects, counts, "10", profile=tuple(profile)).to_dict()
