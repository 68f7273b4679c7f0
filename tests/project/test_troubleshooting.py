"""The errors that the troubleshooting table quotes are those that the code raises."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
TABLE = OPERATIONS.split("\n## Troubleshooting\n")[1].split("\n## ")[0]
SYMPTOMS = [row.split(" | ")[0] for row in TABLE.splitlines() if row.startswith("| ")][1:]
QUOTES = [
    quote.strip(" …")
    for symptom in SYMPTOMS
    for quote in re.findall(r"`([^`]+)`", symptom)
    if " " in quote and not quote.startswith('"')
]
TEMPLATES = {"may not read": "may not {verb}", "may not write": "may not {verb}"}


@pytest.fixture(scope="module")
def source() -> str:
    """Return the code with the literals of each string joined."""
    files = [path for part in ("app", "lib", "workers") for path in (ROOT / part).rglob("*.py")]
    return re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text() for path in files))


@pytest.mark.parametrize("quote", QUOTES)
def test_a_quoted_error_exists(source: str, quote: str) -> None:
    """Each part of the quote between two `…` stands in the code."""
    parts = TEMPLATES.get(quote, quote).split("…")
    assert not [part.strip() for part in parts if part.strip() not in source]
    assert len(QUOTES) > 8
