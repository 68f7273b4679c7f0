"""Sample tables of the local stack: the Titanic passenger list. README.md names the source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlsys.cloud.clients import TIMEOUT, Clients, bigquery_retry
from mlsys.cloud.tables import TableRef, load_rows

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = Path(__file__).parent
DATASET = "titanic"
ROWS = {"train": 891, "test": 418, "test_survived": 418}
_INTEGERS = ("PassengerId", "Survived", "Pclass", "SibSp", "Parch")
_FLOATS = ("Age", "Fare")


def load_samples(clients: Clients) -> list[str]:
    """Create `titanic.train`, `titanic.test` and `titanic.test_survived`, and return their names.

    A table that has all its rows already is kept: a load would change its state, and scoring it
    again would be a new run.
    """
    from google.cloud import bigquery

    client = clients.bigquery
    dataset = f"{clients.settings.project}.{DATASET}"
    client.create_dataset(dataset, exists_ok=True, timeout=TIMEOUT, retry=bigquery_retry())
    for name, expected in ROWS.items():
        rows = read_sample(name)
        schema = [bigquery.SchemaField(f.name, _sql_type(f.name)) for f in rows.schema]
        # The emulator's WRITE_TRUNCATE load needs an existing table.
        table = client.create_table(
            bigquery.Table(f"{dataset}.{name}", schema),
            exists_ok=True,
            timeout=TIMEOUT,
            retry=bigquery_retry(),
        )
        if client.get_table(table, timeout=TIMEOUT, retry=bigquery_retry()).num_rows == expected:
            continue
        load_rows(clients, rows, TableRef.parse(f"{dataset}.{name}"), schema, "WRITE_TRUNCATE")
    return [f"{DATASET}.{name}" for name in ROWS]


def read_sample(name: str) -> pa.Table:
    """Return one of the sample tables, from its CSV file: an empty field is NULL.

    Raises:
        KeyError: the sample does not exist.
    """
    import pyarrow as pa
    from pyarrow import csv

    if name not in ROWS:
        raise KeyError(name)
    types = {"INTEGER": pa.int64(), "FLOAT": pa.float64(), "STRING": pa.string()}
    path = FOLDER / f"{DATASET}_{name}.csv"
    with path.open() as lines:
        columns = lines.readline().strip().split(",")
    options = csv.ConvertOptions(
        column_types={column: types[_sql_type(column)] for column in columns},
        null_values=[""],
        strings_can_be_null=True,
    )
    return csv.read_csv(path, convert_options=options)


def _sql_type(column: str) -> str:
    """Return the type as the API names it; the emulator returns the name it was given."""
    if column in _INTEGERS:
        return "INTEGER"
    return "FLOAT" if column in _FLOATS else "STRING"
