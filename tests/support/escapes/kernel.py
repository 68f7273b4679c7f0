"""Change the walls, the process's rights, and the kernel's state."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from typing import Any

from escapes.table import EACCES, ENOSYS, EPERM, LIBC, call, checked, escape


@escape(EPERM)
def become_dumpable(c: Any) -> None:
    checked(LIBC.prctl(4, ctypes.c_ulong(1), 0, 0, 0))


@escape(EPERM)
def outlive_the_parent(c: Any) -> None:
    checked(LIBC.prctl(1, ctypes.c_ulong(0), 0, 0, 0))


@escape(EPERM, control=(errno.EINVAL, EACCES, errno.EFAULT))
def load_another_filter(c: Any) -> None:
    checked(LIBC.prctl(22, ctypes.c_ulong(2), None, 0, 0))


@escape(EPERM, control=(errno.EINVAL, EACCES, errno.EFAULT))
def load_another_filter_by_number(c: Any) -> None:
    call("seccomp", 1, 0, 0)


@escape(EPERM, control=(errno.EOPNOTSUPP, ENOSYS))
def ask_for_landlock(c: Any) -> None:
    call("landlock_create_ruleset", 0, 0, 1)


@escape(EPERM, control=(errno.EBADF, errno.EOPNOTSUPP, ENOSYS), root=True)
def restrict_itself_again(c: Any) -> None:
    call("landlock_restrict_self", -1, 0)


@escape("ValueError: not allowed")
def raise_a_limit(c: Any) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft + 1, hard), hard))


@escape(EPERM)
def read_what_is_executable(c: Any) -> None:
    call("personality", 0xFFFFFFFF)


@escape(EPERM, root=True)
def become_another_user(c: Any) -> None:
    os.setresuid(12345, 12345, 12345)


@escape(EPERM)
def join_groups(c: Any) -> None:
    os.setresgid(os.getgid(), os.getgid(), os.getgid())


@escape(EPERM, control=(ENOSYS, errno.ENOKEY))
def open_a_keyring(c: Any) -> None:
    call("keyctl", 0, -3, 1)


@escape(EPERM, control=(ENOSYS, errno.EDQUOT))
def add_a_key(c: Any) -> None:
    names = ctypes.c_char_p(b"user"), ctypes.c_char_p(b"mlsys"), ctypes.c_char_p(b"x")
    call("add_key", *names, 1, -2)


@escape(EPERM, control=(errno.EINVAL, ENOSYS, errno.E2BIG, errno.EFAULT), root=True)
def load_a_bpf_program(c: Any) -> None:
    call("bpf", 5, ctypes.create_string_buffer(128), 128)


@escape(EPERM, control=(errno.ENODEV, errno.EINVAL), root=True)
def mount(c: Any) -> None:
    none, where = ctypes.c_char_p(b"none"), ctypes.c_char_p(c.empty.encode())
    call("mount", none, where, ctypes.c_char_p(b"nosuchfs"), 0, 0)


@escape(EPERM, root=True)
def name_the_host(c: Any) -> None:
    name = os.uname().nodename.encode()
    call("sethostname", ctypes.c_char_p(name), len(name))


@escape(EPERM, control=(errno.EINVAL,), root=True)
def restart_the_machine(c: Any) -> None:
    call("reboot", 0, 0, 0, 0)  # without the numbers that mean it


@escape(EPERM, control=(errno.ENOENT, errno.EINVAL), root=True)
def swap(c: Any) -> None:
    call("swapon", ctypes.c_char_p(b"/no/such/file"), 0)


@escape(EPERM, control=(errno.EINVAL, errno.EFAULT))
def set_the_clock(c: Any) -> None:
    call("clock_settime", 12345, 0)


@escape(EPERM)
def lock_memory(c: Any) -> None:
    buffer = ctypes.create_string_buffer(4096)
    checked(LIBC.mlock(buffer, 4096))
