"""What a rescan would change: how the models bucket and the registry differ now."""

from __future__ import annotations

from dataclasses import dataclass

from mlsys.artifact.refs import ALIASES
from mlsys.cloud.clients import Clients
from workers.registry.rows import list_objects
from workers.registry.table import recorded


@dataclass(frozen=True, slots=True)
class Difference:
    """Model versions (`name/v1`) that the registry lacks, has otherwise, or has in excess.

    An `outdated` one was uploaded again since, or another release of the service verified it.
    `skipped` names objects of the bucket that are neither of a model version nor of an alias, and
    why.
    """

    missing: tuple[str, ...]
    outdated: tuple[str, ...]
    gone: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def total(self) -> int:
        """How many versions differ."""
        return len(self.missing) + len(self.outdated) + len(self.gone)


def difference(clients: Clients, env: str) -> Difference:
    """Compare the models bucket with the registry, and change nothing.

    Raises:
        ObjectNotFound: the environment's models bucket does not exist.
        TryAgain: see `workers.query.run`.
    """
    objects, skipped = list_objects(clients, env)
    live = {key: version.identity(clients.settings) for key, version in objects.items()}
    rows = recorded(clients, env)
    both = live.keys() & rows.keys()
    return Difference(
        missing=tuple(sorted(live.keys() - rows.keys())),
        outdated=tuple(sorted(key for key in both if rows[key] != [live[key]])),
        gone=tuple(sorted(rows.keys() - live.keys())),
        skipped=tuple(
            (path, why) for path, why in sorted(skipped.items()) if not _is_of_aliases(path)
        ),
    )


def _is_of_aliases(path: str) -> bool:
    return path.split("/")[1:2] == [ALIASES]
