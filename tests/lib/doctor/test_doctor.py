"""One thing broken at a time: the right check names it, and nothing else fails."""

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from google.api_core import exceptions
from google.auth.exceptions import RefreshError, TransportError

import fake_project
from fake_project import DATASET, PROJECT, TOPICS, URL, Project
from mlsys.cli import doctor, main
from mlsys.cloud import credentials
from mlsys.doctor.check import Finding
from mlsys.doctor.examination import examine
from mlsys.errors import CredentialsMissing

ROOT = Path(__file__).parents[3]
APPLY = "terraform -chdir=infrastructure/envs/dev apply"


def states(project: Project) -> dict[str, Finding]:
    return {finding.id: finding for finding in examine(project.deployment)}


def test_nothing_is_wrong_with_a_healthy_project() -> None:
    findings = examine(Project().deployment)
    assert {finding.state for finding in findings} == {"ok"}, findings
    assert not [finding.id for finding in findings if finding.fix]
    ids = [finding.id for finding in findings]
    assert len(ids) == len(set(ids)) >= 25
    assert ids[-3:] == ["service:run-job", "service:walls", "service:publish-events"]


def test_the_documents_name_every_check() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    table = text.split("| checks | what they compare |")[1].split("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    named = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    ids = {f.id for f in examine(Project().deployment) if not f.id.startswith("service:")}
    kinds = tuple(f"-{kind}" for kind in fake_project.KINDS)
    for kind in kinds:
        ids = {f"{id.removesuffix(kind)}-…" if id.endswith(kind) else id for id in ids}
    assert named == ids | {"settings"}


@pytest.mark.parametrize(
    ("exc", "says"),
    [
        (RefreshError("invalid_grant"), "does not accept the credentials"),
        (TransportError("no route"), "no route"),
    ],
)
def test_credentials_that_google_does_not_accept_are_named(
    exc: Exception, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refresh(_: object) -> None:
        raise exc

    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setattr(
        credentials, "default_credentials", lambda: SimpleNamespace(refresh=refresh)
    )
    at = dataclasses.replace(Project().deployment, account=credentials.signed_in)
    [broken] = [finding for finding in examine(at) if finding.state == "failed"]
    assert broken.id == "credentials"
    assert says in broken.seen


def test_the_account_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = SimpleNamespace(refresh=lambda _: None, service_account_email="a@b.example")
    monkeypatch.setattr(credentials, "default_credentials", lambda: accepted)
    assert credentials.signed_in() == "a@b.example"


def own(project: Project, id: str, seen: str) -> None:
    """Let the service report a failed check of its own."""
    [check] = [check for check in project.own if check["id"] == id]
    check |= {"state": "failed", "seen": seen, "fix": APPLY}


def no_column(project: Project, table: str, also_seen_by_service: bool = True) -> None:
    fields = project.tables[f"{DATASET}.{table}"].schema
    last = fields[-1].name
    project.tables[f"{DATASET}.{table}"].schema = [f for f in fields if f.name != last]
    if also_seen_by_service and table == "model_registry":
        own(project, "registry-table", "loader is missing")


def push(project: Project, **values: object) -> None:
    vars(project.subscriptions["mlsys-model-events-dev"].push_config).update(values)


def signed(project: Project, **values: object) -> None:
    vars(project.subscriptions["mlsys-predictions-dev"].push_config.oidc_token).update(values)


def notified(project: Project, **values: object) -> None:
    vars(project.models.notifications[0]).update(values)


def disabled(project: Project) -> None:
    project.faults["get_topic"] = exceptions.Forbidden(
        "Cloud Pub/Sub API has not been used in project before or it is disabled: "
        "https://console.developers.google.com/apis/api/pubsub.googleapis.com",
        errors=[{"reason": "accessNotConfigured"}],
    )


BROKEN: dict[str, tuple[Callable[[Project], object], str, str]] = {
    "nobody is signed in": (
        lambda p: p.faults.update(account=CredentialsMissing("No credentials were found")),
        "credentials",
        "gcloud auth application-default login",
    ),
    "the service is down": (
        lambda p: setattr(p, "service_fault", fake_project.DOWN),
        "service",
        "gcloud run services describe mlsys-dev",
    ),
    "another service answers": (
        lambda p: setattr(p, "service_fault", fake_project.WRONG_ADDRESS),
        "service",
        "gcloud run services describe mlsys-dev",
    ),
    "the caller is not an invoker": (
        lambda p: setattr(p, "service_fault", fake_project.DENIED),
        "invoke",
        "roles/run.invoker",
    ),
    "an identity token cannot be fetched": (
        lambda p: setattr(p, "service_fault", CredentialsMissing("no identity token")),
        "invoke",
        "roles/run.invoker",
    ),
    "an older release runs": (lambda p: setattr(p, "version", "0.0.9"), "version", "mlsys==0.0.9"),
    "it serves another environment": (
        lambda p: setattr(p, "envs", ["prod"]),
        "environment",
        "export MLSYS_URL=",
    ),
    "an API is not enabled": (
        disabled,
        "apis",
        f"gcloud services enable pubsub.googleapis.com --project={PROJECT}",
    ),
    "no models bucket": (lambda p: p.buckets.pop("mlsys-models-dev"), "models-bucket", APPLY),
    "no runs bucket": (lambda p: p.buckets.pop("mlsys-runs-dev"), "runs-bucket", APPLY),
    "no versions": (
        lambda p: setattr(p.models, "versioning_enabled", False),
        "versioning",
        "gcloud storage buckets update gs://mlsys-models-dev --versioning",
    ),
    "no notification": (
        lambda p: p.models.notifications.clear(),
        "notification",
        "gcloud storage buckets notifications create gs://mlsys-models-dev "
        f"--topic={TOPICS}/mlsys-model-events-dev",
    ),
    "a notification to another topic": (
        lambda p: notified(p, topic_name="another"),
        "notification",
        "notifications create",
    ),
    "a notification of uploads alone": (
        lambda p: notified(p, event_types=["OBJECT_FINALIZE"]),
        "notification",
        "OBJECT_ARCHIVE",
    ),
    "a notification below a prefix": (
        lambda p: notified(p, blob_name_prefix="titanic/"),
        "notification",
        "notifications create",
    ),
    "results of runs are deleted": (
        lambda p: p.runs.lifecycle_rules.append(
            {"action": {"type": "Delete"}, "condition": {"age": 30}}
        ),
        "runs-lifecycle",
        APPLY,
    ),
    "parts of running runs are deleted": (
        lambda p: p.runs.lifecycle_rules[0]["condition"].update(age=0),
        "runs-lifecycle",
        APPLY,
    ),
    "no dataset": (lambda p: p.datasets.clear(), "dataset", APPLY),
    "bucket and dataset apart": (
        lambda p: setattr(p.dataset, "location", "EU"),
        "location",
        "terraform.tfvars",
    ),
    "tables expire": (
        lambda p: setattr(p.dataset, "default_table_expiration_ms", 86_400_000),
        "expiration",
        f"bq update --default_table_expiration=0 --default_partition_expiration=0 {PROJECT}:mlsys",
    ),
    "no registry": (
        lambda p: p.tables.pop(f"{DATASET}.model_registry"),
        "registry-table",
        APPLY,
    ),
    "a column of the registry": (
        lambda p: no_column(p, "model_registry"),
        "registry-table",
        APPLY,
    ),
    "a column of the log": (lambda p: no_column(p, "model_aliases"), "aliases-table", APPLY),
    "a column of the ledger": (lambda p: no_column(p, "prediction_runs"), "ledger-table", APPLY),
    "a column of the evaluations": (
        lambda p: no_column(p, "prediction_evaluations"),
        "evaluations-table",
        APPLY,
    ),
    "no queries": (
        lambda p: p.faults.update(query=exceptions.Forbidden("bigquery.jobs.create")),
        "queries",
        "--role=roles/bigquery.jobUser",
    ),
    "the clock is wrong": (
        lambda p: setattr(p, "clock_error", -120.0),
        "clock",
        "timedatectl set-ntp true",
    ),
    "a model is not registered": (
        lambda p: p.objects.append("titanic/v2/model.pkl"),
        "registry",
        "/model-registry?env=dev",
    ),
    "a deleted model is registered": (
        lambda p: p.registered.append("titanic/v9"),
        "registry",
        "/model-registry?env=dev",
    ),
    "no topic": (lambda p: p.topics.discard(f"{TOPICS}/mlsys-events-dev"), "topics", APPLY),
    "no subscription": (
        lambda p: p.subscriptions.pop("mlsys-predictions-dev"),
        "push-predictions",
        APPLY,
    ),
    "a push to another route": (
        lambda p: push(p, push_endpoint=f"{URL}/events"),
        "push-model-events",
        APPLY,
    ),
    "a subscription that is pulled": (
        lambda p: push(p, push_endpoint=""),
        "push-model-events",
        APPLY,
    ),
    "another audience": (
        lambda p: signed(p, audience="https://old.run.app"),
        "push-predictions",
        APPLY,
    ),
    "another account signs": (
        lambda p: signed(p, service_account_email="me@example.com"),
        "push-predictions",
        APPLY,
    ),
    "a short deadline": (
        lambda p: setattr(p.subscriptions["mlsys-predictions-dev"], "ack_deadline_seconds", 10),
        "push-predictions",
        APPLY,
    ),
    "no dead letters": (
        lambda p: setattr(
            p.subscriptions["mlsys-predictions-dev"].dead_letter_policy, "dead_letter_topic", ""
        ),
        "dead-letters-predictions",
        APPLY,
    ),
    "dead letters without a subscription": (
        lambda p: p.subscriptions.pop("mlsys-model-events-dev-dead-letter"),
        "dead-letters-model-events",
        APPLY,
    ),
    "no console": (lambda p: p.services.pop(fake_project.CONSOLE), "console", APPLY),
    "an apply has switched the proxy off": (
        lambda p: setattr(p.console, "iap_enabled", False),
        "console",
        f"gcloud run services update mlsys-web-dev --project={PROJECT} --region=us-central1 --iap",
    ),
    "a proxy that the console does not expect": (
        lambda p: p.console.template.containers[0].env.clear(),
        "console",
        "--no-iap",
    ),
    "no job": (lambda p: p.jobs.clear(), "job", APPLY),
    "the service has no job": (lambda p: p.container.env.clear(), "job-setting", APPLY),
    "the service has another job": (
        lambda p: setattr(p.container.env[0], "value", "mlsys-score-old"),
        "job-setting",
        APPLY,
    ),
    "a job of another release": (
        lambda p: setattr(p.task.containers[0], "image", "mlsys@sha256:0"),
        "job-image",
        "gcloud run jobs update mlsys-score-dev --image=us-docker.pkg.dev/my-project/mlsys/"
        f"mlsys@sha256:1 --project={PROJECT} --region=us-central1",
    ),
    "the service was rolled back, and the job was not": (
        lambda p: (
            p.service.traffic_statuses.reverse()
            or setattr(p.service.traffic_statuses[1], "percent", 100)
            or setattr(p.service.traffic_statuses[0], "percent", 0)
            or p.revisions.update(
                {f"{fake_project.SERVICE}/revisions/mlsys-dev-00006-old": ["old"]}
            )
        ),
        "job-image",
        "--image=old",
    ),
    "a job of another account": (
        lambda p: setattr(p.task, "service_account", "me@example.com"),
        "job-account",
        APPLY,
    ),
    "a job of the default account": (
        lambda p: setattr(p.task, "service_account", ""),
        "job-account",
        APPLY,
    ),
    "a job with little time": (
        lambda p: setattr(p.task, "timeout", dt.timedelta(minutes=1)),
        "job-limits",
        APPLY,
    ),
    "a job that executes the service": (
        lambda p: p.task.containers[0].command.clear(),
        "job-limits",
        APPLY,
    ),
    "the service may not run the job": (
        lambda p: own(p, "run-job", "lacks run.jobs.run"),
        "service:run-job",
        APPLY,
    ),
    "no walls": (lambda p: own(p, "walls", "no filter"), "service:walls", APPLY),
    "the service may not publish": (
        lambda p: own(p, "publish-events", "may not publish"),
        "service:publish-events",
        APPLY,
    ),
    "the service's clock": (lambda p: own(p, "clock", "100 s"), "service:clock", APPLY),
}


@pytest.mark.parametrize(("break_it", "id", "fix"), BROKEN.values(), ids=BROKEN.keys())
def test_one_broken_thing_is_named_by_its_check(
    break_it: Callable[[Project], object], id: str, fix: str
) -> None:
    project = Project()
    break_it(project)
    findings = states(project)
    assert [f.id for f in findings.values() if f.state == "failed"] == [id], findings
    assert fix in str(findings[id].fix)
    assert not [f.id for f in findings.values() if f.state == "warning"]
    assert findings[id].seen


WARNED: dict[str, tuple[Callable[[Project], object], str, str]] = {
    "a job without retries": (lambda p: setattr(p.task, "max_retries", 0), "job-limits", APPLY),
    "parts are kept": (lambda p: p.runs.lifecycle_rules.clear(), "runs-lifecycle", APPLY),
    "the caller may not upload": (
        lambda p: setattr(p.models, "denied", ("storage.objects.create",)),
        "upload-rights",
        "model_writers",
    ),
    "little time travel": (
        lambda p: setattr(p.dataset, "max_time_travel_hours", "48"),
        "time-travel",
        f"bq update --max_time_travel_hours=168 {PROJECT}:mlsys_dev",
    ),
    "a slow clock": (lambda p: setattr(p, "clock_error", 20.0), "clock", "set-ntp"),
    "dead letters wait": (
        lambda p: setattr(p, "waiting", 3),
        "waiting-model-events waiting-predictions",
        "gcloud pubsub subscriptions pull mlsys-",
    ),
    "pushes to another address of the service": (
        lambda p: (
            push(p, push_endpoint="https://other.run.app/events/storage"),
            setattr(
                p.subscriptions["mlsys-model-events-dev"].push_config.oidc_token,
                "audience",
                "https://other.run.app",
            ),
        ),
        "push-model-events",
        APPLY,
    ),
}


@pytest.mark.parametrize(("change", "ids", "fix"), WARNED.values(), ids=WARNED.keys())
def test_what_works_and_should_be_changed_is_a_warning(
    change: Callable[[Project], object], ids: str, fix: str
) -> None:
    project = Project()
    change(project)
    findings = states(project)
    assert [f.id for f in findings.values() if f.state != "ok"] == ids.split()
    assert all(f.state == "warning" for f in findings.values() if f.state != "ok")
    assert all(fix in str(findings[id].fix) for id in ids.split())


@pytest.mark.parametrize(
    "method",
    [
        *("get_bucket", "get_dataset", "get_table", "get_topic", "get_subscription", "waiting"),
        *("get_job", "get_service", "get_revision"),
    ],
)
def test_what_the_caller_may_not_see_does_not_fail(method: str) -> None:
    project = Project()
    project.faults[method] = exceptions.Forbidden("denied")
    findings = states(project)
    broken = [f for f in findings.values() if f.state == "failed"]
    assert not broken, broken
    assert any("lacks" in f.seen for f in findings.values() if f.state == "skipped")


@pytest.mark.parametrize(
    "condition",
    [
        {"daysSinceNoncurrentTime": 7},
        {"isLive": False, "age": 1},
        {"age": 90, "matchesPrefix": ["quarantine/"]},
    ],
)
def test_lifecycle_rules_that_keep_results_are_fine(condition: dict[str, object]) -> None:
    project = Project()
    project.runs.lifecycle_rules.append({"action": {"type": "Delete"}, "condition": condition})
    assert states(project)["runs-lifecycle"].state == "ok"


def test_a_check_that_needs_a_failed_one_says_which() -> None:
    project = Project()
    project.buckets.pop("mlsys-models-dev")
    assert states(project)["versioning"] == Finding(
        "versioning", "skipped", "It needs `models-bucket`."
    )


def test_the_command_prints_each_check_and_the_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = Project()
    project.models.versioning_enabled = False
    project.waiting = 2
    arranged = SimpleNamespace(url=URL)
    monkeypatch.setattr("mlsys.cloud.clients.default_clients", lambda: None)
    monkeypatch.setattr("mlsys.remote.service.Service", lambda url: arranged)
    monkeypatch.setattr("mlsys.doctor.deployment.Deployment", lambda *_: project.deployment)
    assert main(["doctor", "--env", "dev", "--url", URL]) == 1
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert f"failed   {'versioning':<27} gs://mlsys-models-dev keeps no versions" in text
    assert "to fix it: gcloud storage buckets update gs://mlsys-models-dev --versioning" in text
    assert lines[-1].endswith(" ok, 2 warning, 1 failed, 0 skipped")
    assert "\x1b" not in text

    assert main(["doctor", "--env", "dev", "--url", URL, "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert [c["id"] for c in answer["checks"] if c["state"] == "failed"] == ["versioning"]

    assert main(["doctor", "--env", "dev", "--url", URL, "--run", f"{PROJECT}.d"]) == 1
    assert "It needs every check to pass." in capsys.readouterr().out

    project.models.versioning_enabled = True
    assert main(["doctor", "--env", "dev", "--url", URL]) == 0


@pytest.mark.parametrize("missing", ["GCP_PROJECT_ID", "MLSYS_URL"])
def test_missing_settings_are_a_finding(
    missing: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: object,
) -> None:
    monkeypatch.chdir(str(tmp_path))
    for name in ("GCP_PROJECT_ID", "GOOGLE_CLOUD_PROJECT", "MLSYS_URL"):
        monkeypatch.delenv(name, raising=False)
    values = {"GCP_PROJECT_ID": PROJECT, "MLSYS_URL": URL}
    for name in values.keys() - {missing}:
        monkeypatch.setenv(name, values[name])
    assert main(["doctor", "--env", "dev"]) == 1
    text = capsys.readouterr().out
    assert text.startswith("failed   settings")
    assert "export GCP_PROJECT_ID=" in text
    assert doctor.written([]) == "\n0 ok, 0 warning, 0 failed, 0 skipped"
