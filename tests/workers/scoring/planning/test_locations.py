"""The runs bucket lies where a load job into the output's dataset can read it, or planning says."""

from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import Forbidden, NotFound

from mlsys.cloud.tables import TableRef
from mlsys.errors import SchemaMismatch
from workers.scoring.planning.locations import check_bucket, loads_from

OUTPUT = TableRef("my-project", "d", "out")


@pytest.mark.parametrize(
    ("dataset", "bucket", "regions", "loads"),
    [
        *((("US", place, (), True)) for place in ("US", "EU", "ASIA", "EUROPE-WEST1", "NAM4")),
        ("EU", "EU", (), True),
        ("EU", "EUROPE-WEST1", (), True),
        ("EU", "EUR4", (), True),
        ("EU", "EU", ("EUROPE-WEST1", "EUROPE-WEST4"), True),
        ("EU", "US", (), False),
        ("EU", "US-CENTRAL1", (), False),
        ("EU", "EUROPE-WEST2", (), False),
        ("EU", "EUROPE-WEST6", (), False),
        ("EU", "EUR5", (), False),
        ("EU", "ASIA", (), False),
        ("europe-west1", "EUROPE-WEST1", (), True),
        ("europe-west1", "EU", ("EUROPE-WEST1", "EUROPE-WEST4"), True),
        ("europe-west4", "EUR4", (), True),
        ("asia-northeast1", "ASIA1", (), True),
        ("us-central1", "NAM4", (), True),
        ("europe-west1", "EU", (), False),
        ("europe-west1", "EUROPE-WEST4", (), False),
        ("us-central1", "US", (), False),
        ("us-west1", "NAM4", (), False),
        ("asia-northeast3", "ASIA", (), False),
        ("europe-west3", "EU", ("EUROPE-WEST1", "EUROPE-WEST4"), False),
    ],
)
def test_a_load_job_reads_only_some_locations(
    dataset: str, bucket: str, regions: tuple[str, ...], loads: bool
) -> None:
    assert loads_from(dataset, bucket, regions) is loads


def clients(bucket: Any) -> Any:
    """Return clients that see the runs bucket as `bucket`, or raise it."""

    def get_bucket(name: str, timeout: float) -> Any:
        assert (name, timeout) == ("mlsys-runs-dev", 60.0)
        if isinstance(bucket, Exception):
            raise bucket
        return bucket

    settings = SimpleNamespace(runs_bucket=lambda env: f"mlsys-runs-{env}")
    return SimpleNamespace(settings=settings, storage=SimpleNamespace(get_bucket=get_bucket))


def test_another_location_is_refused_with_both_named() -> None:
    bucket = SimpleNamespace(location="US", data_locations=None)
    with pytest.raises(SchemaMismatch) as caught:
        check_bucket(clients(bucket), "dev", OUTPUT, "europe-west1")
    text = str(caught.value)
    assert "my-project.d.out is or will be in europe-west1" in text
    assert "gs://mlsys-runs-dev is in US" in text


@pytest.mark.parametrize(
    "bucket",
    [
        SimpleNamespace(location="EU", data_locations=["EUROPE-WEST1", "EUROPE-WEST4"]),
        SimpleNamespace(location="EUROPE-WEST1", data_locations=None),
        SimpleNamespace(location=None, data_locations=None),
        Forbidden("storage.buckets.get"),
        NotFound("no such bucket"),
    ],
)
def test_a_location_that_fits_or_cannot_be_seen_is_accepted(bucket: Any) -> None:
    check_bucket(clients(bucket), "dev", OUTPUT, "europe-west1")


@pytest.mark.parametrize("location", ["US", "us", None, ""])
def test_a_dataset_in_the_us_or_nowhere_asks_nothing(location: str | None) -> None:
    check_bucket(clients(AssertionError()), "dev", OUTPUT, location)
