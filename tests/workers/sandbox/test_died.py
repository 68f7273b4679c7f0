"""Causes of death by exit code, and errors that a sandbox sends as JSON."""

import json
import pickle
import signal
from typing import Any

import pytest

from mlsys.errors import (
    MAX_LISTED,
    Conflict,
    InvalidRequest,
    MetadataInvalid,
    ModelUnusable,
    PredictionFailed,
    SchemaMismatch,
    TryAgain,
)
from workers.sandbox.died import (
    EXIT_MEMORY,
    KINDS,
    Cause,
    SandboxDied,
    describe,
    of_exit,
    printable,
    rebuild,
)


@pytest.mark.parametrize(
    ("code", "cause", "detail"),
    [
        (None, "lost", "the process that started it ended"),
        (0, "exited", "exited with 0"),
        (3, "exited", "exited with 3"),
        (EXIT_MEMORY, "over memory", "over memory"),
        (-signal.SIGKILL, "over memory", "over memory (killed by the system)"),
        (-signal.SIGXCPU, "over time", "over its time of the processor"),
        (-signal.SIGSEGV, "killed", "killed by signal 11 (SIGSEGV)"),
        (-40, "killed", "killed by signal 40 (unnamed)"),
    ],
)
def test_an_exit_code_has_one_cause(code: int | None, cause: Cause, detail: str) -> None:
    death = of_exit(code)
    assert (death.cause, death.detail) == (cause, detail)
    assert str(death) == f"The process that holds the model ended: {detail}."


def test_a_death_can_be_pickled_between_processes() -> None:
    death = pickle.loads(pickle.dumps(SandboxDied("killed", "killed by signal 11 (SIGSEGV)")))
    assert (death.cause, death.detail) == ("killed", "killed by signal 11 (SIGSEGV)")


ERRORS: list[Any] = [
    ModelUnusable("It is not fitted."),
    MetadataInvalid("It is not JSON."),
    SchemaMismatch("They do not fit.", [("a", "is missing"), ("b", "is STRING")]),
    PredictionFailed("1 row failed.", [{"id": 1, "reason": "ä", "x": None, "y": 1.5}]),
    InvalidRequest(("model", "is missing"), ("env", "is not one")),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_known_errors_arrive_complete(error: Any) -> None:
    crossed = rebuild(json.loads(json.dumps(describe(error))))
    assert type(crossed) is type(error)
    assert str(crossed) == str(error)
    assert vars(crossed) == vars(error)


def test_every_known_error_is_tested() -> None:
    assert set(KINDS) == {type(error).__name__ for error in ERRORS}


def test_details_are_bounded() -> None:
    rows = [{"id": i, "big": 10**30} for i in range(10 * MAX_LISTED)]
    crossed = rebuild(json.loads(json.dumps(describe(PredictionFailed("x" * 10**6, rows)))))
    assert isinstance(crossed, PredictionFailed)
    assert len(crossed.rows) == MAX_LISTED and crossed.rows[0]["big"] == str(10**30)
    assert len(str(crossed)) < 5000


@pytest.mark.parametrize("error", [TryAgain("later"), Conflict("taken"), OSError(28, "No space")])
def test_other_errors_become_model_unusable(error: Exception) -> None:
    crossed = rebuild(describe(error))
    assert type(crossed) is ModelUnusable
    assert str(crossed) == f"Using the model raised {type(error).__name__}: {error}"


def test_a_memory_error_is_found_among_the_causes() -> None:
    error = TryAgain("There was not enough memory")
    error.__cause__ = RuntimeError("scoring failed")
    error.__cause__.__cause__ = MemoryError()
    assert isinstance(rebuild(describe(error)), MemoryError)
    error.__cause__ = error  # a cycle
    assert isinstance(rebuild(describe(error)), ModelUnusable)


@pytest.mark.parametrize(
    "error",
    [
        None,
        [],
        "ModelUnusable",
        {},
        {"kind": None},
        {"kind": ["ModelUnusable"]},
        {"kind": "ModelUnusable"},
        {"kind": "ModelUnusable", "message": None, "details": []},
        {"kind": "ModelUnusable", "message": "x", "details": {}},
        {"kind": "SandboxDied", "message": "x", "details": []},
        {"kind": "__class__", "message": "x", "details": []},
        {"kind": "SchemaMismatch", "message": "x", "details": ["ab"]},
        {"kind": "SchemaMismatch", "message": "x", "details": [["a", 1]]},
        {"kind": "SchemaMismatch", "message": "x", "details": [["a", "b", "c"]]},
        {"kind": "PredictionFailed", "message": "x", "details": [["id", 1]]},
        {"kind": "PredictionFailed", "message": "x", "details": [{"id": {"deep": 1}}]},
        {"kind": "PredictionFailed", "message": "x", "details": [{"id": 2**70}]},
        {
            "kind": "PredictionFailed",
            "message": "x",
            "details": [dict.fromkeys(map(str, range(99)))],
        },
        {"kind": "", "type": "x"},
    ],
    ids=str,
)
def test_malformed_descriptions_are_refused(error: Any) -> None:
    with pytest.raises(ValueError, match="text|kind|pair|row|detail"):
        rebuild(error)


@pytest.mark.parametrize("name", [None, 3, "", "a b", "x" * 200, "é", "a\nb", "__import__('os')"])
def test_a_type_without_a_name_is_not_repeated(name: Any) -> None:
    crossed = rebuild({"kind": "", "type": name, "message": "no"})
    assert str(crossed) == "Using the model raised an exception: no"


def test_texts_are_printable() -> None:
    assert printable("plain ä 漢\nline") == "plain ä 漢\nline"
    assert printable("\x1b[2J\u202e\x00\r") == r"\x1b[2J\u202e\x00\r"
    crossed = rebuild({"kind": "ModelUnusable", "message": "\x1b[2Jx", "details": []})
    assert str(crossed) == r"\x1b[2Jx"
