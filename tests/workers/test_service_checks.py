"""The service's own checks: what is broken is named, and Google's words stay in the log."""

import dataclasses
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core import exceptions

from fake_project import DATASET, JOB, Project
from mlsys.doctor.check import Finding
from workers import checks

HELD = SimpleNamespace(filter=True, missing="")
TOPIC = "projects/my-project/topics/mlsys-events-dev"


class Account(Project):
    """A project by the service's account, which also reads sessions and tests permissions."""

    def __init__(self) -> None:
        super().__init__()
        configure(self, job="mlsys-score-dev")
        self.granted = ["run.jobs.run", "run.jobs.runWithOverrides"]

    def clients(self) -> Any:
        clients = self.deployment.clients
        clients.bigquery_read = SimpleNamespace(create_read_session=self._open)  # type: ignore[attr-defined, misc]
        clients.publisher.test_iam_permissions = self._test  # type: ignore[method-assign]
        clients.storage.list_blobs = self._list  # type: ignore[method-assign]
        clients.jobs.test_iam_permissions = self._may_run
        clients.executions = SimpleNamespace(list_executions=self._list_executions)  # type: ignore[attr-defined]
        return clients

    def findings(self) -> dict[str, Finding]:
        return {f.id: f for f in checks.check(self.clients(), "dev")}

    def _open(self, **_: Any) -> Any:
        self._raise("open")
        return SimpleNamespace(streams=[1])

    def _test(self, request: dict[str, Any], **_: Any) -> Any:
        granted = request["permissions"] if request["resource"] in self.topics else []
        return SimpleNamespace(permissions=granted)

    def _may_run(self, request: dict[str, Any], **_: Any) -> Any:
        assert request["resource"] == JOB
        return SimpleNamespace(permissions=[p for p in request["permissions"] if p in self.granted])

    def _list_executions(self, request: dict[str, Any], **_: Any) -> Any:
        return self.get("list_executions", dict.fromkeys(self.jobs, ()), request["parent"])

    def _list(self, name: str, **_: Any) -> list[Any]:
        self.get("list", self.buckets, name)
        return []


@pytest.fixture(autouse=True)
def walls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.walls, "available", lambda: HELD)


def configure(account: Account, **values: Any) -> None:
    account.settings = dataclasses.replace(account.settings, **values)


def in_another_place(account: Account) -> None:
    account.datasets["my-project.out"] = SimpleNamespace(location="EU")
    configure(account, output_datasets=("my-project.out", f"{DATASET}"))


BROKEN: dict[str, tuple[Callable[[Account], object], str]] = {
    "no registry": (lambda a: a.tables.pop(f"{DATASET}.model_registry"), "registry-table"),
    "no log of aliases": (lambda a: a.tables.pop(f"{DATASET}.model_aliases"), "aliases-table"),
    "no ledger": (lambda a: a.tables.pop(f"{DATASET}.prediction_runs"), "ledger-table"),
    "no evaluations": (
        lambda a: a.tables.pop(f"{DATASET}.prediction_evaluations"),
        "evaluations-table",
    ),
    "no profiles": (lambda a: a.tables.pop(f"{DATASET}.prediction_profiles"), "profiles-table"),
    "no queries": (
        lambda a: a.faults.update(query=exceptions.Forbidden("Access Denied: secret")),
        "queries",
    ),
    "no read sessions": (
        lambda a: a.faults.update(open=exceptions.PermissionDenied("secret")),
        "read-session",
    ),
    "the clock": (lambda a: setattr(a, "clock_error", 90.0), "clock"),
    "no models bucket": (lambda a: a.buckets.pop("mlsys-models-dev"), "models-bucket"),
    "no runs bucket": (lambda a: a.buckets.pop("mlsys-runs-dev"), "runs-bucket"),
    "parts cannot be written": (
        lambda a: setattr(a.runs, "denied", ("storage.objects.create",)),
        "runs-bucket",
    ),
    "another location": (lambda a: setattr(a.runs, "location", "EU"), "location"),
    "a dataset that does not exist": (
        lambda a: configure(a, input_datasets=("my-project.none", "other-project.*")),
        "datasets",
    ),
    "an output in another location": (in_another_place, "datasets"),
    "no job": (lambda a: a.jobs.clear(), "run-job"),
    "the job may not be run": (lambda a: a.granted.clear(), "run-job"),
    "the job may not be run with overrides": (lambda a: a.granted.pop(), "run-job"),
    "executions cannot be seen": (
        lambda a: a.faults.update(list_executions=exceptions.PermissionDenied("secret")),
        "run-job",
    ),
    "no topic": (lambda a: a.topics.discard(TOPIC), "publish-events"),
}


def test_nothing_is_wrong_with_a_healthy_project() -> None:
    findings = Account().findings()
    assert {f.state for f in findings.values()} == {"ok"}, findings


@pytest.mark.parametrize(("break_it", "id"), BROKEN.values(), ids=BROKEN.keys())
def test_one_broken_thing_is_named(
    break_it: Callable[[Account], object], id: str, caplog: pytest.LogCaptureFixture
) -> None:
    account = Account()
    break_it(account)
    with caplog.at_level(logging.WARNING):
        findings = account.findings()
    assert [f.id for f in findings.values() if f.state in ("failed", "warning")] == [id], findings
    assert findings[id].fix
    assert "secret" not in findings[id].seen
    assert ("secret" in caplog.text) == bool(
        {"query", "open", "list_executions"} & account.faults.keys()
    )


@pytest.mark.parametrize(("on_cloud_run", "state"), [(True, "failed"), (False, "warning")])
def test_missing_walls_are_named(
    on_cloud_run: bool, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = SimpleNamespace(filter=False, missing="no seccomp")
    monkeypatch.setattr(checks.walls, "available", lambda: held)
    account = Account()
    configure(account, on_cloud_run=on_cloud_run)
    findings = account.findings()
    assert [(f.id, f.state) for f in findings.values() if f.state != "ok"] == [("walls", state)]


def test_a_small_limit_for_models_is_a_warning() -> None:
    account = Account()
    configure(account, max_model_bytes=2**20)
    assert account.findings()["machine"].state == "warning"


def test_a_service_without_a_job_has_no_check_of_it() -> None:
    account = Account()
    configure(account, job="")
    assert "run-job" not in account.findings()
