"""The local BigQuery refuses a query that needs more memory than it has, and continues."""

from collections.abc import Iterator

import psutil
import pytest
from google.api_core.exceptions import BadRequest

from mlsys.cloud.clients import Clients
from mlsys.local.addresses import HOST, choose_port
from mlsys.local.bigquery import start_bigquery
from mlsys.local.processes import Server
from mlsys.settings import Emulators, Settings
from workers.query import dry_run, select

LIMIT = 1536 * 2**20
FILTERS = (
    "REPEAT('x', 2000000000) = 'y'",
    "LENGTH(REPEAT(REPEAT('x', 60000), 60000)) > 1",
    "ARRAY_LENGTH(GENERATE_ARRAY(1, 1000000000)) > 1",
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Clients]]:
    """Yield a BigQuery with little memory."""
    folder = tmp_path_factory.mktemp("bigquery")
    ports = [choose_port(None, what) for what in ("BigQuery", "BigQuery Storage")]
    (folder / "gcs").mkdir()
    server = start_bigquery(
        port=ports[0],
        storage_port=ports[1],
        project="p",
        gcs_root=folder / "gcs",
        folder=folder,
        log_file=folder / "log",
        memory=LIMIT,
    )
    try:
        server.wait_until_ready()
        emulators = Emulators(bigquery=f"http://{HOST}:{ports[0]}")
        yield server, Clients(Settings("p", envs=("dev",), push_auth="off", emulators=emulators))
    finally:
        server.stop()


@pytest.mark.parametrize("condition", FILTERS)
def test_a_filter_that_needs_too_much_memory_is_refused_as_a_bad_request(
    small: tuple[Server, Clients], condition: str
) -> None:
    server, clients = small
    sql = f"SELECT * FROM (SELECT 1 AS a) WHERE ({condition})"
    with pytest.raises(BadRequest):
        dry_run(clients, sql)
        list(select(clients, sql))
    server.check()
    assert [row[0] for row in select(clients, "SELECT 41 + 1")] == [42]
    family = psutil.Process(server._process.pid).children(recursive=True)
    assert sum(process.memory_info().rss for process in family) < LIMIT + 2**29


@pytest.mark.slow
def test_cached_results_reserve_only_the_memory_they_hold(
    small: tuple[Server, Clients],
) -> None:
    """200 results of 4 columns would reserve 3 GiB, twice the limit."""
    _, clients = small
    for n in range(200):
        assert [row[0] for row in select(clients, f"SELECT {n} AS a, 'b' AS b, 1 AS c, 2 AS d")]


@pytest.mark.slow
def test_a_small_result_of_many_columns_is_given(small: tuple[Server, Clients]) -> None:
    """A million rows of each column, as DuckDB reserves them, would be 4 GiB a thread."""
    _, clients = small
    columns = ", ".join(f"{n}.5 AS c{n}" for n in range(500))
    assert len(dry_run(clients, f"SELECT {columns}").schema) == 500
    assert [row[499] for row in select(clients, f"SELECT {columns}")] == [499.5]
