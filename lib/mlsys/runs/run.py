"""A scoring run as a notebook sees it: its state, its result and its rows."""

from __future__ import annotations

import datetime as dt
import html
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlsys.arguments import kind_of
from mlsys.bq import bq_get
from mlsys.cloud.tables import TableRef
from mlsys.errors import Conflict, InvalidRequest
from mlsys.plural import does, plural

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS = 100_000  # of a frame, unless more are asked for
_SHOWN = (
    *("run_id", "state", "model", "input_table", "output_table", "rows", "rows_rejected"),
    *(
        "rejects_table",
        "incremental",
        "watermark",
        "rows_late",
        "contract",
        "seconds",
        "reused",
        "failure",
        "status_url",
    ),
)


class Run:
    """A run: what the service says of it, and its rows.

    `info` is the service's whole answer; its members are attributes too: `run.rows`,
    `run.output_table`, `run.model_version`, `run.rejects_table`, `run.seconds`, `run.reused`.
    """

    def __init__(self, info: Mapping[str, Any]) -> None:
        self.info = dict(info)

    @classmethod
    def of_status(cls, status: Mapping[str, Any]) -> Run:
        """Return the run of an answer of `GET /runs/{run_id}`."""
        own = {k: v for k, v in status.items() if k not in ("result", "request")}
        if isinstance(failure := status.get("failure"), Mapping):
            own["failure"] = failure.get("detail")
        info = dict(status.get("request") or {}) | own | dict(status.get("result") or {})
        if "state" in own:  # the result of a run that was undone since says "succeeded"
            info["state"] = own["state"]
        return cls(info)

    @property
    def run_id(self) -> str:
        """The run's id: each of its rows carries it."""
        return str(self.info["run_id"])

    @property
    def state(self) -> str:
        """One of accepted, running, cancelled, failed, succeeded and undone."""
        return str(self.info.get("state", "succeeded"))

    @property
    def warnings(self) -> list[str]:
        """What the service warns of, in full sentences."""
        return list(self.info.get("warnings") or ())

    def __getattr__(self, name: str) -> Any:
        info = self.__dict__.get("info", {})
        if name in info:
            return info[name]
        raise AttributeError(f"a run has no {name!r}: it has {', '.join(sorted(info))}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.info})

    def to_dataframe(self, limit: int | None = MAX_ROWS) -> pd.DataFrame:
        """Return the run's rows of the output table, in no particular order.

        At most `limit` of them, and a warning says so; None reads all. Rows that could not be
        scored are in `rejects_table`.

        Raises:
            Conflict: the run has not succeeded.
            TableNotFound: the output table was deleted.
            InvalidRequest, PermissionMissing, CredentialsMissing, CloudUnavailable: see `bq_get`.
        """
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
            raise InvalidRequest(("limit", f"is {kind_of(limit)}: pass a number, or None for all"))
        if limit is not None and limit < 1:
            raise InvalidRequest(("limit", f"{limit}: pass a number above 0, or None for all"))
        if self.state == "undone":
            raise Conflict(f"{self.run_id} was undone: its rows were removed")
        if self.state != "succeeded":
            raise Conflict(
                f"{self.run_id} is {self.state}, and its rows appear all at once when it has "
                f"succeeded: look again with get_run({self.run_id!r})"
            )
        table = TableRef.parse(self.info["output_table"], partition=True).base
        sql = f"SELECT * FROM `{table}` WHERE run_id = @run_id AND predicted_at = @predicted_at"
        params = {
            "run_id": self.run_id,
            "predicted_at": dt.datetime.fromisoformat(self.info["predicted_at"]),
        }
        rows = int(self.info["rows"])
        frame = bq_get(sql if limit is None else f"{sql} LIMIT {limit}", params)
        if limit is not None and rows > limit == len(frame):
            warnings.warn(
                f"{limit:,} of the run's {plural(rows, 'row')} {does(limit, 'was')} read: pass "
                "limit=None for all of them",
                stacklevel=2,
            )
        elif len(frame) < rows:
            warnings.warn(
                f"{table} holds {len(frame):,} of the {plural(rows, 'row')} that {self.run_id} "
                "wrote: the others were replaced or deleted since",
                stacklevel=2,
            )
        return frame

    def __repr__(self) -> str:
        lines = [f"{name:<14}{value}" for name, value in self._shown()]
        return "\n".join([*lines, *(f"{'warning':<14}{text}" for text in self.warnings)])

    def _repr_html_(self) -> str:
        pairs: Sequence[tuple[str, str]] = [
            *self._shown(),
            *(("warning", text) for text in self.warnings),
        ]
        cell = '<td style="text-align: left">'
        rows = "".join(
            f"<tr>{cell}<b>{html.escape(name)}</b></td>{cell}{html.escape(value)}</td></tr>"
            for name, value in pairs
        )
        return f"<table>{rows}</table>"

    def _shown(self) -> list[tuple[str, str]]:
        info = self.info | {"state": self.state}
        if "model_name" in info:
            info["model"] = f"{info['model_name']} {info.get('model_version', '')}".strip()
        if isinstance(contract := info.get("contract"), Mapping):
            info["contract"] = contract["text"]
        if self.state in ("running", "cancelled", "failed"):
            total = info.get("rows_total")
            done = f"{info.get('rows_done') or 0:,}"
            info["rows"] = f"{done} of {total:,} are scored" if total else f"{done} are scored"
        pairs = []
        for name in _SHOWN:
            value = info.get(name)
            if (
                value is None
                or value is False
                or (name in ("rows_rejected", "rows_late") and not value)
            ):
                continue
            if value is True:
                value = "yes, the run was done already"
            pairs.append((name, f"{value:,}" if isinstance(value, int) else str(value)))
        return pairs
