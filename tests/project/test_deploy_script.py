"""`.github/scripts/deploy.sh`, with stand-ins for gcloud and curl that keep a service in a file."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fake_cloud

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".github" / "scripts" / "deploy.sh"
OLD, NEW = (f"example.com/p/mlsys/mlsys@sha256:{digit * 64}" for digit in "ab")
CONSOLE = "mlsys-web-dev"
FIRST, SECOND = "mlsys-dev-00001-abc", "mlsys-dev-00002-abc"

pytestmark = [
    pytest.mark.skipif(shutil.which("jq") is None, reason="deploy.sh needs jq"),
    pytest.mark.slow,
]


class Cloud:
    """The stand-ins' folder, and deploy.sh with them on its PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        for program in ("gcloud", "curl"):
            script = folder / "bin" / program
            source = (ROOT / "tests" / "support" / "fake_cloud.py").read_text()
            script.write_text(f"#!{sys.executable}\n{source}")
            script.chmod(0o755)
        self.state = fake_cloud.new_state()

    @property
    def state(self) -> dict[str, Any]:
        return json.loads((self.folder / "state.json").read_text())

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        (self.folder / "state.json").write_text(json.dumps(state))

    @property
    def changes(self) -> list[str]:
        """Return the changes that gcloud was asked to make."""
        calls = (self.folder / "calls").read_text().splitlines()
        reads = (" describe ", " list ")
        changes = [call for call in calls if not any(verb in call for verb in reads)]
        return [call for call in changes if call.startswith("gcloud")]

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "FAKE_CLOUD": str(self.folder),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
            "ID_TOKEN": "the-token",
            "SMOKE_TRIES": "2",
            "SMOKE_DELAY": "0",
        } | variables
        command = ["bash", str(SCRIPT), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """Yield a service that runs OLD, as Terraform left it: traffic goes to the latest revision."""
    made = Cloud(tmp_path)
    state = made.state
    fake_cloud.add_revision(state, OLD)
    state["traffic"] = {"LATEST": 100}
    state["jobs"] = {"mlsys-score-dev": OLD, "mlsys-score-prod": OLD}
    for name in (CONSOLE, "mlsys-web-prod"):
        state["consoles"][name] = fake_cloud.new_state(name) | {"traffic": {"LATEST": 100}}
        fake_cloud.add_revision(state["consoles"][name], OLD)
    made.state = state
    return made


def change(cloud: Cloud, **values: Any) -> None:
    cloud.state = cloud.state | values


def test_a_release_moves_all_traffic_and_leaves_no_tag(cloud: Cloud) -> None:
    done = cloud.run("release", "mlsys-dev", NEW)
    assert done.returncode == 0, done.stderr
    assert cloud.state["traffic"] == {SECOND: 100}
    assert cloud.state["tags"] == {}
    assert NEW.partition("@")[2] in (cloud.folder / "summary").read_text()
    service = "gcloud run services"
    assert cloud.changes == [
        f"{service} update mlsys-dev --image={NEW} --no-traffic --quiet",
        f"{service} update-traffic mlsys-dev --update-tags=candidate={SECOND} --quiet",
        f"{service} update {CONSOLE} --image={NEW} --no-traffic --quiet",
        f"gcloud run jobs update mlsys-score-dev --image={NEW} --quiet",
        f"{service} update-traffic mlsys-dev --to-revisions={SECOND}=100 --quiet",
        f"{service} update-traffic {CONSOLE} --to-revisions={CONSOLE}-00002-abc=100 --quiet",
        f"{service} update-traffic mlsys-dev --remove-tags=candidate --quiet",
    ]
    assert cloud.state["jobs"] == {"mlsys-score-dev": NEW, "mlsys-score-prod": OLD}
    consoles = cloud.state["consoles"]
    assert consoles[CONSOLE]["traffic"] == {f"{CONSOLE}-00002-abc": 100}
    assert len(consoles["mlsys-web-prod"]["revisions"]) == 1


def test_a_service_without_a_console_is_released(cloud: Cloud) -> None:
    change(cloud, consoles={})
    done = cloud.run("release", "mlsys-dev", NEW)
    assert done.returncode == 0, done.stderr
    assert f"the console {CONSOLE} does not exist" in done.stderr
    assert not [call for call in cloud.changes if CONSOLE in call]


@pytest.mark.parametrize(
    ("env", "iap", "refuse", "moved"),
    [
        (["MLSYS_ROLE", "MLSYS_IAP_AUDIENCE"], False, [], True),
        (["MLSYS_IAP_AUDIENCE"], True, ["iap"], False),
        (["MLSYS_ROLE"], False, ["iap"], False),
        (["MLSYS_IAP_AUDIENCE"], False, ["iap"], False),
    ],
    ids=["switched off by an apply", "on", "not expected", "may not be switched on"],
)
def test_a_release_switches_the_proxy_on_again(
    cloud: Cloud, env: list[str], iap: bool, refuse: list[str], moved: bool
) -> None:
    consoles = cloud.state["consoles"]
    consoles[CONSOLE] |= {"env": env, "iap": iap, "refuse": refuse}
    change(cloud, consoles=consoles)
    done = cloud.run("release", "mlsys-dev", NEW)
    assert done.returncode == 0, done.stderr
    assert cloud.state["consoles"][CONSOLE]["iap"] is (iap or moved)
    failed = bool(refuse) and not iap and "MLSYS_IAP_AUDIENCE" in env
    assert (f"gcloud run services update {CONSOLE} --iap" in done.stderr) is failed


def test_a_console_that_does_not_start_changes_no_traffic(cloud: Cloud) -> None:
    consoles = cloud.state["consoles"]
    consoles[CONSOLE]["unready"] = [NEW]
    change(cloud, consoles=consoles)
    assert cloud.run("release", "mlsys-dev", NEW).returncode == 1
    assert cloud.state["traffic"] == {FIRST: 100}
    assert cloud.state["jobs"]["mlsys-score-dev"] == OLD
    assert cloud.state["consoles"][CONSOLE]["traffic"] == {f"{CONSOLE}-00001-abc": 100}


def test_a_console_whose_traffic_does_not_move_takes_the_service_back(cloud: Cloud) -> None:
    consoles = cloud.state["consoles"]
    consoles[CONSOLE]["refuse"] = ["to-revisions"]
    change(cloud, consoles=consoles)
    assert cloud.run("release", "mlsys-dev", NEW).returncode == 2
    assert cloud.state["traffic"] == {FIRST: 100}
    assert cloud.state["jobs"]["mlsys-score-dev"] == OLD


def test_a_service_without_a_job_is_released(cloud: Cloud) -> None:
    change(cloud, jobs={})
    done = cloud.run("release", "mlsys-dev", NEW)
    assert done.returncode == 0, done.stderr
    assert "the job mlsys-score-dev does not exist" in done.stderr
    assert not [call for call in cloud.changes if " jobs " in call]


def test_the_token_appears_on_no_command_line(cloud: Cloud) -> None:
    cloud.run("release", "mlsys-dev", NEW)
    assert "the-token" not in (cloud.folder / "calls").read_text()


def test_a_candidate_that_is_not_healthy_never_gets_traffic(cloud: Cloud) -> None:
    change(cloud, sick={NEW: "candidate"})
    done = cloud.run("release", "mlsys-dev", NEW)
    assert done.returncode == 1
    assert "not healthy" in done.stderr
    assert "/health answered 503: the revision is sick" in done.stderr
    assert cloud.state["traffic"] == {FIRST: 100}
    assert cloud.state["tags"] == {}
    assert not [call for call in cloud.changes if "--to-revisions" in call]
    assert cloud.state["jobs"]["mlsys-score-dev"] == OLD


def test_a_release_that_fails_under_traffic_is_rolled_back(cloud: Cloud) -> None:
    change(cloud, sick={NEW: "traffic"})
    done = cloud.run("release", "mlsys-dev", NEW)
    assert done.returncode == 1
    assert f"goes back to {FIRST}=100" in done.stderr
    assert cloud.state["traffic"] == {FIRST: 100}
    assert cloud.state["tags"] == {}
    assert cloud.state["jobs"]["mlsys-score-dev"] == OLD
    assert cloud.state["consoles"][CONSOLE]["traffic"] == {f"{CONSOLE}-00001-abc": 100}
    assert f"jobs update mlsys-score-dev --image={NEW}" in " ".join(cloud.changes)
    assert f"--to-revisions={SECOND}=100" in " ".join(cloud.changes)


def test_a_rollback_restores_split_traffic(cloud: Cloud) -> None:
    state = cloud.state
    fake_cloud.add_revision(state, OLD)
    cloud.state = state | {"traffic": {FIRST: 90, SECOND: 10}, "sick": {NEW: "traffic"}}
    assert cloud.run("release", "mlsys-dev", NEW).returncode == 1
    assert cloud.state["traffic"] == {FIRST: 90, SECOND: 10}


def test_a_rollback_that_fails_has_an_exit_code_of_its_own(cloud: Cloud) -> None:
    change(cloud, refuse=["to-revisions"])
    assert cloud.run("release", "mlsys-dev", NEW).returncode == 2
    assert cloud.state["tags"] == {}


def test_an_image_that_does_not_start_changes_no_traffic(cloud: Cloud) -> None:
    change(cloud, unready=[NEW])
    assert cloud.run("release", "mlsys-dev", NEW).returncode == 1
    assert cloud.state["traffic"] == {FIRST: 100}
    assert not [call for call in cloud.changes if "update-traffic" in call]


def test_the_first_release_needs_no_earlier_revision(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    done = cloud.run("release", "mlsys-dev", NEW)
    assert done.returncode == 0, done.stderr
    assert cloud.state["traffic"] == {FIRST: 100}


def test_a_failed_first_release_reports_that_no_rollback_is_possible(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    change(cloud, sick={NEW: "traffic"})
    done = cloud.run("release", "mlsys-dev", NEW)
    assert done.returncode == 1
    assert "has no revision to go back to" in done.stderr
    assert cloud.state["tags"] == {}


def test_a_missing_service_is_not_created(cloud: Cloud) -> None:
    done = cloud.run("release", "mlsys-prod", NEW)
    assert done.returncode == 1
    assert "create it with Terraform" in done.stderr
    assert cloud.changes == []


def test_without_a_token_nothing_counts_as_healthy(cloud: Cloud) -> None:
    assert cloud.run("release", "mlsys-dev", NEW, ID_TOKEN="").returncode == 1
    assert cloud.state["traffic"] == {FIRST: 100}


def test_an_image_is_named_by_its_digest(cloud: Cloud) -> None:
    done = cloud.run("release", "mlsys-dev", "example.com/p/mlsys/mlsys:latest")
    assert done.returncode == 1
    assert "digest" in done.stderr
    assert not (cloud.folder / "calls").exists()


def test_a_dry_run_of_predict_is_requested_if_a_table_is_configured(cloud: Cloud) -> None:
    assert cloud.run("release", "mlsys-dev", NEW, SMOKE_PREDICT="env=dev&x=y").returncode == 0
    calls = (cloud.folder / "calls").read_text()
    assert calls.count("/predict?env=dev&x=y&dry_run=true") == 2


def test_a_negative_dry_run_verdict_is_a_failure(cloud: Cloud) -> None:
    change(cloud, sick={NEW: "predict"})
    assert cloud.run("release", "mlsys-dev", NEW, SMOKE_PREDICT="env=dev").returncode == 1
    assert cloud.state["traffic"] == {FIRST: 100}


@pytest.mark.parametrize(
    "table",
    ["registry-table", "aliases-table", "ledger-table", "evaluations-table", "profiles-table"],
)
def test_a_release_whose_table_lacks_a_column_never_gets_traffic(cloud: Cloud, table: str) -> None:
    change(cloud, sick={NEW: table})
    done = cloud.run("release", "mlsys-dev", NEW)
    assert done.returncode == 1
    assert f"deploy: {table} failed: {table} is broken. To fix it: terraform" in done.stderr
    assert cloud.state["traffic"] == {FIRST: 100}
    assert cloud.state["tags"] == {}
    assert not [call for call in cloud.changes if "--to-revisions" in call]


@pytest.mark.parametrize("sick", ["no registry-table", "no envs"])
def test_a_check_of_the_tables_that_was_not_made_is_a_failure(cloud: Cloud, sick: str) -> None:
    change(cloud, sick={NEW: sick})
    assert cloud.run("release", "mlsys-dev", NEW).returncode == 1
    assert cloud.state["traffic"] == {FIRST: 100}


def test_a_check_that_fails_for_another_reason_is_printed_and_stops_nothing(cloud: Cloud) -> None:
    change(cloud, sick={NEW: "publish-events"})
    done = cloud.run("release", "mlsys-dev", NEW)
    assert done.returncode == 0
    assert "deploy: publish-events failed: publish-events is broken." in done.stderr
    assert cloud.state["traffic"] == {SECOND: 100}


def test_the_running_image_is_the_one_with_all_traffic(cloud: Cloud) -> None:
    cloud.run("release", "mlsys-dev", NEW)
    assert cloud.run("running", "mlsys-dev").stdout == f"{NEW}\n"
    assert cloud.run("url", "mlsys-dev").stdout == f"{fake_cloud.URL}\n"


def test_an_image_with_a_part_of_the_traffic_is_not_promoted(cloud: Cloud) -> None:
    cloud.run("release", "mlsys-dev", NEW)
    change(cloud, traffic={FIRST: 50, SECOND: 50})
    done = cloud.run("running", "mlsys-dev")
    assert done.returncode == 1
    assert done.stdout == ""


@pytest.mark.parametrize("env", ["staging", "prod"])
def test_the_previous_environments_running_image_may_be_deployed(cloud: Cloud, env: str) -> None:
    done = cloud.run("check", env, NEW.partition("@")[2], env, NEW)
    assert (done.returncode, done.stdout) == (0, f"{NEW}\n"), done.stderr


@pytest.mark.parametrize(
    ("env", "digest", "confirmation", "says"),
    [
        ("prod", NEW, "staging", "not confirmed"),
        ("prod", NEW, "", "not confirmed"),
        ("prod", NEW, "PROD", "not confirmed"),
        ("prod", OLD, "prod", "staging runs"),
        ("staging", OLD, "staging", "dev runs"),
        ("prod", "sha256:", "prod", "not a digest"),
        ("prod", "", "prod", "not a digest"),
        ("dev", NEW, "dev", "not deployed to by hand"),
    ],
)
def test_a_manual_deploy_of_another_image_is_refused(
    cloud: Cloud, env: str, digest: str, confirmation: str, says: str
) -> None:
    done = cloud.run("check", env, digest.rpartition("@")[2], confirmation, NEW)
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [(), ("release",), ("roll", "mlsys-dev"), ("check", "prod")])
def test_invalid_arguments_show_the_usage(cloud: Cloud, arguments: tuple[str, ...]) -> None:
    done = cloud.run(*arguments)
    assert done.returncode == 1
    assert "usage" in done.stderr
