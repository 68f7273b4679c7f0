"""`incremental`: its forms, its watermarks as SQL, which runs take turns, and what is refused."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest

from mlsys.cloud.tables import TableRef
from mlsys.errors import InvalidRequest, PriceLimit, SchemaMismatch, TryAgain
from mlsys.remote.verdict import increment
from workers.scoring.planning import increments, new_rows
from workers.scoring.planning.claims import Claim
from workers.scoring.planning.columns import Column
from workers.scoring.planning.incremental import KINDS, Incremental, Watermark, source_of
from workers.scoring.planning.incremental_sql import counts_sql, key_sql, lacking_sql
from workers.scoring.planning.increments import plan_incremental
from workers.scoring.planning.new_rows import Counted, count_rows
from workers.scoring.request.parsed import IDS, ScoringRequest, read_incremental

TABLE, OUTPUT = TableRef.parse("my-project.d.t"), TableRef.parse("my-project.d.out")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("updated_at", "updated_at"),
        ("`updated at`", "updated at"),
        ("ids", IDS),
        ("IDS", IDS),
        ("`ids`", "`ids`"),
        ("`Ids`", "`Ids`"),
    ],
)
def test_a_column_named_ids_keeps_its_backticks(text: str, canonical: str) -> None:
    assert read_incremental(text) == canonical
    assert read_incremental(canonical) == canonical


@pytest.mark.parametrize("text", ["", "`", "``", "a`b", "a.b", "x" * 301, "_PARTITIONTIME", "a;b"])
def test_what_is_not_a_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="pass a column of the input, or ids"):
        read_incremental(text)


@pytest.mark.parametrize(
    ("kind", "value", "sql"),
    [
        ("INT64", -(2**63), "-9223372036854775808"),
        ("NUMERIC", Decimal("1E+3"), "NUMERIC '1000'"),
        ("BIGNUMERIC", Decimal("-0.00000001"), "BIGNUMERIC '-0.00000001'"),
        ("DATE", dt.date(1, 1, 1), "DATE '0001-01-01'"),
        ("DATETIME", dt.datetime(2026, 1, 2, 3, 4, 5, 6), "DATETIME '2026-01-02 03:04:05.000006'"),
        (
            "TIMESTAMP",
            dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.timezone(dt.timedelta(hours=2))),
            "TIMESTAMP '2026-01-02 01:04:05.000006+00:00'",
        ),
    ],
)
def test_a_watermark_is_an_exact_literal(kind: str, value: Any, sql: str) -> None:
    mark = Watermark.of("c", kind, value, 3)
    assert kind in KINDS and mark.sql == sql
    part = Incremental("c", "s", 3, 2, above=mark, up_to=replace(mark, rows=9), rows=1)
    assert part.bounds("`c`") == f"`c` > {sql} AND `c` <= {sql}"
    assert not part.moves


def test_an_input_without_rows_reads_none() -> None:
    assert Incremental("c", "s", 0, None).bounds("`c`") == "FALSE"
    assert Incremental(IDS, "s", 0, None).bounds("`c`") is None


def claim(**changes: Any) -> Claim:
    known: dict[str, Any] = {
        "number": 3,
        "run_id": "r",
        "token": "t",
        "at": "2026-11-28T00:00:00+00:00",
        "model_version": "v1",
        "by": "n",
        "input_table": str(TABLE),
        "where": None,
        "watermark": Watermark("n", "INT64", "7", 7),
        "marks": {"other": 2},
    }
    known |= changes
    return Claim(source=source_of(known["input_table"], known["where"]), **known)


def test_a_claim_is_read_as_it_was_written() -> None:
    one = claim()
    assert Claim.from_dict(one.to_dict()) == one
    assert one.newest == {"other": 2, one.source: 3}


DAY, NEXT = f"{TABLE}$20261127", f"{TABLE}$20261128"


@pytest.mark.parametrize(
    ("mine", "other", "apart"),
    [
        ({}, {}, False),
        ({}, {"model_version": "v2"}, False),
        ({}, {"by": "m"}, False),
        ({}, {"by": IDS}, False),
        ({}, {"where": "a > 1"}, True),
        ({"by": IDS}, {"where": "a > 1"}, False),
        ({"by": IDS}, {"where": "a > 1", "model_version": "v2"}, True),
        ({"by": IDS}, {"by": IDS, "where": "a > 1"}, False),
        ({"by": IDS, "input_table": DAY}, {"by": IDS, "input_table": NEXT}, True),
        ({"by": IDS, "input_table": DAY}, {"by": IDS}, False),
        (
            {"by": IDS, "input_table": DAY},
            {"by": IDS, "input_table": "p-roject.d.u$20261128"},
            False,
        ),
    ],
)
def test_runs_take_turns_that_could_write_the_same_rows(
    mine: dict[str, Any], other: dict[str, Any], apart: bool
) -> None:
    assert claim(**mine).is_apart(claim(**other)) is apart


def test_ids_are_compared_as_one_text_so_that_a_null_equals_a_null() -> None:
    assert key_sql(TABLE, ["a", "T"]) == "TO_JSON_STRING(STRUCT(`a` AS c0, `t`.`T` AS c1))"
    sql = lacking_sql(TABLE, OUTPUT, ["a"], "m", "v1", also="(`d` IS NULL)")
    assert sql == (
        "TO_JSON_STRING(STRUCT(`a` AS c0)) NOT IN (SELECT TO_JSON_STRING(STRUCT(`a` AS c0)) FROM "
        "`my-project.d.out` WHERE model_name = 'm' AND model_version = 'v1' AND (`d` IS NULL))"
    )


def test_the_counts_are_one_query_of_the_column_at_the_snapshot() -> None:
    mark = Watermark("n", "INT64", "7", 7)
    sql = counts_sql(TABLE, ["(\nb > 1\n)"], as_of=" FOR X", column="n", above=mark)
    assert sql == (
        "SELECT COUNT(*) AS n, COUNTIF(`n` IS NULL) AS nulls, MAX(`n`) AS up_to, "
        "COUNTIF(`n` <= 7) AS below FROM `my-project.d.t` AS `t` FOR X WHERE (\nb > 1\n)"
    )


def planned(by: str, counted: Counted, kinds: dict[str, str], ids: list[Column]) -> Any:
    """Plan a first run whose input has columns of these types and counts."""
    request = ScoringRequest("dev", TABLE, OUTPUT, "m", "v1", incremental=by)
    resolved: Any = SimpleNamespace(
        request=request,
        schema=[SimpleNamespace(name=n, field_type=t, mode="") for n, t in kinds.items()],
        model=SimpleNamespace(version="v1"),
    )
    clients: Any = SimpleNamespace(
        bigquery=SimpleNamespace(get_dataset=lambda *_, **__: SimpleNamespace(location="EU"))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(increments.Claims, "base", lambda *_: (None, None, 0))
        patch.setattr(increments, "count_rows", lambda *_, **__: counted)
        return plan_incremental(clients, resolved, ids, None, "EU")[0]


@pytest.mark.parametrize("kind", ["FLOAT64", "STRING", "BOOL", "TIME", "BYTES", "JSON", "ARRAY"])
def test_a_column_whose_order_cannot_be_relied_on_is_refused(kind: str) -> None:
    with pytest.raises(SchemaMismatch, match=f"incremental=ids. n: is {kind}"):
        planned("n", Counted(1, 0, 1), {"n": kind}, [])


def test_a_column_that_the_input_lacks_is_refused() -> None:
    with pytest.raises(SchemaMismatch, match="nope: is not in the input table"):
        planned("nope", Counted(1), {"n": "INT64"}, [])
    with pytest.raises(SchemaMismatch, match="ids: is not in the input table"):
        planned("`ids`", Counted(1), {"n": "INT64"}, [])


def test_a_column_named_ids_is_a_column() -> None:
    part = planned("`ids`", Counted(2, 0, 5), {"IDs": "INT64"}, [])
    assert (part.by, part.column, part.is_by_ids) == ("`IDs`", "IDs", False)
    assert part.up_to == Watermark("IDs", "INT64", "5", 2)


def test_nulls_in_the_column_are_refused() -> None:
    with pytest.raises(SchemaMismatch, match="n: is NULL in 3 of 9 rows"):
        planned("n", Counted(9, 3, 1), {"n": "INT64"}, [])


def test_ids_that_repeat_or_are_none_are_refused() -> None:
    with pytest.raises(SchemaMismatch, match="no column is carried over: pass id_columns"):
        planned(IDS, Counted(9), {"n": "INT64"}, [])
    with pytest.raises(SchemaMismatch, match="4 rows of my-project.d.t have the n of another row"):
        planned(IDS, Counted(9, repeated=4), {"n": "INT64"}, [Column("n", "INT64")])


@pytest.mark.parametrize(
    ("incremental", "lines"),
    [
        (None, []),
        ({"by": "ids", "rows": 1}, ["by ids: 1 row that the output lacks"]),
        ({"by": "n", "rows": 2, "watermark": "7"}, ["by n: all rows, up to 7"]),
        ({"by": "n", "rows": 0}, ["by n: the input has no row"]),
        (
            {"by": "n", "rows": 2, "watermark_before": "5", "rows_late": 3},
            [
                "by n: 2 rows above 5",
                "3 rows came late, at or below it: incremental=ids scores them",
            ],
        ),
    ],
)
def test_the_command_line_says_what_is_new(
    incremental: dict[str, Any] | None, lines: list[str]
) -> None:
    assert increment(incremental) == lines


def test_a_limit_is_checked_before_the_rows_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    request = ScoringRequest("dev", TABLE, OUTPUT, "m", "v1", incremental="n", max_bytes=99)
    resolved: Any = SimpleNamespace(
        request=request,
        schema=[SimpleNamespace(name="n", field_type="INTEGER", mode="")],
        restriction=None,
        is_query=True,
        table=SimpleNamespace(num_bytes=5),
    )
    monkeypatch.setattr(increments.Claims, "base", lambda *_: (None, None, 0))
    monkeypatch.setattr(new_rows, "dry_run", lambda *_: SimpleNamespace(bytes=100))
    monkeypatch.setattr(new_rows, "select_for", lambda *_: pytest.fail("the rows were counted"))
    clients: Any = None
    with pytest.raises(PriceLimit, match="would read 100 bytes"):
        plan_incremental(clients, resolved, [], None, "EU")


@pytest.mark.parametrize(
    ("refusals", "valid", "outcome"),
    [
        (1, [True], 7),  # it became readable before BigQuery was asked why
        (2, [True], SchemaMismatch),  # it is valid, and fails as it runs
        (2, [False, True], TryAgain),  # only its snapshot is refused
        (2, [False, False], SchemaMismatch),
    ],
)
def test_a_refused_count_is_tried_again_only_for_its_snapshot(
    monkeypatch: pytest.MonkeyPatch, refusals: int, valid: list[bool], outcome: Any
) -> None:
    resolved: Any = SimpleNamespace(
        request=ScoringRequest("dev", TABLE, OUTPUT, "m", "v1"),
        restriction=None,
        is_query=False,
        snapshot_at=dt.datetime(2026, 11, 28, tzinfo=dt.UTC),
        notes=None,
    )
    clients: Any = SimpleNamespace(
        settings=SimpleNamespace(emulators=SimpleNamespace(bigquery=None))
    )
    asked: list[str] = []

    def select(_: Any, sql: str) -> Any:
        asked.append(sql)
        if len(asked) <= refusals:
            raise BadRequest("Invalid snapshot time")
        return [{"n": 7}]

    answers = iter(valid)
    monkeypatch.setattr(new_rows, "select_for", lambda _, *query: select(*query))
    monkeypatch.setattr(new_rows, "is_valid", lambda *_: next(answers))
    if isinstance(outcome, int):
        assert count_rows(clients, resolved).n == outcome
    else:
        with pytest.raises(outcome):
            count_rows(clients, resolved)
    assert all("AS OF TIMESTAMP '2026-11-28 00:00:00.000000+00'" in sql for sql in asked)
