"""The loop that makes a projection equal to the bucket: look, write what differs, look again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mlsys.errors import RegistryBusy

LOOKS = 5


class Look(Protocol):
    """The bucket and its projection at one moment."""

    def differs(self) -> bool:
        """Return whether the projection has to be written."""
        ...


def settle[L: Look](env: str, look: Callable[[], L], write: Callable[[L], None]) -> L:
    """Look and write what differs until a look finds no difference; return the first look.

    A stale or duplicate write by a concurrent handler is seen by a later look.

    Raises:
        RegistryBusy: bucket or projection kept changing.
    """
    first = latest = look()
    for _ in range(LOOKS):
        if not latest.differs():
            return first
        write(latest)
        latest = look()
    if not latest.differs():
        return first
    raise RegistryBusy(f"The registry of {env} kept changing over {LOOKS} looks: try again shortly")
