"""Open a read session on the table that a plan reads, or say why BigQuery refuses to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlsys.cloud.clients import TIMEOUT, Clients
from mlsys.cloud.tables import TableRef
from mlsys.columns.arrow_types import sql_name
from mlsys.errors import InvalidRequest, SchemaMismatch, TableNotFound
from workers.scoring.planning.plan import Plan
from workers.scoring.shards.refusals import why_denied, why_refused

if TYPE_CHECKING:
    import pyarrow as pa


def open_session(
    clients: Clients,
    plan: Plan,
    table: TableRef,
    streams: tuple[int, int],
    *,
    without_rows: bool = False,
) -> Any:
    """Open a read session on `table`, which is the plan's input or the copy of it.

    `streams` are the preferred minimum and the maximum; BigQuery may give fewer than the minimum.

    A session that nothing is read from costs nothing, so a dry run opens one to see whether it
    can; `without_rows` says that nothing will be read.

    Raises:
        TableNotFound: the table was deleted.
        InvalidRequest: the Storage Read API refuses the filter.
        SchemaMismatch: a column's type is not flat, or BigQuery refuses for another reason.
        Conflict: the snapshot is older than BigQuery keeps, or than the table.
        PermissionMissing: the account lacks a permission, or full access to the table's rows.
        TryAgain: the snapshot lies in the future by BigQuery's clock, or a quota refills soon.
    """
    import pyarrow as pa
    from google.api_core import exceptions

    def works(*, where: bool, snapshot: bool) -> bool:
        try:
            _create(clients, plan, table, (1, 1), where=where, snapshot=snapshot)
        except exceptions.BadRequest:
            return False
        return True

    try:
        opened = _create(clients, plan, table, streams, without_rows=without_rows)
    except exceptions.NotFound as exc:
        raise TableNotFound(f"The input table {table} was deleted: pass another one") from exc
    except exceptions.BadRequest as exc:
        raise why_refused(clients, plan, exc, works) from exc
    except exceptions.Forbidden as exc:
        raise why_denied(table, exc) from exc
    schema = pa.ipc.read_schema(pa.py_buffer(opened.arrow_schema.serialized_schema))
    check_flat(schema, plan.aliases)
    return opened


def check_flat(schema: pa.Schema, aliases: Mapping[str, str]) -> None:
    """Check that every column comes in a type that a flat table can have.

    The table's schema need not show it: the local BigQuery reports an INTERVAL as STRING.

    Raises:
        SchemaMismatch: it names every such column.
    """
    faults = []
    for field in schema:
        try:
            sql_name(field.type)
        except InvalidRequest:
            faults.append((aliases.get(field.name, field.name), f"comes as {field.type}"))
    if faults:
        raise SchemaMismatch(
            "The input has columns that can neither be passed to a model nor carried over: "
            "pass id_columns without them.",
            faults,
        )


def _create(
    clients: Clients,
    plan: Plan,
    table: TableRef,
    streams: tuple[int, int],
    *,
    where: bool = True,
    snapshot: bool = True,
    without_rows: bool = False,
) -> Any:
    """Open a read session on `table`, with the plan's filter and snapshot by default."""
    from google.cloud.bigquery_storage_v1 import types

    # A copy did not exist at the snapshot, and never changes; a copy under aliases has only
    # the rows of the filter.
    at_snapshot = snapshot and not plan.is_copied
    restriction = plan.restriction if where and not plan.aliased else None
    if without_rows and clients.settings.emulators.bigquery_storage:
        # The local BigQuery reads all rows as the session is opened, and keeps them.
        restriction = f"({restriction}) AND FALSE" if restriction else "FALSE"
    snapshot_at: Any = dt.datetime.fromisoformat(plan.snapshot_at)
    modifiers = types.ReadSession.TableModifiers(snapshot_time=snapshot_at)
    request = types.CreateReadSessionRequest(
        parent=f"projects/{clients.settings.project}",
        read_session=types.ReadSession(
            table=table.path,
            data_format=types.DataFormat.ARROW,
            table_modifiers=modifiers if at_snapshot else None,
            read_options=types.ReadSession.TableReadOptions(
                selected_fields=list(plan.aliases) or plan.read_columns,
                row_restriction=restriction or "",
                # pyarrow decompresses it. Figures: docs/decisions/0022.
                arrow_serialization_options=types.ArrowSerializationOptions(
                    buffer_compression=types.ArrowSerializationOptions.CompressionCodec.LZ4_FRAME
                ),
            ),
        ),
        preferred_min_stream_count=streams[0],
        max_stream_count=streams[1],
    )
    # The client's own parameters leave the minimum out.
    return clients.bigquery_read.create_read_session(request, timeout=TIMEOUT)
