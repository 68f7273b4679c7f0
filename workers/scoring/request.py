"""What a caller asks for, past all parsing."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from typing import Any

from mlsys.bq import TableRef
from mlsys.errors import InvalidRequest

RUN_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,127}")
OUTPUTS = ("predict", "predict_proba")
LATEST = "latest"


@dataclass(frozen=True, slots=True)
class ScoringRequest:
    """A scoring request; equal requests on an unchanged table and model are the same run."""

    env: str
    input_table: TableRef
    output_table: TableRef
    model_name: str
    model_version: str  # v1, v2, ... or latest
    id_columns: tuple[str, ...] | None = None  # None: the model's, else every column no feature
    outputs: tuple[str, ...] = ("predict",)
    write_disposition: str = "WRITE_APPEND"

    def to_dict(self) -> dict[str, Any]:
        """The request as the texts that `GET /predict` takes, without what is default.

        A run's identity is made of it: a parameter that a later version adds changes nothing for
        those who do not pass it.
        """
        defaults = {f.name: f.default for f in fields(self)}
        out: dict[str, Any] = {k: v for k, v in asdict(self).items() if v != defaults[k]}
        out["input_table"], out["output_table"] = str(self.input_table), str(self.output_table)
        if "outputs" in out:
            out["outputs"] = ",".join(self.outputs)
        if self.id_columns is not None:
            out["id_columns"] = ",".join(self.id_columns)
        return out


def check_run_id(run_id: str) -> str:
    """Return `run_id` if it can name a run.

    Raises:
        InvalidRequest: it has other characters than lower-case letters, digits, _ and -.
    """
    if not RUN_ID.fullmatch(run_id):
        raise InvalidRequest(
            ("run_id", f"{run_id[:80]!r}: pass lower-case letters, digits, _ and -, up to 128")
        )
    return run_id
