"""Check where data lies before a run copies or loads it; `mlsys.cloud.locations` has the rules."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mlsys.cloud.clients import TIMEOUT, Clients, bigquery_retry
from mlsys.cloud.locations import loads_from
from mlsys.errors import SchemaMismatch

if TYPE_CHECKING:
    from mlsys.cloud.tables import TableRef

log = logging.getLogger(__name__)


def check_bucket(clients: Clients, env: str, output: TableRef, location: str | None) -> None:
    """Make sure that a load job can read the runs bucket for an output at `location`.

    A bucket whose location cannot be seen is left to the load job.

    Raises:
        SchemaMismatch: it cannot, because they are in different locations.
    """
    from google.api_core.exceptions import Forbidden, NotFound

    if not location or location.lower() == "us":  # the local BigQuery has no table's location
        return
    name = clients.settings.runs_bucket(env)
    try:
        bucket = clients.storage.get_bucket(name, timeout=TIMEOUT)
    except (Forbidden, NotFound) as exc:
        log.info("The location of gs://%s was not checked: %s", name, exc)
        return
    if bucket.location and not loads_from(location, bucket.location, bucket.data_locations or ()):
        raise SchemaMismatch(
            f"{output} is or will be in {location}, and the runs bucket gs://{name} is in "
            f"{bucket.location}: no load job can read the one and write the other. Pass an "
            "output_table in a dataset of the bucket's location."
        )


def check_copy(clients: Clients, env: str, table: TableRef) -> None:
    """Make sure that a query can copy rows of `table` into the service's own dataset.

    Raises:
        SchemaMismatch: they are in different locations, and no query can span both.
    """
    own = clients.settings.dataset(env)
    source, target = dataset_location(clients, f"{table.project}.{table.dataset}"), None
    if own != f"{table.project}.{table.dataset}":
        target = dataset_location(clients, own)
    if target is not None and target != source:
        raise SchemaMismatch(
            f"{table} is in {source} and {own} in {target}: no query can copy its rows, which a "
            "view and column names beyond letters, digits and underscores require. Copy it into a "
            "table with plain column names, and pass that as input_table."
        )


def dataset_location(clients: Clients, name: str) -> str:
    """Return the location of a dataset."""
    return clients.bigquery.get_dataset(name, timeout=TIMEOUT, retry=bigquery_retry()).location
