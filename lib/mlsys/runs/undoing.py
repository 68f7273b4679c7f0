"""`undo`: remove the rows of a run from a notebook."""

from __future__ import annotations

from typing import Any

from mlsys.arguments import check_choice, kind_of
from mlsys.errors import InvalidRequest
from mlsys.remote.progress import say
from mlsys.remote.service import Service, service_url
from mlsys.remote.undo import undo_run, undone_lines
from mlsys.remote.verdict import in_full
from mlsys.runs.run import Run
from mlsys.settings import ENVS


def undo(
    run: str | Run, why: str, *, dry_run: bool = False, env: str = "dev", url: str | None = None
) -> dict[str, Any]:
    """Undo a run that has published its rows, say what was removed, and return the answer.

    What it appended is deleted; a table or partition whose rows it replaced becomes what it was
    before, within BigQuery's time travel. The run is not reused afterwards. `dry_run` only says
    what would be removed. `run` is its id, or what `predict` returned.

    Raises:
        InvalidRequest: `run` is not a run, or `why` not a text.
        RefusedByService: the run has published nothing, others have written to the table since, or
            BigQuery does not keep the earlier rows any more. Nothing was changed.
        SettingsError, CredentialsMissing, TryAgain: as `predict`.
    """
    check_choice(env, ENVS, "env")
    run_id = run.run_id if isinstance(run, Run) else run
    for name, value in (("run", run_id), ("why", why)):
        if not isinstance(value, str):
            raise InvalidRequest((name, f"is {kind_of(value)}: pass a text"))
    if isinstance(run, Run):
        env = str(run.info.get("env", env))
    with in_full():
        answer = undo_run(Service(service_url(url)), env, run_id, why, dry_run=dry_run)
    for line in undone_lines(answer):
        say(line)
    return answer
