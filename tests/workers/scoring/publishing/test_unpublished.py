"""A failure says how long the run took, whichever machines planned it and ended it."""

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest

from workers.scoring.journal.outcomes import Failure
from workers.scoring.publishing.unpublished import seconds_since

PLANNED = dt.datetime(2026, 3, 2, 9, tzinfo=dt.UTC)


@pytest.mark.parametrize(("later", "seconds"), [(12.5, 12.5), (0.0, 0.0), (-40.0, 0.0)])
def test_the_seconds_of_a_run_are_never_negative(later: float, seconds: float) -> None:
    """The clock of the machine that planned it may be ahead."""
    plan: Any = SimpleNamespace(created_at=PLANNED.isoformat())
    finished_at = PLANNED + dt.timedelta(seconds=later)
    assert seconds_since(plan, finished_at) == seconds
    document = Failure("r", "failed", "why", "0", seconds, finished_at.isoformat()).to_dict()
    assert Failure.from_dict(document).seconds == seconds
