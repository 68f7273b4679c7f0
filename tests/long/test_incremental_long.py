"""A table of a million rows that grows by a thousand, and hundreds of histories of such runs."""

import random
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.tree import DecisionTreeRegressor

from incremental_world import History, World, install
from mlsys.local.stack import LocalStack
from scoring_cases import TIMEOUT, Lab
from workers.scoring.request.parsed import IDS

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("environment"),
]

ROWS, NEW, CHANGED, LATE = 1_000_000, 1_000, 20, 50
X = pd.DataFrame({"a": np.linspace(0, 1, 100), "b": np.linspace(3, -2, 100)})
# A tree: the last bits of a linear model depend on the rows beside a row.
MODEL = DecisionTreeRegressor(random_state=0).fit(X, X["a"] - 3 * X["b"])


def rows(first: int, count: int, at: int) -> pa.Table:
    ids = np.arange(first, first + count)
    rng = np.random.default_rng(first)
    return pa.table(
        {"id": ids, "at": at + np.arange(count), "a": rng.random(count), "b": rng.random(count)}
    )


def test_of_a_million_rows_only_those_that_are_new_are_scored(stack: LocalStack) -> None:
    lab = Lab(stack)
    model = lab.upload(MODEL, X)
    table = lab.put(rows(0, ROWS, 0))
    params = lab.params(table, model, incremental="at")
    first = lab.here(params).done()
    assert (first["rows"], first["watermark"]) == (ROWS, str(ROWS - 1))

    lab.clients.bigquery.query(
        f"UPDATE `{table}` SET a = a + 1, `at` = `at` + 10 * {ROWS} WHERE id < {CHANGED}"
    ).result(timeout=TIMEOUT)
    lab.put(rows(ROWS, NEW, ROWS), table)
    lab.put(rows(ROWS + NEW, LATE, 0), table)  # at or below the watermark
    verdict = lab.here(params | {"dry_run": "true"}).json
    assert (verdict["rows"], verdict["incremental"]["rows_late"]) == (NEW + CHANGED, LATE - CHANGED)
    second = lab.here(params).done()
    assert second["rows_read"] == NEW + CHANGED
    assert second["bytes_read"] < first["bytes_read"] / 500
    assert (second["watermark_before"], second["watermark"]) == (
        str(ROWS - 1),
        str(10 * ROWS + CHANGED - 1),
    )
    # The changed rows left the place below the watermark, which hides as many late ones.
    assert second["rows_late"] == LATE - CHANGED
    assert lab.here(params | {"incremental": IDS}).done()["rows_read"] == LATE
    assert lab.here(params).done()["reused"]

    _, full = lab.score(table, model)
    output = lab.rows(params["output_table"])
    assert Counter(output["id"].value_counts()) == {1: ROWS + NEW + LATE - CHANGED, 2: CHANGED}
    newest = output.sort_values(["id", "predicted_at"]).groupby("id").tail(1)
    assert newest["id"].tolist() == full["id"].tolist()
    assert newest["prediction"].tolist() == full["prediction"].tolist()


@pytest.mark.parametrize("kind", ["column", "ids", "both"])
def test_hundreds_of_histories_write_no_row_twice_and_lose_none(kind: str) -> None:
    for seed in range(1000, 1200):
        world = World(random.Random(seed))
        with pytest.MonkeyPatch.context() as patch:
            install(patch, world)
            plain = kind == "column"
            history = History(
                world, column=kind != "ids", ids=not plain, undone=not plain, late=not plain
            )
            history.play(120)
            versions: list[str | None] = [None] if plain else ["v1", "v2"]
            for version in versions:
                history.score("n" if plain else IDS, version or "v1")
                scored = Counter(row.id for row, v, _ in world.output if version in (None, v))
                assert scored == Counter(row.id for row in world.rows), (kind, seed)
