"""A service whose memory holds one model refuses a second run until the first has ended."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import ExtraTreesRegressor

from benchmarks.limits import MemoryGroup
from little_memory import call_at_once, memory_group
from mlsys.local.stack import LocalStack
from scoring_cases import Lab
from strict_stack import StrictStack

pytestmark = pytest.mark.usefixtures("environment")

LIMIT = 768 * 2**20  # half of it is for models, and each needs 160 MiB beside its own
ROWS = 45_000
X = pd.DataFrame(np.random.default_rng(0).random((ROWS, 4)), columns=list("abcd"))


@pytest.fixture
def group() -> Iterator[MemoryGroup]:
    with memory_group(LIMIT) as group:
        yield group


@pytest.fixture
def small(stack: LocalStack, group: MemoryGroup) -> Iterator[StrictStack]:
    """Yield the stack with a service that may have `LIMIT` bytes."""
    assert isinstance(stack, StrictStack)
    with group.inside():
        stack.restart_service()
    yield stack
    stack.restart_service()


@pytest.mark.long
@pytest.mark.slow
def test_three_callers_of_a_model_that_fits_once_all_end(
    small: StrictStack, group: MemoryGroup
) -> None:
    lab = Lab(small)
    forest = ExtraTreesRegressor(2, random_state=0).fit(X, np.random.default_rng(1).random(ROWS))
    table, name = lab.put(X[:100].assign(id=range(100))), lab.upload(forest, X)
    with small.rules.read_api.choosing(message_seconds=0.5):  # so that they meet
        refused = call_at_once(lab, lambda: lab.params(table, name, id_columns="id"), 3, pause=0.2)
    assert group.killed == 0
    assert any("MiB that this instance has for models" in answer.text for answer in refused)
