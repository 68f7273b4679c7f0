"""Names of the columns that a run writes, and which of a new model's names collide with others.

A run writes the id columns, the model's predictions, and the `STAMPS`. Two of one name are refused
at upload: later each table would be refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlsys.columns.names import fold
from mlsys.errors import InvalidRequest

# What each row of an output says of its run, with BigQuery's types.
STAMPS = {
    "predicted_at": "TIMESTAMP",
    "model_name": "STRING",
    "model_version": "STRING",
    "run_id": "STRING",
}


def predicted_names(targets: Sequence[str], count: int) -> list[str]:
    """Return the names of the predicted columns: the targets, if there is one for each.

    >>> predicted_names(["survived"], 1), predicted_names([], 1), predicted_names([], 2)
    (['survived'], ['prediction'], ['prediction_0', 'prediction_1'])
    """
    if len(targets) == count:
        return list(targets)
    return ["prediction"] if count == 1 else [f"prediction_{i}" for i in range(count)]


def check_distinct(
    targets: Sequence[str], parameter: str, ids: Sequence[str], outputs: int | None
) -> None:
    """Refuse names with which every output would have two columns of the same name.

    `outputs` is how many values the model predicts per row, None if it predicts none.

    Raises:
        InvalidRequest: a target or an id column is named like a stamp, or like each other.
    """
    taken = ", ".join(STAMPS)
    if mine := [name for name in ids if fold(name) in STAMPS]:
        text = f"names {mine[0]!r}, and each run adds the columns {taken} to its output: rename "
        raise InvalidRequest(("id_columns", f"{text}the column of the tables, and pass that name"))
    predicted = [] if outputs is None else predicted_names(targets, outputs)
    known = {name.lower(): name for name in ids}
    for name in predicted:
        if fold(name) in STAMPS:
            text = f"names the predictions {name!r}, and each run adds the columns {taken} to its "
            raise InvalidRequest((parameter, f"{text}output: {_instead(name, predicted)}"))
        if name.lower() in known:
            other = f"{known[name.lower()]!r} is one of id_columns: {_instead(name, predicted)}"
            if targets:
                raise InvalidRequest((parameter, f"names the predictions {name!r}, and {other}"))
            text = f"is missing: the predictions would be named {name!r}, and {other}"
            raise InvalidRequest(("target", text))


def _instead(name: str, predicted: Sequence[str]) -> str:
    """Return what to pass as the target, in place of a name that is taken."""
    names = [f"predicted_{each}" if each == name else each for each in predicted]
    return f"pass target={names[0]!r}" if len(names) == 1 else f"pass target={names!r}"
