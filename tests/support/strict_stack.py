"""The local stack behind `rules.Rules`, for the tests' clients and for the service."""

from __future__ import annotations

import dataclasses
import shutil

from mlsys.cloud.clients import Clients, clients_for
from mlsys.local.addresses import Addresses
from mlsys.local.push import Message
from mlsys.local.stack import LocalStack
from mlsys.local.topics import model_events
from mlsys.settings import Settings
from rules import Rules

UNREGISTERED = "unregistered"  # begins the names of models that the registry need not know


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

    def start(self) -> None:
        """Start everything. Models whose names begin with `UNREGISTERED` are not announced.

        To register a model costs as much as to score a small table, and few tests that score need
        it.
        """
        super().start()
        for env in self.settings.envs:
            events = self.pubsub.subscription(model_events(env))
            if events is None:  # without the service
                continue
            self.pubsub.delete_subscription(events.name)
            self.pubsub.create_subscription(dataclasses.replace(events, wanted=_is_announced))

    def forget_unregistered(self) -> None:
        """Remove the models that were not announced: a rescan would register them."""
        for env in self.settings.envs:
            bucket = self._folder.storage / self.settings.models_bucket(env)
            for folder in bucket.glob(f"{UNREGISTERED}-*"):
                shutil.rmtree(folder)

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


def _is_announced(message: Message) -> bool:
    return not message.attributes.get("objectId", "").startswith(UNREGISTERED)
