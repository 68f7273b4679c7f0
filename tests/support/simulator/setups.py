"""What a history of runs is about: its input, its destination, its challenger, its contract."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from simulator.choices import Choices
from simulator.kernel import START
from simulator.model import BAD, answer

PROJECT, DATASET = "project1", "project1.mlsys_dev"
INPUT, OUTPUT = f"{PROJECT}.data.input", f"{PROJECT}.data.output"
TODAY = f"{START:%Y%m%d}"
VALUES = (1.0, None, 3.5, BAD, 5.0, 6.25, None, 8.0, 9.0, 10.0, BAD, 12.0, 13.0)
ROWS = pa.table({"id": pa.array(range(len(VALUES))), "x": pa.array(VALUES, pa.float64())})
CHALLENGER = "v2"
# Rows that other runs left in the output, of today and of the day before.
EARLIER = tuple(
    {"id": -n, "y": 0.0, "run_id": "earlier", "predicted_at": START - dt.timedelta(days=n)}
    for n in (0, 1)
)
REJECTING = {"column": "x", "check": "not_null", "action": "reject"}
STOPPING = {"column": "x", "check": "in_range", "max_value": 5.0, "action": "stop"}


@dataclass(frozen=True)
class Setup:
    """The choices that hold for a whole history."""

    view: bool = False  # the input is a view, whose rows are copied
    disposition: str = "WRITE_APPEND"
    partition: bool = False  # the output is one partition
    filled: bool = False  # the output exists, with rows of an earlier run
    shadow: bool = False
    clause: str = ""  # the action of the contract's clause
    strict: bool = False  # some callers allow no rejects

    @classmethod
    def draw(cls, choices: Choices) -> Setup:
        """Return a setup by some choices, the plainest first."""
        clause = ("", "reject", "stop")[choices.pick(3, (6, 2, 1))]
        return cls(
            view=choices.happens(0.15),
            disposition=("WRITE_APPEND", "WRITE_TRUNCATE")[choices.pick(2, (2, 1))],
            partition=choices.happens(0.2),
            filled=choices.happens(0.4),
            shadow=choices.happens(0.2),
            clause=clause,
            strict=choices.happens(0.2),
        )

    @property
    def run_id(self) -> str | None:
        """The name that callers pass: without one, each request about a view is a new run."""
        return "named" if self.view else None

    @property
    def output(self) -> str:
        """The output table as requests name it."""
        return f"{OUTPUT}${TODAY}" if self.partition else OUTPUT

    @property
    def contract(self) -> bytes | None:
        """The model's contract.json."""
        clause = {"": None, "reject": REJECTING, "stop": STOPPING}[self.clause]
        return None if clause is None else json.dumps({"version": 1, "clauses": [clause]}).encode()

    @property
    def rejected(self) -> list[int]:
        """The ids of the rows that are set aside."""
        nulls = self.clause == "reject"
        return [n for n, x in enumerate(VALUES) if x == BAD or (nulls and x is None)]

    def scored(self, version: str = "v1") -> dict[int, float]:
        """Return the predictions for all other rows, by their ids."""
        aside = self.rejected
        return {n: answer(x, version) for n, x in enumerate(VALUES) if n not in aside}

    @property
    def kept(self) -> list[dict[str, Any]]:
        """The earlier rows that a run leaves in the output."""
        if not self.filled or (self.disposition == "WRITE_TRUNCATE" and not self.partition):
            return []
        truncates = self.disposition == "WRITE_TRUNCATE"
        return [row for row in EARLIER if not truncates or not _is_today(row)]


def _is_today(row: dict[str, Any]) -> bool:
    return f"{row['predicted_at']:%Y%m%d}" == TODAY
