"""The number of rows in a batch depends on the memory that the model needs for each."""

import pickle
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.kernel_approximation import PolynomialCountSketch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor, RadiusNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler
from sklearn.svm import SVC

from hostile_models import ROWS, THREE, TWO, VALUES, changed
from hostile_sizes import TEXTS, chain, compared, dense_hashes, union
from mlsys.artifact.estimators.row_width import AT_ONCE, row_width, rows_at_once
from mlsys.artifact.estimators.set_output import restore_output
from mlsys.artifact.loading import load_model
from workers.scoring.shards import shard
from workers.scoring.shards.chain import Chain
from workers.scoring.shards.read_rows import BATCH_ROWS, batch_rows
from workers.scoring.shards.session import Session

WORDS = [["a"], ["b"], ["c"]]


@pytest.mark.parametrize(
    ("model", "least", "most"),
    [
        (compared(20_000), 20_000, 20_010),
        (PolynomialFeatures(3).fit(ROWS), 35, 35),
        (union(PolynomialFeatures(3).fit(ROWS), 10), 350, 360),
        (OneHotEncoder().fit(WORDS), 1, 1),
        (OneHotEncoder(sparse_output=False).fit(WORDS), 3, 3),
        (
            ColumnTransformer([("a", OneHotEncoder(), [0])], sparse_threshold=0).fit(WORDS),
            3,
            6,
        ),
        (RandomForestClassifier(50).fit(ROWS, THREE), 50, 60),
        (KNeighborsRegressor(7).fit(ROWS, VALUES), 7, 7),
        (RadiusNeighborsRegressor().fit(ROWS, VALUES), 30, 30),
        (SVC().fit(ROWS, THREE), 3, 3),
        (changed(MLPRegressor((40,), max_iter=1), coefs_=[np.zeros((4, 40))]), 40, 40),
        (make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS.ravel(), [0, 1]), 2, 4),
        (dense_hashes(sparse=True), 0, 10),
        (dense_hashes(sparse=False), 2**30, 2**30 + 2000),
        (make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, TWO), 2, 4),
    ],
)
def test_the_width_estimates_the_memory_of_a_row(model: Any, least: int, most: int) -> None:
    assert least <= row_width(model) <= most


def test_wide_models_get_fewer_rows_in_a_batch() -> None:
    assert rows_at_once(LogisticRegression().fit(ROWS, TWO)) > 65_536
    assert rows_at_once(compared(20_000)) == AT_ONCE // row_width(compared(20_000)) < 7_000
    wide = union(PolynomialCountSketch(n_components=10**6), 300)
    assert rows_at_once(wide) == 1


def test_a_batch_is_split_to_the_models_number_of_rows() -> None:
    plan: Any = SimpleNamespace(output=SimpleNamespace(columns=["prediction"]))
    assert batch_rows(plan, rows_at_once(LogisticRegression().fit(ROWS, TWO))) == BATCH_ROWS
    wide = compared(20_000)
    assert batch_rows(plan, rows_at_once(wide)) == rows_at_once(wide) < BATCH_ROWS
    assert batch_rows(plan) == BATCH_ROWS


def test_a_shard_is_read_in_batches_of_the_models_size(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = compared(20_000)
    scorer: Any = SimpleNamespace(
        predictor=SimpleNamespace(rows_at_once=rows_at_once(wide)),
        put=None,
        plan=SimpleNamespace(
            output=SimpleNamespace(columns=["prediction"]),
            **dict.fromkeys(("aliases", "shadow", "reference", "contract")),
            **dict.fromkeys(("ids", "own_columns", "read_columns"), ()),
        ),
        schema=None,
    )
    cuts: list[int] = []

    class Stop(Exception):
        pass

    def read(*args: Any) -> Any:
        cuts.append(args[4])
        raise Stop

    def nothing(*args: Any) -> Any:
        return nullcontext()

    monkeypatch.setattr(shard, "read_batches", read)
    monkeypatch.setattr(shard, "PartWriter", nothing)
    monkeypatch.setattr(shard, "RejectsTable", nothing)
    store: Any = SimpleNamespace(part_name=lambda *args: "part", blob=str)
    with pytest.raises(Stop):
        shard.score_shard(
            None,  # type: ignore[arg-type]
            store,
            Session(0, ("stream",), None, 1),
            Chain(0),
            scorer,
            None,  # type: ignore[arg-type]
        )
    assert cuts == [rows_at_once(wide)]
    assert cuts[0] < BATCH_ROWS


def test_an_honest_deep_tree_loads() -> None:
    model = load_model(pickle.dumps(chain(9_000))).model
    assert model.predict([[1.0]]) == [0.0]


def test_k_means_gets_one_thread() -> None:
    model = changed(KMeans(2, n_init=1).fit(ROWS), _n_threads=9_999)
    assert load_model(pickle.dumps(model)).model._n_threads == 1


def test_checking_a_wide_model_makes_no_list_of_column_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_pipeline(PolynomialFeatures(20), LogisticRegression(max_iter=1000))
    model.steps[0][1].fit(ROWS)
    model.steps[1][1].fit(ROWS, TWO)
    model.steps[1][1].feature_names_in_ = np.array(["a"], dtype=object)
    made: list[int] = []
    monkeypatch.setattr(PolynomialFeatures, "get_feature_names_out", lambda self: made.append(1))
    assert not restore_output(model) and not made
