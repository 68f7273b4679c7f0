"""The measured models, and the tables that they score."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from google.cloud import bigquery
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from mlsys.columns.arrow_types import sql_name
from mlsys.local.stack import LocalStack, local_stack
from mlsys.models import upload_model

NUMBERS = [f"x{i}" for i in range(5)]
STRINGS = ["colour", "city", "device"]
FLOATS = [f"f{i}" for i in range(20)]
TARGET = "prediction"
SLICE = 500_000  # rows per file: this process never holds more of a table
TRAINING = 20_000  # rows


@dataclass(frozen=True, slots=True)
class Workload:
    """A model and its feature columns."""

    key: str
    title: str
    model: Any
    features: tuple[str, ...]
    slow: bool = False  # measured on fewer rows

    @property
    def name(self) -> str:
        """The model's name in the registry."""
        return f"bench-{self.key}"


@dataclass(frozen=True, slots=True)
class Case:
    """A workload over a table with a number of rows."""

    workload: Workload
    rows: int

    def __str__(self) -> str:
        return f"{self.workload.key}: {self.workload.title}, {self.rows:,} rows"


def workloads() -> dict[str, Workload]:
    """Return the five workloads by their letters."""
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), STRINGS),
        (make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
    )
    codes = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), STRINGS),
        ("passthrough", NUMBERS),
    )
    logistic = make_pipeline(columns, LogisticRegression(max_iter=200))
    forest = RandomForestClassifier(100, n_jobs=1, random_state=0)
    boosted = HistGradientBoostingClassifier(random_state=0, categorical_features=[0, 1, 2])
    mixed = (*STRINGS, *NUMBERS)
    all_workloads = [
        Workload("a", "LogisticRegression, one-hot", logistic, mixed),
        Workload(
            "b", "RandomForest(100), one-hot", make_pipeline(columns, forest), mixed, slow=True
        ),
        Workload(
            "c", "HistGradientBoosting, ordinal", make_pipeline(codes, boosted), mixed, slow=True
        ),
        Workload("d", "LinearRegression, 20 floats", LinearRegression(), tuple(FLOATS)),
        Workload("e", "RandomForest(100), 20 floats", forest, tuple(FLOATS), slow=True),
    ]
    return {workload.key: workload for workload in all_workloads}


def slices(features: tuple[str, ...], rows: int) -> Iterator[pd.DataFrame]:
    """Yield a table in slices, always the same, with NULL in every tenth row of two columns."""
    for start in range(0, rows, SLICE):
        count = min(SLICE, rows - start)
        random = np.random.default_rng(start)
        df = pd.DataFrame({"id": np.arange(start, start + count)})
        for name in features:
            if name in STRINGS:
                words = np.array([f"{name}-{k}" for k in range(12)])
                df[name] = words[random.integers(0, 12, count)]
            else:
                df[name] = random.normal(size=count)
        for name in {"x1", "city"} & set(features):
            df.loc[::10, name] = None
        yield df


def fit(workload: Workload) -> tuple[pd.DataFrame, pd.Series]:
    """Fit the model on the first rows of its table; return these features and targets."""
    df = next(slices(workload.features, TRAINING))
    X = df[list(workload.features)]
    first, second = [name for name in workload.features if name not in STRINGS][:2]
    score = df[first] + df[second].fillna(0)
    y = score if workload.key == "d" else (score > 0).astype(int)
    workload.model.fit(X, y)
    return X, y


def upload(workload: Workload, X: pd.DataFrame, y: pd.Series, version: str = "v1") -> None:
    """Upload the fitted model, and wait until it is registered."""
    upload_model(workload.model, workload.name, version, X=X, y=y, target=TARGET, id_columns=["id"])


@contextlib.contextmanager
def bench_stack(**options: Any) -> Iterator[LocalStack]:
    """Start a fresh stack, with the dataset of `make_table`, and point the environment to it.

    The options are those of `local_stack`.
    """
    with local_stack(**options) as stack:
        os.environ.update(stack.environment)
        stack.clients.bigquery.create_dataset("bench")
        yield stack


def write_parts(folder: Path, parts: Iterable[pa.Table]) -> list[Path]:
    """Write a Parquet file for each part of a table."""
    folder.mkdir(exist_ok=True)
    files: list[Path] = []
    for part in parts:
        files.append(folder / f"{len(files):05}.parquet")
        pq.write_table(part, files[-1])
    return files


def make_table(stack: LocalStack, name: str, files: Sequence[Path]) -> str:
    """Create a table from Parquet files, through Cloud Storage and one load job."""
    table = f"{stack.settings.project}.bench.{name}"
    bucket = stack.clients.storage.bucket(stack.settings.runs_bucket("dev"))
    blobs = [bucket.blob(f"bench/{name}/{file.name}") for file in files]
    for blob, file in zip(blobs, files, strict=True):
        blob.upload_from_filename(file, timeout=300)
    schema = [
        bigquery.SchemaField(field.name, sql_name(field.type)) for field in pq.read_schema(files[0])
    ]
    stack.clients.bigquery.create_table(bigquery.Table(table, schema))
    config = bigquery.LoadJobConfig(source_format=bigquery.SourceFormat.PARQUET, schema=schema)
    uris = [f"gs://{bucket.name}/{blob.name}" for blob in blobs]
    stack.clients.bigquery.load_table_from_uri(uris, table, job_config=config).result(timeout=1800)
    for blob in blobs:
        blob.delete(timeout=300)
    return table
