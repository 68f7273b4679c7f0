"""Checks run within their time, and none hides another."""

import threading
from types import SimpleNamespace

import pytest
from google.api_core import exceptions

from mlsys.cloud.messages import Use
from mlsys.doctor.check import Check, Outcome, ok, run_checks
from mlsys.doctor.shared import column_faults

USE = Use("Pub/Sub", "the topic", ("pubsub.topics.get",))


def check(id: str, ask: object = lambda: ok("fine"), **options: object) -> Check:
    return Check(id, ask, USE, "repair it", **options)  # type: ignore[arg-type]


def states(*checks: Check, seconds: float = 5.0) -> dict[str, str]:
    return {f.id: f.state for f in run_checks(checks, "my-project", seconds=seconds)}


def raises(exc: Exception) -> object:
    def ask() -> Outcome:
        raise exc

    return ask


def test_a_check_that_raises_hides_no_other() -> None:
    seen = run_checks(
        [
            check("a", raises(exceptions.NotFound("no"))),
            check("b", raises(ValueError("x"))),
            check("c"),
        ],
        "my-project",
    )
    assert [(f.id, f.state) for f in seen] == [
        ("apis", "ok"),
        ("a", "failed"),
        ("b", "failed"),
        ("c", "ok"),
    ]
    assert seen[1].fix == "repair it"
    assert "the topic" in seen[1].seen
    assert seen[2].seen == "ValueError: x"


def test_a_check_that_never_answers_ends_with_its_time() -> None:
    never = threading.Event()
    try:
        assert states(check("a", never.wait), check("b"), seconds=0.2) == {
            "apis": "ok",
            "a": "failed",
            "b": "ok",
        }
    finally:
        never.set()


def test_a_check_is_skipped_if_one_that_it_needs_fails() -> None:
    broken = check("a", raises(exceptions.NotFound("no")))
    below, far = check("b", needs=("a",)), check("c", needs=("b",))
    assert states(far, below, broken, check("d", needs=("not among them",))) == {
        "apis": "ok",
        "a": "failed",
        "b": "skipped",
        "c": "skipped",
        "d": "ok",
    }
    with pytest.raises(ValueError, match="need each other"):
        states(check("a", needs=("b",)), check("b", needs=("a",)))


def test_what_the_account_may_not_see_can_be_skipped() -> None:
    denied = exceptions.Forbidden("no")
    assert states(check("a", raises(denied)))["a"] == "failed"
    assert states(check("a", raises(denied), denied="skipped"))["a"] == "skipped"


def test_an_api_that_is_not_enabled_is_named_once_with_its_command() -> None:
    by_json = exceptions.Forbidden("off", errors=[{"reason": "accessNotConfigured"}])
    by_text = exceptions.Forbidden(
        "Enable pubsub.googleapis.com first", errors=[{"reason": "accessNotConfigured"}]
    )
    seen = run_checks([check("a", raises(by_json)), check("b", raises(by_text))], "my-project")
    assert [f.state for f in seen] == ["failed", "skipped", "skipped"]
    assert seen[0].fix == "gcloud services enable pubsub.googleapis.com --project=my-project"


WANTED = [
    {"name": "a", "type": "INTEGER", "mode": "REQUIRED"},
    {"name": "b", "type": "STRING", "mode": "NULLABLE"},
    {"name": "c", "type": "STRING", "mode": "REPEATED"},
]


def field(name: str, type: str, mode: str = "NULLABLE") -> SimpleNamespace:
    return SimpleNamespace(name=name, field_type=type, mode=mode)


FIELDS = {
    "a": field("a", "INT64", "REQUIRED"),
    "b": field("B", "STRING"),
    "c": field("c", "STRING", "REPEATED"),
}


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({}, []),
        ({"a": field("a", "INTEGER"), "d": field("d", "JSON")}, []),
        ({"b": None}, ["b is missing"]),
        ({"b": field("b", "BYTES")}, ["b is NULLABLE BYTES instead of NULLABLE STRING"]),
        (
            {"c": field("c", "STRING")},
            ["c is NULLABLE STRING instead of REPEATED STRING"],
        ),
        (
            {"b": field("b", "STRING", "REQUIRED")},
            ["b is REQUIRED, and this release may write NULL"],
        ),
        (
            {"d": field("d", "STRING", "REQUIRED")},
            ["d is REQUIRED, and this release does not write it"],
        ),
    ],
)
def test_a_table_that_cannot_be_written_is_named(changes: dict, faults: list[str]) -> None:
    fields = [f for f in (FIELDS | changes).values() if f is not None]
    assert column_faults(WANTED, fields) == faults
