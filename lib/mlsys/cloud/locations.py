"""From which locations a load job reads: only from some of those of its dataset.

"If your dataset's location is set to a value other than the US multi-region, then the Cloud Storage
bucket must be in the same region or contained in the same multi-region as the dataset"
(https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#limitations). A bucket
in a multi-region is not in one of its regions: BigQuery answers "Cannot read and write in different
locations: source: asia, destination: asia-northeast3".
"""

from __future__ import annotations

from collections.abc import Iterable

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


def _in_eu(region: str) -> bool:
    return region == "eu" or (region.startswith("europe-") and region not in _OUTSIDE_EU)
