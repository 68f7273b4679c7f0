"""The input of a run: a table as of one moment, or the rows of a view, copied once."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import logging
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mlsys.cloud.clients import Clients
from mlsys.cloud.messages import words_of
from mlsys.cloud.tables import TableRef, find_table
from mlsys.columns.names import fold
from mlsys.errors import InvalidRequest, SchemaMismatch, TableNotFound, TryAgain, bounded
from workers.query import dry_run
from workers.scoring.journal.queries import Notes
from workers.scoring.planning.model_pin import ModelPin, find_model
from workers.scoring.planning.partition import input_filter
from workers.scoring.planning.partition_filter import (
    all_of,
    any_partition,
    partition_column,
    requires_filter,
)
from workers.scoring.planning.partition_state import PartitionState, partition_states
from workers.scoring.planning.table_kinds import is_query, kind_of
from workers.scoring.request.parsed import ScoringRequest

if TYPE_CHECKING:
    from google.cloud.bigquery import SchemaField, Table

log = logging.getLogger(__name__)

LOOKS = 5
_LITERALS = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`[^`]*`""")
_STATEMENT = re.compile(r"--|#|/\*|;|\b(?:SELECT|UNION|FROM|WITH)\b", re.IGNORECASE)
_WORD = re.compile(r"\b[A-Za-z_]\w*\b(?!\s*\()")
_KEYWORDS = frozenset(
    "AND OR NOT IN IS NULL TRUE FALSE LIKE BETWEEN CASE WHEN THEN ELSE END AS DATE TIME DATETIME "
    "TIMESTAMP INTERVAL NUMERIC STRING INT64 FLOAT64 BOOL BYTES DAY MONTH YEAR HOUR MINUTE".split()
)
_VOLATILE = re.compile(r"\b(?:CURRENT_\w+|RAND|GENERATE_UUID|SESSION_USER)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The table and model of a request, looked up now: the run's id and plan follow from them."""

    request: ScoringRequest
    looked_at: dt.datetime  # just before the table was looked up
    table: Table
    schema: Sequence[SchemaField]
    model: ModelPin
    # Unique to this look-up: it names the runs of views, and the jobs of the plan made from it.
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    partition_filter: str | None = None  # the condition of the input's partition, if it names one
    partition: PartitionState | None = None  # its state; None: BigQuery does not tell it
    notes: Notes | None = None  # of the queries that plan the run; None: nothing is written

    @property
    def is_query(self) -> bool:
        """True if a query makes the input's rows."""
        return is_query(self.table)

    @property
    def rows(self) -> int | None:
        """The approximate number of rows before any filter; None if unknown."""
        if self.is_query:
            return None
        if self.partition is not None:
            return self.partition.rows
        buffer = self.table.streaming_buffer  # its rows are read, and not in num_rows
        return (self.table.num_rows or 0) + (int(buffer.estimated_rows or 0) if buffer else 0)

    @property
    def rows_exact(self) -> bool:
        """True if `rows` are all rows at `snapshot_at`: a table's, and none are being streamed."""
        if self.partition_filter is not None:
            return self.partition is not None
        no_buffer = not self.table.streaming_buffer
        return not self.is_query and self.table.num_rows is not None and no_buffer

    @property
    def restriction(self) -> str | None:
        """The SQL condition on the rows that are scored, as `Plan.restriction`."""
        return all_of(self.request.where, self.partition_filter)

    @property
    def snapshot_at(self) -> dt.datetime:
        """A moment at which the table was in the state that was looked up."""
        modified = self.table.modified
        if modified is None or modified <= self.looked_at:
            return self.looked_at
        return modified + dt.timedelta(milliseconds=1)  # BigQuery's times have milliseconds

    @property
    def run_id(self) -> str:
        """A hash of the request, the model's generation and the input's state.

        It depends neither on the clock nor on the output table's state, so an identical request on
        an unchanged table and model is the same run. Of a partition it is the partition's own state
        that counts, where BigQuery tells it. A view has no state to hash, so each request is a new
        run.
        """
        name = f"{self.model.name}-{self.model.version}"
        if self.is_query:
            return f"{name}-{self.token[:16]}"
        state = {
            "request": self.request.identity() | {"model_version": self.model.version},
            "generation": self.model.generation,
        }
        if self.partition is not None:
            modified = self.partition.modified
            state |= {"rows": self.partition.rows}
        else:
            modified, buffer = self.table.modified, self.table.streaming_buffer
            state |= {
                "rows": self.table.num_rows,
                "buffered": buffer.estimated_rows if buffer else 0,
            }
        state["modified"] = modified.isoformat() if modified else None
        if self.model.loader != "listed":  # another run than that of the default
            state["loader"] = self.model.loader
        digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
        return f"{name}-{digest[:16]}"


def resolve(clients: Clients, request: ScoringRequest) -> Resolved:
    """Look up the input table and the model that `request` names.

    Raises:
        TableNotFound, ModelNotFound: one of them does not exist.
        SchemaMismatch: the input is a view that cannot be queried, or has no such partition.
        TryAgain: the partition kept being written.
    """
    name, local = request.input_table, clients.settings.emulators.bigquery is not None
    for _ in range(LOOKS):
        looked_at = dt.datetime.now(dt.UTC)
        table = find_table(clients, name)
        if table is None:
            raise TableNotFound(
                f"The table {name.base} does not exist: check its project, dataset and name"
            )
        condition = input_filter(name, table, local)
        schema = table.schema
        if is_query(table):
            schema = columns_of_query(clients, name, kind_of(table))
        resolved = Resolved(
            *(request, looked_at, table, schema, find_model(clients, request)),
            partition_filter=condition,
        )
        if name.partition is None:
            return resolved
        states = partition_states(clients, name, table, name.partition)
        if states is None:
            return resolved
        state = states.get(name.partition, PartitionState())
        # Else it was written after the table was looked up: the snapshot would lack those rows.
        if state.modified is None or state.modified <= resolved.snapshot_at:
            return replace(resolved, partition=state)
    raise TryAgain(f"{name} was written each time it was looked up: try again")


def check_where(clients: Clients, resolved: Resolved) -> None:
    """Have BigQuery validate the request's filter, without running anything.

    A valid filter is run by the Storage Read API as a row restriction, which supports less than
    SQL: no subqueries, no other tables.

    Raises:
        InvalidRequest: it is not a condition on the table's columns, changes between calls, or is
            missing although the table requires one.
    """
    from google.api_core.exceptions import BadRequest, NotFound

    where, table = resolved.request.where, resolved.request.input_table
    if where is None:
        if requires_filter(resolved.table) and resolved.partition_filter is None:
            raise _needs_partition(resolved)
        return
    bare = _LITERALS.sub("''", where)
    if match := _VOLATILE.search(bare):
        raise InvalidRequest(
            (
                "where",
                f"{match[0]} changes between calls, and a resumed run must read the same rows: "
                "pass a fixed date, or MOD(FARM_FINGERPRINT(id), 10) = 0 for a "
                "sample",
            )
        )
    if problem := _no_condition(bare):
        raise InvalidRequest(("where", f"{problem}: pass one condition on the table's columns"))
    try:
        _dry_run_where(clients, resolved)
    except (BadRequest, NotFound) as exc:
        log.info("BigQuery refused the filter %r: %s", where, exc)
        if requires_filter(resolved.table):
            with contextlib.suppress(BadRequest, NotFound):
                _dry_run_where(clients, resolved, any_partition(resolved.table))
                raise _needs_partition(resolved) from exc
        raise bad_where(table, exc, _unknown(where, resolved.schema)) from exc


def _dry_run_where(clients: Clients, resolved: Resolved, also: str | None = None) -> None:
    """Have BigQuery validate a query with the request's filter, and another condition."""
    more = f" AND {also}" if also else ""
    table = resolved.request.input_table.base
    dry_run(clients, f"SELECT * FROM `{table}` WHERE (\n{resolved.restriction}\n){more}")


def _needs_partition(resolved: Resolved) -> InvalidRequest:
    text = (
        f"{resolved.request.input_table} can only be read with a filter: pass a condition on "
        f"{partition_column(resolved.table)}"
    )
    return InvalidRequest(("where", text))


def _no_condition(bare: str) -> str | None:
    """Return why a filter, given without its literals, is more than one condition; else None."""
    if match := _STATEMENT.search(bare):
        return f"{match[0]!r} is not allowed in a filter"
    depth = 0
    for sign in bare:
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth < 0:
            break
    return "its parentheses do not match" if depth else None


def _unknown(where: str, schema: Sequence[SchemaField]) -> list[str]:
    """Return the words of a filter that look like columns and are not columns of the table."""
    known = {fold(f.name) for f in schema}
    words = [w for w in _WORD.findall(_LITERALS.sub("''", where)) if w.upper() not in _KEYWORDS]
    quoted = [text[1:-1] for text in _LITERALS.findall(where) if text.startswith("`")]
    return sorted({w for w in [*words, *quoted] if fold(w) not in known})


def bad_where(table: TableRef, exc: Exception, unknown: Sequence[str] = ()) -> InvalidRequest:
    """Return the error for a filter that BigQuery refuses, with the cause or BigQuery's words."""
    lacks = f"{table.table} has no column {', '.join(unknown)}" if unknown else None
    why = lacks or bounded(words_of(exc), 500)
    return InvalidRequest(
        (
            "where",
            f"BigQuery refuses it as a filter of {table} ({why}): pass a condition on its own "
            "columns, such as age > 30 AND sex = 'male', without subqueries; put a name of more "
            "than letters, digits and underscores into backticks, such as `first name`",
        )
    )


def columns_of_query(clients: Clients, table: TableRef, kind: str) -> Sequence[SchemaField]:
    """Return the columns of a view or the like, as BigQuery makes them now.

    Raises:
        SchemaMismatch: it cannot be queried.
    """
    from google.api_core.exceptions import BadRequest, NotFound

    try:
        return dry_run(clients, f"SELECT * FROM `{table}`").schema
    except (BadRequest, NotFound) as exc:
        log.info("%s cannot be queried: %s", table, exc)
        raise SchemaMismatch(
            f"{table} is {kind} that BigQuery cannot query ({words_of(exc)}): run SELECT * FROM "
            f"`{table}` to see why"
        ) from exc
