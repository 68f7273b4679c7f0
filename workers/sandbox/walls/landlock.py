"""Let the process read below named directories, and refuse all else that Landlock knows.

https://docs.kernel.org/userspace-api/landlock.html. Every version of the interface adds rights
that can be handled; a right that is handled and not granted is refused. The numbers are those of
`include/uapi/linux/landlock.h`.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from workers.sandbox.walls import libc
from workers.sandbox.walls.syscalls import Architecture

_O_PATH = 0o10000000  # which macOS does not have
_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3

# The first version that knows the right, and its bit
_FILES = (
    *((1, bit) for bit in range(13)),  # EXECUTE to MAKE_SYM
    (2, 13),  # REFER
    (3, 14),  # TRUNCATE
    (5, 15),  # IOCTL_DEV
)
_NET = ((4, 0), (4, 1))  # BIND_TCP, CONNECT_TCP
_SCOPES = ((6, 0), (6, 1))  # ABSTRACT_UNIX_SOCKET, SIGNAL


class _Ruleset(ctypes.Structure):
    _fields_ = [
        ("files", ctypes.c_uint64),
        ("net", ctypes.c_uint64),
        ("scopes", ctypes.c_uint64),
    ]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("access", ctypes.c_uint64), ("directory", ctypes.c_int32)]


def version(architecture: Architecture | None) -> int:
    """Return the version of Landlock that the kernel has; 0 if none."""
    if architecture is None:
        return 0
    try:
        number = architecture.numbers["landlock_create_ruleset"]
        return libc.syscall(number, None, 0, _VERSION)
    except OSError:  # it is older, was built without it, or started without it
        return 0


def handled(abi: int) -> tuple[int, int, int, int]:
    """Return a version's rights over files, over the network, its scopes, and the size of these."""
    files, net, scopes = (
        sum(1 << bit for first, bit in rights if first <= abi) for rights in (_FILES, _NET, _SCOPES)
    )
    return files, net, scopes, 8 if abi < 4 else 16 if abi < 6 else 24


def restrict(architecture: Architecture, readable: Iterable[Path]) -> int:
    """Refuse this thread everything but reading below `readable`, and return the version.

    Paths that do not exist are skipped. Descriptors of those in /proc stay open: the kernel forgets
    its names there, and with them the rule. PR_SET_NO_NEW_PRIVS must be set. 0: the
    kernel has no Landlock.

    Raises:
        OSError: the kernel has it, and refuses.
    """
    abi = version(architecture)
    if not abi:
        return 0
    numbers = architecture.numbers
    *rights, size = handled(abi)
    ruleset = _Ruleset(*rights)
    create = numbers["landlock_create_ruleset"]
    descriptor = libc.syscall(create, libc.address(ruleset), size, 0)
    try:
        for path in readable:
            _allow(numbers["landlock_add_rule"], descriptor, path)
        libc.syscall(numbers["landlock_restrict_self"], descriptor, 0)
    finally:
        os.close(descriptor)
    return abi


def _allow(add_rule: int, ruleset: int, path: Path) -> None:
    """Allow reading the file, or what is below the directory."""
    try:
        descriptor = os.open(path, _O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        rule = _Beneath(_READ_FILE | _READ_DIR if directory else _READ_FILE, descriptor)
        libc.syscall(add_rule, ruleset, _PATH_BENEATH, libc.address(rule), 0)
    finally:
        if not path.is_relative_to("/proc"):
            os.close(descriptor)
