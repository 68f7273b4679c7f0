"""A job id of the local BigQuery is taken once, as BigQuery's.

"Any subsequent request with the same job ID fails as a duplicate"
(https://googleapis.dev/python/bigquery/latest/design/query-retries.html). bqemulator runs the job
again: a client that repeats an insert whose answer was late would load all rows twice. This runs
within bqemulator's process.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from typing import Any

# Each takes the project, the job id, the configuration, and `ctx` in the fourth place or by name.
_HANDLERS = (
    "_handle_query_job",
    "_handle_load_job_with_async_envelope",
    "execute_extract_job",
    "execute_copy_job",
)
_running: set[tuple[str, str]] = set()  # an insert that has not ended is not in the catalog


def install() -> None:
    """Replace bqemulator's functions in this process."""
    jobs: Any = importlib.import_module("bqemulator.api.routes.jobs")
    errors: Any = importlib.import_module("bqemulator.domain.errors")
    for name in _HANDLERS:
        setattr(jobs, name, once(getattr(jobs, name), errors.AlreadyExistsError))


def once(
    handle: Callable[..., Awaitable[Any]], error: Callable[[str], Exception]
) -> Callable[..., Awaitable[Any]]:
    """Return a handler of jobs that raises `error` for an id that is taken.

    A dry run takes none, and neither does a job that is refused at once.
    """

    async def run(
        project_id: str, job_id: str, config: dict[str, Any], *args: Any, **options: Any
    ) -> Any:
        key = (project_id, job_id)
        catalog = (options["ctx"] if "ctx" in options else args[0]).catalog
        if config.get("dryRun"):
            return await handle(project_id, job_id, config, *args, **options)
        if key in _running or catalog.get_job(*key) is not None:
            raise error(f"Already Exists: Job {project_id}:US.{job_id}")
        _running.add(key)
        try:
            return await handle(project_id, job_id, config, *args, **options)
        finally:
            _running.discard(key)  # its record follows without another request between

    return run
