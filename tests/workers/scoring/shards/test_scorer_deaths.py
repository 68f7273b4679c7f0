"""A scorer loads its model again where its sandbox died, and knows when to give up."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from mlsys.errors import ModelUnusable, PredictionFailed
from workers.sandbox.died import Cause, SandboxDied
from workers.scoring.shards.scorer import MAX_DEATHS, MAX_LATE, Batch, Scorer

MEMORY = SandboxDied("over memory", "over memory (killed by the system)")
CRASH = SandboxDied("killed", "killed by signal 11 (SIGSEGV)")


class Model:
    """A model whose calls end its sandbox as `deaths` says: one after the other, None for none."""

    alive = True

    def __init__(self, deaths: Iterator[SandboxDied | None]) -> None:
        self._deaths = deaths

    def predictor(self, _: Any) -> "Model":
        return self

    def predict(self, rows: pa.Table, slot: Any = None) -> dict[str, Any]:
        if (death := next(self._deaths, None)) is not None:
            raise SandboxDied(death.cause, death.detail)
        return {"prediction": rows.num_rows}


class Loading:
    """Loads models; the loads end as `deaths` says."""

    def __init__(self, calls: list[SandboxDied | None], deaths: list[SandboxDied | None]) -> None:
        self.loads = 0
        self._calls, self._deaths = iter(calls), iter(deaths)

    def __call__(self) -> Model:
        self.loads += 1
        if (death := next(self._deaths, None)) is not None:
            raise SandboxDied(death.cause, death.detail)
        return Model(self._calls)


def scorer_of(
    calls: list[SandboxDied | None], loads: list[SandboxDied | None] | None = None
) -> tuple[Scorer, Loading]:
    plan: Any = SimpleNamespace(
        stamps=lambda _: {}, output=SimpleNamespace(columns=()), prediction_spec=lambda: None
    )
    loading: Any = Loading(calls, loads or [])
    return Scorer(plan, loading), loading


def rows(count: int) -> Batch:
    return Batch(pa.table({"a": [1.0] * count}))


def test_one_row_that_lacked_memory_is_tried_once_more() -> None:
    scorer, loading = scorer_of([MEMORY])
    assert scorer.predict(rows(1)) == {"prediction": 1}
    assert loading.loads == 2


def test_one_row_that_lacks_memory_again_is_at_fault() -> None:
    scorer, loading = scorer_of([MEMORY, MEMORY])
    with pytest.raises(PredictionFailed, match="over memory"):
        scorer.predict(rows(1))
    assert scorer.predict(rows(1)) == {"prediction": 1}
    assert loading.loads == 3


@pytest.mark.parametrize(("count", "death"), [(2, MEMORY), (1, CRASH)])
def test_several_rows_and_a_crash_are_not_tried_again(count: int, death: SandboxDied) -> None:
    scorer, loading = scorer_of([death])
    with pytest.raises(PredictionFailed, match=death.detail[:11]):
        scorer.predict(rows(count))
    assert loading.loads == 2


@pytest.mark.parametrize("cause", ["over time", "over memory"])
def test_a_model_that_lacked_time_or_memory_while_it_was_loaded_is_loaded_once_more(
    cause: Cause,
) -> None:
    death = SandboxDied(cause, cause)
    scorer, loading = scorer_of([CRASH], [death, None, death, None])
    with pytest.raises(PredictionFailed):
        scorer.predict(rows(1))
    assert scorer.predict(rows(1)) == {"prediction": 1}
    assert loading.loads == 4
    with pytest.raises(SandboxDied, match=cause):
        scorer_of([], [death, death])


def test_a_model_that_crashes_while_it_is_loaded_is_not_loaded_again() -> None:
    with pytest.raises(SandboxDied, match="SIGSEGV"):
        scorer_of([], [CRASH])


@pytest.mark.parametrize(
    ("death", "most"), [(CRASH, MAX_DEATHS), (SandboxDied("over time", "over time"), MAX_LATE)]
)
def test_more_deaths_than_the_bound_are_the_models_fault(death: SandboxDied, most: int) -> None:
    scorer, loading = scorer_of([death] * (most + 1))
    for _ in range(most):
        with pytest.raises(PredictionFailed):
            scorer.predict(rows(2))
    with pytest.raises(ModelUnusable, match=f"ended its process {most + 1} times"):
        scorer.predict(rows(2))
    assert loading.loads == most + 1
