"""A deployment as its checks see it: clients, environment, service, and the calls beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlsys.cloud.clients import Clients
from mlsys.cloud.credentials import signed_in
from mlsys.cloud.messages import Use
from mlsys.cloud.monitoring import messages_waiting
from mlsys.doctor.check import Check, Outcome, State, apply, skipped
from mlsys.remote.service import Service


@dataclass(frozen=True, slots=True)
class Deployment:
    """One environment of a project, and the service in front of it."""

    clients: Clients
    env: str
    service: Service
    account: Callable[[], str] = signed_in
    waiting: Callable[[Clients, str], int | None] = messages_waiting

    @property
    def local(self) -> bool:
        """Whether it is the local stack."""
        return bool(self.clients.settings.emulators)

    @property
    def fix(self) -> str:
        """The command that creates what is missing."""
        return apply(self.clients.settings, self.env)

    def check(
        self,
        id: str,
        ask: Callable[[], Outcome],
        use: Use,
        *needs: str,
        fix: str | None = None,
        denied: State = "skipped",
        on_cloud: str = "",
    ) -> Check:
        """Return a check; what the caller may not see is skipped, for the service may see it.

        `on_cloud` says why the local stack cannot be checked for it.
        """
        if on_cloud and self.local:
            return Check(id, lambda: skipped(f"{on_cloud}."), use, fix or self.fix)
        return Check(id, ask, use, fix or self.fix, ("credentials", *needs), denied)
