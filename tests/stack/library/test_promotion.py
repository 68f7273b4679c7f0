"""`mlsys promote`: the same bytes in the next environment, with a record of who promoted them."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from app.auth import LOCAL_ACCOUNT
from mlsys.artifact.pickling import pickled
from mlsys.artifact.signing import new_key
from mlsys.cli import main
from mlsys.local.stack import LocalStack, local_stack
from mlsys.models import set_alias, upload_model
from mlsys.remote.service import Service
from workers.registry.table import list_models

pytestmark = pytest.mark.slow

X = pd.DataFrame({"a": np.linspace(0, 1, 30)})
MODEL = LinearRegression().fit(X, X["a"])


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with local_stack(envs=("dev", "staging", "prod"), time_scale=0.01) as running:
        yield running


@pytest.fixture(autouse=True)
def here(environment: dict[str, str]) -> None:
    """Point this process's environment at the stack."""


def promote(name: str, source: str, target: str, *more: str) -> int:
    route = ["--from", source, "--to", target]
    return main(["promote", name, "v1", *route, "--by", "ada@example.com", *more])


def content(stack: LocalStack, env: str, name: str, file: str = "model.pkl") -> bytes:
    bucket = stack.clients.storage.bucket(stack.settings.models_bucket(env))
    return bucket.blob(f"{name}/v1/{file}").download_as_bytes(timeout=10)


def row(stack: LocalStack, env: str, name: str) -> dict[str, Any]:
    [found], _ = list_models(stack.clients, env, model_name=name, metadata=True)
    return found


def put(stack: LocalStack, env: str, path: str, what: bytes) -> None:
    bucket = stack.clients.storage.bucket(stack.settings.models_bucket(env))
    bucket.blob(path).upload_from_string(what, timeout=10)
    stack.pubsub.wait_until_quiet(30)


@pytest.mark.slow
def test_a_version_is_promoted_unchanged_to_staging_and_then_to_prod(
    stack: LocalStack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new_key(tmp_path / "key.pem")
    upload_model(MODEL, "churn", "v1", X=X, metrics={"r2": 1.0}, signing_key=tmp_path / "key.pem")
    assert promote("churn", "dev", "staging") == 0
    assert capsys.readouterr().out == "churn/v1 is in staging, ready\n"
    assert stack.url is not None
    set_alias("churn", "champion", "v1", why="the best", env="staging", url=stack.url)
    move = ("--alias", "champion", "--url", stack.url)
    assert promote("churn", "staging", "prod", "--confirm", "churn/v1", *move) == 0
    assert capsys.readouterr().out.endswith(f"champion: none -> v1, by {LOCAL_ACCOUNT}\n")
    moved = Service(stack.url).ask("/models/churn/aliases/champion", {"env": "prod"})
    assert moved["why"].startswith(f"promoted from staging, where {LOCAL_ACCOUNT} moved champion")
    assert moved["why"].endswith(": the best")
    assert moved["evidence"]["metrics"] == {"r2": 1.0}
    assert moved["evidence"]["promoted"]["by"] == "ada@example.com"
    for file in ("model.pkl", "metadata.json", "contract.json", "model.sig"):
        assert content(stack, "prod", "churn", file) == content(stack, "dev", "churn", file)
    first, second, third = (row(stack, env, "churn") for env in ("dev", "staging", "prod"))
    for column in ("crc32c", "md5", "size_bytes", "model_class", "metrics", "metadata", "status"):
        assert first[column] == second[column] == third[column]
    assert (first["promoted_from"], first["promoted_by"], first["promoted_at"]) == (None,) * 3
    staging = stack.settings.models_bucket("staging")
    assert third["promoted_from"] == f"gs://{staging}/churn/v1/model.pkl#{second['generation']}"
    assert third["promoted_by"] == "ada@example.com"
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(third["promoted_at"])
    assert dt.timedelta(0) <= age < dt.timedelta(minutes=5)


@pytest.mark.slow
def test_promoting_again_changes_nothing(stack: LocalStack) -> None:
    upload_model(MODEL, "again", "v1", X=X)
    assert promote("again", "dev", "staging") == 0
    before = row(stack, "staging", "again")
    assert promote("again", "dev", "staging") == 0
    stack.pubsub.wait_until_quiet(30)
    after = row(stack, "staging", "again")
    assert after["generation"] == before["generation"]
    assert after["promoted_at"] == before["promoted_at"]


@pytest.mark.slow
def test_an_interrupted_promotion_is_resumed(stack: LocalStack) -> None:
    upload_model(MODEL, "cut", "v1", X=X)
    put(stack, "staging", "cut/v1/metadata.json", content(stack, "dev", "cut", "metadata.json"))
    assert promote("cut", "dev", "staging") == 0
    assert row(stack, "staging", "cut")["status"] == "ready"


def cut_off(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Promote to staging and stop before the model itself is copied."""
    from google.cloud.storage import Blob

    rewrite = Blob.rewrite

    def until_the_model(blob: Any, source: Any, **options: Any) -> Any:
        if blob.name.endswith("model.pkl"):
            raise KeyboardInterrupt
        return rewrite(blob, source, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Blob, "rewrite", until_the_model)
        assert promote(name, "dev", "staging") == 130


@pytest.mark.slow
def test_an_interrupted_promotion_is_finished_even_if_the_source_has_changed(
    stack: LocalStack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    new_key(tmp_path / "key.pem")
    upload_model(MODEL, "halfway", "v1", X=X, signing_key=tmp_path / "key.pem")
    cut_off(monkeypatch, "halfway")
    assert content(stack, "staging", "halfway", "model.sig")
    other = LinearRegression().fit(X, 5 * X["a"])
    upload_model(other, "halfway", "v1", X=X, overwrite=True)
    bucket = stack.clients.storage.bucket(stack.settings.models_bucket("dev"))
    bucket.blob("halfway/v1/model.sig").delete(timeout=10)
    assert promote("halfway", "dev", "staging") == 0, capsys.readouterr().err
    for file in ("model.pkl", "metadata.json"):
        assert content(stack, "staging", "halfway", file) == content(stack, "dev", "halfway", file)
    bucket = stack.clients.storage.bucket(stack.settings.models_bucket("staging"))
    assert not bucket.blob("halfway/v1/model.sig").exists(timeout=10)


@pytest.mark.slow
def test_a_lost_answer_to_a_copy_does_not_fail_the_promotion(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client repeats the request, whose condition no longer holds."""
    from google.cloud.storage import Blob

    upload_model(MODEL, "lost", "v1", X=X)
    rewrite = Blob.rewrite

    def twice(blob: Any, source: Any, **options: Any) -> Any:
        rewrite(blob, source, **options)
        return rewrite(blob, source, **options)

    monkeypatch.setattr(Blob, "rewrite", twice)
    assert promote("lost", "dev", "staging") == 0


@pytest.mark.slow
def test_a_signature_of_the_target_environment_is_kept(stack: LocalStack, tmp_path: Path) -> None:
    for name in ("dev", "staging"):
        new_key(tmp_path / name)
    upload_model(MODEL, "twice", "v1", X=X, signing_key=tmp_path / "dev")
    assert promote("twice", "dev", "staging") == 0
    key = ["--key", str(tmp_path / "staging")]
    bucket = stack.clients.storage.bucket(stack.settings.models_bucket("staging"))
    bucket.blob("twice/v1/model.sig").delete(timeout=10)
    assert main(["sign", "model", "twice", "v1", "--env", "staging", *key]) == 0
    own = content(stack, "staging", "twice", "model.sig")
    assert promote("twice", "dev", "staging") == 0
    assert content(stack, "staging", "twice", "model.sig") == own


@pytest.mark.slow
@pytest.mark.parametrize("file", ["metadata.json", "model.sig"])
def test_foreign_files_are_named_and_not_overwritten(
    stack: LocalStack, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    upload_model(MODEL, "beside", "v1", X=X, overwrite=True)
    put(stack, "staging", f"beside/v1/{file}", b"{}")
    assert promote("beside", "dev", "staging") == 1
    stderr = capsys.readouterr().err
    assert f"/beside/v1/{file} is in the way" in stderr and "delete it" in stderr
    assert content(stack, "staging", "beside", file) == b"{}"
    bucket = stack.clients.storage.bucket(stack.settings.models_bucket("staging"))
    bucket.blob(f"beside/v1/{file}").delete(timeout=10)
    assert not bucket.blob("beside/v1/model.pkl").exists(timeout=10)


def test_an_existing_version_with_other_bytes_is_not_replaced(
    stack: LocalStack, capsys: pytest.CaptureFixture[str]
) -> None:
    upload_model(MODEL, "taken", "v1", X=X)
    other = pickled(LinearRegression().fit(X, 5 * X["a"]))
    put(stack, "staging", "taken/v1/model.pkl", other)
    assert promote("taken", "dev", "staging") == 1
    assert "taken/v1/model.pkl differs from gs://" in capsys.readouterr().err
    assert content(stack, "staging", "taken") == other


@pytest.mark.slow
def test_a_model_that_is_not_ready_is_not_promoted(
    stack: LocalStack, capsys: pytest.CaptureFixture[str]
) -> None:
    upload_model(MODEL, "wrong", "v1", X=X)
    document = json.loads(content(stack, "dev", "wrong", "metadata.json"))
    document["golden"]["predictions"] = [1000.0 for _ in document["golden"]["predictions"]]
    put(stack, "dev", "wrong/v1/metadata.json", json.dumps(document).encode())
    assert promote("wrong", "dev", "staging") == 1
    assert "wrong/v1 is rejected in dev: " in capsys.readouterr().err
    assert list_models(stack.clients, "staging", model_name="wrong") == ([], False)


def test_a_model_that_differs_from_its_registry_row_is_not_promoted(
    stack: LocalStack, capsys: pytest.CaptureFixture[str]
) -> None:
    upload_model(MODEL, "behind", "v1", X=X)
    stack.pubsub.wait_until_quiet(30)  # the metadata's event updates the row, too
    query = "UPDATE mlsys_dev.model_registry SET generation = 7 WHERE model_name = 'behind'"
    stack.clients.bigquery.query(query, timeout=10).result(timeout=10)
    assert promote("behind", "dev", "staging") == 1
    assert "request a rescan" in capsys.readouterr().err
    assert promote("nobody", "dev", "staging") == 1
    assert "does not exist: upload it first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "target", "more", "words"),
    [
        ("staging", "prod", [], "is required for prod: pass --confirm careful/v1"),
        ("staging", "prod", ["--confirm", "careful/v2"], "pass --confirm careful/v1"),
        (
            "staging",
            "dev",
            [],
            "dev does not come after staging: promote along dev -> staging -> prod",
        ),
        ("dev", "dev", [], "dev does not come after dev"),
    ],
)
def test_a_suspicious_promotion_is_refused(
    source: str, target: str, more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert promote("careful", source, target, *more) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "source", "target", "env"),
    [
        ("GCS_BUCKET_MODELS_STAGING", "dev", "staging", "staging"),
        ("GCS_BUCKET_MODELS_DEV", "dev", "staging", "dev"),
    ],
)
def test_a_missing_environment_is_named_with_the_existing_ones(
    stack: LocalStack,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    source: str,
    target: str,
    env: str,
) -> None:
    upload_model(MODEL, "homeless", "v1", X=X, overwrite=True)
    monkeypatch.setenv(variable, "mlsys-no-such-bucket")
    assert promote("homeless", source, target) == 1
    existing = ", ".join(e for e in ("dev", "staging", "prod") if e != env)
    project = stack.settings.project
    assert (
        f"The environment {env} is not set up in {project}: the bucket "
        f"gs://mlsys-no-such-bucket does not exist. {project} has {existing}. Set it up"
    ) in capsys.readouterr().err
