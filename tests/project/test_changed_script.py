"""`.github/scripts/changed.sh`: the parts that a commit changed, in a repository of the test's."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".github" / "scripts" / "changed.sh"
FILES = [
    ".dockerignore",
    "Dockerfile",
    "README.md",
    "app/api/health.py",
    "docs/traps.md",
    "infrastructure/envs/dev/main.tf",
    "lib/mlsys/bq.py",
    "lib/mlsys/schemas/model_registry.json",
    "pyproject.toml",
    ".github/scripts/bases.sh",
    "requirements-dev.lock",
    "requirements.lock",
    "tests/test_bq.py",
    "workers/query.py",
]


def git(folder: Path, *arguments: str) -> str:
    """Run git without any user's name or settings."""
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
    }
    names = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    command = ["git", *names, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True, timeout=30
    )
    return done.stdout.strip()


def changed(folder: Path, *arguments: str) -> dict[str, bool]:
    done = subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    pairs = dict(line.split("=") for line in done.stdout.splitlines())
    return {name: {"true": True, "false": False}[value] for name, value in pairs.items()}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("first\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=first")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "image", "infrastructure"),
    [
        ("app/api/health.py", True, False),
        ("workers/query.py", True, False),
        ("lib/mlsys/bq.py", True, False),
        ("lib/mlsys/schemas/model_registry.json", True, True),
        ("Dockerfile", True, False),
        (".dockerignore", True, False),
        (".github/scripts/bases.sh", True, False),
        ("requirements.lock", True, False),
        ("pyproject.toml", True, False),
        ("README.md", True, False),
        ("infrastructure/envs/dev/main.tf", False, True),
        ("requirements-dev.lock", False, False),
        ("tests/test_bq.py", False, False),
        ("docs/traps.md", False, False),
    ],
)
def test_a_file_belongs_to_its_part(
    repository: Path, name: str, image: bool, infrastructure: bool
) -> None:
    (repository / name).write_text("second\n")
    git(repository, "commit", "--quiet", "--all", "--message=second")
    parts = changed(repository, "HEAD^1")
    assert parts == {"image": image, "infrastructure": infrastructure}


def test_nothing_has_changed_since_the_same_commit(repository: Path) -> None:
    assert changed(repository, "HEAD") == {"image": False, "infrastructure": False}


def test_a_file_moved_out_of_a_part_changes_that_part(repository: Path) -> None:
    git(repository, "mv", "app/api/health.py", "docs/health.py")
    git(repository, "commit", "--quiet", "--message=second")
    assert changed(repository, "HEAD^1")["image"]


def test_a_merge_counts_as_the_commits_it_merges(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "-b", "branch")
    (repository / "docs/traps.md").write_text("branch\n")
    git(repository, "commit", "--quiet", "--all", "--message=branch")
    git(repository, "checkout", "--quiet", "main")
    (repository / "app/api/health.py").write_text("main\n")
    git(repository, "commit", "--quiet", "--all", "--message=main")
    git(repository, "merge", "--quiet", "--no-ff", "--message=merge", "branch")
    assert changed(repository, "HEAD^1") == {"image": False, "infrastructure": False}


def test_all_commits_since_the_base_count(repository: Path) -> None:
    base = git(repository, "rev-parse", "HEAD")
    for name in ("app/api/health.py", "docs/traps.md"):
        (repository / name).write_text("second\n")
        git(repository, "commit", "--quiet", "--all", "--message=second")
    assert changed(repository, base)["image"]


@pytest.mark.parametrize("arguments", [(), ("",), ("0" * 40,), ("no-such-branch",)])
def test_without_a_known_base_everything_has_changed(
    repository: Path, arguments: tuple[str, ...]
) -> None:
    assert changed(repository, *arguments) == {"image": True, "infrastructure": True}


def test_the_script_works_from_a_subfolder(repository: Path) -> None:
    (repository / "app/api/health.py").write_text("second\n")
    git(repository, "commit", "--quiet", "--all", "--message=second")
    assert changed(repository / "docs", "HEAD^1")["image"]
