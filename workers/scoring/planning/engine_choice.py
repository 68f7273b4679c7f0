"""Choose the engine of a run: what the request asks for, else by the rows and by the pace."""

from __future__ import annotations

from mlsys.errors import InvalidRequest
from mlsys.plural import plural
from mlsys.settings import Settings
from workers.scoring.journal.outcomes import Engine
from workers.scoring.request.parsed import AUTO, JOB, SERVICE

# An instance that scores 30,000 rows a second needs an hour for these.
JOB_ROWS = 100_000_000
SERVICE_SECONDS = 3600.0  # that a run may still take in the service, by its pace


def check_engine(settings: Settings, engine: str) -> str:
    """Return `engine` if this service has it.

    Raises:
        InvalidRequest: it is the job, and none is configured.
    """
    if engine == JOB and not settings.job:
        raise InvalidRequest(
            (
                "engine",
                "'job': no Cloud Run job is configured here. Set MLSYS_JOB to the name of the job "
                "(docs/operations.md), or pass auto or service.",
            )
        )
    return engine


def choose(settings: Settings, engine: str, rows: int | None) -> Engine:
    """Return the engine for a request that asks for `engine`, with about `rows` rows.

    Raises:
        InvalidRequest: see `check_engine`.
    """
    check_engine(settings, engine)
    if engine != AUTO:
        return Engine(engine, "the request asks for it")
    if not settings.job:
        return Engine(SERVICE, "no job is configured")
    if rows is None:
        return Engine(SERVICE, "the number of rows is not known")
    if rows >= JOB_ROWS:
        return Engine(
            JOB, f"about {plural(rows, 'row')}, and a job takes those of {JOB_ROWS:,} or more"
        )
    return Engine(
        SERVICE, f"about {plural(rows, 'row')}, and a job takes those of {JOB_ROWS:,} or more"
    )


def too_slow(rate: float, left: int) -> str | None:
    """Return why a job should continue a run that scores `rate` rows a second, or None.

    >>> too_slow(5_000, 1_000_000)
    >>> too_slow(100, 3_600_000)
    '100 rows a second in the service, which would need 10.0 hours for the 3,600,000 left'
    """
    seconds = left / max(rate, 1e-9)
    if seconds <= SERVICE_SECONDS:
        return None
    return (
        f"{rate:,.0f} rows a second in the service, which would need {seconds / 3600:.1f} hours "
        f"for the {left:,} left"
    )
