"""The local BigQuery parses a statement once, and returns a separate tree to each caller."""

import copy
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from bqemulator.catalog import ddl_sync
from sqlglot.dialects.dialect import Dialect
from sqlglot.expressions import Expression

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
    monkeypatch.setattr(Expression, "copy", Expression.copy)  # which is put back
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


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.stem)
def test_a_copy_is_what_sqlglot_copies(path: Path) -> None:
    tree = sqlglot.parse_one(path.read_text(), dialect="bigquery")
    for node in tree.walk():
        node.type = "INT64" if node.index else None
    hash(tree)
    ours, theirs = parsing.copied(tree), copy.deepcopy(tree)
    nodes = [list(each.walk()) for each in (ours, theirs)]
    for one, other in zip(*nodes, strict=True):
        for name in Expression.__slots__:
            if name not in ("args", "parent", "_hash"):  # sqlglot drops most hashes
                assert getattr(one, name) == getattr(other, name), name
        assert list(one.args) == list(other.args)
        assert one.parent is None or one in list(one.parent.iter_expressions())
    assert not {id(node) for node in nodes[0]} & {id(node) for node in tree.walk()}
    assert ours == theirs and ours.parent is None


def test_what_only_reads_a_tree_gets_the_kept_one(
    parsed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, names in parsing.READERS.items():
        for name in names:  # which are put back, and there in this release
            key = f"{module}.{name}"
            monkeypatch.setattr(key, pkgutil.resolve_name(key))
    parsing.share_with_readers()
    made: list[Any] = []
    monkeypatch.setattr(parsing, "copied", lambda tree: made.append(tree) or copy.deepcopy(tree))
    assert ddl_sync._detect_create_schema("SELECT 1", "p") is None
    assert made == []
    target = ddl_sync._detect_plain_create_table("CREATE TABLE d.t (a INT64)")
    assert target is not None and target is not made[0]
    assert sqlglot.parse_one("SELECT 1", dialect="bigquery") is not made[-1]
    assert len(parsed) == 2


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
