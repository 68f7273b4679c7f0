"""`.github/scripts/bases.sh`: a Dockerfile's base images by digest, with a stand-in for docker."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from benchmarks.containers import bases

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".github" / "scripts" / "bases.sh"
DOCKER = """#!/bin/bash
[ "$1 $2 $3 $5 $6" = "buildx imagetools inspect --format {{.Manifest.Digest}}" ] || exit 2
case $4 in
  *gone*) exit 1 ;;
  *odd*) echo latest ;;
  *) echo "sha256:$(printf %s "$4" | sha256sum | cut -d' ' -f1)" ;;
esac
"""


def pinned(folder: Path, dockerfile: str) -> subprocess.CompletedProcess[str]:
    """Run the script on the text."""
    docker = folder / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    (folder / "Dockerfile").write_text(dockerfile)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    command = ["bash", str(SCRIPT), str(folder / "Dockerfile")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)


def test_every_base_is_named_by_its_digest_and_nothing_else_changes(tmp_path: Path) -> None:
    before = (ROOT / "Dockerfile").read_text()
    done = pinned(tmp_path, before)
    assert done.returncode == 0, done.stderr
    images = bases(done.stdout)
    assert [image.partition("@")[0] for image in images] == [
        image.partition("@")[0] for image in bases(before)
    ]
    assert all(re.search(r"@sha256:[0-9a-f]{64}$", image) for image in images)
    text, label = done.stdout.rstrip("\n").rsplit("\n", 1)
    assert re.sub(r"@sha256:\w+", "", text) + "\n" == re.sub(r"@sha256:\w+", "", before)
    name, digest = images[-1].split("@")
    assert label == (
        f'LABEL org.opencontainers.image.base.name="{name}" '
        f'org.opencontainers.image.base.digest="{digest}"'
    )


def test_what_is_pinned_stays_as_it_is(tmp_path: Path) -> None:
    first = pinned(tmp_path, "FROM a:1 AS one\nFROM one\nRUN x").stdout
    assert first.count("@sha256:") == 1
    assert pinned(tmp_path, "FROM b:2@sha256:" + "0" * 64).stdout.count("0" * 64) == 2
    again = pinned(tmp_path, pinned(tmp_path, "FROM b:2\nRUN x\n").stdout)
    assert again.stdout == pinned(tmp_path, "FROM b:2\nRUN x\n").stdout


@pytest.mark.parametrize(
    ("dockerfile", "says"),
    [
        ("FROM a:gone", "cannot resolve a:gone"),
        ("FROM a:odd", "a:odd has no digest"),
        ("ARG BASE=a:1\nFROM ${BASE}", "names no image"),
        ("FROM --platform=linux/amd64 a:1", "names no image"),
        ("FROM scratch:gone AS x\nFROM a:1", "cannot resolve scratch:gone"),
        ("RUN x", "builds on no image"),
    ],
)
def test_a_base_without_a_digest_is_refused(tmp_path: Path, dockerfile: str, says: str) -> None:
    done = pinned(tmp_path, dockerfile)
    assert done.returncode == 1
    assert says in done.stderr
