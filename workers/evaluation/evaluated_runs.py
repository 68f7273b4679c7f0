"""The runs that an evaluation is about: one by its id, or a model's within a period."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from mlsys.cloud.clients import Clients
from mlsys.errors import Conflict, InvalidRequest, RunNotFound
from workers.query import run
from workers.scoring.answers.status import status
from workers.scoring.journal.outcomes import read_result
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.plan import Plan, read_plan
from workers.sql import statement

MAX_RUNS = 100  # of one request
EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)


@dataclass(frozen=True, slots=True)
class ScoredRun:
    """A run that succeeded: its plan, and how many predictions it wrote."""

    plan: Plan
    rows: int

    @property
    def predicted_at(self) -> dt.datetime:
        """The time that each of its rows carries."""
        return dt.datetime.fromisoformat(self.plan.created_at)


def scored_run(clients: Clients, env: str, run_id: str, *, shadow: bool = False) -> ScoredRun:
    """Return a run that can be evaluated; with `shadow` its challenger, with the rows it wrote.

    Raises:
        RunNotFound: this environment has no such run.
        Conflict: it has not succeeded, predicted no rows, or its challenger did not.
    """
    state = status(clients, env, run_id)["state"]
    store = RunStore(clients, env, run_id)
    plan, result = read_plan(store), read_result(store)
    if plan is None or result is None:
        wait = "wait for its end" if state == "running" else "score the table again"
        raise Conflict(f"The run {run_id} is {state}, and published no predictions: {wait}.")
    if state == "undone":
        raise Conflict(f"The run {run_id} was undone, and its rows were removed: score them again.")
    if not shadow:
        scored = ScoredRun(plan, result.rows)
    elif plan.shadow is None:
        raise Conflict(f"The run {run_id} has no challenger: leave out shadow.")
    elif plan.shadow.plan is None or not result.shadow or not result.shadow["job_id"]:
        reason = (result.shadow or {}).get("reason") or plan.shadow.fault
        raise Conflict(f"The challenger of {run_id} published no rows: {reason}")
    else:
        scored = ScoredRun(plan.shadow.plan, int(result.shadow["rows"]))
    if not scored.rows:
        raise Conflict(f"The run {run_id} predicted no rows: evaluate another run.")
    return scored


def runs_of_model(
    clients: Clients,
    env: str,
    model_name: str,
    version: str | None,
    since: dt.datetime | None,
    until: dt.datetime | None,
) -> Sequence[str]:
    """Return the ids of a model's runs that succeeded in [since, until), the latest first.

    `version` is one of the model's, or the alias that the runs were requested by.

    Raises:
        RunNotFound: there is none.
        InvalidRequest: there are more than `MAX_RUNS`, or the period has no time.
        TryAgain: the ledger's table does not exist.
    """
    from google.cloud import bigquery

    if since is not None and until is not None and since >= until:
        raise InvalidRequest(("since", "is not before until: pass the earlier one as since"))
    until = until or dt.datetime.now(dt.UTC)
    rows = run(
        clients,
        env,
        statement("succeeded_runs"),
        bigquery.ScalarQueryParameter("model_name", "STRING", model_name),
        bigquery.ScalarQueryParameter("version", "STRING", version or ""),
        bigquery.ScalarQueryParameter("since", "TIMESTAMP", since or EPOCH),
        bigquery.ScalarQueryParameter("until", "TIMESTAMP", until),
        bigquery.ScalarQueryParameter("limit", "INT64", MAX_RUNS + 1),
    )
    run_ids = [row["run_id"] for row in rows]
    which = f"{model_name} {version}" if version else model_name
    if not run_ids:
        raise RunNotFound(
            f"No run of {which} succeeded in {env} in this period: GET /runs lists the runs"
        )
    if len(run_ids) > MAX_RUNS:
        text = f"more than {MAX_RUNS} runs of {which} succeeded in this period: pass a shorter one"
        raise InvalidRequest(("since", text))
    return run_ids
