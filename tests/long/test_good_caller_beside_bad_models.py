"""Bad models are refused, while a good caller is served and the service answers for its health."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sklearn.linear_model import LinearRegression

from bad_models import (
    DATA,
    BadCaller,
    Beside,
    Made,
    damaged,
    endless,
    fatal,
    service_of_its_own,
    some_hostile,
    workers,
)
from mlsys.local.stack import LocalStack
from registry_cases import notifications_lost
from scoring_cases import Lab, unique

pytestmark = [pytest.mark.usefixtures("environment"), pytest.mark.slow]

HEALTHY = 1.0  # seconds in which the service answers


@pytest.fixture(scope="module")
def service(
    stack: LocalStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    with service_of_its_own(stack, tmp_path_factory.mktemp("service")) as made:
        yield made


def ask_beside(
    stack: LocalStack, service: tuple[str, Path], callers: list[list[Made]]
) -> tuple[Beside, list[BadCaller]]:
    """Have bad callers ask for models at the same time, beside good ones."""
    lab, (url, pid_file) = Lab(stack), service
    table = lab.put(DATA.assign(id=range(len(DATA))))
    beside = Beside(lab, url, table, lab.upload(LinearRegression().fit(DATA, DATA["a"]), DATA))
    bad = [BadCaller(lab, url, table, unique("bad")) for _ in callers]
    before = workers(pid_file)
    with notifications_lost(stack), beside.asking(), ThreadPoolExecutor(len(bad)) as threads:
        list(threads.map(BadCaller.ask, bad, callers))
    assert workers(pid_file) == before
    assert beside.failures == []
    assert beside.scored and beside.latencies
    return beside, bad


@pytest.mark.long
def test_a_good_caller_is_served_beside_some_bad_models(
    stack: LocalStack, service: tuple[str, Path], tmp_path: Path
) -> None:
    models = [*damaged(3, seed=0), *some_hostile(2, tmp_path / "canary"), *fatal(2)]
    _, [bad] = ask_beside(stack, service, [models])
    assert bad.failures == []
    assert bad.refused >= 4
    assert not (tmp_path / "canary").exists()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_good_caller_is_served_beside_two_hundred_bad_models(
    stack: LocalStack, service: tuple[str, Path], tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    callers = [
        [*damaged(70, seed=1), *fatal(12)],
        [*some_hostile(110, canary), *fatal(8)],
        endless(),
    ]
    beside, bad = ask_beside(stack, service, callers)
    slowest = max(beside.latencies)
    for caller in bad:
        print(f"\n{caller.refused} refused, {caller.served} served, longest {caller.longest}")
    print(f"{beside.scored} runs of the good caller; health: {slowest:.2f} s at the slowest")
    assert [caller.failures for caller in bad] == [[], [], []]
    assert slowest < HEALTHY
    assert not canary.exists()
