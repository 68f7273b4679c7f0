"""When undos have removed rows from an output table.

```
gs://mlsys-runs-{env}/_undone/{key of the table and the model}/{run_id}.json
```

An undo writes its object once its rows are removed. A run by ids that was planned before may have
found them in the output and left them out, so it is not what a repeated request means. No run is
named so: a run_id has no `_` at its start.
"""

from __future__ import annotations

from mlsys.cloud.clients import Clients
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.incremental import outputs_of
from workers.scoring.planning.plan import Plan


def note_removed(clients: Clients, env: str, plan: Plan) -> None:
    """Note that rows of the plan's run have left the output table."""
    _removals(clients, env, plan).note(f"{plan.run_id}.json", {"run_id": plan.run_id})


def removed_since(clients: Clients, env: str, plan: Plan) -> bool:
    """Return whether rows have left the plan's output table since the plan was made.

    Both times are Cloud Storage's.
    """
    planned = RunStore(clients, env, plan.run_id).created("plan.json").get("plan.json")
    removed = _removals(clients, env, plan).created().values()
    return planned is None or any(at >= planned for at in removed)


def _removals(clients: Clients, env: str, plan: Plan) -> RunStore:
    key = outputs_of(env, str(plan.output.table.base), plan.model.name)
    return RunStore(clients, env, f"_undone/{key}")
