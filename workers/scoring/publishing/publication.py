"""Load what is decided, and write the run's result.

Each step may have been taken before, by a try that died or by another caller: its job id follows
from the run, and the first result that is written counts.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from mlsys.cloud.clients import Clients
from mlsys.errors import Conflict, SchemaMismatch, TableNotFound, TryAgain
from workers.scoring.journal.decisions import Counts, Decision
from workers.scoring.journal.outcomes import Engine, Result, read_result
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.plan import Plan
from workers.scoring.publishing.costs import costs_so_far
from workers.scoring.publishing.load import (
    load_times,
    publish_output,
    publish_rejects,
    written_at,
)
from workers.scoring.publishing.profile import record_profile
from workers.scoring.publishing.shadow import publish_shadow
from workers.scoring.shards.agreement import Agreements


def publish(
    clients: Clients,
    store: RunStore,
    plan: Plan,
    decision: Decision,
    agreements: Agreements,
    stop: Callable[[], bool],
    *,
    engine: Engine,
    attempt: str,
) -> Result:
    """Publish what the run has decided, and return its result; `attempt` names the caller's try.

    Raises:
        Conflict: a part was deleted before it was loaded.
        SchemaMismatch, TableNotFound: the tables do not take the rows.
        RunInterrupted: `stop` returned True.
        TryAgain: BigQuery is too busy.
    """
    total = decision.counts
    try:
        uris = [store.uri(name) for name in decision.parts]
        job, table = publish_output(clients, plan, uris, total.scored, stop)
        loads = [load_times("output", job)]
        if decision.rejects:
            uris = [store.uri(name) for name in decision.rejects]
            aside, _ = publish_rejects(clients, plan, uris, total.rejected, stop)
            loads.append(load_times("rejects", aside))
    except (SchemaMismatch, TableNotFound, TryAgain) as exc:
        if missing := store.missing([*decision.parts, *decision.rejects]):
            raise Conflict(
                f"{store.uri(missing[0])} was deleted before it was loaded, and the run "
                f"{plan.run_id} cannot be finished: pass a run_id of your own to start another one"
            ) from exc
        raise
    shadow = publish_shadow(clients, store, plan, decision, agreements, stop)
    record_profile(clients, store.env, plan, decision)
    finished_at = dt.datetime.now(dt.UTC)
    result = Result(
        run_id=plan.run_id,
        state="succeeded",
        env=store.env,
        model_name=plan.model.name,
        model_version=plan.model.version,
        model_generation=plan.model.generation,
        model_alias=plan.model.alias,
        input_table=str(plan.input_table),
        output_table=str(plan.output.table),
        rejects_table=str(plan.rejects.table) if decision.rejects else None,
        write_disposition=plan.output.write_disposition,
        rows=total.scored,
        rows_read=total.read,
        rows_rejected=total.rejected,
        max_rejects=decision.max_rejects,
        bytes_read=total.bytes,
        path=decision.path,
        loader=plan.model.loader,
        shards=len(decision.parts),
        streams=decision.streams,
        streams_requested=decision.streams_requested,
        attempts=store.attempts(),
        seconds=seconds_since(plan, finished_at),
        predicted_at=plan.created_at,
        snapshot_at=plan.snapshot_at,
        job_id=job.job_id,
        output_created=table.created.isoformat() if table.created else None,
        finished_at=finished_at.isoformat(),
        labels=dict(plan.labels),
        warnings=(*plan.warnings, *decision.warnings, *_result_warnings(plan, total)),
        engine=engine.name,
        engine_reason=engine.reason,
        shadow=shadow,
        drift=decision.drift,
        contract=decision.contract,
        loads=tuple(loads),
        **asdict(costs_so_far(store, plan, attempt)),
        output_modified=written_at(job, table),
        **_watermarks(plan),
    )
    if store.create(Result.NAME, result.to_dict()):
        return result
    return replace(read_result(store) or result, reused=True)


def _watermarks(plan: Plan) -> dict[str, Any]:
    """Return the fields of an incremental run's result."""
    if plan.incremental is None:
        return {}
    return {"incremental": plan.incremental.by} | plan.incremental.outcome()


def _result_warnings(plan: Plan, total: Counts) -> list[str]:
    return ["no row matches where"] if plan.where and not total.read else []


def seconds_since(plan: Plan, finished_at: dt.datetime) -> float:
    """Return the seconds from the plan to the end, with all pauses between tries.

    They are never negative, although the clock of the machine that planned the run may be ahead.
    """
    passed = finished_at - dt.datetime.fromisoformat(plan.created_at)
    return max(0.0, round(passed.total_seconds(), 3))
