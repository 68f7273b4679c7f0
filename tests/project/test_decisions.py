"""The decision records: their index, their titles, and the code that they name."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "decisions"
MODULES = re.compile(r"`((?:mlsys|workers|app)(?:\.\w+)+)`")
FILES = re.compile(r"`((?:workers|app|lib|tests|benchmarks|infrastructure)/[\w./-]+)`")
ROW = re.compile(
    r"\| (?P<number>\d+) \| \[(?P<title>.+?)\]\((?P<file>[^)]+)\) "
    r"\| (?P<date>[\d-]+) \| (?P<status>.+) \|"
)
INDEX = {row["file"]: row for row in ROW.finditer((FOLDER / "README.md").read_text())}


def test_the_index_has_every_record_once() -> None:
    files = sorted(path.name for path in FOLDER.glob("0*.md"))
    assert sorted(INDEX) == files
    assert len({row["number"] for row in INDEX.values()}) == len(files)


@pytest.mark.parametrize("file", INDEX)
def test_a_record_has_the_number_title_date_and_status_of_the_index(file: str) -> None:
    row, text = INDEX[file], (FOLDER / file).read_text()
    assert text.startswith(f"# {row['number']}. {row['title']}\n")
    assert file.startswith(f"{int(row['number']):04}-")
    [status] = re.findall(r"^Status: (.+?)\n\n", text, re.MULTILINE | re.DOTALL)
    assert status.startswith(row["status"].split()[0].rstrip(","))
    assert row["date"] in status
    assert ("corrected" in status) == ("corrected" in row["status"])
    for successor in re.findall(r"\((0\d+-[^)]+)\)", row["status"]):
        assert f"({successor})" in status
    assert "**Context.**" in text and "**Decision.**" in text


@pytest.mark.parametrize("title", [row["title"] for row in INDEX.values()])
def test_a_title_is_imperative(title: str) -> None:
    first = title.split()[0]
    assert first not in {"A", "An", "The", "One", "What", "How", "Why", "When", "Where", "Which"}
    assert not re.search(r"(ing|[^e]ed|[^s]s)$", first)


@pytest.mark.parametrize("page", [*sorted(FOLDER.glob("*.md")), FOLDER.parent / "traps.md"])
def test_the_modules_and_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    missing = [name for name in MODULES.findall(text) if not names_code(name)]
    missing += [path for path in FILES.findall(text) if not (ROOT / path).exists()]
    assert missing == []


def names_code(name: str) -> bool:
    """Return whether a dotted name leads to a module, or to a name in a module's source."""
    package, *rest = name.split(".")
    path = ROOT / "lib" / package if package == "mlsys" else ROOT / package
    for i, part in enumerate(rest):
        if (path / part).is_dir():
            path /= part
        elif (path / f"{part}.py").is_file():
            path /= f"{part}.py"
        else:
            source = path if path.is_file() else path / "__init__.py"
            return i > 0 and re.search(rf"\b{part}\b", source.read_text()) is not None
    return True
