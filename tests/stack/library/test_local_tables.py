"""The service's tables on the local stack follow the schemas of the release that starts."""

import json

import pytest
from google.cloud import bigquery

from mlsys.local.bigquery import SCHEMAS, create_tables
from mlsys.local.stack import LocalStack


@pytest.mark.slow
@pytest.mark.parametrize("table", ["model_registry", "prediction_runs"])
def test_a_table_of_an_older_release_gets_the_columns_that_it_lacks(
    stack: LocalStack, table: str
) -> None:
    client, name = stack.clients.bigquery, f"{stack.settings.project}.mlsys_prod.{table}"
    fields = json.loads((SCHEMAS / f"{table}.json").read_text())
    older = [bigquery.SchemaField.from_api_repr(f) for f in fields if f["name"] != "loader"]
    client.create_dataset(name.rpartition(".")[0], exists_ok=True, timeout=30)
    client.delete_table(name, not_found_ok=True, timeout=30)
    client.create_table(bigquery.Table(name, older), timeout=30)
    required = {f["name"]: "'x'" for f in fields if f["mode"] == "REQUIRED"}
    values = {"INTEGER": "1", "TIMESTAMP": "CURRENT_TIMESTAMP()"}
    required |= {
        f["name"]: values[f["type"]]
        for f in fields
        if f["name"] in required and f["type"] in values
    }
    sql = f"INSERT INTO `{name}` ({', '.join(required)}) VALUES ({', '.join(required.values())})"
    client.query(sql, timeout=30).result(timeout=30)
    for _ in range(2):
        create_tables(stack.clients, ["prod"])
        names = [f.name for f in client.get_table(name, timeout=30).schema]
        assert names == [f.name for f in older] + ["loader"]  # at the end, as BigQuery has it
    [row] = client.query(f"SELECT model_name, loader FROM `{name}`", timeout=30).result(timeout=30)
    assert (row["model_name"], row["loader"]) == ("x", None)
