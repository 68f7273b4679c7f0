"""The input slots of a sandbox: one that it reads, one that a thread fills in the meantime."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.sandbox.channel import Closed
from workers.sandbox.memory import Region

if TYPE_CHECKING:
    import pyarrow as pa

SLOTS = 2


@dataclass(eq=False, slots=True)
class Slot:
    """A table in the memory of a sandbox, for one call. `table` is the requester's own."""

    table: pa.Table
    number: int
    slots: Slots | None  # None: it is released, or its sandbox had ended
    size: int = 0

    def release(self) -> None:
        """Let the next table have the slot. A call does it."""
        slots, self.slots = self.slots, None
        if slots is not None:
            slots.give_back(self.number)


class Slots:
    """The slots, and a region more for a table that no thread has put there before."""

    def __init__(self) -> None:
        self._regions = [Region() for _ in range(SLOTS + 1)]
        self._free = list(range(SLOTS))
        self._changed = threading.Condition()
        self._ended = False

    @property
    def fds(self) -> list[int]:
        """The descriptors of the regions, in the order of their numbers."""
        return [region.fd for region in self._regions]

    def put(self, table: pa.Table) -> Slot:
        """Copy a table to a slot. Wait for a free one, or for the end of the sandbox."""
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._ended)
            if self._ended:
                return Slot(table, SLOTS, None)
            slot = Slot(table, self._free.pop(), self)
        try:
            slot.size = self._regions[slot.number].put(table)
        except Closed:
            slot.release()
        except BaseException:
            slot.release()
            raise
        return slot

    def put_now(self, table: pa.Table) -> int:
        """Copy a table to the region of the number `SLOTS`, and return its bytes."""
        return self._regions[SLOTS].put(table)

    def give_back(self, number: int) -> None:
        """Let the next table have a slot."""
        with self._changed:
            self._free.append(number)
            self._changed.notify()

    def end(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Give the memory back."""
        for region in self._regions:
            region.close()
