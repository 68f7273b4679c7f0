"""`mlsys doctor` over the local stack: its service, emulators, and a run of one row."""

import dataclasses
import json
import socket
from collections.abc import Callable

import pytest
import requests

from mlsys.cli import main
from mlsys.cloud.clients import Clients
from mlsys.doctor.check import Finding
from mlsys.doctor.deployment import Deployment
from mlsys.doctor.examination import examine
from mlsys.local.stack import LocalStack
from mlsys.remote.service import Service
from mlsys.settings import Settings

UNSUPPORTED = {
    *("versioning", "notification", "upload-rights", "runs-lifecycle"),
    *("waiting-model-events", "waiting-predictions"),
    *("job", "job-setting", "job-image", "job-account", "job-limits", "console"),
}


@pytest.fixture
def rescanned(stack: LocalStack) -> LocalStack:
    """Return the stack once its registry agrees with the bucket, whatever other tests did."""
    requests.get(f"{stack.url}/model-registry?env=dev", timeout=60).raise_for_status()
    return stack


def test_the_local_stack_passes_with_a_run_of_one_row(
    rescanned: LocalStack, environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    stack = rescanned
    before = {table.table_id for table in stack.clients.bigquery.list_tables("titanic")}
    code = main(["doctor", "--env", "dev", "--json", "--run", "mlsys-local.titanic"])
    answer = json.loads(capsys.readouterr().out)
    states = {check["id"]: check["state"] for check in answer["checks"]}
    others = {id: state for id, state in states.items() if state not in ("ok", "skipped")}
    assert (code, answer["ok"]) == (0, True), answer
    assert set(others) <= {"service:walls"}
    assert {id for id, state in states.items() if state == "skipped"} == UNSUPPORTED
    assert states["run"] == "ok"

    after = {table.table_id for table in stack.clients.bigquery.list_tables("titanic")}
    assert after == before
    assert not list(stack.clients.storage.list_blobs("mlsys-models-dev", prefix="mlsys-doctor"))


def test_a_run_that_fails_says_where_and_deletes_what_it_made(
    rescanned: LocalStack, environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--env", "dev", "--run", "mlsys-local.no_such_dataset"]) == 1
    text = capsys.readouterr().out
    assert "failed   run" in text
    assert "Create a table of one row:" in text
    assert text.splitlines()[-1].endswith("1 failed, 12 skipped")


def failed(stack: LocalStack, settings: Settings, url: str) -> list[Finding]:
    at = Deployment(Clients(settings), "dev", Service(url))
    return [finding for finding in examine(at) if finding.state == "failed"]


BROKEN: dict[str, Callable[[Settings], Settings]] = {
    "models-bucket": lambda s: dataclasses.replace(s, models_buckets=(("dev", "no-bucket"),)),
    "runs-bucket": lambda s: dataclasses.replace(s, runs_buckets=(("dev", "no-bucket"),)),
}


@pytest.mark.slow
@pytest.mark.parametrize("id", BROKEN)
def test_a_bucket_that_does_not_exist_is_named(rescanned: LocalStack, id: str) -> None:
    settings = BROKEN[id](rescanned.settings)
    broken = failed(rescanned, settings, str(rescanned.url))
    assert [(finding.id, finding.fix) for finding in broken] == [
        (id, "mlsys local up  # restart the local stack")
    ]


def test_a_service_that_is_down_is_named(rescanned: LocalStack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    assert [f.id for f in failed(rescanned, rescanned.settings, url)] == ["service"]


def test_a_subscription_that_is_gone_is_named(rescanned: LocalStack) -> None:
    pubsub = rescanned.pubsub
    subscription = pubsub.subscription("mlsys-predictions-dev")
    assert subscription is not None
    pubsub.delete_subscription(subscription.name)
    try:
        broken = failed(rescanned, rescanned.settings, str(rescanned.url))
    finally:
        pubsub.create_subscription(subscription)
    assert [f.id for f in broken] == ["push-predictions"]
