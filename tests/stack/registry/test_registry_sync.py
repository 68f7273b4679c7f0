"""The registry matches the bucket, whatever was delivered, lost or written by hand."""

import dataclasses
import datetime as dt
import itertools
import json
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sklearn
from google.api_core.exceptions import BadRequest

from mlsys.cloud.clients import Clients
from mlsys.errors import ObjectNotFound, RegistryBusy, TryAgain
from mlsys.local.stack import LocalStack
from mlsys.local.topics import dead_letter
from mlsys.settings import Settings
from registry_cases import TOPIC, ModelCase, model_case, notifications_lost, settled_rescan
from workers.registry import sync, table
from workers.registry.rows import list_objects
from workers.registry.sync import converge, rescan
from workers.registry.table import list_models

CONFLICT = (
    "Could not serialize access to table p:d.model_registry due to concurrent update; "
    "reason: invalidQuery"
)


@pytest.fixture
def case(stack: LocalStack, environment: dict[str, str]) -> Iterator[ModelCase]:
    with model_case(stack, "sync") as fresh:
        yield fresh


@pytest.fixture
def own_clients(settings: Settings) -> Clients:
    """Return clients of this test only, whose methods it may replace."""
    return Clients(settings)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    import tenacity

    monkeypatch.setattr("tenacity.wait_random_exponential", lambda **_: tenacity.wait_none())


def failing(monkeypatch: pytest.MonkeyPatch, clients: Clients, errors: Iterator[str]) -> list[str]:
    """Make `clients` fail a query with each of `errors`, then work; return the queries sent."""
    asked: list[str] = []
    real = clients.bigquery.query

    def query(sql: str, **options: Any) -> Any:
        asked.append(sql)
        error = next(errors, None)
        if error is not None:
            raise BadRequest(error)
        return real(sql, **options)

    monkeypatch.setattr(clients.bigquery, "query", query)
    return asked


# Notifications


def test_an_upload_is_registered_with_every_column(case: ModelCase) -> None:
    before = dt.datetime.now(dt.UTC)
    blob = case.upload()
    row = case.row()
    registered_at = dt.datetime.fromisoformat(row.pop("registered_at"))
    assert before <= registered_at <= dt.datetime.now(dt.UTC)
    assert dt.datetime.fromisoformat(row.pop("uploaded_at")) == blob.time_created
    assert row.pop("verified_with")
    assert row == {
        "model_name": case.name,
        "model_version": "v1",
        "version_number": 1,
        "environment": "dev",
        "gcs_uri": f"gs://{case.bucket}/{case.name}/v1/model.pkl",
        "generation": blob.generation,
        "metadata_generation": None,
        "signature_generation": None,
        "contract_generation": None,
        "loader": "listed",
        "size_bytes": blob.size,
        "crc32c": blob.crc32c,
        "md5": blob.md5_hash,
        "registered_by": "event",
        "status": "ready",
        "status_reason": None,
        "model_class": "LinearRegression",
        "feature_names": ["height", "weight"],
        "features": 2,
        "target": [],
        "sklearn_version": sklearn.__version__,
        "python_version": platform.python_version(),
        "promoted_from": None,
        "promoted_by": None,
        "promoted_at": None,
        "metrics": None,
        "metadata": None,
        "contract": None,
    }


def test_a_model_not_written_by_mlsys_is_registered_with_the_known_columns(
    case: ModelCase,
) -> None:
    case.put(b"from somewhere else", "v12/model.pkl")
    row = case.row()
    assert (row["model_version"], row["version_number"]) == ("v12", 12)
    assert (row["size_bytes"], row["status"]) == (19, "rejected")
    assert (row["model_class"], row["feature_names"], row["sklearn_version"]) == (None, [], None)


def test_an_overwritten_model_has_one_row_with_the_new_generation(case: ModelCase) -> None:
    first = case.upload(slope=1.0)
    assert case.row()["crc32c"] == first.crc32c
    second = case.upload(slope=2.0)
    row = case.row()
    assert row["generation"] == second.generation != first.generation
    assert row["crc32c"] == second.crc32c != first.crc32c


def test_a_deleted_model_has_no_row(case: ModelCase) -> None:
    case.upload(version="v1")
    case.upload(version="v2")
    case.settle()
    assert [row["model_version"] for row in case.rows()] == ["v2", "v1"]
    case.delete("v1/model.pkl")
    assert case.row()["model_version"] == "v2"


METADATA = {
    "model_class": "Ridge",
    "feature_names": ["a", "b"],
    "target": "price",
    "versions": {"scikit-learn": "1.8.0", "python": "3.12.0"},
    "metrics": {"r2": 0.5, "nested": {"folds": [1, 2]}},
    "anything": ["else", None],
}


@pytest.mark.slow
@pytest.mark.parametrize("order", ["before", "after"])
def test_metadata_is_in_the_row_whether_it_came_before_or_after_the_model(
    case: ModelCase, order: str
) -> None:
    if order == "after":
        case.upload()
        assert case.row()["metadata"] is None
    case.put(json.dumps(METADATA), "v1/metadata.json")
    if order == "before":
        case.settle()
        assert case.rows() == []
        case.upload()
    row = case.row()
    metadata = case.blob(file="metadata.json")
    assert metadata is not None and row["metadata_generation"] == metadata.generation
    said = f"the model was saved with scikit-learn 1.8.0, and the service has {sklearn.__version__}"
    assert (row["status"], row["status_reason"]) == ("ready", said)
    assert row["metadata"] == METADATA
    assert row["metrics"] == METADATA["metrics"]
    assert (row["model_class"], row["feature_names"], row["target"]) == (
        "Ridge",
        ["a", "b"],
        ["price"],
    )
    assert (row["sklearn_version"], row["python_version"]) == ("1.8.0", "3.12.0")


def test_overwritten_and_deleted_metadata_update_the_row(case: ModelCase) -> None:
    case.upload()
    case.put(json.dumps({"metrics": {"r2": 0.5}}), "v1/metadata.json")
    assert case.row()["metrics"] == {"r2": 0.5}
    case.put(json.dumps({"metrics": {"r2": 0.75}}), "v1/metadata.json")
    assert case.row()["metrics"] == {"r2": 0.75}
    case.delete("v1/metadata.json")
    row = case.row()
    assert (row["metrics"], row["metadata"], row["metadata_generation"]) == (None, None, None)
    assert row["model_class"] == "LinearRegression"


NESTED = b'{"x": ' + b"[" * 600 + b"]" * 600 + b"}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"not JSON at all", "is not JSON", id="text"),
        pytest.param(b"", "is not JSON", id="empty"),
        pytest.param(b"\xff\x00\x80", "is not JSON", id="bytes"),
        pytest.param(b'{"a": 1', "is not JSON", id="cut off"),
        pytest.param(b"[" * 100_000, "is not JSON", id="endless nesting"),
        pytest.param(b"[1]", "holds a list", id="list"),
        pytest.param(b'{"target": 5}', "target must be", id="wrong type"),
        pytest.param(NESTED, "nested deeper than 100", id="deep nesting"),
        pytest.param(b'{"a": "\\ud800"}', "half of a surrogate pair", id="surrogate"),
        pytest.param(b'{"a": 1' + b"0" * 400 + b"}", "number", id="number"),
        pytest.param(b'{"a": "' + b"x" * 1_000_000 + b'"}', "the limit is 1,000,000", id="large"),
    ],
)
def test_unusable_metadata_leaves_a_ready_row_with_the_reason(
    case: ModelCase, content: bytes, reason: str
) -> None:
    case.put(content, "v1/metadata.json")
    case.upload()
    row = case.row()
    assert row["status"] == "ready"
    assert row["status_reason"].startswith("metadata.json") and reason in row["status_reason"]
    assert (row["metadata"], row["metrics"], row["model_class"]) == (
        None,
        None,
        "LinearRegression",
    )
    assert row["metadata_generation"] is not None
    assert converge(case.clients, "dev", case.ref()) == "unchanged"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b'{"metrics": {"auc": NaN, "loss": 1e999}}', {"auc": None, "loss": None}),
        (b'{"metrics": 0.25}', 0.25),
        (b'{"metrics": "good"}', "good"),
        (b'{"metrics": [{"a": "\\u0000"}]}', [{"a": "\x00"}]),
        (
            '{"metrics": {"ä \\" \' $.x": "😀 \\\\ ` @keys"}}'.encode(),
            {"ä \" ' $.x": "😀 \\ ` @keys"},
        ),
        (b'{"metrics": {}}', {}),
        (b'{"metrics": null}', None),
    ],
)
def test_metrics_of_any_form_reach_the_row(case: ModelCase, content: bytes, kept: Any) -> None:
    case.put(content, "v1/metadata.json")
    case.upload()
    row = case.row()
    assert row["metrics"] == kept
    assert row["status_reason"] is None


@pytest.mark.slow
def test_metadata_of_another_file_is_ignored_with_a_reason(case: ModelCase) -> None:
    blob = case.upload(slope=1.0)
    document = {"metrics": {"r2": 1}, "artifact": {"crc32c": blob.crc32c}}
    case.put(json.dumps(document), "v1/metadata.json")
    row = case.row()
    assert (row["metrics"], row["status_reason"]) == ({"r2": 1}, None)
    case.upload(slope=2.0)
    row = case.row()
    assert (row["metrics"], row["metadata"]) == (None, None)
    assert row["status"] == "ready"
    assert row["status_reason"] == (
        "metadata.json is about another model.pkl: its checksum differs"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "description",
    ['{"feature_names": 5}', '{"model_class": NaN}', '{"a": "\\ud800"}', "no JSON", "[" * 2000],
)
def test_an_unusable_description_is_left_out(case: ModelCase, description: str) -> None:
    blob = case.clients.storage.bucket(case.bucket).blob(case.ref().path)
    blob.metadata = {"mlsys": description}
    blob.upload_from_string(b"model", timeout=10)
    row = case.row()
    assert (row["status"], row["feature_names"], row["model_class"]) == ("rejected", [], None)


def test_an_object_that_is_not_a_model_is_acknowledged_and_skipped(case: ModelCase) -> None:
    paths = {
        "notes.txt": "is not {model-name}",
        "v1/model.joblib": "is not {model-name}",
        "v1/deeper/model.pkl": "is not {model-name}",
        "v0/model.pkl": "'v0': pass v1",
        "v01/model.pkl": "'v01': pass v1",
        "V1/model.pkl": "'V1': pass v1",
        "v2/metadata.json": "it has no model.pkl beside it",
    }
    before = case.stack.pubsub.counts(TOPIC)
    for path in paths:
        case.put(b"{}", path)
    case.settle()
    after = case.stack.pubsub.counts(TOPIC)
    assert after.acked - before.acked == len(paths)
    assert (after.nacked, after.dead_lettered) == (before.nacked, before.dead_lettered)
    assert case.rows() == []
    skipped = {
        item["object"].removeprefix(f"{case.name}/"): item["reason"]
        for item in rescan(case.clients, "dev").skipped
        if item["object"].startswith(case.name)
    }
    assert skipped.keys() == paths.keys()
    assert {path: text for path, text in paths.items() if text not in skipped[path]} == {}
    assert case.rows() == []


# Rescan


def test_a_rescan_registers_models_whose_notifications_were_lost(case: ModelCase) -> None:
    known = settled_rescan(case.clients)
    with notifications_lost(case.stack):
        case.upload(version="v1")
        case.put(json.dumps(METADATA), "v1/metadata.json")
        case.upload(version="v2")
    assert case.rows() == []
    result = rescan(case.clients, "dev")
    assert (result.registered, result.updated, result.removed) == (2, 0, 0)
    assert result.unchanged == known
    assert case.registered() == case.stored()
    newest, oldest = case.rows()
    assert {newest["registered_by"], oldest["registered_by"]} == {"rescan"}
    assert oldest["metadata"] == METADATA
    assert settled_rescan(case.clients) == known + 2


def test_a_rescan_restores_rows_deleted_from_the_registry(case: ModelCase) -> None:
    settled_rescan(case.clients)
    case.upload()
    before = case.row()
    case.sql("DELETE FROM model_registry WHERE model_name = @name")
    assert case.rows() == []
    assert rescan(case.clients, "dev").registered == 1
    [after] = case.rows()
    differ = {key for key in before if before[key] != after[key]}
    assert differ == {"registered_at", "registered_by"}


def test_a_rescan_updates_stale_rows_and_removes_rows_of_deleted_objects(
    case: ModelCase,
) -> None:
    for version in ("v1", "v2", "v3", "v4"):
        case.upload(version=version)
    known = settled_rescan(case.clients)
    with notifications_lost(case.stack):
        case.upload(slope=2.0, version="v1")
        case.put(json.dumps(METADATA), "v2/metadata.json")
        case.delete("v3/model.pkl")
    assert case.registered() != case.stored()
    result = rescan(case.clients, "dev")
    assert (result.registered, result.updated, result.removed) == (0, 2, 1)
    assert result.unchanged == known - 3
    assert case.registered() == case.stored()
    assert [row["model_version"] for row in case.rows()] == ["v4", "v2", "v1"]


@pytest.mark.slow
def test_a_rescan_removes_duplicate_and_foreign_rows(case: ModelCase) -> None:
    case.upload(version="v1")
    case.upload(version="v2")
    case.settle()
    known = settled_rescan(case.clients)
    case.sql(
        "INSERT INTO model_registry SELECT * FROM model_registry "
        "WHERE model_name = @name AND model_version = 'v1'"
    )
    case.sql(
        "INSERT INTO model_registry SELECT * REPLACE ('v9' AS model_version) FROM model_registry "
        "WHERE model_name = @name AND model_version = 'v2'"
    )
    assert [version for version, *_ in case.registered()] == ["v1", "v1", "v2", "v9"]
    result = rescan(case.clients, "dev")
    assert (result.registered, result.updated, result.removed) == (0, 1, 1)
    assert result.unchanged == known - 1
    assert case.registered() == case.stored()


def test_a_rescan_counts_every_object(case: ModelCase) -> None:
    before = rescan(case.clients, "dev")
    case.upload()
    case.put("{}", "v1/metadata.json")
    case.put("hello", "notes.txt")
    case.settle()
    after = rescan(case.clients, "dev")
    assert after.scanned == before.scanned + 3
    assert after.unchanged == before.unchanged + before.registered + before.updated + 1
    assert len(after.skipped) == len(before.skipped) + 1


@pytest.mark.slow
def test_a_rescan_splits_its_writes_into_statements_within_bigquerys_limits(
    case: ModelCase, own_clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled_rescan(case.clients)
    versions = [f"v{n}" for n in range(1, 8)]
    with notifications_lost(case.stack):
        for version in versions:
            case.upload(version=version)
        case.put(json.dumps({"description": "x" * 5000}), "v4/metadata.json")
    monkeypatch.setattr(table, "ROWS_PER_STATEMENT", 3)
    monkeypatch.setattr(table, "BYTES_PER_STATEMENT", 4000)
    asked = failing(monkeypatch, own_clients, iter(()))
    assert rescan(own_clients, "dev").registered == len(versions)
    # v1 v2 v3 by count, v4 by size, v5 v6 v7 by count
    assert len([sql for sql in asked if "MERGE" in sql]) == 3
    assert case.registered() == case.stored()


def test_a_rescan_of_a_missing_bucket_raises(settings: Settings) -> None:
    elsewhere = dataclasses.replace(settings, models_buckets=(("dev", "no-such-bucket"),))
    with pytest.raises(ObjectNotFound, match="gs://no-such-bucket does not exist: create it"):
        rescan(Clients(elsewhere), "dev")


# Converge


@pytest.mark.slow
def test_concurrent_updates_of_one_version_leave_one_row(case: ModelCase) -> None:
    with notifications_lost(case.stack):
        case.upload()
        with ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(converge, case.clients, "dev", case.ref()) for _ in range(24)]
            changes = [call.result(timeout=120) for call in calls]
    assert "registered" in changes
    assert set(changes) <= {"registered", "updated", "unchanged"}
    assert case.registered() == case.stored()


def test_converge_returns_its_outcome(case: ModelCase) -> None:
    ref = case.ref()
    with notifications_lost(case.stack):
        assert converge(case.clients, "dev", ref) == "unchanged"
        case.upload()
        assert converge(case.clients, "dev", ref) == "registered"
        assert converge(case.clients, "dev", ref) == "unchanged"
        case.upload(slope=2.0)
        assert converge(case.clients, "dev", ref) == "updated"
        case.delete()
        assert converge(case.clients, "dev", ref) == "removed"
        assert converge(case.clients, "dev", ref) == "unchanged"
    assert case.rows() == []


def test_converge_follows_a_bucket_that_changes_meanwhile(
    case: ModelCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = itertools.count()

    def overwritten_at_first(*arguments: Any) -> Any:
        objects = list_objects(*arguments)
        if next(looks) < 3:
            case.upload(slope=2.0)  # after the read: the values read are stale already
        return objects

    with notifications_lost(case.stack):
        case.upload()
        monkeypatch.setattr(sync, "list_objects", overwritten_at_first)
        assert converge(case.clients, "dev", case.ref()) == "registered"
    assert case.registered() == case.stored()


@pytest.mark.slow
def test_converge_gives_up_on_a_bucket_that_changes_at_every_read(
    case: ModelCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overwritten(*arguments: Any) -> Any:
        objects = list_objects(*arguments)
        case.upload(slope=2.0)
        return objects

    with notifications_lost(case.stack):
        case.upload()
        with monkeypatch.context() as patch:
            patch.setattr(sync, "list_objects", overwritten)
            with pytest.raises(RegistryBusy, match="over 5 looks"):
                converge(case.clients, "dev", case.ref())
        assert converge(case.clients, "dev", case.ref()) == "updated"
    assert case.registered() == case.stored()


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        CONFLICT,
        "Transaction is aborted due to concurrent update against table p:d.model_registry",
        "Resources exceeded: Too many DML statements outstanding against table p:d.t, limit is 20",
    ],
)
def test_a_conflicting_statement_is_retried(
    case: ModelCase,
    own_clients: Clients,
    no_waiting: None,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
) -> None:
    with notifications_lost(case.stack):
        case.upload()
        asked = failing(monkeypatch, own_clients, iter([text, text]))
        assert converge(own_clients, "dev", case.ref()) == "registered"
    assert len(asked) == 3 + 2  # a read (at the third try), the statement, another read
    assert case.registered() == case.stored()


def test_endless_conflicts_raise_registry_busy(
    case: ModelCase,
    own_clients: Clients,
    no_waiting: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = failing(monkeypatch, own_clients, itertools.repeat(CONFLICT))
    with pytest.raises(TryAgain, match="Too many concurrent changes"):
        converge(own_clients, "dev", case.ref())
    assert len(asked) == 6


def test_an_invalid_statement_is_not_retried(
    case: ModelCase, own_clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = failing(monkeypatch, own_clients, itertools.repeat("Unrecognized name: nme at [3:7]"))
    with pytest.raises(BadRequest, match="Unrecognized name"):
        converge(own_clients, "dev", case.ref())
    assert len(asked) == 1


@pytest.mark.parametrize(
    "act",
    [
        lambda clients, case: converge(clients, "staging", case.ref()),
        lambda clients, case: rescan(clients, "staging"),
        lambda clients, case: list_models(clients, "staging"),
    ],
    ids=["converge", "rescan", "list_models"],
)
def test_a_missing_registry_is_retryable(
    case: ModelCase, settings: Settings, act: Callable[[Clients, ModelCase], Any]
) -> None:
    buckets = (("staging", case.bucket),)
    clients = Clients(dataclasses.replace(settings, envs=("staging",), models_buckets=buckets))
    with pytest.raises(TryAgain, match="mlsys_staging lacks one of the tables"):
        act(clients, case)


def test_no_message_of_these_tests_became_a_dead_letter(stack: LocalStack) -> None:
    letters = stack.pubsub.messages(dead_letter(TOPIC))
    assert [m for m in letters if m.attributes["objectId"].startswith("sync-")] == []
