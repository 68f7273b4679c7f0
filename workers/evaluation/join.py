"""The join of a run's predictions with labels: which columns, in which types, as SQL.

Names are those of the tables' own schemas, put into backticks, which no column's name can hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlsys.cloud.tables import TableRef
from workers.evaluation.target import NUMBERS, Target, common_type
from workers.evaluation.times import is_time, label_sql, prediction_sql
from workers.scoring.planning.columns import Column
from workers.sql import template


@dataclass(frozen=True, slots=True)
class Join:
    """Which columns are compared, and which ones tell rows apart; names as each table has them."""

    output: TableRef
    labels: TableRef
    target: Target
    label: Column
    keys: tuple[tuple[Column, Column], ...]  # of the output and of the table with labels
    output_filter: str = "TRUE"
    labels_filter: str = "TRUE"

    @property
    def type(self) -> str:
        """The type in which labels and predictions are compared."""
        if self.target.task == NUMBERS:
            return "FLOAT64"
        if is_time(self.label, self.target):
            return "STRING"
        same = self.label.type == self.target.column.type
        return self.label.type if same else "FLOAT64"

    def sql(self) -> str:
        """Return the statement that evaluates runs; its files name the parameters."""
        body = "evaluate_numbers" if self.target.task == NUMBERS else "evaluate_classes"
        keys = [f"key_{i}" for i in range(len(self.keys))]
        pairs = [(a, b, common_type(a.type, b.type)) for a, b in self.keys]
        scores = [f"p.`{name}`" for name in self.target.scores]
        names = {
            "output_table": str(self.output),
            "labels_table": str(self.labels),
            "output_keys": _aliased([_cast("p", a, kind) for a, _, kind in pairs], keys),
            "label_keys": _aliased([_cast("l", b, kind) for _, b, kind in pairs], keys),
            "keys": ", ".join(keys),
            "key_fields": _aliased(keys, keys),
            "keys_present": " AND ".join(f"{key} IS NOT NULL" for key in keys),
            "prediction": self._prediction(),
            "label": self._label(),
            "scores": ", ".join(f"({k}, {score})" for k, score in enumerate(scores)),
            "score_sum": " + ".join(f"{score} * 0" for score in scores) or "0.0",  # 0, NaN or NULL
            "output_filter": self.output_filter,
            "labels_filter": self.labels_filter,
            "class_of_k": self._class_of_k(),
        }
        return template("evaluated_rows", body).substitute(names)

    def _prediction(self) -> str:
        if is_time(self.label, self.target):
            return prediction_sql(f"p.`{self.target.column.name}`")
        return _present(_cast("p", self.target.column, self.type), self.type)

    def _label(self) -> str:
        if is_time(self.label, self.target):
            return label_sql(f"l.`{self.label.name}`")
        return _present(_cast("l", self.label, self.type), self.type)

    def _class_of_k(self) -> str:
        cases = [
            f"WHEN {k} THEN CAST(@class_{k} AS {self.type})"
            for k in range(len(self.target.classes))
        ]
        return f"CASE s.k {' '.join(cases)} END" if cases else "greatest.label"


def _cast(table: str, column: Column, kind: str | None) -> str:
    """Return a column in a type; a number that the type cannot hold is NULL."""
    name = f"{table}.`{column.name}`"
    return name if column.type == kind else f"SAFE_CAST({name} AS {kind})"


def _present(value: str, kind: str) -> str:
    """Return a value that is NULL where it is not a number."""
    return f"IF(IS_NAN({value}) OR IS_INF({value}), NULL, {value})" if kind == "FLOAT64" else value


def _aliased(values: Sequence[str], names: Sequence[str]) -> str:
    return ", ".join(f"{value} AS {name}" for value, name in zip(values, names, strict=True))
