"""The Storage Read API in memory: sessions that last six hours, and streams read from an offset.

BigQuery decides how many streams a session has and how their rows are cut into messages, otherwise
in each session and at each call
(https://cloud.google.com/bigquery/docs/reference/storage). The first message has the schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
from google.api_core.exceptions import BadRequest, FailedPrecondition, InvalidArgument, NotFound

from simulator.kernel import Simulation, call
from simulator.storage import PLAIN, START, at

LASTS = 6 * 3600.0


@dataclass(eq=False)
class Opened:
    """A read session."""

    streams: dict[str, pa.Table]
    until: float
    over: bool = False


class ReadClient:
    """The client of read sessions.

    `rows_of` gives the rows of a table by its name, at a moment, that a condition lets through.
    """

    def __init__(
        self,
        simulation: Simulation,
        rows_of: Callable[[str, float | None, str], pa.Table | None],
    ) -> None:
        self.simulation, self.rows_of = simulation, rows_of
        self.ended_early = 0
        self.sessions: list[Opened] = []

    def create_read_session(self, request: Any, **_: Any) -> Any:
        wanted = request.read_session
        fields = list(wanted.read_options.selected_fields)
        table = ".".join(wanted.table.split("/")[1::2])

        def create() -> tuple[Opened, str]:
            choices = self.simulation.choices
            name = f"session{len(self.sessions)}"
            snapshot: Any = wanted.table_modifiers.snapshot_time
            moment = None if snapshot is None else (snapshot - START).total_seconds()
            try:
                all_rows = self.rows_of(table, moment, wanted.read_options.row_restriction)
            except BadRequest as exc:
                raise InvalidArgument(exc.message) from exc
            if all_rows is None:
                raise NotFound(table)
            rows, number = all_rows.select(fields), 1 + choices.pick(3)
            # Every n-th row, turned round in each session: no two sessions split alike.
            turn = len(self.sessions)
            streams = {
                f"{name}/stream{n}": rows.take(
                    pa.array(
                        [i for i in range(rows.num_rows) if (i + turn) % number == n], pa.int64()
                    )
                )
                for n in range(number)
            }
            opened = Opened(streams, self.simulation.now + LASTS)
            self.sessions.append(opened)
            if choices.happens(0.05):  # BigQuery ends it early
                after = (5.0, 1.0, 60.0)[choices.pick(3)]
                self.simulation.schedule(after, lambda: self._end(opened))
            return opened, name

        opened, _ = call(
            *("create_read_session", create),
            kinds=PLAIN,
            answer=lambda made: f"{made[1]} with {len(made[0].streams)} streams",
        )
        schema = next(iter(opened.streams.values())).schema
        return SimpleNamespace(
            streams=[SimpleNamespace(name=name) for name in opened.streams],
            expire_time=at(opened.until),
            estimated_total_bytes_scanned=sum(rows.nbytes for rows in opened.streams.values()),
            arrow_schema=SimpleNamespace(serialized_schema=schema.serialize().to_pybytes()),
        )

    def _end(self, opened: Opened) -> None:
        opened.over = True
        self.ended_early += 1

    def read_rows(self, stream: str, offset: int) -> Iterator[Any]:
        def more(first: int, size: int) -> pa.Table:
            opened = next((s for s in self.sessions if stream in s.streams), None)
            if opened is None:
                raise NotFound(stream)
            if opened.over or self.simulation.now > opened.until:
                raise FailedPrecondition("The session has expired")
            return opened.streams[stream].slice(first, size)

        start = True
        while True:
            size = (3, 2, 5)[self.simulation.choices.pick(3)]
            rows = call(
                *("read_rows", lambda n=offset, size=size: more(n, size)),
                about=f"{stream} from {offset}",
                what="message",
                kinds=PLAIN,
                answer=lambda rows: f"{rows.num_rows} rows",
            )
            if not rows.num_rows:
                return
            schema = rows.schema.serialize().to_pybytes() if start else b""
            [batch] = rows.combine_chunks().to_batches()
            yield SimpleNamespace(
                arrow_schema=SimpleNamespace(serialized_schema=schema),
                row_count=rows.num_rows,
                arrow_record_batch=SimpleNamespace(
                    serialized_record_batch=batch.serialize().to_pybytes()
                ),
            )
            start, offset = False, offset + rows.num_rows
