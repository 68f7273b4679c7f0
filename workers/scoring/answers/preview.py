"""`preview=N`: score the first rows of the input, and write nothing.

The rows are read as a run reads them, and scored in a sandbox by the same code. A table is read
through the Storage Read API, which is charged for what it sends; a view is queried, which is
charged for what its query reads.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from mlsys.cloud.clients import Clients
from mlsys.cloud.messages import words_of
from mlsys.columns.names import fold
from mlsys.errors import SchemaMismatch, TableNotFound, bounded
from workers.json_values import bounded_row, json_value
from workers.query import column_sql, select
from workers.scoring.planning.columns import columns_of
from workers.scoring.planning.lookup import resolve
from workers.scoring.planning.make_plan import make_plan
from workers.scoring.planning.model_pin import load_pinned, read_metadata
from workers.scoring.planning.plan import Plan
from workers.scoring.planning.price import check_price, estimate, has_limit
from workers.scoring.planning.table_kinds import input_warnings
from workers.scoring.request.parsed import ScoringRequest
from workers.scoring.shards.fault import check_model_answers
from workers.scoring.shards.open_session import check_flat, open_session
from workers.scoring.shards.read_rows import read_batches
from workers.scoring.shards.read_session import session_of
from workers.scoring.shards.rejects import score_rows
from workers.scoring.shards.scorer import Batch, Scorer

if TYPE_CHECKING:
    import pyarrow as pa

    from workers.scoring.planning.lookup import Resolved


def preview(
    clients: Clients, request: ScoringRequest, rows: int, *, writes: bool
) -> dict[str, Any]:
    """Return the predictions for the first `rows` rows of the input, with what the model read.

    `writes` tells whether the request names an output table, which is then checked as for a run.

    Raises:
        MlsysError: as planning a run does, or reading its rows.
        PriceLimit: the query of a view's rows would cost more than the request allows.
        ModelUnusable: the model answers neither these rows nor valid ones.
    """
    resolved = resolve(clients, request)
    plan, model = make_plan(clients, resolved, resolved.run_id, writes=writes)
    with closing(model):
        if plan.is_copied and has_limit(request):  # only a query reads more than the rows
            check_price(estimate(clients, plan, resolved.table), request)
        table = first_rows(clients, plan, rows)
        with closing(Scorer(plan, lambda: load_pinned(clients, plan.model), model)) as scorer:
            scored = _scored(clients, scorer, table)
            path = scorer.predictor.path
    # How to resume a run, and what a copy of the rows costs
    of_runs = input_warnings(request.input_table, resolved.table, plan.aliased)
    return {
        "model_name": plan.model.name,
        "model_version": plan.model.version,
        "model_generation": plan.model.generation,
        "loader": plan.model.loader,
        "path": path,
        "columns": _columns(plan),
        "inputs": _inputs(resolved, plan),
        "rows": scored,
        "warnings": [bounded(text) for text in plan.warnings if text not in of_runs],
    }


def first_rows(clients: Clients, plan: Plan, rows: int) -> pa.Table:
    """Return at most `rows` rows of the plan's input, with the columns that a run reads.

    Raises:
        SchemaMismatch, TableNotFound, InvalidRequest, Conflict: see `open_session`.
    """
    if plan.is_copied:
        return _queried(clients, plan, rows)
    opened = open_session(clients, plan, plan.input_table, (1, 1))
    session = session_of(opened, number=0, rows=rows)
    batches = read_batches(clients, session, 0, 0, rows) if session.streams else iter(())
    try:
        table = next(batches, None)
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()
    if table is not None:
        return table
    schema = session.arrow_schema()
    assert schema is not None
    return schema.empty_table()


def _queried(clients: Clients, plan: Plan, rows: int) -> pa.Table:
    """Return the first rows by a query, for what the Storage Read API does not read."""
    from google.api_core.exceptions import BadRequest, NotFound

    source = plan.input_table.base
    names = {f"c{i}": name for i, name in enumerate(plan.read_columns)}
    columns = ", ".join(f"{column_sql(source, name)} AS {alias}" for alias, name in names.items())
    sql = f"SELECT {columns or '1 AS c'} FROM `{source}` AS `{source.table}`"
    if plan.restriction:
        sql += f" WHERE (\n{plan.restriction}\n)"
    try:
        result = select(clients, f"{sql} LIMIT {rows}")
        table = result.to_arrow(create_bqstorage_client=False)
    except NotFound as exc:
        raise TableNotFound(f"The input table {source} was deleted: pass another one") from exc
    except BadRequest as exc:
        raise SchemaMismatch(
            f"BigQuery cannot query {source} ({words_of(exc)}): run SELECT * FROM `{source}` to "
            "see why"
        ) from exc
    check_flat(table.schema, names)
    return table.rename_columns([names.get(name, name) for name in table.column_names])


def _scored(clients: Clients, scorer: Scorer, table: pa.Table) -> list[dict[str, Any]]:
    """Return each row with its prediction, or with the reason why it has none."""
    rows = table.num_rows
    if not rows:
        return []
    outputs, rejects = score_rows(scorer, Batch(table), rows)
    if rejects and not outputs:
        check_model_answers(scorer, table, lambda: read_metadata(clients, scorer.plan.model)[0])
    written = {fold(c["name"]) for c in _columns(scorer.plan)}
    answers: list[dict[str, Any]] = []
    if not rejects:
        answers = [{"output": row} for part in outputs for row in part.to_pylist()]
    else:  # which ones failed
        for number in range(rows):
            scored, failed = score_rows(scorer, Batch(table.slice(number, 1)), 1)
            answers.append(
                {"output": scored[0].to_pylist()[0]} if scored else {"reason": failed[0].reason}
            )
    return [
        _answer(answer, row, written)
        for answer, row in zip(answers, table.to_pylist(), strict=True)
    ]


def _answer(answer: dict[str, Any], row: dict[str, Any], written: set[str]) -> dict[str, Any]:
    reason = answer.get("reason")
    output = {k: v for k, v in answer.get("output", {}).items() if fold(k) in written}
    return {
        "output": bounded_row(json_value(output)) if reason is None else None,
        "input": bounded_row(json_value(row)),
        "reason": None if reason is None else bounded(reason),
    }


def _columns(plan: Plan) -> list[dict[str, str]]:
    """Return the columns that a run would write, without those that are the same in all rows."""
    ids = {fold(c.name) for c in plan.ids}
    filled = {fold(name) for names in plan.outputs.values() for name in names}
    return [
        {"name": c.name, "type": c.type}
        for c in plan.output.columns
        if fold(c.name) in ids | filled
    ]


def _inputs(resolved: Resolved, plan: Plan) -> list[dict[str, str]]:
    """Return the columns that are read."""
    types = {fold(c.name): c.type for c in columns_of(resolved.schema)}
    return [{"name": name, "type": types[fold(name)]} for name in plan.read_columns]
