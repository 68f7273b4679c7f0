"""The console's files: vendored ones are the published ones, templates escape everything."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import jinja2
import pytest

from app.console import assets
from app.console.rendering import FOLDER, templates

ROOT = Path(__file__).parents[3]
VENDOR = ROOT / "app/console/static/vendor"
LOCK = json.loads((ROOT / "package-lock.json").read_text())


def test_the_vendored_files_have_their_checksums() -> None:
    lines = (line.split() for line in (VENDOR / "SHA512SUMS").read_text().splitlines())
    sums = {name: digest for digest, name in lines}
    files = {p.name for p in VENDOR.iterdir()} - {"SHA512SUMS"}
    assert set(sums) == files
    for name, digest in sums.items():
        assert hashlib.sha512((VENDOR / name).read_bytes()).hexdigest() == digest, name


def test_the_lock_pins_each_package_by_its_checksum_and_names_no_registry() -> None:
    packages = {name: about for name, about in LOCK["packages"].items() if name}
    assert {"node_modules/@tabler/core", "node_modules/htmx.org"} <= set(packages)
    for name, about in packages.items():
        assert about["integrity"].startswith("sha512-"), name
        assert "resolved" not in about, name
    pinned = json.loads((ROOT / "package.json").read_text())["dependencies"]
    for name, version in pinned.items():
        assert packages[f"node_modules/{name}"]["version"] == version
        short = "tabler.min.css" if "tabler" in name else "htmx.min.js"
        assert version in (VENDOR / short).read_text()


def test_templates_never_leave_a_value_unescaped() -> None:
    assert templates().autoescape is True
    assert templates().undefined is jinja2.StrictUndefined
    for path in FOLDER.rglob("*"):
        text = path.read_text() if path.is_file() else ""
        assert not re.search(r"\|\s*safe\b|autoescape|Markup|\|\s*xmlattr", text), path
        assert not re.search(r"\sstyle=|<style|\son[a-z]+=|<script(?! src)|javascript:", text), path
    for path in (ROOT / "app/console").rglob("*.py"):
        assert "Markup" not in path.read_text(), path


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.html")), ids=lambda p: p.name)
def test_every_attribute_with_a_value_is_quoted(path: Path) -> None:
    """Escaping protects only a quoted attribute."""
    assert not re.search(r"<[a-z][^>]*\s[a-z-]+=\{\{", path.read_text())


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.html")), ids=lambda p: p.name)
def test_no_member_of_a_value_has_the_name_of_a_method_of_dictionaries(path: Path) -> None:
    """`each.copy` is the method: such a member is written `each["copy"]`."""
    methods = "|".join(name for name in dir(dict) if not name.startswith("_"))
    assert re.findall(rf"[\w\])]\.(?:{methods})\b(?!\()", path.read_text()) == []


def test_static_files_load_nothing_from_elsewhere() -> None:
    own = (p for p in assets.FOLDER.rglob("*") if p.suffix in assets.TYPES)
    for path in own:
        for address in re.findall(r"url\(\s*['\"]?([^'\")]{1,20})", path.read_text()):
            assert address.startswith("data:"), (path.name, address)


def test_the_image_holds_the_templates_and_the_static_files() -> None:
    """The image copies `app`, and the build's context leaves nothing of it out."""
    assert "COPY app app" in (ROOT / "Dockerfile").read_text()
    for name in (".dockerignore", ".gcloudignore"):
        left_out = [
            line
            for line in (ROOT / name).read_text().splitlines()
            if line and not line.startswith(("#", "!")) and "app" in line.split("/")
        ]
        assert not left_out, name


def test_the_pictures_of_the_documents_are_small() -> None:
    pictures = list((ROOT / "docs/images").glob("console-*.png"))
    assert len(pictures) == 6
    for path in pictures:
        assert path.stat().st_size <= 150_000, path
        assert path.name in (ROOT / "docs/console.md").read_text()
