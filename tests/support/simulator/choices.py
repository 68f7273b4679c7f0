"""The choices that decide a history, and the faults that they can bring about."""

from __future__ import annotations

from random import Random

LATENCIES = (0.04, 0.01, 0.15, 0.6, 2.5, 9.0)  # seconds; the first one is the plainest
LIKELY = (10, 10, 8, 5, 2, 1)
FAULTS_AT_MOST = 5  # of one history
HOURS = 3600.0

# What may happen at a call. The first is nothing.
NONE, CRASH, CRASH_AFTER, BUSY, LOST, REPEATED, STALL, JUMP, REFUSED = range(9)
NAMES = (
    "",
    "crash before the call took effect",
    "crash after the call took effect",
    "503 before it took effect",
    "answer lost, 503",
    "answer lost, the client repeats the call",
    "stalled for hours",
    "the clock jumps",
    "refused, as for somebody else's change",
)
STALLS = (1.5 * HOURS, 20.0, 700.0, 7 * HOURS)
JUMPS = (40.0, -40.0, 3.0, -3.0, HOURS, -HOURS)  # of an instance's wall clock, in seconds
SKEWS = (0.0, 1.0, -1.0, 20.0, -20.0, 90.0, -90.0)  # of an instance's wall clock as it starts
KINDS = (CRASH, CRASH_AFTER, BUSY, LOST, REPEATED, STALL, JUMP)
ALL = (*KINDS, REFUSED)  # the last one where a call names its `refusal`


class Choices:
    """A list of small numbers: drawn from a seed, or given; 0 is always the plainest."""

    def __init__(self, seed: int | None = None, given: list[int] | None = None) -> None:
        self._random = Random(seed) if given is None else None
        self._given = given or []
        self.made: list[int] = []

    def pick(self, number: int, weights: tuple[int, ...] | None = None) -> int:
        """Return a number below `number`."""
        if self._random is None:
            place = len(self.made)
            choice = self._given[place] % number if place < len(self._given) else 0
        elif weights is None:
            choice = int(self._random.random() * number)
        else:
            choice = self._random.choices(range(number), weights)[0]
        self.made.append(choice)
        return choice

    def happens(self, probability: float) -> bool:
        """Return True with this probability; False is the plainest."""
        if self._random is None:
            return bool(self.pick(2))
        choice = self._random.random() < probability
        self.made.append(int(choice))
        return choice
