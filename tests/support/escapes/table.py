"""The table of tries, and how a try calls the kernel."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EPERM, EACCES, EBADF, ENOSYS = errno.EPERM, errno.EACCES, errno.EBADF, errno.ENOSYS

# Numbers on x86-64 and arm64: syscall_64.tbl and asm-generic/unistd.h of Linux
NUMBERS = {
    "add_key": (248, 217), "bpf": (321, 280), "clone": (56, 220), "clone3": (435, 435),
    "clock_settime": (227, 112), "execveat": (322, 281), "fanotify_init": (300, 262),
    "getpid": (39, 172), "inotify_init1": (294, 26), "io_setup": (206, 0),
    "io_uring_setup": (425, 425), "kcmp": (312, 272), "keyctl": (250, 219),
    "landlock_create_ruleset": (444, 444), "landlock_restrict_self": (446, 446),
    "memfd_secret": (447, 447), "mount": (165, 40), "move_pages": (279, 239),
    "mprotect": (10, 226), "mq_open": (240, 180), "mremap": (25, 216), "msgget": (68, 186),
    "name_to_handle_at": (303, 264), "openat2": (437, 437), "perf_event_open": (298, 241),
    "personality": (135, 92), "pidfd_getfd": (438, 438), "pidfd_open": (434, 434),
    "process_madvise": (440, 440), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "ptrace": (101, 117), "quotactl": (179, 60),
    "reboot": (169, 142), "renameat2": (316, 276), "rt_sigqueueinfo": (129, 138),
    "seccomp": (317, 277), "semget": (64, 190), "sethostname": (170, 161), "setns": (308, 268),
    "shmctl": (31, 195), "shmget": (29, 194), "socket": (41, 198), "splice": (275, 76),
    "swapon": (167, 224), "syslog": (103, 116), "tgkill": (234, 131), "timer_create": (222, 107),
    "tkill": (200, 130), "userfaultfd": (323, 282),
}  # fmt: skip
_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
# Where Yama is on, a user's processes may only trace those that they started.
ONLY_ROOT_TRACES = _YAMA.exists() and _YAMA.read_text().strip() != "0"
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = LIBC.mmap.restype = ctypes.c_long


@dataclass(frozen=True)
class Try:
    """How a try ends inside and outside.

    Args:
        refused: the errors' numbers inside; text: part of an error without one, or `died -N`.
        control: the numbers of errors outside that show that the kernel took the call; none: it
            succeeds.
        root: outside it needs root.
        cannot: why it does not succeed outside either; empty if it does.
        rings: something that the test watches notices it outside.
    """

    function: Callable[[Any], Any]
    refused: Collection[int] | str
    control: Collection[int]
    root: bool
    cannot: str
    rings: bool

    @property
    def name(self) -> str:
        """Return the function's name, `module:function`."""
        return f"{self.function.__module__}:{self.function.__name__}"


TRIES: dict[str, Try] = {}


def escape(
    *refused: int | str,
    control: Collection[int] = (),
    root: bool = False,
    cannot: str = "",
    rings: bool = False,
) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Put a function into the table."""

    def put(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        texts = [r for r in refused if isinstance(r, str)]
        numbers = [r for r in refused if isinstance(r, int)] or [EPERM]
        TRIES[function.__name__] = Try(
            function, texts[0] if texts else numbers, control, root, cannot, rings
        )
        return function

    return put


def call(name: str, *arguments: Any) -> int:
    """Make a system call by its number, past Python and the C library's own functions."""
    number = NUMBERS[name][platform.machine() == "aarch64"]
    return raw(number, *arguments)


def raw(number: int, *arguments: Any) -> int:
    """Make a system call; integers are passed as 64 bits."""
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = LIBC.syscall(ctypes.c_long(number), *words)
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def checked(result: int) -> int:
    """Return the result of a function of the C library, or raise its error."""
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
