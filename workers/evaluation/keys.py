"""The id columns by which a run's predictions are joined with labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mlsys.cloud.tables import TableRef
from mlsys.columns.names import fold
from mlsys.errors import InvalidRequest, SchemaMismatch
from workers.evaluation.target import NUMERIC_TYPES, common_type
from workers.scoring.planning.columns import Column
from workers.scoring.planning.plan import Plan

_KEYS = NUMERIC_TYPES | {"STRING", "BYTES", "BOOL", "DATE", "DATETIME", "TIME", "TIMESTAMP"}
_GUESSED_KEYS = _KEYS - {"FLOAT64", "BOOL"}


def choose_keys(
    plan: Plan,
    labels: Sequence[Column],
    label_column: str,
    labels_table: TableRef,
    given: Sequence[str] | None,
    own: Callable[[], Sequence[str]],
) -> tuple[tuple[Column, Column], ...]:
    """Return the columns by which predictions and labels are joined, as each table has them.

    Those of `given`; else the id columns that the run's request names; else those of the model,
    which `own` gives, if the table with labels has them all; else the only one that both have.

    Raises:
        InvalidRequest: it is not clear which columns are meant, the run did not carry one over, or
            one has the labels.
        SchemaMismatch: the table with labels lacks a column, or has it with another type.
    """
    carried = {fold(c.name): c for c in plan.ids}
    if not carried:
        raise SchemaMismatch(
            f"The run {plan.run_id} carried no id columns over, so its rows cannot be told apart: "
            "score the table again with id_columns."
        )
    offered = {fold(c.name): c for c in labels}
    named = tuple(given or plan.request.get("id_columns", "*").split(","))
    if named == ("*",):
        both = carried.keys() & offered.keys() - {fold(label_column)}
        named = tuple(own()) if len(both) > 1 else ()
        if not named or not both.issuperset(map(fold, named)):
            named = _the_common_one(plan, offered, label_column, labels_table)
    if wrong := [name for name in named if fold(name) not in carried]:
        text = f"the run has no {', '.join(wrong)}: pass any of {_names(plan.ids)}"
        raise InvalidRequest(("id_columns", text))
    if fold(label_column) in map(fold, named):
        text = f"{label_column} is an id column, too: pass another, or id_columns without it"
        raise InvalidRequest(("label_column", text))
    if missing := [name for name in named if fold(name) not in offered]:
        raise SchemaMismatch(
            f"{labels_table} lacks id columns: pass a view that has them, or other id_columns.",
            [(name, f"is missing; the table has {_names(labels)}"[:500]) for name in missing],
        )
    pairs = tuple((carried[fold(name)], offered[fold(name)]) for name in named)
    faults = [
        (a.name, f"is {b.type}, and {a.type} in the run's output")
        for a, b in pairs
        if a.type not in _KEYS or common_type(a.type, b.type) is None
    ]
    if faults:
        raise SchemaMismatch(
            f"Id columns of {labels_table} have another type than the run's: pass a view that "
            "casts them.",
            faults,
        )
    return pairs


def _the_common_one(
    plan: Plan, offered: Mapping[str, Column], label_column: str, labels_table: TableRef
) -> tuple[str, ...]:
    common = [
        c.name
        for c in plan.ids
        if fold(c.name) in offered.keys() - {fold(label_column)} and c.type in _GUESSED_KEYS
    ]
    if len(common) == 1:
        return tuple(common)
    if common:
        text = f"is missing: the run and {labels_table} both have {', '.join(common)}"
        text += f"; pass those that tell the rows apart, such as id_columns={common[0]} or, if"
        text += f" only several do, id_columns={','.join(common[:2])}"
        raise InvalidRequest(("id_columns", text))
    if shared := [c for c in plan.ids if fold(c.name) in offered.keys() - {fold(label_column)}]:
        both = ", ".join(f"{c.name} ({c.type})" for c in shared)
        text = (
            f"is missing: the run and {labels_table} both have {both}, which is joined by only if"
        )
        text += f" it is named; pass id_columns={shared[0].name} if it tells the rows apart"
        raise InvalidRequest(("id_columns", text))
    raise SchemaMismatch(
        f"{labels_table} has none of the run's id columns: pass a view that has them.",
        [(c.name, "is missing") for c in plan.ids],
    )


def _names(columns: Sequence[Column]) -> str:
    return ", ".join(c.name for c in columns)
