"""What code in a model could try in order to reach something, each try a function.

The table says how the walls refuse each, and that it succeeds without them: a try that cannot
succeed anyway shows nothing. `c` names what a test watches: see `test_walls_escapes`.
"""

from escapes import files, kernel, memory, network, processes
from escapes.table import TRIES, Try

__all__ = ["TRIES", "Try", "files", "kernel", "memory", "network", "processes"]
