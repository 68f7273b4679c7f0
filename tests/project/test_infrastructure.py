"""Terraform and the code agree on variables, topics, routes, tables and buckets."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from app import create_app, gunicorn_conf, logs
from app.api import events
from app.api.predict_queries import PredictQuery
from edge_cases import SERVICE
from mlsys.artifact.refs import AliasRef, ModelRef
from mlsys.local import bigquery, topics
from mlsys.settings import ENVS, Settings
from mlsys.settings.guards import read_guards
from terraform_cases import (
    INFRASTRUCTURE,
    MODULE,
    ROOT,
    Config,
    Recorder,
    Topics,
    dangers,
    files_of,
    named,
)
from wired import NoClients
from workers import machine
from workers.registry import alias_sync

CONFIG = Config.read(files_of(MODULE))
ROOTS = ("bootstrap", "modules/mlsys", *(f"envs/{env}" for env in ENVS))

# Settings of the service that Terraform does not set, with the reason.
NOT_SET = {
    "GOOGLE_CLOUD_PROJECT": "stands in for GCP_PROJECT_ID, which is set",
    "K_SERVICE": "Cloud Run sets it",
    "MLSYS_IAP_AUDIENCE": "the console's alone: console.tf",
    "MLSYS_URL": "the service's address is the push audience, which is set",
    **dict.fromkeys(
        (
            "BIGQUERY_EMULATOR_HOST",
            "BIGQUERY_STORAGE_EMULATOR_HOST",
            "CLOUD_RUN_EMULATOR_HOST",
            "PUBSUB_EMULATOR_HOST",
            "STORAGE_EMULATOR_HOST",
        ),
        "for the local stack alone: the service refuses to start with it on Cloud Run",
    ),
    **dict.fromkeys(
        (f"GCS_BUCKET_{what}_{env}" for what in ("MODELS", "RUNS") for env in ("STAGING", "PROD")),
        "the bucket of another environment than dev, which is looked at here",
    ),
}
ONLY_ALIASES = CONFIG.locals["only_aliases"]
# Parameters of /predict that a schedule lacks: two only check, a name serves for one run, two are
# for a person who has looked at the model, and the others are always the same.
NOT_SCHEDULED = {
    *("check_ids", "dry_run", "run_id", "env", "wait"),
    *("allow_rejected", "allow_version_mismatch"),
}


def routes() -> set[tuple[str, str]]:
    """Return the service's routes, each as method and path."""
    rules = create_app(SERVICE, NoClients(SERVICE)).url_map.iter_rules()
    return {(method, rule.rule) for rule in rules for method in rule.methods or ()}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep `create_app` from redirecting the test's own log."""
    monkeypatch.setattr("app.logs.configure", lambda: None)


def test_terraform_sets_exactly_the_variables_that_the_service_reads() -> None:
    environ = Recorder(GOOGLE_CLOUD_PROJECT="example")
    Settings.from_env(environ)
    configured = {named(name.strip('"')) for name in CONFIG.locals["environment"]}
    assert configured == environ.read - NOT_SET.keys()
    assert NOT_SET.keys() <= environ.read


def test_topics_and_subscriptions_match_the_local_stack() -> None:
    local = Topics()
    topics.create_topics(local, SERVICE, "https://service")  # type: ignore[arg-type]
    pushed = {f"mlsys-{key}-dev": value for key, value in CONFIG.locals["pushed"].items()}
    announcements = CONFIG.resources["google_pubsub_topic", "announcements"]["name"]
    dead = {f"{name}-dead-letter" for name in pushed}
    assert {*pushed, *dead, named(announcements)} == local.topics
    assert pushed.keys() == local.subscriptions.keys()
    for name, subscription in local.subscriptions.items():
        assert subscription.topic == name
        assert subscription.endpoint == f"https://service{pushed[name]['route']}"
        assert subscription.max_delivery_attempts == pushed[name]["attempts"]
        assert subscription.maximum_backoff == pushed[name]["maximum_backoff"]
        assert subscription.dead_letter_topic == f"{name}-dead-letter"
    assert SERVICE.predictions_topic("dev").endswith("/mlsys-predictions-dev")


def test_every_called_path_is_a_route_and_every_event_route_has_a_push_subscription() -> None:
    served = routes()
    pushed = {("POST", value["route"]) for value in CONFIG.locals["pushed"].values()}
    assert pushed == {
        (m, path) for m, path in served if path.startswith("/events/") and m == "POST"
    }
    jobs = [body for (kind, _), body in CONFIG.resources.items() if kind.endswith("scheduler_job")]
    targets = [job["http_target"][0] for job in jobs]
    called = {
        (t["http_method"], re.split(r"[?]", t["uri"].partition("service_url}")[2])[0])
        for t in targets
    }
    probe = _container()["startup_probe"][0]["http_get"][0]["path"]
    assert called == {("GET", "/model-registry"), ("GET", "/predict")}
    assert called | {("GET", probe)} <= served


def test_a_schedule_sets_the_parameters_of_predict() -> None:
    text = (MODULE / "variables.tf").read_text()
    declared = re.search(r'variable "scheduled_predictions".*?object\(\{(.*?)\}\)\)', text, re.S)
    assert declared
    names = set(re.findall(r"^\s+(\w+)\s+=", declared[1], re.M))
    assert names - {"schedule"} == PredictQuery.model_fields.keys() - NOT_SCHEDULED


def test_a_guard_of_an_alias_has_the_parts_that_the_code_reads() -> None:
    text = (MODULE / "variables.tf").read_text()
    declared = re.search(r'variable "alias_guards".*?type = (.*?)default = ', text, re.S)
    assert declared
    names = set(re.findall(r"^\s+(\w+)\s+=", declared[1], re.M))
    guard: dict[str, Any] = {
        "movers": ["ada@example.com"],
        "why": True,
        "golden_rows": True,
        "runs": {"at_least": 1, "ledgers": ["p.d"]},
        "metrics": {
            "measured.auc": {"at_least": 0, "at_most": 1, "worse_by": 0.1, "better": "lower"}
        },
        "labels": "p.d.t.c",
        "shadow": {"agreement": 0.9, "rows": 10},
    }
    assert names == {*guard, *guard["runs"], *guard["metrics"]["measured.auc"], *guard["shadow"]}
    errors: list[str] = []
    [(_, _, read)] = read_guards(json.dumps({"dev": {"champion": guard}}), ("dev",), errors)
    assert not errors
    assert not [f.name for f in fields(read) if getattr(read, f.name) == f.default]


def test_tables_match_the_local_stack() -> None:
    layout = {table: day for table, (day, _) in bigquery._LAYOUT.items()}
    assert CONFIG.locals["tables"] == layout
    assert layout.keys() == {path.stem for path in bigquery.SCHEMAS.glob("*.json")}
    table = CONFIG.resources["google_bigquery_table", "this"]
    assert {tuple(by) for _, by in bigquery._LAYOUT.values()} == {tuple(table["clustering"])}
    assert (
        table["schema"] == '${file("${path.module}/../../../lib/mlsys/schemas/${each.key}.json")}'
    )
    assert (MODULE / "../../../lib/mlsys/schemas").resolve() == bigquery.SCHEMAS.resolve()


def test_views_match_the_local_stack() -> None:
    """Each is the SQL of a file that both read, over the tables of the dataset."""
    views = {path.stem: path for path in (bigquery.SCHEMAS / "views").glob("*.sql")}
    assert views
    for name, path in views.items():
        table = CONFIG.resources["google_bigquery_table", name]
        assert table["table_id"] == name
        [view] = table["view"]
        assert f"schemas/views/{path.name}" in view["query"]
        assert "{dataset = local.own_dataset}" in view["query"]
        tables = set(re.findall(r"`\$\{dataset\}\.(\w+)`", path.read_text()))
        assert tables and tables <= bigquery._LAYOUT.keys() | views.keys()


def test_the_history_of_aliases_is_never_deleted() -> None:
    """The lifecycle rule of the models bucket names the files of models alone."""
    [rule] = CONFIG.resources["google_storage_bucket", "models"]["lifecycle_rule"]
    [condition] = rule["condition"]
    suffixes = condition["matches_suffix"]
    for number in range(1, 21):
        ref = ModelRef("m", f"v{number}")
        for path in (ref.path, ref.metadata_path, ref.signature_path):
            assert path.endswith(tuple(suffixes))
    # The shortest and the longest alias, and those that are named like a file
    for alias in ("a", "a0", "a" * 63, "model", "metadata", "pkl"):
        assert not AliasRef("m", alias).path.endswith(tuple(suffixes))


PATHS = {
    "m/aliases/champion.json": "aliases",
    "aliases/aliases/a.json": "aliases",
    "m/v1/model.pkl": "",
    "m/v1/metadata.json": "",
    "m/v1/aliases/a.json": "",
    "m/aliases/model.pkl": "",
    "aliases/a.json": "",
    "a.json": "",
    "/aliases/a.json": "",
    "_aliases/m/champion/1.json": "records",
    "_aliases/publish.json": "records",
    "a-run/publish.json": "records",
    "a-run/plan.json": "",
    "a-run/result.json": "",
    "a-run/parts/publish.json": "",
    "a-run/publish.json/x": "",
    "a-run/quarantine/x.json": "",
    "x_aliases/m.json": "",
    "publish.json": "",
    "/publish.json": "",
    "quarantine/2026-11-28/x.json": "quarantine",
    "quarantine": "",
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("member", "what", "role"),
    [
        ("runtime_moves_aliases", "aliases", "User"),
        ("console_moves_aliases", "aliases", "User"),
        ("console_records", "records", "Creator"),
        ("console_replays", "quarantine", "User"),
    ],
)
def test_a_condition_lets_the_accounts_write_only_certain_objects(
    member: str, what: str, role: str, path: str
) -> None:
    """As `"extract"` and `"startsWith"` are described, evaluated in Python."""
    given = CONFIG.resources["google_storage_bucket_iam_member", member]
    [condition] = given["condition"]
    expression = condition["expression"].replace("${local.only_aliases}", ONLY_ALIASES)
    expression = " ".join(expression.replace('\\"', '"').split())
    expression = re.sub(r"\$\{google_storage_bucket\.\w+\.name\}", "the-bucket", expression)
    name = f"projects/_/buckets/the-bucket/objects/{path}"
    calls = {"extract": extracted, "endsWith": str.endswith, "startsWith": str.startswith}
    for call, method, value in re.findall(r'(resource\.name\.(\w+)\("(.*?)"\))', expression):
        expression = expression.replace(call, repr(calls[method](name, value)))
    expression = expression.replace("&&", "and").replace("||", "or")
    assert "resource" not in expression
    assert eval(expression) is (PATHS[path] == what)
    assert given["role"] == f"roles/storage.object{role}"


def extracted(text: str, template: str) -> str:
    """Return what `extract` does: the text between the parts before and after the placeholder.

    Both are looked for at their first occurrence, and without one the result is empty:
    https://cloud.google.com/iam/docs/conditions-attribute-reference#extract
    """
    before, after = re.split(r"\{\w+\}", template)
    _, there, rest = text.partition(before)
    value, here, _ = rest.partition(after) if after else (rest, "/", "")
    return value if there and here else ""


@pytest.mark.parametrize("env", ENVS)
def test_buckets_and_datasets_have_the_names_in_the_code(env: str) -> None:
    bucket = {
        name: named(CONFIG.resources["google_storage_bucket", name]["name"], env)
        for name in ("models", "runs")
    }
    assert bucket == {"models": SERVICE.models_bucket(env), "runs": SERVICE.runs_bucket(env)}
    dataset = CONFIG.resources["google_bigquery_dataset", "this"]["dataset_id"]
    assert named(dataset, env) == SERVICE.dataset(env).split(".")[1]


def test_the_console_has_the_services_image_and_settings_but_for_its_role() -> None:
    console = CONFIG.resources["google_cloud_run_v2_service", "console"]
    assert named(CONFIG.locals["console"]) == "mlsys-web-dev"
    assert CONFIG.locals["environment"]["MLSYS_ROLE"] == "api"
    more = CONFIG.locals["console_environment"]
    assert 'MLSYS_ROLE = "web"' in more and "local.set_environment" in more
    template = console["template"][0]
    assert template["max_instance_request_concurrency"] == gunicorn_conf.threads
    assert template["service_account"] == "${google_service_account.console.email}"
    (container,) = template["containers"]
    assert container["image"] == _container()["image"]
    assert container["dynamic"][0]["env"]["for_each"] == "${local.console_environment}"
    assert container["startup_probe"] == _container()["startup_probe"]
    service = CONFIG.resources["google_cloud_run_v2_service", "this"]
    assert console["lifecycle"] == service["lifecycle"]
    script = (ROOT / ".github" / "scripts" / "deploy.sh").read_text()
    assert 'echo "mlsys-web-${1#mlsys-}"' in script


def test_limits_match_the_code() -> None:
    template = CONFIG.resources["google_cloud_run_v2_service", "this"]["template"][0]
    assert template["max_instance_request_concurrency"] == "${var.concurrency}"
    assert CONFIG.variables["concurrency"]["default"] == gunicorn_conf.threads
    assert CONFIG.locals["request_timeout"] == Settings("example").request_timeout
    subscription = CONFIG.resources["google_pubsub_subscription", "pushed"]
    assert subscription["ack_deadline_seconds"] == topics.ACK_DEADLINE == events.ACK_DEADLINE
    assert subscription["retry_policy"][0]["minimum_backoff"] == "10s"
    assert events.SHARE < 1
    assert f":{_container()['ports'][0]['container_port']}" in gunicorn_conf.bind
    notified = CONFIG.resources["google_storage_notification", "models"]["event_types"]
    assert sorted(notified) == sorted(events.STORAGE_EVENTS)


def test_the_default_memory_holds_as_many_runs_as_an_instance_gets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variable = CONFIG.variables["memory"]
    monkeypatch.setattr(machine, "memory", lambda: gibibytes(variable["default"]) * 2**30)
    [mebibytes] = re.findall(r"file has at most (\d+) MiB", variable["description"])
    need = machine.model_memory(int(mebibytes) * 2**20)
    assert machine.room_for_models() // need == CONFIG.variables["concurrency"]["default"]


@pytest.mark.parametrize("env", ENVS)
def test_an_environment_fits_into_the_quota_of_a_new_project(env: str) -> None:
    size = {name: body["default"] for name, body in CONFIG.variables.items() if "default" in body}
    size |= Config.read(files_of(INFRASTRUCTURE / "envs" / env)).modules["mlsys"]
    console = CONFIG.locals["console_size"]
    cpus = size["max_instances"] * size["cpu"] + size["job_tasks"] * size["job_cpu"]
    cpus += console["max_instances"] * console["cpu"]
    memory = size["max_instances"] * gibibytes(size["memory"])
    memory += size["job_tasks"] * gibibytes(size["job_memory"])
    memory += console["max_instances"] * gibibytes(console["memory"])
    assert cpus <= 20 and memory <= 40  # docs/operations.md


def test_the_job_executes_the_task_of_the_code_with_the_services_settings() -> None:
    job = CONFIG.resources["google_cloud_run_v2_job", "score"]
    task = job["template"][0]["template"][0]
    (container,) = task["containers"]
    assert container["command"] == ["python", "-m", "workers.scoring.engines.task"]
    assert "args" not in container  # each execution has its own
    assert container["dynamic"] == _container()["dynamic"]
    assert task["service_account"] == "${google_service_account.runtime.email}"
    role = CONFIG.resources["google_cloud_run_v2_job_iam_member", "runtime_runs"]["role"]
    assert role in scoring_sources()  # where a refusal names it
    assert named(CONFIG.locals["job"]) == "mlsys-score-dev"
    script = (ROOT / ".github" / "scripts" / "deploy.sh").read_text()
    assert 'echo "mlsys-score-${1#mlsys-}"' in script  # for the service mlsys-dev


def test_log_alerts_match_the_lines_that_are_logged() -> None:
    names = ("request_log_filter", "failed_run_filter", "unguarded_filter")
    filters = "".join(CONFIG.locals[name] for name in names)
    filters += "".join(failure["filter"] for failure in CONFIG.locals["failures"].values())
    assert set(re.findall(r"jsonPayload\.(\w+)", filters)) <= {*logs.FIELDS, "logger"}
    (logger,) = re.findall(r"jsonPayload\.logger=\W+([\w.]+)", filters)
    assert logger == logs.log.name
    logged = ["run.failed", "alias.unguarded"]
    assert re.findall(r"jsonPayload\.event=\W+([\w.]+)", filters) == logged
    assert '{"event": "run.failed",' in scoring_sources()
    assert '{"event": "alias.unguarded",' in Path(alias_sync.__file__).read_text()
    source = Path(events.__file__).read_text()
    assert re.findall(r"outcome=\\*\"(\w+)", filters) == ["quarantined"]
    assert 'outcome="quarantined"' in source


@pytest.mark.parametrize("env", ENVS)
def test_each_environment_has_its_own_state_and_the_same_variables(env: str) -> None:
    root = Config.read(files_of(INFRASTRUCTURE / "envs" / env))
    assert root.modules["mlsys"]["env"] == env
    assert root.terraform["backend"][0]["gcs"]["bucket"] == f"mlsys-terraform-state-{env}"
    for name in ("variables.tf", "outputs.tf"):
        others = {(INFRASTRUCTURE / "envs" / e / name).read_text() for e in ENVS}
        assert len(others) == 1, f"{name} differs between the environments"


def test_every_root_asks_for_the_same_provider() -> None:
    constraint = r'source\s+= "hashicorp/google"\s+version = "(.+)"'
    texts = ["".join(files_of(INFRASTRUCTURE / root).values()) for root in ROOTS]
    assert {tuple(re.findall(constraint, text)) for text in texts} == {("~> 6.50",)}


@pytest.mark.parametrize("root", ROOTS)
def test_nothing_depends_on_what_version_7_of_the_provider_changes(root: str) -> None:
    """docs/decisions/0088."""
    for (kind, _), body in Config.read(files_of(INFRASTRUCTURE / root)).resources.items():
        if kind == "google_project_service":
            assert body["disable_on_destroy"] is False
        if kind == "google_storage_bucket":
            assert "retention_policy" not in body
        if kind == "google_artifact_registry_repository":
            assert "remote_repository_config" not in body
        if kind == "google_bigquery_table":
            assert all(view["use_legacy_sql"] is False for view in body.get("view", []))


@pytest.mark.parametrize("root", ROOTS)
def test_the_terraform_files_have_no_known_danger(root: str) -> None:
    assert dangers(files_of(INFRASTRUCTURE / root)) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "danger"),
    [
        ("service.tf", "member   = each.value", 'member   = "allUsers"', "lets everybody in"),
        ("service.tf", "invoker_iam_disabled = false", "invoker_iam_disabled = true", "who calls"),
        ("storage.tf", '"enforced"', '"inherited"', "could be made public"),
        ("accounts.tf", "roles/bigquery.jobUser", "roles/bigquery.dataEditor", "on the project"),
        ("pubsub.tf", 'ttl = ""', 'ttl = "2678400s"', "expires"),
        ("pubsub.tf", "dead_letter_policy {", "lost_policy {", "no dead letter"),
        ("storage.tf", "bucket_iam_member", "bucket_iam_binding", "takes away"),
    ],
)
def test_an_injected_danger_is_found(file: str, old: str, new: str, danger: str) -> None:
    files = files_of(MODULE)
    assert old in files[file]
    files[file] = files[file].replace(old, new, 1)
    assert [text for text in dangers(files) if danger in text]


def scoring_sources() -> str:
    """Return the code that scores, in one text."""
    return "".join(path.read_text() for path in (ROOT / "workers" / "scoring").rglob("*.py"))


def gibibytes(memory: str) -> int:
    """Return the number of a size such as 2Gi."""
    return int(memory.removesuffix("Gi"))


def _container() -> dict[str, Any]:
    service = CONFIG.resources["google_cloud_run_v2_service", "this"]
    return service["template"][0]["containers"][0]


def _check(folder: Path, *roots: str) -> str:
    """Run `infrastructure/check`; return its output, or raise CalledProcessError."""
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not on the PATH")
    command = [str(folder / "infrastructure" / "check"), *roots]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    if done.returncode == 3:
        pytest.skip("the provider's registry cannot be reached, and TF_OFFLINE names no program")
    done.check_returncode()
    return done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Path]:
    """Yield a copy of the Terraform files, and of the schemas that they name, to be changed."""
    shutil.copytree(INFRASTRUCTURE, tmp_path / "infrastructure")
    shutil.copytree(bigquery.SCHEMAS, tmp_path / "lib" / "mlsys" / "schemas")
    return tmp_path


@pytest.mark.long
@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("pubsub.tf", "/events/storage", "/events/uploads", "pushes to another address"),
        ("pubsub.tf", "ack_deadline_seconds", "ack_deadline", "Unsupported argument"),
        ("storage.tf", ', "OBJECT_ARCHIVE"', "", "must cover uploads"),
        ("storage.tf", "mlsys-runs-${var.env}", "mlsys-runs-dev", "another environment's"),
        ("bigquery.tf", '["model_name"]', '["model_version"]', "clustered in another way"),
    ],
)
def test_an_injected_fault_fails_the_check(
    copy: Path, file: str, old: str, new: str, says: str
) -> None:
    path = copy / "infrastructure" / "modules" / "mlsys" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(subprocess.CalledProcessError) as caught:
        _check(copy, "modules/mlsys")
    assert says in caught.value.stdout + caught.value.stderr
