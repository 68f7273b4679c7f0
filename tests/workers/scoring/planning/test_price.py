"""The limits of what a run may cost."""

from __future__ import annotations

import datetime as dt
import pickle
from decimal import Decimal
from typing import Any

import pytest

from mlsys.cloud.tables import TableRef
from mlsys.errors import InvalidRequest, PriceLimit
from workers.scoring.planning.price import TIB, Estimate, check_price, price_of
from workers.scoring.publishing.costs_table import first_day
from workers.scoring.request.limits import read_max_bytes, read_max_cost
from workers.scoring.request.parsed import ScoringRequest


def request(**limits: Any) -> ScoringRequest:
    tables = TableRef("p-project", "d", "t"), TableRef("p-project", "d", "out")
    return ScoringRequest("dev", *tables, "m", "v1", **limits)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("500000", 500_000),
        ("12B", 12),
        ("10GB", 10**10),
        ("10 gb", 10**10),
        ("5GiB", 5 * 2**30),
        ("1.5 TiB", 3 * 2**39),
        ("0.1KB", 100),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_a_size_is_bytes_or_has_a_unit(text: str, size: int) -> None:
    assert read_max_bytes(text) == size
    assert read_max_bytes(str(read_max_bytes(text))) == size


@pytest.mark.parametrize(
    "text",
    [
        *("", "-1", "1.5", "10G", "GB", "1e9", "10  GB", "1,000", "9223372036854775808", "9e99"),
        *("١GB", "10000PB", "10GB\n", "iB", "1 EB"),
    ],
)
def test_another_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="max_bytes"):
        read_max_bytes(text)


@pytest.mark.parametrize("text", ["", "-1", "1e3", "$1", "1 USD", "nan", "inf", "0.0000001", "1."])
def test_another_amount_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="max_cost"):
        read_max_cost(text)


def test_limits_are_no_part_of_a_runs_identity_and_travel_as_texts() -> None:
    limited = request(max_bytes=10**10, max_cost=Decimal("0.000001"))
    assert limited.identity() == request().identity()
    texts = limited.to_dict()
    assert (texts["max_bytes"], texts["max_cost"]) == ("10000000000", "0.000001")
    assert read_max_cost(texts["max_cost"]) == limited.max_cost


def test_a_run_may_cost_as_much_as_its_limits_say_and_no_more() -> None:
    expected = Estimate(TIB, price_of(TIB))
    assert expected.usd == 1.10
    for limits in ({}, {"max_bytes": TIB}, {"max_cost": Decimal("1.10")}):
        check_price(expected, request(**limits))
    with pytest.raises(PriceLimit) as refused:
        check_price(expected, request(max_bytes=TIB - 1, max_cost=Decimal("1.09")))
    again = pickle.loads(pickle.dumps(refused.value))
    for error in (refused.value, again):
        assert error.price == {
            "bytes": TIB,
            "max_bytes": TIB - 1,
            "price_usd": 1.10,
            "max_cost": 1.09,
        }
        for word in (f"{TIB:,} bytes", "1.100000 USD", f"{TIB - 1:,}", "1.09 USD"):
            assert word in str(error)
    with pytest.raises(PriceLimit, match="max_cost allows 6.2 USD"):
        check_price(Estimate(TIB, price_of(0, TIB)), request(max_cost=Decimal("6.2")))


@pytest.mark.parametrize(
    ("months", "first"),
    [(1, "2026-03"), (3, "2026-01"), (4, "2025-12"), (15, "2025-01"), (16, "2024-12")],
)
def test_months_begin_on_their_first_day(months: int, first: str) -> None:
    now = dt.datetime(2026, 3, 31, 23, 59, tzinfo=dt.UTC)
    assert first_day(months, now) == dt.datetime.fromisoformat(f"{first}-01T00:00:00+00:00")
