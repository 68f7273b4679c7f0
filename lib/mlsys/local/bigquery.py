"""BigQuery on this machine: bqemulator, with the service's own datasets and tables."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import IO, TYPE_CHECKING

from mlsys.cloud.clients import TIMEOUT, Clients, bigquery_retry
from mlsys.local.addresses import HOST
from mlsys.local.bounded import default_limit
from mlsys.local.processes import Server, answers, listens

if TYPE_CHECKING:
    from google.cloud import bigquery

START_SECONDS = 90.0  # it takes 5 to 8 s on a free machine
# It reads 65,536 rows a message, however wide they are, and by default sends at most 11 MB of them;
# BigQuery cuts messages by their size. This is the largest limit that it accepts.
MAX_MESSAGE_BYTES = 1024**3
SCHEMAS = Path(__file__).parents[1] / "schemas"

# (partitioned by day of, clustered by); the columns are those of the schema files.
_LAYOUT = {
    "model_registry": ("registered_at", ["model_name"]),
    "prediction_runs": ("finished_at", ["model_name"]),
    "model_aliases": ("recorded_at", ["model_name"]),
    "prediction_evaluations": ("evaluated_at", ["model_name"]),
    "prediction_profiles": ("predicted_at", ["model_name"]),
}


def start_bigquery(
    *,
    port: int,
    storage_port: int,
    project: str,
    gcs_root: Path,
    folder: Path,
    log_file: Path,
    persistent: bool = False,
    remove: Path | None = None,
    lock: IO[str] | None = None,
    memory: int | None = None,
) -> Server:
    """Start BigQuery (REST at `port`, Storage API at `storage_port`); wait for it yourself.

    Load jobs read `gs://bucket/object` from `gcs_root/bucket/object`. Tables are kept in `folder`
    if `persistent`, else in memory. A query that would exceed `memory` bytes (by default three
    quarters of the machine's) fails.
    """
    home = home_for_duckdb(folder)
    _install_extensions(home)
    mode = ["--persistent", "--data-dir", str(folder)] if persistent else ["--ephemeral"]
    command = [
        *(sys.executable, "-m", "mlsys.local.emulator", "start", "--project", project, *mode),
        *("--rest-host", HOST, "--rest-port", str(port)),
        *("--grpc-host", HOST, "--grpc-port", str(storage_port)),
    ]
    environment = {
        "BQEMU_GCS_LOCAL_ROOT": str(gcs_root),
        "BQEMU_UPLOAD_STAGING_DIR": str(folder / "uploads"),
        "BQEMU_LOG_LEVEL": "warning",
        "HOME": str(home),
        "MLSYS_LOCAL_MEMORY": str(memory or default_limit()),
        "BQEMU_WRITE_API_MAX_REQUEST_BYTES": str(MAX_MESSAGE_BYTES),
    }
    url = f"http://{HOST}:{port}/readyz"
    return Server(
        "BigQuery",
        command,
        ready=lambda: answers(url) and listens(storage_port),
        seconds=START_SECONDS,
        log_file=log_file,
        environment=environment,
        folder=folder,  # it reads .bqemu.toml from its working directory
        remove=remove,
        lock=lock,
    )


def create_tables(clients: Clients, envs: Iterable[str]) -> None:
    """Create each environment's dataset `mlsys_{env}` and the service's tables, if missing.

    The tables are the files of `mlsys/schemas`, named as the tables, and the views those of its
    folder `views`. A table that an older release created gets the columns that it lacks, as from
    Terraform.
    """
    from google.cloud import bigquery

    client = clients.bigquery
    for env in envs:
        dataset = clients.settings.dataset(env)
        client.create_dataset(dataset, exists_ok=True, timeout=TIMEOUT, retry=bigquery_retry())
        for path in sorted(SCHEMAS.glob("*.json")):
            fields = json.loads(path.read_text(encoding="utf-8"))
            schema = [bigquery.SchemaField.from_api_repr(field) for field in fields]
            table = bigquery.Table(f"{dataset}.{path.stem}", schema)
            if path.stem in _LAYOUT:
                day, table.clustering_fields = _LAYOUT[path.stem]
                table.time_partitioning = bigquery.TimePartitioning(field=day)
            existing = client.create_table(
                table, exists_ok=True, timeout=TIMEOUT, retry=bigquery_retry()
            )
            _add_columns(client, existing, schema)
        for path in sorted((SCHEMAS / "views").glob("*.sql")):
            _create_view(client, dataset, path)


def _create_view(client: bigquery.Client, dataset: str, path: Path) -> None:
    """Create or replace the view that is named as the file, over the dataset's tables."""
    # As Terraform does, leave the `$` of JSON paths alone.
    sql = Template(path.read_text(encoding="utf-8")).safe_substitute(dataset=dataset)
    statement = f"CREATE OR REPLACE VIEW `{dataset}.{path.stem}` AS\n{sql}"
    job = client.query(statement, timeout=TIMEOUT, retry=bigquery_retry())
    job.result(timeout=TIMEOUT, retry=bigquery_retry())


def _add_columns(
    client: bigquery.Client, table: bigquery.Table, schema: list[bigquery.SchemaField]
) -> None:
    """Add the columns of `schema` that the table lacks, which may be NULL.

    bqemulator adds the columns by the statement, and describes them after the update.
    """
    known = {field.name for field in table.schema}
    lacking = [field for field in schema if field.name not in known]
    for field in lacking:
        sql = f"ALTER TABLE `{table.reference}` ADD COLUMN {field.name} {field.field_type}"
        job = client.query(sql, timeout=TIMEOUT, retry=bigquery_retry())
        job.result(timeout=TIMEOUT, retry=bigquery_retry())
    if lacking:
        table = client.get_table(table.reference, timeout=TIMEOUT, retry=bigquery_retry())
        table.schema = [*table.schema, *lacking]
        client.update_table(table, ["schema"], timeout=TIMEOUT, retry=bigquery_retry())


def home_for_duckdb(folder: Path) -> Path:
    """Return the folder for DuckDB's extensions: HOME, or `folder` if HOME cannot be used.

    DuckDB reads only the variable HOME; a container's user may have no home.
    """
    home = Path(os.environ.get("HOME") or folder)
    own = home / ".duckdb"
    try:
        own.mkdir(exist_ok=True)
    except OSError:
        return folder
    return home if os.access(own, os.W_OK | os.X_OK) else folder


def _install_extensions(home: Path) -> None:
    """Install DuckDB's extensions from their packages; bqemulator would download them."""
    import duckdb
    from duckdb_extensions import import_extension

    with duckdb.connect(config={"home_directory": str(home)}) as connection:
        for name in ("spatial", "avro"):
            import_extension(name, con=connection)
