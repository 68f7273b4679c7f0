"""Load a system-call filter into the kernel, for every thread of the process."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Sequence

from workers.sandbox.walls import libc
from workers.sandbox.walls.bpf import Instruction
from workers.sandbox.walls.syscalls import Architecture

# include/uapi/linux/seccomp.h, include/uapi/linux/prctl.h
_SET_MODE_FILTER = 1
_TSYNC = 1
_PR_SET_SECCOMP = 22
_PR_MODE_FILTER = 2


class _Instruction(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    ]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction))]


def available() -> bool:
    """Return whether the kernel takes filters: it then looks for the program, which is missing."""
    try:
        libc.prctl(_PR_SET_SECCOMP, _PR_MODE_FILTER, 0)
    except OSError as exc:
        return exc.errno == errno.EFAULT
    return False


def load(architecture: Architecture, program: Sequence[Instruction]) -> None:
    """Load the filter. It cannot be taken off again. PR_SET_NO_NEW_PRIVS must be set.

    Raises:
        OSError: the kernel does not take it.
    """
    instructions = (_Instruction * len(program))(*(_Instruction(*i) for i in program))
    structure = _Program(len(program), instructions)
    number = architecture.numbers["seccomp"]
    try:
        result = libc.syscall(number, _SET_MODE_FILTER, _TSYNC, libc.address(structure))
    except OSError as exc:
        if exc.errno != errno.ENOSYS:
            raise
        # Linux before 3.17, for this thread alone; the caller has no other
        result = libc.prctl(_PR_SET_SECCOMP, _PR_MODE_FILTER, libc.address(structure).value or 0)
    if result:
        raise OSError(errno.ESRCH, f"Thread {result} has another filter")
