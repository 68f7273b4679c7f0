"""The numbers of system calls on x86-64 and arm64.

Sources: `arch/x86/entry/syscalls/syscall_64.tbl` and `include/uapi/asm-generic/unistd.h` of Linux.
arm64 has no number for the calls that `…at` variants replaced.
"""

from __future__ import annotations

import platform
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass

# include/uapi/linux/audit.h: the machine's ELF number, with the bits for 64-bit and little-endian
AUDIT_ARCH_X86_64 = 0xC000003E
AUDIT_ARCH_AARCH64 = 0xC00000B7

# Since 424 (Linux 5.1) every architecture numbers new calls alike. The policy knows those up to
# this one (Linux 6.5).
NEWEST = 451

_NUMBERS: dict[str, tuple[int, int | None]] = {
    "access": (21, None),
    "arch_prctl": (158, None),
    "brk": (12, 214),
    "capset": (126, 91),
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "clone": (56, 220),
    "clone3": (435, 435),
    "close": (3, 57),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "fadvise64": (221, 223),
    "fcntl": (72, 25),
    "fstat": (5, 80),
    "futex": (202, 98),
    "getcpu": (309, 168),
    "getcwd": (79, 17),
    "getdents64": (217, 61),
    "getegid": (108, 177),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "getrandom": (318, 278),
    "getresgid": (120, 150),
    "getresuid": (118, 148),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "getuid": (102, 174),
    "ioctl": (16, 29),
    "kill": (62, 129),
    "landlock_add_rule": (445, 445),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
    "lseek": (8, 62),
    "lstat": (6, None),
    "madvise": (28, 233),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "nanosleep": (35, 101),
    "newfstatat": (262, 79),
    "open": (2, None),
    "openat": (257, 56),
    "openat2": (437, 437),
    "pipe2": (293, 59),
    "poll": (7, None),
    "ppoll": (271, 73),
    "prctl": (157, 167),
    "pread64": (17, 67),
    "prlimit64": (302, 261),
    "pselect6": (270, 72),
    "read": (0, 63),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "readv": (19, 65),
    "restart_syscall": (219, 128),
    "rseq": (334, 293),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_getaffinity": (204, 123),
    "sched_yield": (24, 124),
    "seccomp": (317, 277),
    "select": (23, None),
    "set_robust_list": (273, 99),
    "set_tid_address": (218, 96),
    "sigaltstack": (131, 132),
    "stat": (4, None),
    "statx": (332, 291),
    "sysinfo": (99, 179),
    "tgkill": (234, 131),
    "time": (201, None),
    "times": (100, 153),
    "uname": (63, 160),
    "write": (1, 64),
    "writev": (20, 66),
}


@dataclass(frozen=True)
class Architecture:
    """What differs between the architectures.

    `open_flags` are the flags of `openat` that only read: O_CLOEXEC, O_DIRECTORY, O_LARGEFILE,
    O_NOCTTY, O_NOFOLLOW and O_NONBLOCK (`include/uapi/asm-generic/fcntl.h`,
    `arch/arm64/include/uapi/asm/fcntl.h`).
    """

    name: str
    audit: int
    numbers: Mapping[str, int]
    open_flags: int
    foreign_bit: int | None = None  # in the number of a call of another ABI: x32


X86_64 = Architecture(
    name="x86-64",
    audit=AUDIT_ARCH_X86_64,
    numbers={name: x86 for name, (x86, _) in _NUMBERS.items()},
    open_flags=0x80000 | 0x10000 | 0x8000 | 0x100 | 0x20000 | 0x800,
    foreign_bit=0x40000000,
)
ARM64 = Architecture(
    name="arm64",
    audit=AUDIT_ARCH_AARCH64,
    numbers={name: arm for name, (_, arm) in _NUMBERS.items() if arm is not None},
    open_flags=0x80000 | 0x4000 | 0x20000 | 0x100 | 0x8000 | 0x800,
)


def architecture() -> Architecture | None:
    """Return this process's architecture; None if the walls do not know it."""
    if sys.platform != "linux" or struct.calcsize("P") != 8:  # a 32-bit Python has other numbers
        return None
    return {"x86_64": X86_64, "aarch64": ARM64}.get(platform.machine())
