"""A contract is untrusted input: what is refused, and where, what is read, and what is drafted."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mlsys.artifact import describe
from mlsys.artifact.contract import MAX_BYTES, MAX_CLAUSES, Clause, Contract
from mlsys.artifact.contract_draft import draft
from mlsys.errors import ContractInvalid

AGE = {"column": "Age", "check": "in_range", "min_value": 0, "max_value": 120, "action": "reject"}


def document(*clauses: Any, **more: Any) -> bytes:
    return json.dumps({"version": 1, "clauses": list(clauses)} | more).encode()


def problems(content: bytes) -> list[tuple[str, str]]:
    with pytest.raises(ContractInvalid) as caught:
        Contract.parse(content)
    assert str(caught.value).startswith("contract.json: ")
    return list(caught.value.problems)


VALID = [
    AGE,
    {"column": "x", "check": "not_null", "max_share": 0.25, "action": "stop", "note": "why"},
    {"column": "x", "check": "gt", "value": 1.5, "action": "warn"},
    {"column": "t", "check": "le", "value": "2026-01-31T00:00:00Z", "action": "warn"},
    {"column": "Sex", "check": "isin", "values": ["male", "female"], "action": "reject"},
    {"column": "b", "check": "notin", "values": [True], "action": "warn"},
    {"column": "name", "check": "str_matches", "pattern": r"[A-Z]\d+$", "action": "reject"},
    {"column": "name", "check": "str_length", "max_value": 10, "action": "reject"},
    {"column": 'it\'s a "name"'.replace('"', "'"), "check": "exists", "action": "stop"},
    {"column": "x", "check": "type", "types": ["INT64", "FLOAT64"], "action": "stop"},
    {"check": "row_count", "min_value": 1, "action": "stop"},
    {"check": "freshness", "max_age_hours": 48, "action": "stop"},
    {"column": "t", "check": "freshness", "max_age_hours": 0.5, "action": "warn"},
]


def test_every_check_is_read_and_written_as_it_was() -> None:
    contract = Contract.parse(document(*VALID))
    assert contract.to_dict() == {"version": 1, "clauses": VALID}
    assert Contract.parse(contract.content()) == contract
    assert contract.content().count(b"\n") == len(VALID) + 2  # a line a clause, to be edited
    assert str(contract.clauses[0]) == "Age in_range 0..120"
    assert str(contract.clauses[1]) == "x not_null for 0.75 of rows"


@pytest.mark.parametrize(
    ("clause", "place", "text"),
    [
        (7, "", "is 7"),
        ({"action": "warn"}, "/check", "is None"),
        (AGE | {"check": "unique"}, "/check", "'unique'"),
        (AGE | {"check": ["isin"]}, "/check", "isin"),
        (AGE | {"action": "delete"}, "/action", "'delete'"),
        (AGE | {"action": None}, "/action", "None"),
        (AGE | {"max_valu": 3}, "/max_valu", "is unknown"),
        (AGE | {"a/b~c": 3}, "/a~1b~0c", "is unknown"),
        (AGE | {"max_value": -1}, "", "is above max_value"),
        (AGE | {"max_value": "z"}, "", "differ in type"),
        (AGE | {"max_value": True}, "/max_value", "is True"),
        (AGE | {"max_value": 2**63}, "/max_value", "at most 64 bits"),
        (AGE | {"max_value": float("nan")}, "/max_value", "null, or a number"),
        (AGE | {"min_value": float("-inf")}, "/min_value", "null, or a number"),
        (AGE | {"column": 3}, "/column", "text"),
        (AGE | {"column": "a`b"}, "/column", "does not allow"),
        (AGE | {"column": "x" * 400}, "/column", "400 characters"),
        (AGE | {"note": "x" * 201}, "/note", "at most 200"),
        (AGE | {"max_share": 0.1}, "/action", "reject beside max_share"),
        (AGE | {"max_share": 1, "action": "warn"}, "/max_share", "below 1"),
        (AGE | {"max_share": -0.1, "action": "warn"}, "/max_share", "below 1"),
        ({"column": "x", "check": "in_range", "action": "warn"}, "", "needs min_value"),
        ({"check": "in_range", "min_value": 1, "action": "warn"}, "/column", "is missing"),
        ({"column": "x", "check": "gt", "action": "warn"}, "/value", "is missing"),
        ({"column": "x", "check": "isin", "values": [], "action": "warn"}, "/values", "1 to"),
        ({"column": "x", "check": "isin", "values": "ab", "action": "warn"}, "/values", "list"),
        ({"column": "x", "check": "isin", "values": [1, "1"], "action": "warn"}, "/values", "mix"),
        ({"column": "x", "check": "isin", "values": [1, True], "action": "warn"}, "/values", "mix"),
        ({"column": "x", "check": "isin", "values": [1, 1.0], "action": "warn"}, "/values", "twic"),
        ({"column": "x", "check": "isin", "values": [None], "action": "warn"}, "/values", "null"),
        ({"column": "x", "check": "isin", "values": [[1]], "action": "warn"}, "/values", "[1]"),
        ({"column": "x", "check": "type", "types": ["INTEGER"], "action": "warn"}, "/types", "INT"),
        ({"column": "x", "check": "type", "types": [], "action": "warn"}, "/types", "list"),
        ({"check": "row_count", "min_value": 1.5, "action": "warn"}, "/min_value", "whole"),
        ({"check": "row_count", "min_value": -1, "action": "warn"}, "/min_value", "from 0"),
        ({"check": "row_count", "min_value": 1, "action": "reject"}, "/action", "single rows"),
        ({"check": "row_count", "column": "x", "min_value": 1, "action": "warn"}, "/column", "unk"),
        ({"check": "freshness", "max_age_hours": 0, "action": "warn"}, "/max_age_hours", "hours"),
    ],
)
def test_a_malformed_clause_is_refused_with_its_place(clause: Any, place: str, text: str) -> None:
    (where, what), *others = problems(document(VALID[1], clause))
    assert (where, others) == (f"/clauses/1{place}", [])
    assert text in what


@pytest.mark.parametrize(
    "pattern", ["[", "(?=x)", r"(a)\1", "a)|(b", r"\Qa", "x{1001}", "(a{999}){999}"]
)
def test_a_pattern_is_taken_only_if_it_matches_in_linear_time(pattern: str) -> None:
    clause = {"column": "x", "check": "str_matches", "pattern": pattern, "action": "warn"}
    [(where, what)] = problems(document(clause))
    assert where == "/clauses/0/pattern"
    assert "RE2 refuses" in what


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is not JSON"),
        (b'{"version": 1,\n "clauses": [,]}', "line 2 column 14"),
        (b"[]", "holds a list"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"version": 1, "clauses": [' + b"[" * 150 + b"]" * 150 + b"]}", "nested deeper"),
        (b'{"version": 1, "version": 1, "clauses": []}', "twice"),
        (b'{"version": 1, "clauses": ["\\ud800"]}', "surrogate"),
        (b'{"version": 1, "clauses": [' + b"9" * 5000 + b"]}", "is not JSON"),
        (document() + b" " * MAX_BYTES, "bytes"),
        (document(version=2), "/version"),
        (document(version=True), "/version"),
        (document(model="x"), "/model"),
        (b'{"version": 1}', "/clauses"),
        (document(*[AGE] * (MAX_CLAUSES + 1)), "at most 1,000"),
        ('{"version": 1, "clauses": []}'.encode("utf-16"), ""),
    ],
)
def test_a_malformed_document_is_refused(content: bytes, text: str) -> None:
    if not text:  # JSON may come as UTF-16
        assert Contract.parse(content) == Contract()
        return
    [(where, what)] = problems(content)
    assert text in f"{where} {what}"


def test_every_problem_is_named_at_once_and_the_message_is_bounded() -> None:
    found = problems(document(*[{"check": "no" * 100}] * 500))
    assert len(found) == 500
    with pytest.raises(ContractInvalid) as caught:
        Contract.parse(document(*[{"check": "no" * 100}] * 500))
    assert len(str(caught.value)) < 5_000


@pytest.mark.parametrize(
    ("kind", "clause", "fits"),
    [
        ("FLOAT64", AGE, True),
        ("NUMERIC", AGE, True),
        ("STRING", AGE, False),
        ("DATE", AGE | {"min_value": "2026-01-01", "max_value": "2026-12-31"}, True),
        ("DATE", AGE | {"min_value": "2026-12-31", "max_value": "2026-01-01"}, False),
        ("DATE", AGE | {"min_value": "2026-01-01", "max_value": "2026-01-01"}, True),
        (
            "TIMESTAMP",  # by the moment, and not by the text
            AGE | {"min_value": "2026-01-01T12:00:00+02:00", "max_value": "2026-01-01T11:00:00Z"},
            True,
        ),
        ("DATE", AGE | {"min_value": "yesterday", "max_value": "z"}, False),
        ("TIMESTAMP", {"check": "ge", "value": "2026-01-01T00:00:00Z"}, True),
        ("TIMESTAMP", {"check": "ge", "value": "2026-01-01T00:00:00"}, False),
        ("DATETIME", {"check": "ge", "value": "2026-01-01T00:00:00+01:00"}, False),
        ("TIME", {"check": "ge", "value": "12:00:00"}, True),
        ("STRING", {"check": "isin", "values": ["a"]}, True),
        ("STRING", {"check": "isin", "values": [1]}, False),
        ("BOOL", {"check": "isin", "values": [True]}, True),
        ("BOOL", {"check": "gt", "value": 1}, False),
        ("INT64", {"check": "str_length", "min_value": 1}, False),
        ("INT64", {"check": "freshness", "max_age_hours": 1}, False),
        ("BYTES", {"check": "not_null"}, True),
        ("BYTES", {"check": "isin", "values": ["a"]}, False),
    ],
)
def test_a_clause_is_checked_against_the_type_of_its_column(
    kind: str, clause: dict[str, Any], fits: bool
) -> None:
    whole = {"column": "Age", "action": "warn"} | clause
    contract = Contract.parse(document(whole))
    if fits:
        contract.check_types({"AGE": kind})
    else:
        with pytest.raises(ContractInvalid, match="/clauses/0 "):
            contract.check_types({"AGE": kind})
    contract.check_types({"other": kind})


def described(X: pd.DataFrame, **more: Any) -> dict[str, Any]:
    y = np.arange(len(X)) % 2
    numbers = X.select_dtypes("number").fillna(0.0)

    class Model(LogisticRegression):
        def predict(self, rows: Any) -> Any:
            return np.zeros(len(rows))

    return describe.build(Model().fit(numbers, y), X=X, **more)


@pytest.fixture(scope="module")
def metadata() -> dict[str, Any]:
    rows = 200
    frame = pd.DataFrame(
        {
            "age": np.where(np.arange(rows) % 4 == 0, np.nan, np.linspace(1, 80, rows)),
            "sex": np.where(np.arange(rows) % 3 == 0, "female", "male"),
            "ticket": [f"T{i}" for i in range(rows)],
            "quantity": np.arange(rows) // 2 * 2,
        }
    )
    return described(frame)


def test_a_draft_has_types_nulls_range_and_known_values_and_stops_nobody(
    metadata: dict[str, Any],
) -> None:
    contract = draft(metadata)
    assert Contract.parse(contract.content()) == contract
    assert {clause.action for clause in contract.clauses} == {"warn"}
    assert contract.clauses[0] == Clause("row_count", "warn", None, {"min_value": 1})
    by_column: dict[Any, dict[str, Clause]] = {}
    for clause in contract.clauses[1:]:
        by_column.setdefault(clause.column, {})[clause.check] = clause
    assert by_column["age"]["not_null"].max_share == 0.3  # a quarter, and 5 points
    assert by_column["quantity"]["not_null"].max_share is None
    assert by_column["quantity"]["in_range"].parameters == {"min_value": 0, "max_value": 198}
    assert sorted(by_column["sex"]["isin"].parameters["values"]) == ["female", "male"]
    assert by_column["ticket"].keys() == {"type", "not_null"}
    assert "FLOAT64" in by_column["age"]["type"].parameters["types"]
    contract.check_types({f["name"]: f["type"] for f in metadata["signature"]["features"]})


def test_a_draft_lists_the_categories_that_a_model_knows_of_numbers_too() -> None:
    doors = pd.Series([2, 4, 5, 4] * 50).astype("category")
    contract = draft(described(pd.DataFrame({"doors": doors, "age": range(200)})))
    [clause] = [c for c in contract.clauses if c.column == "doors" and c.check == "isin"]
    assert clause.parameters == {"values": [2, 4, 5]}
    assert not [c for c in contract.clauses if c.column == "doors" and c.check == "in_range"]
    contract.check_types({"doors": "INT64"})


def test_a_draft_without_a_profile_holds_no_values(metadata: dict[str, Any]) -> None:
    private = {name: value for name, value in metadata.items() if name != "profile"}
    assert {clause.check for clause in draft(private).clauses} == {"row_count", "type"}


def test_a_draft_reads_the_second_form_of_a_profile() -> None:
    features = [
        {"name": name, "type": kind, "dtype": "object", "nullable": False}
        for name, kind in (
            *(("n", "FLOAT64"), ("s", "STRING"), ("o", "STRING"), ("at", "TIMESTAMP")),
            *(("few", "INT64"), ("days", "DATE")),
        )
    ]
    columns = [
        {"kind": "number", "edges": [0.5, 2, 80]},
        {"kind": "category", "values": ["S", "C"]},
        {"kind": "category", "values": ["a", "b"], "other": 9},
        {"kind": "number", "edges": ["2026-11-01T00:00:00+00:00", "2026-11-28T00:00:00+00:00"]},
    ]
    columns += [
        {"kind": "category", "values": [3, 1, 2]},
        {"kind": "category", "values": ["2026-11-27", "2026-11-28"]},
    ]
    profile = {"version": 2, "rows": 10, "columns": columns, "created_at": "2026-11-28T10:00:00Z"}
    document = {"signature": {"features": features}, "profile": profile}
    found = {(c.column, c.check): dict(c.parameters) for c in draft(document).clauses}
    assert found["n", "in_range"] == {"min_value": 0.5, "max_value": 80}
    assert found["s", "isin"] == {"values": ["S", "C"]}
    assert ("o", "isin") not in found
    assert found["few", "in_range"] == {"min_value": 1, "max_value": 3}
    assert found["days", "freshness"] == {"max_age_hours": 34}
    assert found["at", "freshness"] == {"max_age_hours": 34}


def test_a_draft_for_very_many_columns_keeps_the_limits() -> None:
    features = [{"name": f"c{i}" + "x" * 200, "type": "FLOAT64"} for i in range(3_000)]
    contract = draft({"signature": {"features": features}})
    assert len(contract.clauses) <= MAX_CLAUSES
    assert len(contract.content()) <= MAX_BYTES
