"""An undo is refused if the rows before it would not return."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mlsys.cloud.tables import TableRef
from mlsys.errors import Conflict
from workers.scoring.journal.undone import Removal, Undo
from workers.scoring.publishing import removable

TABLE = TableRef.parse("my-project.data.scores")
PLAN: Any = SimpleNamespace(run_id="second", request={"env": "dev"})
WRITTEN: Any = SimpleNamespace(name=TABLE)
CLIENTS: Any = SimpleNamespace(settings=SimpleNamespace(runs_bucket=str))
NOTHING: Any = None


def undo_of(how: Any, table: str) -> Undo:
    removal = Removal(table, "output", how, 3)
    return Undo("token", "first", "2026-11-29T03:00:00+00:00", None, "wrong", (removal,))


@pytest.mark.parametrize(
    ("undo", "refused"),
    [
        (undo_of("restore", str(TABLE)), True),
        (undo_of("restore", f"{TABLE}$20261122"), True),
        (undo_of("delete", str(TABLE)), False),
        (undo_of("restore", "my-project.data.others"), False),
        (None, False),
    ],
)
def test_a_run_that_replaced_rows_of_one_that_was_being_undone_is_not_undone(
    undo: Undo | None, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removable, "as_of", lambda _: "AS OF then")
    monkeypatch.setattr(removable, "names_in", lambda *_: {"inside": "TRUE"})
    monkeypatch.setattr(removable, "select_for", lambda *_: [{"run_id": "first"}])
    monkeypatch.setattr(removable, "read_undo", lambda _: undo)
    void: Any = SimpleNamespace(values=["first"])

    def check(runs: Any) -> None:
        removable._check_undone(CLIENTS, PLAN, WRITTEN, NOTHING, NOTHING, runs, NOTHING)

    check(SimpleNamespace(values=[]))
    if not refused:
        check(void)
        return
    with pytest.raises(Conflict, match="second replaced the rows of first while that run was"):
        check(void)
