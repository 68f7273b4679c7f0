"""Forget the environment variables, where /proc/self/environ shows them too."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

# What libraries read when they are loaded, which may be later; nothing secret.
KEPT = frozenset((
    "ARROW_DEFAULT_MEMORY_POOL", "BLIS_NUM_THREADS", "GOMP_SPINCOUNT", "GOTO_NUM_THREADS",
    "JE_ARROW_MALLOC_CONF", "LANG", "LC_ALL", "LC_CTYPE", "LOKY_MAX_CPU_COUNT", "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS", "OMP_DYNAMIC", "OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_THREAD_LIMIT",
    "OMP_WAIT_POLICY", "OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "SCIPY_ARRAY_API",
    "SKLEARN_ASSUME_FINITE", "SKLEARN_WORKING_MEMORY", "TZ",
))  # fmt: skip


def clear_environment() -> None:
    """Remove all variables but `KEPT`, and overwrite their values.

    Python's own copies of the values were freed, not overwritten, and may be found in memory: start
    the process that others are forked from with a clean environment.
    """
    kept = {name: value for name, value in os.environ.items() if name in KEPT}
    if sys.platform == "linux":
        _overwrite_values()
    os.environ.clear()
    if sys.platform == "linux":
        _overwrite_block()
    os.environ.update(kept)


def _overwrite_values() -> None:
    """Overwrite the values that the C library has; the names are needed to remove them."""
    environ = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
    index = 0
    while environ and (entry := environ[index]):
        name, separator, value = ctypes.string_at(entry).partition(b"=")
        ctypes.memset(entry + len(name) + len(separator), 0, len(value))
        index += 1


def _overwrite_block() -> None:
    """Overwrite what the kernel put into memory when the process's program was started.

    `env_start` and `env_end` are the 50th and 51st word of /proc/self/stat; proc_pid_stat(5).
    """
    words = Path("/proc/self/stat").read_text().rpartition(")")[2].split()  # from the third
    start, end = (int(word) for word in [*words, "0", "0"][47:49])
    if 0 < start < end:  # gVisor does not tell them
        ctypes.memset(start, 0, end - start)
