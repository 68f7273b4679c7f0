"""Calls of the kernel that Python has no function for."""

from __future__ import annotations

import ctypes
import os
from functools import cache

PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def syscall(number: int, *arguments: int | ctypes.c_void_p | None) -> int:
    """Make a system call by its number and return what it returns.

    Raises:
        OSError: the kernel refuses it.
    """
    words = [ctypes.c_void_p(a) if isinstance(a, int) else a for a in arguments]
    result = _libc().syscall(ctypes.c_long(number), *words)
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def prctl(option: int, *arguments: int) -> int:
    """Call the system's prctl and return its result.

    Raises:
        OSError: the kernel refuses it.
    """
    words = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    result = _libc().prctl(ctypes.c_int(option), *words)
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def address(structure: ctypes.Array | ctypes.Structure) -> ctypes.c_void_p:
    """Return the address of a structure, which the caller keeps alive."""
    return ctypes.cast(ctypes.pointer(structure), ctypes.c_void_p)
