"""What a request tolerates in the rows of its run; another request of the run may tolerate more."""

from __future__ import annotations

from dataclasses import dataclass

from workers.monitoring.contract import ENFORCE


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The parameters by which one request of a run fails where another one publishes."""

    max_rejects: str = "0"
    max_drift: float | None = None
    contract: str = ENFORCE
