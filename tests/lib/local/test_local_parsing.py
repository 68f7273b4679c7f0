"""The local BigQuery parses a statement once, and returns a separate tree to each caller."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from sqlglot.dialects.dialect import Dialect

from mlsys.local import parsing

STATEMENTS = sorted(Path(__file__).parents[3].glob("workers/sql/*.sql"))


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Yield the statements that were parsed, with the cache in place."""
    parse, seen = Dialect.parse, []

    def counted(self: Any, sql: str, **options: Any) -> Any:
        seen.append(sql)
        return parse(self, sql, **options)

    monkeypatch.setattr(Dialect, "parse", counted)
    parsing.install()
    yield seen
    monkeypatch.undo()


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.stem)
def test_a_statement_is_parsed_once_and_each_caller_gets_an_equal_tree(
    path: Path, parsed: list[str]
) -> None:
    sql = path.read_text()
    first, second = (sqlglot.parse_one(sql, dialect="bigquery") for _ in range(2))
    assert parsed == [sql]
    assert first is not second
    assert first == second
    assert first.sql("duckdb", comments=True) == second.sql("duckdb", comments=True)


def test_changing_a_tree_does_not_change_the_cached_one(parsed: list[str]) -> None:
    changed = sqlglot.parse_one("SELECT a FROM t", dialect="bigquery")
    changed.args["expressions"][0].replace(sqlglot.exp.column("b"))
    assert changed.sql() == "SELECT b FROM t"
    assert sqlglot.parse_one("SELECT a FROM t", dialect="bigquery").sql() == "SELECT a FROM t"
    assert len(parsed) == 1


def test_the_cache_distinguishes_dialects_and_options(parsed: list[str]) -> None:
    sql = 'SELECT "a" FROM t'
    texts = {
        sqlglot.parse_one(sql, dialect=name).sql("bigquery") for name in ("bigquery", "duckdb")
    }
    assert len(texts) == 2
    assert len(sqlglot.parse(f"{sql}; {sql}", dialect="duckdb")) == 2
    sqlglot.parse_one(sql, dialect="duckdb", error_level=sqlglot.ErrorLevel.IGNORE)
    assert len(parsed) == 4


def test_an_invalid_statement_raises_every_time(parsed: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(sqlglot.ParseError):
            sqlglot.parse_one("SELECT FROM WHERE (", dialect="bigquery")


def test_the_cache_is_bounded_in_number_and_length(
    parsed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsing, "STATEMENTS", 2)
    monkeypatch.setattr(parsing, "MAX_CHARACTERS", 8)
    for sql in (
        "SELECT 1",
        "SELECT 2",
        "SELECT 3",
        "SELECT 1",
        "SELECT 3",
        "SELECT 10",
        "SELECT 10",
    ):
        sqlglot.parse_one(sql, dialect="bigquery")
    assert [sql.split()[1] for sql in parsed] == ["1", "2", "3", "1", "10", "10"]
