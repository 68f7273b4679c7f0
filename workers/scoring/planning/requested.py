"""The request of a run, for its status, the ledger, and pages that offer to repeat it."""

from __future__ import annotations

from dataclasses import asdict

from workers.scoring.journal.outcomes import Tolerance
from workers.scoring.journal.store import RunStore
from workers.scoring.journal.tolerated import tolerated
from workers.scoring.planning.plan import Plan


def requested(store: RunStore, plan: Plan) -> dict[str, str]:
    """Return the request that planned a run, with what its deciding or latest try tolerates.

    Defaults are left out.
    """
    request = plan.asked
    if plan.shadow is not None:  # an older release kept it there alone
        request["shadow"] = plan.shadow.requested
    default = asdict(Tolerance())
    for name, value in tolerated(store).items():
        request.pop(name, None)
        if value != default.get(name):
            request[name] = str(value)
    return request
