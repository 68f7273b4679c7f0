"""The pre-commit hooks that keep ten phrases out of the repository."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pre_commit.languages import pygrep

ROOT = Path(__file__).parents[2]
CONFIG = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
HOOKS = {hook["id"]: hook for hook in CONFIG["repos"][0]["hooks"]}

# In two halves, so that the hook does not refuse this file.
PHRASES = [
    f"{first}{second}"
    for first, second in [
        ("who", "ever"),
        ("a", "new"),
        ("of ", "which"),
        ("is ", "no"),
        ("are ", "no"),
        ("put ", "down"),
        ("in ", "hand"),
        ("at the ", "most"),
        ("so ", "many"),
        ("by ", "itself"),
    ]
]
SPLITS = {
    "a line break": "\n",
    "a comment": "\n    # ",
    "a string's next literal": ' "\n    "',
    "an f-string's next literal": ' "\n    f"',
}


def hook_accepts(id_: str, path: Path, text: str) -> bool:
    """Run a hook as pre-commit does, over a file with this text."""
    path.write_text(text)
    hook: dict[str, Any] = HOOKS[id_]
    return pygrep.main([*hook["args"], hook["entry"], str(path)]) == 0


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_phrase_is_refused_in_any_case_and_place(tmp_path: Path, phrase: str) -> None:
    for text in (phrase, phrase.upper(), f"# {phrase.capitalize()}, x", f'"{phrase} {{name}}"'):
        assert not hook_accepts("plain-english", tmp_path / "a.py", f"first\n{text}\n")


@pytest.mark.parametrize("phrase", [phrase for phrase in PHRASES if " " in phrase])
@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_a_phrase_is_refused_across_lines(tmp_path: Path, phrase: str, split: str) -> None:
    text = phrase.replace(" ", split)
    assert not hook_accepts("plain-english", tmp_path / "a.py", f"# x {text} y\n")


@pytest.mark.parametrize(
    "text",
    [
        "x is not a table, and y is none",
        "it is no longer needed",
        "they are no longer needed".replace(" longer", "\n# longer"),
        "renew, canewood, whoeverse",  # parts of words
        "bring handles, input downloads, also manyfold, at the mostly",
        "of white, is north, are nodes, by its elf",
    ],
)
def test_other_words_are_accepted(tmp_path: Path, text: str) -> None:
    assert hook_accepts("plain-english", tmp_path / "a.md", text)


def test_only_the_cells_of_a_notebook_are_checked(tmp_path: Path) -> None:
    cell = f'   "source": [\n    "The table {PHRASES[3]} table.\\n"\n   ]\n'
    output = f'      "text/html": [\n       "the columns, each {PHRASES[2]} is a number"\n      ]\n'
    path = tmp_path / "a.ipynb"
    assert not hook_accepts("plain-english-notebooks", path, cell)
    assert hook_accepts("plain-english-notebooks", path, output)


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_phrase_is_refused_in_a_cell(tmp_path: Path, phrase: str) -> None:
    text = f'   "source": [\n    "Rows {phrase.title()} rows.\\n"\n   ]\n'
    assert not hook_accepts("plain-english-notebooks", tmp_path / "a.ipynb", text)


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "docs/decisions/README.md",
        "infrastructure/envs/dev/main.tf",
        ".github/workflows/pr.yml",
        "benchmarks/report.py",
        "notebooks/demo.py",
        "pyproject.toml",
        "Makefile",
        "Dockerfile",
    ],
)
def test_the_hook_sees_every_kind_of_text(path: str) -> None:
    hook = HOOKS["plain-english"]
    assert hook["types"] == ["text"] and "files" not in hook
    assert (ROOT / path).is_file() and not re.search(hook["exclude"], path)
