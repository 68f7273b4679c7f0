"""Draw the pictures of docs/images, on a local stack of its own: `make pictures`.

The runs, the models and the aliases are real. The ledger's older rows are copies, to give the
figures a history.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from google.cloud import bigquery
from PIL import Image
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from browser import Browser, browser
from mlsys.bq import bq_get, bq_put
from mlsys.errors import MlsysError
from mlsys.gcs import gcs_put
from mlsys.local.stack import LocalStack, local_stack
from mlsys.models import set_alias, upload_model
from mlsys.runs import backfill, evaluate, predict

MODEL, FARES = "titanic-survival", "fare-regression"
TEXTS, NUMBERS = ["Sex", "Embarked"], ["Pclass", "Age", "SibSp", "Parch", "Fare"]
TITANIC = "mlsys-local.titanic"
TODAY = dt.datetime.now(dt.UTC).date()
SCALE = 0.75  # of the pictures in the documents
COLOURS = 256
# name in docs/images, address, width, dark, pixels of height that are kept
PICTURES = (
    ("overview", "", 1400, False, 1380),
    ("model", f"models/{MODEL}", 1400, False, 1230),
    ("run", "runs/weekly-2", 1400, True, 1540),
    ("version-narrow", f"models/{MODEL}/v4", 360, False, 2400),
    ("backfill", f"tables/{TITANIC}.sailings_scored/backfill", 1400, False, 1500),
    ("undo", "runs/weekly-2/undo", 1400, False, 620),
)
METRICS = [
    dict(zip(("accuracy", "roc_auc", "log_loss"), row, strict=True))
    for row in (
        *((0.781, 0.83, 0.47), (0.792, 0.835, 0.4589), (0.789, 0.84, 0.4478)),
        *((0.812, 0.845, 0.4367), (0.824, 0.868, 0.41)),
    )
]
# Looked at beside them, in all forms
OTHERS = ("costs", f"tables/{TITANIC}.sailings_scored", "runs", "new-run")


def main(folder: Path, everything: bool) -> None:
    """Draw the pictures into a folder; with `everything` each page in all widths and colours."""
    with local_stack(samples=True, time_scale=0.01) as stack, _environment(stack):
        fill(stack)
        with browser() as page:
            for name, address, width, dark, height in PICTURES:
                draw(page, f"{stack.url}/ui/{address}", width, dark)
                save(page, folder / f"console-{name}.png", height)
            addresses = [*(each[1] for each in PICTURES), *OTHERS] if everything else []
            for address in addresses:
                for width, dark in ((1400, False), (1400, True), (360, False), (360, True)):
                    draw(page, f"{stack.url}/ui/{address}", width, dark)
                    words = (address or "overview").replace("/", "-"), width, "dark" if dark else ""
                    page.picture(folder / f"{'-'.join(map(str, words))}.png")


@contextlib.contextmanager
def _environment(stack: LocalStack) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(stack.environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def draw(page: Browser, url: str, width: int, dark: bool) -> None:
    """Open a page, and wait for what is loaded after it."""
    page.get(url)
    page.show(width, dark=dark)
    page.until(lambda page: page.texts(".later a") == [], 60)


def save(page: Browser, path: Path, height: int) -> None:
    """Write the upper part of the page as a small picture."""
    page.picture(path)
    whole = Image.open(path)
    upper = whole.crop((0, 0, whole.width, min(height, whole.height)))
    if upper.width > 400:
        size = round(upper.width * SCALE), round(upper.height * SCALE)
        upper = upper.resize(size, Image.Resampling.LANCZOS)
    few = upper.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=3)
    few.save(path, optimize=True)


def fill(stack: LocalStack) -> None:
    """Upload models, move aliases, and score tables, as people do in some weeks."""
    train = bq_get("SELECT * FROM titanic.train")
    test = bq_get("SELECT * FROM titanic.test")
    models(stack, train)
    sailings(stack, test)
    for number in range(5):
        day = TODAY - dt.timedelta(days=4 - number)
        table, version = f"{TITANIC}.scored", "champion" if number % 2 else "v2"
        score("test", table, version, run_id=f"nightly-{day}")
    evaluate(f"{TITANIC}.train", "Survived", run=scored_train("v2"))
    evaluate(f"{TITANIC}.train", "Survived", run=scored_train("v4"))
    with contextlib.suppress(MlsysError):
        predict(f"{TITANIC}.test", f"{TITANIC}.fares", FARES, "v1", run_id=f"fares-{TODAY}")
    predict(
        *(f"{TITANIC}.test", f"{TITANIC}.fares", FARES, "v1"),
        **{"run_id": "fares-with-rejects", "max_rejects": "30%"},
    )
    weeks(test)
    history(stack)


def models(stack: LocalStack, train: pd.DataFrame) -> None:
    """Upload five versions of one model, another one, and one that is rejected."""
    x = train[[*TEXTS, *NUMBERS]]
    about = {"id_columns": ["PassengerId"], "description": "Who survived the Titanic."}
    for number, metrics in enumerate(METRICS):
        estimator: Any = RandomForestClassifier(60, max_depth=5, random_state=0)
        if number < len(METRICS) - 1:
            estimator = LogisticRegression(C=10.0 ** (number - 2), max_iter=2_000)
        encoder = OneHotEncoder(handle_unknown="ignore")
        pipeline = make_pipeline(
            make_column_transformer(
                (make_pipeline(SimpleImputer(strategy="most_frequent"), encoder), TEXTS),
                (SimpleImputer(), NUMBERS),
            ),
            estimator,
        ).fit(x, train["Survived"])
        upload_model(
            *(pipeline, MODEL, f"v{number + 1}"), X=x, y=train["Survived"], metrics=metrics, **about
        )
    for alias, version, why in (
        ("champion", "v2", "first release"),
        ("champion", "v4", "better on the holdout of November"),
        ("challenger", "v5", "a forest, to be compared"),
    ):
        set_alias(MODEL, alias, version, why=why)
    known = train.dropna(subset=["Age", "Fare"])
    fares = LinearRegression().fit(known[["Pclass", "Age"]], known["Fare"])
    upload_model(
        fares, FARES, "v1", X=known[["Pclass", "Age"]], y=known["Fare"], id_columns=["PassengerId"]
    )
    gcs_put(pickle.dumps(_Evil()), stack.settings.models_bucket("dev"), "churn-risk/v1/model.pkl")


class _Evil:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


def score(table: str, output: str, version: str, **more: Any) -> Any:
    """Score a table of the Titanic."""
    return predict(f"{TITANIC}.{table}", output, MODEL, version, **more)


def scored_train(version: str) -> Any:
    """Score the training data, whose labels are known."""
    return score("train", f"{TITANIC}.train_{version}", version)


def weeks(test: pd.DataFrame) -> None:
    """Score three weeks, the later ones of other passengers."""
    rng = np.random.default_rng(0)
    other = test.assign(Fare=test["Fare"].sample(frac=1, random_state=0).to_numpy() * 2.5 + 20)
    strange = other.assign(Age=other["Age"] + 24)
    unseen = rng.random(len(strange)) < 0.11
    strange["Sex"] = strange["Sex"].where(~unseen, "unknown")
    for number, rows in enumerate((test, other, strange)):
        bq_put(rows, f"{TITANIC}.week{number}")
        score(f"week{number}", f"{TITANIC}.weekly", "champion", run_id=f"weekly-{number}")


def sailings(stack: LocalStack, test: pd.DataFrame) -> None:
    """Backfill a partitioned table by an earlier version, then by the champion."""
    first, last = TODAY - dt.timedelta(days=58), TODAY - dt.timedelta(days=1)
    days = [first + dt.timedelta(days=number) for number in range((last - first).days + 1)]
    rows = pd.concat(
        [test.head(12).assign(day=day) for number, day in enumerate(days) if number != 20],
        ignore_index=True,
    )
    rows["PassengerId"] = range(len(rows))
    for number in (31, 43):  # no model scores an infinite fare
        rows.loc[rows["day"].eq(days[number]).idxmax(), "Fare"] = np.inf
    name = f"{TITANIC}.sailings"
    fields = [
        bigquery.SchemaField(column, "DATE" if column == "day" else kind)
        for column, kind in zip(rows, map(_kind, rows.dtypes), strict=True)
    ]
    table = bigquery.Table(name, schema=fields)
    table.time_partitioning = bigquery.TimePartitioning(field="day")
    stack.clients.bigquery.create_table(table, timeout=60)
    bq_put(rows, name)
    about = {"id_columns": ["PassengerId", "day"], "parallel": 2}
    into = f"{name}_scored"
    set_alias(MODEL, "champion", "v3", why="before the holdout of November")
    backfill(name, into, MODEL, "champion", first=days[0], last=days[24], **about)
    set_alias(MODEL, "champion", "v4", why="better on the holdout of November")
    backfill(name, into, MODEL, "champion", first=days[6], last=days[-5], **about)


def _kind(dtype: Any) -> str:
    kind = dtype.kind if isinstance(dtype, np.dtype) else ""
    return {"i": "INT64", "f": "FLOAT64"}.get(kind, "STRING")


def history(stack: LocalStack) -> None:
    """Copy rows of the ledger into the past."""
    rng = np.random.default_rng(1)
    ledger = f"{stack.settings.dataset('dev')}.prediction_runs"
    for number in range(60):
        back = dt.timedelta(days=1 + number // 3 if number < 39 else 14 + 3 * (number - 39))
        failed, size = number in (6, 21), int(rng.integers(40, 90)) * 1_000
        values = {
            "run_id": f"CONCAT(run_id, '-{number}')",
            "state": "'failed'" if failed else "'succeeded'",
            "failure": "'the model was replaced'" if failed else "NULL",
            "started_at": f"TIMESTAMP_SUB(started_at, INTERVAL {back.days} DAY)",
            "finished_at": f"TIMESTAMP_SUB(finished_at, INTERVAL {back.days} DAY)",
            **dict.fromkeys(("rows_scored", "rows_read"), size),
            "rows_rejected": int(rng.integers(0, 20)),
            "seconds": round(float(rng.uniform(20, 200)), 1),
            "bytes_billed": size * 3_000_000,
            "estimated_cost": size * 3.2e-6,
            "vcpu_seconds": size / 300,
        }
        changed = ", ".join(f"{value} AS {name}" for name, value in values.items())
        sql = (
            f"INSERT INTO `{ledger}` SELECT * REPLACE({changed}) "
            f"FROM `{ledger}` WHERE run_id = 'weekly-0'"
        )
        stack.clients.bigquery.query(sql).result(timeout=60)


if __name__ == "__main__":
    main(Path(sys.argv[1]), everything="--all" in sys.argv)
