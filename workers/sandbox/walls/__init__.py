"""Walls around the process that holds a model. The one door is `enclose`.

A forked child with one thread calls `enclose` before it reads a byte of a model. From then on it
computes, imports installed code, starts threads, and reads and writes the descriptors that it kept;
the kernel refuses it everything else. docs/decisions/0057 says what each wall closes and what none
of them closes.
"""

from workers.sandbox.walls.enclosing import (
    NoWalls,
    Walls,
    available,
    enclose,
    protect_memory,
    standing,
)
from workers.sandbox.walls.environment import clear_environment
from workers.sandbox.walls.installation import installation
from workers.sandbox.walls.libraries import prepare
from workers.sandbox.walls.limits import Limits

__all__ = [
    "Limits",
    "NoWalls",
    "Walls",
    "available",
    "clear_environment",
    "enclose",
    "installation",
    "prepare",
    "protect_memory",
    "standing",
]
