"""Eight callers of a model that fits only once: no process is killed, and every run ends.

`tests/stack/http/test_little_memory.py` is the small form.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import ExtraTreesRegressor

from benchmarks.limits import MemoryGroup
from little_memory import call_at_once, memory_group
from mlsys.local.stack import LocalStack, local_stack
from scoring_cases import Lab

pytestmark = [pytest.mark.long, pytest.mark.process, pytest.mark.timeout(1800)]

MIB, GIB = 2**20, 2**30
ROWS = 45_000
TREE = 6_480_000  # bytes in the file, of a tree of these rows
X = pd.DataFrame(np.random.default_rng(0).random((ROWS, 4)), columns=list("abcd"))


@pytest.fixture(params=[(GIB, 40 * MIB), (2 * GIB, 300 * MIB)], ids=["1 GiB", "2 GiB"])
def sizes(request: pytest.FixtureRequest) -> tuple[int, int]:
    """Return the memory that the service may have, and the size of the model's file."""
    return request.param


@pytest.fixture
def group(sizes: tuple[int, int]) -> Iterator[MemoryGroup]:
    with memory_group(sizes[0]) as group:
        yield group


@pytest.fixture
def small(group: MemoryGroup, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStack]:
    """Yield a stack whose service may have no more memory than the group."""
    with local_stack(time_scale=0.01) as stack:
        for name, value in stack.environment.items():
            monkeypatch.setenv(name, value)
        with group.inside():
            stack.restart_service()
        yield stack


def test_eight_callers_of_a_large_model_all_end(
    small: LocalStack, group: MemoryGroup, sizes: tuple[int, int]
) -> None:
    lab = Lab(small)
    limit, file_bytes = sizes
    forest = ExtraTreesRegressor(round(file_bytes / TREE), random_state=0, n_jobs=2)
    forest.fit(X, np.random.default_rng(1).random(ROWS)).set_params(n_jobs=None)
    name = lab.upload(forest, X)
    bucket = lab.clients.storage.bucket(lab.settings.models_bucket("dev"))
    blob = bucket.get_blob(f"{name}/v1/model.pkl", timeout=10)
    assert blob is not None
    assert 0.9 < blob.size / file_bytes < 1.1
    table = lab.put(X[:100].assign(id=range(100)))
    refused = call_at_once(lab, lambda: lab.params(table, name, id_columns="id"), 8, pause=1.0)
    assert group.killed == 0
    assert any("MiB that this instance has for models" in answer.text for answer in refused)
    print(f"{len(refused)} refusals, peak {(group.peak or 0) / MIB:.0f} MiB of {limit / MIB:.0f}")
