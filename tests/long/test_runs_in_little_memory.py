"""Eight callers of a model that fits only once: no process is killed, and every run ends."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor

from benchmarks.limits import MemoryGroup
from mlsys.local.stack import LocalStack, local_stack
from scoring_cases import Answer, Lab

pytestmark = [pytest.mark.long, pytest.mark.process]

LIMIT = 2**30  # with 40 MB a proportion as of 300 MB and 2 GiB beyond the service's own memory
ROWS = 45_000
X = pd.DataFrame(np.random.default_rng(0).random((ROWS, 4)), columns=list("abcd"))


@pytest.fixture
def group() -> Iterator[MemoryGroup]:
    try:
        group = MemoryGroup(LIMIT)
    except OSError as exc:
        pytest.skip(f"memory cannot be limited here: {exc}")
    yield group
    for _ in range(50):  # the kernel takes a moment to forget processes that have ended
        try:
            group.remove()
        except OSError:
            time.sleep(0.1)
        else:
            break


@pytest.fixture
def small(group: MemoryGroup, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStack]:
    """Yield a stack whose service may have `LIMIT` bytes."""
    with local_stack(time_scale=0.01) as stack:
        for name, value in stack.environment.items():
            monkeypatch.setenv(name, value)
        with group.inside():
            stack.restart_service()
        yield stack


def test_eight_callers_of_a_large_model_all_end(small: LocalStack, group: MemoryGroup) -> None:
    lab = Lab(small)
    forest = RandomForestRegressor(10, random_state=0).fit(X, np.random.default_rng(1).random(ROWS))
    name = lab.upload(forest, X)
    table = lab.put(X[:100].assign(id=range(100)))
    refused: list[Answer] = []

    def call(_: int) -> Answer:
        params = lab.params(table, name, id_columns="id")
        deadline = time.monotonic() + 150
        while (answer := lab.http(params)).status == 503 and time.monotonic() < deadline:
            refused.append(answer)
            time.sleep(1)  # Retry-After says ten
        return answer

    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(call, range(8)))
    assert [answer.done()["rows"] for answer in answers] == [100] * 8
    assert len({answer.json["run_id"] for answer in answers}) == 8
    assert group.killed == 0
    assert any("MiB that this instance has for models" in answer.text for answer in refused)
