"""Where data lies: a load job reads a bucket only from some of the locations of its dataset.

"If your dataset's location is set to a value other than the US multi-region, then the Cloud Storage
bucket must be in the same region or contained in the same multi-region as the dataset"
(https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#limitations). A bucket
in a multi-region is not in one of its regions: BigQuery answers "Cannot read and write in different
locations: source: asia, destination: asia-northeast3".
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlsys.cloud.clients import TIMEOUT, Clients, bigquery_retry
from mlsys.errors import SchemaMismatch

if TYPE_CHECKING:
    from mlsys.cloud.tables import TableRef

log = logging.getLogger(__name__)

# The regions of the pairs that have a name of their own:
# https://cloud.google.com/storage/docs/locations#location-dr
_PAIRS = {
    "asia1": ("asia-northeast1", "asia-northeast2"),
    "eur4": ("europe-north1", "europe-west4"),
    "eur5": ("europe-west1", "europe-west2"),
    "eur7": ("europe-west2", "europe-west3"),
    "eur8": ("europe-west3", "europe-west6"),
    "nam4": ("us-central1", "us-east1"),
}
# Regions in Europe that are not part of the multi-region EU:
# https://cloud.google.com/bigquery/docs/locations#multi-regions
_OUTSIDE_EU = frozenset({"europe-west2", "europe-west6"})


def loads_from(dataset: str, bucket: str, regions: Iterable[str] = ()) -> bool:
    """Return whether a load job into a dataset at `dataset` reads a bucket at `bucket`.

    `regions` are those of a bucket in a pair of regions that somebody chose.

    >>> loads_from("US", "EUROPE-WEST1"), loads_from("EU", "EUROPE-WEST1")
    (True, True)
    >>> loads_from("EU", "US"), loads_from("europe-west1", "EU")
    (False, False)
    """
    into, of = dataset.lower(), bucket.lower()
    if into in ("us", of):
        return True
    pair = [region.lower() for region in regions] or list(_PAIRS.get(of, ()))
    if into == "eu":
        return all(_in_eu(region) for region in pair or [of])
    return into in pair


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


def _in_eu(region: str) -> bool:
    return region == "eu" or (region.startswith("europe-") and region not in _OUTSIDE_EU)
