"""Every BigQuery type becomes standard JSON, in answers of bounded size."""

import datetime as dt
import decimal
import json
from typing import Any

import pytest
from dateutil.relativedelta import relativedelta
from google.cloud.bigquery import SchemaField
from hypothesis import given
from hypothesis import strategies as st

from app import create_app
from edge_cases import SERVICE
from wired import NoClients
from workers import json_values
from workers.json_values import bounded_row, json_value
from workers.query import json_rows

# type, mode, what the REST API sends (https://cloud.google.com/bigquery/docs/reference/rest), JSON
CELLS = [
    ("FLOAT", "NULLABLE", "NaN", "NaN"),
    ("FLOAT", "NULLABLE", "Infinity", "Infinity"),
    ("FLOAT", "NULLABLE", "-Infinity", "-Infinity"),
    ("FLOAT", "NULLABLE", "-0.5", -0.5),
    ("INTEGER", "NULLABLE", "9007199254740992", 9007199254740992),
    ("INTEGER", "NULLABLE", "9007199254740993", "9007199254740993"),
    ("NUMERIC", "NULLABLE", "1.10", "1.1"),
    ("NUMERIC", "NULLABLE", "12", 12),
    ("BIGNUMERIC", "NULLABLE", "0.00000000000000000000001", "0.00000000000000000000001"),
    ("BOOLEAN", "NULLABLE", "true", True),
    ("STRING", "NULLABLE", "NaN", "NaN"),
    ("BYTES", "NULLABLE", "AP8=", "AP8="),
    ("DATE", "NULLABLE", "2026-11-28", "2026-11-28"),
    ("TIME", "NULLABLE", "12:30:00.000001", "12:30:00.000001"),
    ("DATETIME", "NULLABLE", "2026-11-28T12:30:00", "2026-11-28T12:30:00"),
    ("TIMESTAMP", "NULLABLE", "0", "1970-01-01T00:00:00+00:00"),
    ("GEOGRAPHY", "NULLABLE", "POINT(1 2)", "POINT(1 2)"),
    ("JSON", "NULLABLE", '{"a": [1, null, 1e400]}', {"a": [1, None, "Infinity"]}),
    ("INTERVAL", "NULLABLE", "1-2 3 4:5:6.5", "P1Y2M3DT4H5M6.5S"),
    ("FLOAT", "REPEATED", [{"v": "NaN"}, {"v": "1"}], ["NaN", 1.0]),
    ("DATE", "REPEATED", [{"v": "2026-11-28"}], ["2026-11-28"]),
    ("DATE", "NULLABLE", None, None),
]


@pytest.mark.parametrize(("kind", "mode", "sent", "expected"), CELLS)
def test_each_bigquery_type_becomes_json(kind: str, mode: str, sent: Any, expected: Any) -> None:
    row = {"own": _parsed(SchemaField("own", kind, mode), sent)}
    [values], more = json_rows([row], (), limit=10, most_bytes=1_000_000)
    assert (values, more) == ({"own": expected}, False)
    json.dumps(values, allow_nan=False)


def _parsed(field: SchemaField, sent: Any) -> Any:
    from google.cloud.bigquery._helpers import CELL_DATA_PARSER

    return CELL_DATA_PARSER.to_py({"v": sent}["v"], field)


def test_a_struct_becomes_an_object_with_all_its_fields() -> None:
    value = {"day": dt.date(2026, 11, 28), "more": [{"x": float("nan"), "b": b"\xff"}], "": None}
    assert json_value(value) == {
        "day": "2026-11-28",
        "more": [{"x": "NaN", "b": "/w=="}],
        "": None,
    }
    assert json_value(relativedelta(months=-14)) == "P-1Y-2M0DT0H0M0S"
    assert json_value(decimal.Decimal("NaN")) == "NaN"
    assert json_value(decimal.Decimal("1e20")) == "100000000000000000000"


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.dates()
    | st.times()
    | st.datetimes()
    | st.binary()
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(ANY)
def test_any_value_becomes_json(value: Any) -> None:
    text = json.dumps(json_value(value), allow_nan=False)
    assert json_value(json.loads(text)) == json.loads(text)


def test_every_answer_of_the_service_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.logs.configure", lambda: None)
    service = create_app(SERVICE, NoClients(SERVICE))
    service.add_url_rule("/odd", "odd", lambda: {"x": [float("nan"), dt.date(2026, 11, 28)]})
    answer = service.test_client().get("/odd")
    assert json.loads(answer.text, parse_constant=pytest.fail) == {"x": ["NaN", "2026-11-28"]}


def test_a_list_is_bounded_in_rows_and_bytes() -> None:
    rows = [{"n": n, "document": '{"a": 1}'} for n in range(5)]
    result, more = json_rows(rows, ("document",), limit=3, most_bytes=1_000_000)
    assert ([row["n"] for row in result], more) == ([0, 1, 2], True)
    assert result[0]["document"] == {"a": 1}
    assert json_rows(rows, (), limit=5, most_bytes=1_000_000)[1] is False
    result, more = json_rows(rows, (), limit=5, most_bytes=10)
    assert ([row["n"] for row in result], more) == ([0], True)


def test_a_value_that_is_too_large_is_left_out_and_named() -> None:
    large = "x" * (json_values.MAX_VALUE + 1)
    row = {"name": "a", "notes": large, "metadata": large}
    result = bounded_row(row, ("metadata",))
    assert result == row | {"notes": None, "left_out": ["notes"]}
    assert bounded_row({"name": "a"}) == {"name": "a"}
