"""The local BigQuery parses a statement once, and each who asks gets a tree of their own."""

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
    """The statements that were parsed, with the cache in place."""
    parse, seen = Dialect.parse, []

    def counted(self: Any, sql: str, **options: Any) -> Any:
        seen.append(sql)
        return parse(self, sql, **options)

    monkeypatch.setattr(Dialect, "parse", counted)
    parsing.install()
    yield seen
    monkeypatch.undo()


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.stem)
def test_a_statement_is_parsed_once_and_comes_back_whole(path: Path, parsed: list[str]) -> None:
    sql = path.read_text()
    first, second = (sqlglot.parse_one(sql, dialect="bigquery") for _ in range(2))
    assert parsed == [sql]
    assert first is not second
    assert first == second
    assert first.sql("duckdb", comments=True) == second.sql("duckdb", comments=True)


def test_a_tree_that_is_changed_is_nobody_elses(parsed: list[str]) -> None:
    changed = sqlglot.parse_one("SELECT a FROM t", dialect="bigquery")
    changed.args["expressions"][0].replace(sqlglot.exp.column("b"))
    assert changed.sql() == "SELECT b FROM t"
    assert sqlglot.parse_one("SELECT a FROM t", dialect="bigquery").sql() == "SELECT a FROM t"
    assert len(parsed) == 1


def test_dialects_and_options_are_told_apart(parsed: list[str]) -> None:
    sql = 'SELECT "a" FROM t'
    texts = {
        sqlglot.parse_one(sql, dialect=name).sql("bigquery") for name in ("bigquery", "duckdb")
    }
    assert len(texts) == 2
    assert len(sqlglot.parse(f"{sql}; {sql}", dialect="duckdb")) == 2
    sqlglot.parse_one(sql, dialect="duckdb", error_level=sqlglot.ErrorLevel.IGNORE)
    assert len(parsed) == 4


def test_a_statement_that_is_wrong_is_wrong_again(parsed: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(sqlglot.ParseError):
            sqlglot.parse_one("SELECT FROM WHERE (", dialect="bigquery")


def test_few_and_short_statements_are_kept(
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
