"""The local stack behind `rules.Rules`, for the tests' clients and for the service."""

from __future__ import annotations

import dataclasses

from mlsys.cloud.clients import Clients, clients_for
from mlsys.local.addresses import Addresses
from mlsys.local.stack import LocalStack
from mlsys.settings import Settings
from rules import Rules


@dataclasses.dataclass(frozen=True)
class Bare:
    """The addresses and clients of the servers behind the rules."""

    settings: Settings
    clients: Clients
    environment: dict[str, str]


class StrictStack(LocalStack):
    """A local stack whose `settings`, `clients`, `environment` and service keep `rules`."""

    rules: Rules
    bare: Bare

    def _choose_addresses(self) -> Addresses:
        addresses = super()._choose_addresses()
        self.bare = Bare(self.settings, self.clients, self.environment)
        self.rules = Rules(self.bare).start()
        self.settings, self.environment = self.rules.settings, self.rules.environment
        self.clients = clients_for(self.settings)
        return addresses

    def stop(self) -> None:
        super().stop()
        if rules := getattr(self, "rules", None):
            rules.stop()
