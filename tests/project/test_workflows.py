"""`.github/`: the checkers find no fault, find injected ones, and every name in it exists."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from checkers import checker

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
README = GITHUB / "workflows" / "README.md"
NAMES = [path.name for path in WORKFLOWS]
ENVS = {"dev", "staging", "prod"}
# To add an action, give the reason here: it runs with all rights of its job.
ACTIONS = {"actions/checkout", "google-github-actions/auth", "hashicorp/setup-terraform"}


def load(name: str) -> dict[str, Any]:
    """Return a workflow. YAML 1.1 reads the key `on` as true."""
    return yaml.safe_load((GITHUB / "workflows" / name).read_text())


def jobs(name: str) -> dict[str, dict[str, Any]]:
    return load(name)["jobs"]


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in jobs(name).values() for step in job["steps"]]


def scripts() -> list[str]:
    return [step["run"] for name in NAMES for step in steps(name) if "run" in step]


CHECKERS = ("zizmor", "actionlint", "workflows", "dependabot")


def said_by(name: str, folder: Path) -> str:
    """Return a checker's output for a `.github`; empty if it finds nothing."""
    workflows = [str(path) for path in sorted((folder / "workflows").glob("*.yml"))]
    schema = ["check-jsonschema", "--builtin-schema"]
    shellcheck = ["-shellcheck", checker("shellcheck")]
    command = {
        "zizmor": ["zizmor", "--offline", "--no-progress", "--quiet", str(folder)],
        "actionlint": ["actionlint", "-no-color", *shellcheck, *workflows],
        "workflows": [*schema, "vendor.github-workflows", *workflows],
        "dependabot": [*schema, "vendor.dependabot", str(folder / "dependabot.yml")],
    }[name]
    command[0] = checker(command[0])
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    return (done.stdout + done.stderr or "failed") if done.returncode else ""


@pytest.mark.parametrize("name", CHECKERS)
def test_the_checkers_find_no_fault(name: str) -> None:
    assert said_by(name, GITHUB) == ""


FAULTS = {
    "an action by a tag": (
        "pr.yml",
        r"actions/checkout@[0-9a-f]{40} # v\S+",
        "actions/checkout@v6",
        ("zizmor", "unpinned-uses"),
    ),
    "somebody's text in a script": (
        "pr.yml",
        "- run: make lint",
        '- run: make lint; echo "${{ github.event.pull_request.title }}"',
        ("zizmor", "template-injection"),
    ),
    "an input in a script": (
        "promote.yml",
        '-- "\\$NAME"',
        '-- "${{ inputs.name }}"',
        ("zizmor", "template-injection"),
    ),
    "all permissions": (
        "pr.yml",
        r"permissions:\n      contents: read\n",
        "permissions: write-all\n",
        ("zizmor", "excessive-permissions"),
    ),
    "a token for any author of a pull request": (
        "pr.yml",
        "pull_request:",
        "pull_request_target:",
        ("zizmor", "dangerous-triggers"),
    ),
    "credentials that stay in the clone": (
        "pr.yml",
        r"( +fetch-depth: 2).*\n +persist-credentials: false\n",
        "          fetch-depth: 2\n",
        ("zizmor", "artipacked"),
    ),
    "an output that there is not": (
        "deploy.yml",
        r"needs\.changes\.outputs\.image",
        "needs.changes.outputs.picture",
        ("actionlint", "picture"),
    ),
    "a word that the shell splits": (
        "deploy.yml",
        r'"\$IMAGE_REPOSITORY/mlsys:\$GITHUB_SHA"\n',
        "$IMAGE_REPOSITORY/mlsys:$GITHUB_SHA\n",
        ("actionlint", "SC2086"),
    ),
    "a key that there is not": (
        "pr.yml",
        "timeout-minutes: 5",
        "timeout-minuts: 5",
        ("workflows", "timeout-minuts"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_injected_fault_is_found(tmp_path: Path, fault: str) -> None:
    name, pattern, text, (found_by, says) = FAULTS[fault]
    folder = tmp_path / ".github"
    shutil.copytree(GITHUB, folder)
    path = folder / "workflows" / name
    content, count = re.subn(pattern, lambda _: text, path.read_text(), count=1)
    assert count == 1
    path.write_text(content)
    assert says in said_by(found_by, folder)


def test_updates_without_a_cooldown_are_found(tmp_path: Path) -> None:
    folder = tmp_path / ".github"
    shutil.copytree(GITHUB, folder)
    path = folder / "dependabot.yml"
    path.write_text(re.sub(r"\n    cooldown: .*", "", path.read_text()))
    assert "dependabot-cooldown" in said_by("zizmor", folder)


@pytest.mark.parametrize("name", NAMES)
def test_permissions_are_granted_only_to_jobs(name: str) -> None:
    workflow = load(name)
    assert workflow["permissions"] == {}
    assert "group" in workflow["concurrency"]
    for job in workflow["jobs"].values():
        assert job["permissions"]
        assert job["timeout-minutes"] <= 45
        assert job["runs-on"] == "ubuntu-24.04"


def test_the_job_that_writes_comments_cannot_sign_in_and_runs_no_code_of_the_branch() -> None:
    for name in NAMES:
        for job in jobs(name).values():
            may_write = {key for key, value in job["permissions"].items() if value == "write"}
            assert may_write in (set(), {"id-token"}, {"pull-requests"})
            if may_write == {"pull-requests"}:
                assert not [step for step in job["steps"] if "uses" in step]


def test_every_action_is_pinned_by_commit_with_its_version() -> None:
    uses = [line for path in WORKFLOWS for line in path.read_text().splitlines() if "uses:" in line]
    pins = [re.search(r"uses: (\S+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$", line) for line in uses]
    assert all(pins), uses
    assert {pin[1] for pin in pins if pin} == ACTIONS
    assert len({pin.groups() for pin in pins if pin}) == len(ACTIONS)


def test_no_expression_is_pasted_into_a_script() -> None:
    assert scripts() and not [script for script in scripts() if "${{" in script]


def test_sign_in_steps_use_no_key() -> None:
    for name in NAMES:
        for step in steps(name):
            if "google-github-actions/auth" in step.get("uses", ""):
                assert {"workload_identity_provider", "service_account"} <= step["with"].keys()
                assert "credentials_json" not in step["with"]
    texts = "".join(path.read_text() for path in WORKFLOWS)
    assert "secrets." not in texts


def test_every_token_for_the_service_names_its_account() -> None:
    tokens = [
        s["with"] for n in NAMES for s in steps(n) if "id_token_audience" in s.get("with", {})
    ]
    assert len(tokens) == 3
    assert all(token["id_token_include_email"] is True for token in tokens)


def test_make_targets_that_are_called_exist() -> None:
    verbs = set(re.findall(r"\bmake ([a-z-]+)", "\n".join(scripts())))
    rules = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"install", "lint", "test", "test-image"} <= verbs
    assert verbs <= rules, verbs - rules


def test_files_that_are_named_exist_and_are_executable() -> None:
    text = "\n".join(scripts())
    called = set(re.findall(r"\.github/scripts/[a-z]+\.sh", text))
    assert called == {f".github/scripts/{path.name}" for path in (GITHUB / "scripts").iterdir()}
    for name in called:
        assert (ROOT / name).stat().st_mode & 0o111
        assert "set -euo pipefail" in (ROOT / name).read_text()
    for root in re.findall(r"-chdir=(\S+)", text):
        assert (ROOT / root).is_dir(), root


def test_shellcheck_finds_nothing_in_the_scripts() -> None:
    paths = [str(path) for path in sorted((GITHUB / "scripts").iterdir())]
    command = [checker("shellcheck"), *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_the_table_lists_exactly_the_variables_in_use() -> None:
    used = {v for path in WORKFLOWS for v in re.findall(r"\bvars\.(\w+)", path.read_text())}
    table = re.findall(
        r"^\| (`[A-Z].*?) \|", (GITHUB / "workflows" / "README.md").read_text(), re.M
    )
    documented = {name for cell in table for name in re.findall(r"`([A-Z_]+)`", cell)}
    assert used == documented


def test_the_table_names_existing_outputs_of_bootstrap() -> None:
    text = README.read_text()
    named = set(re.findall(r"bootstrap's output `(\w+)`", text))
    named |= set(re.findall(r"bootstrap -(?:raw|json) (\w+)", text))
    outputs = (ROOT / "infrastructure" / "bootstrap" / "outputs.tf").read_text()
    assert named and named <= set(re.findall(r'^output "(\w+)"', outputs, re.MULTILINE))


def test_links_and_shell_of_the_readme_are_valid() -> None:
    text = README.read_text()
    links = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    assert links and not [link for link in links if not (README.parent / link).exists()]
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr


def test_environments_match_bootstraps_accounts() -> None:
    for name in NAMES:
        inputs = (load(name)[True].get("workflow_dispatch") or {}).get("inputs", {})
        choices = {key: set(value.get("options", [])) for key, value in inputs.items()}
        for job in jobs(name).values():
            environment = job.get("environment", "dev")
            if chosen := re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", environment):
                assert choices[chosen[1]] and choices[chosen[1]] <= ENVS
            else:
                assert set(re.findall(r"'(\w+)'", environment) or [environment]) <= ENVS


def test_a_manual_run_deploys_only_main() -> None:
    for name in NAMES:
        if "workflow_dispatch" in load(name)[True]:
            for job in jobs(name).values():
                if "environment" in job and "needs" not in job:
                    assert "github.ref == 'refs/heads/main'" in job["if"]


def test_every_job_that_signs_in_as_a_deploy_account_has_an_environment() -> None:
    for name in NAMES:
        for job in jobs(name).values():
            if "vars.DEPLOY_ACCOUNT" in str(job):
                assert "environment" in job


def test_the_options_passed_to_mlsys_promote_exist() -> None:
    (script,) = [s for s in scripts() if "mlsys promote" in s]
    command = [sys.executable, "-m", "mlsys.cli", "promote", "--help"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    options = set(re.findall(r"--[a-z][a-z-]*", script))
    assert {"--from", "--to", "--confirm"} <= options
    assert options <= set(re.findall(r"--[a-z][a-z-]*", done.stdout))


@pytest.mark.parametrize(
    ("alias", "why", "options"),
    [
        ("", "", []),
        ("champion", "", ["--alias=champion"]),
        ("champion", 'it\'s $5 "better"', ["--alias=champion", '--why=it\'s $5 "better"']),
        ("--by=me", "", ["--alias=--by=me"]),
    ],
)
def test_the_promotion_passes_the_alias_and_the_reason_as_they_are(
    tmp_path: Path, alias: str, why: str, options: list[str]
) -> None:
    (step,) = [s for s in steps("promote.yml") if "mlsys promote" in s.get("run", "")]
    mlsys = tmp_path / ".venv" / "bin" / "mlsys"
    mlsys.parent.mkdir(parents=True)
    mlsys.write_text('#!/bin/sh\nprintf \'%s\\n\' "$GCP_PROJECT_ID" "$@"\n')
    mlsys.chmod(0o755)
    given = dict.fromkeys(step["env"], "") | {"NAME": "m", "VERSION": "v2", "FROM": "staging"}
    given |= {"TO": "prod", "PROJECT_STAGING": "p-s", "PROJECT_PROD": "p-p", "CONFIRMATION": "m/v2"}
    given |= {"ALIAS": alias, "WHY": why, "PATH": os.environ["PATH"]}
    command = ["bash", "-e", "-u", "-o", "pipefail", "-c", step["run"]]
    done = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True)
    whole = "--from staging --from-project p-s --to prod --to-project p-p --confirm m/v2".split()
    assert done.stdout.splitlines() == ["p-p", "promote", *whole, *options, "--", "m", "v2"]


def test_dependabot_covers_every_ecosystem_in_use() -> None:
    updates = yaml.safe_load((GITHUB / "dependabot.yml").read_text())["updates"]
    assert {u["package-ecosystem"] for u in updates} == {
        "docker",
        "github-actions",
        "pip",
        "terraform",
    }
    for update in updates:
        assert update["cooldown"]["default-days"] >= 7
        for folder in update.get("directories", [update.get("directory")]):
            assert folder == "/" or list(ROOT.glob(folder.strip("/"))), folder
