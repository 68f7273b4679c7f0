"""Put the walls up, one after the other, around this process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.sandbox.walls import landlock, libc, libraries, policy, seccomp
from workers.sandbox.walls.bpf import assemble
from workers.sandbox.walls.environment import clear_environment
from workers.sandbox.walls.installation import installation
from workers.sandbox.walls.limits import Limits, set_limits
from workers.sandbox.walls.syscalls import NEWEST, Architecture, architecture


class NoWalls(RuntimeError):
    """The machine cannot keep a process from reaching others."""


@dataclass(frozen=True)
class Walls:
    """What keeps a process from reaching others on this machine.

    Args:
        filter: every system call that is not on the list is refused.
        landlock: the version of Landlock, which refuses all files outside the installation; 0: it
            may read what the user may read.
        undumpable: other processes of the user cannot read its memory.
        limits: names of the limits that hold; empty before they are set.
        missing: why the filter is missing.
    """

    filter: bool
    landlock: int
    undumpable: bool
    limits: tuple[str, ...] = ()
    missing: str = ""

    def __str__(self) -> str:
        """Return one line for a log."""
        words = ["filter" if self.filter else f"no filter ({self.missing})"]
        words.append(f"landlock {self.landlock}" if self.landlock else "no landlock")
        words.append("undumpable" if self.undumpable else "dumpable")
        return ", ".join(words) + (f"; limits: {', '.join(self.limits)}" if self.limits else "")


_standing: Walls | None = None  # around this process, for good


def standing() -> Walls | None:
    """Return the walls around this process, or None if `enclose` has not put them up."""
    return _standing


def available() -> Walls:
    """Return the walls that this machine has, without putting one up."""
    known = architecture()
    missing = ""
    if sys.platform != "linux":
        missing = f"{sys.platform} has no system-call filters"
    elif known is None:
        missing = f"{os.uname().machine} is neither x86-64 nor arm64"
    elif not seccomp.available():
        missing = "the kernel takes no system-call filters"
    return Walls(
        filter=not missing,
        landlock=landlock.version(known),
        undumpable=sys.platform == "linux",
        missing=missing,
    )


def enclose(
    limits: Limits,
    *,
    keep: Collection[int] = (),
    readable: Sequence[Path] | None = None,
    required: bool = True,
) -> Walls:
    """Enclose this process for good, and return the walls that stand.

    It can then compute, read its libraries, start threads, and read and write `keep`. Standard
    input, output and error become /dev/null unless they are kept.

    Args:
        limits: what the process may use.
        keep: the descriptors that stay open.
        readable: the files and directories that may be read; None: `installation()`.
        required: raise if the filter is missing, before anything is changed.

    Raises:
        NoWalls: the filter is required and missing, or the process has several threads.
        OSError: the kernel refuses a wall that it has.
    """
    walls = available()
    global _standing
    if required and not walls.filter:
        raise NoWalls(
            f"Models cannot be kept apart here: {walls.missing}. Run the service on Linux on "
            "x86-64 or arm64, with a container runtime that allows seccomp."
        )
    _one_thread()
    libraries.reserve_callbacks()
    libraries.use_threads()
    clear_environment()
    _close_all_but(keep)
    held = set_limits(limits)
    if sys.platform != "linux":
        _standing = Walls(False, 0, undumpable=False, limits=held, missing=walls.missing)
        return _standing
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    protect_memory()
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    known = architecture()
    abi = 0
    if known is not None:
        abi = landlock.restrict(known, installation() if readable is None else readable)
        _drop_capabilities(known)
        if walls.filter:
            allowed = policy.rules(known, os.getpid(), {*keep, 0, 1, 2})
            seccomp.load(known, assemble(known, allowed, policy.UNKNOWN, NEWEST))
    _standing = Walls(walls.filter, abi, undumpable=True, limits=held, missing=walls.missing)
    return _standing


def protect_memory() -> bool:
    """Let no other process of the user read this one's memory and environment, if it can be had.

    For processes with credentials too. It lasts until the process runs another program, and
    children that are forked inherit it.
    """
    if sys.platform != "linux":
        return False
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    return True


def _one_thread() -> None:
    """Raise NoWalls if there is a second thread: Landlock and capabilities hold for one."""
    if sys.platform == "linux" and len(os.listdir("/proc/self/task")) > 1:
        raise NoWalls("The process has several threads. Enclose it before it starts any.")


def _close_all_but(keep: Iterable[int]) -> None:
    """Close all descriptors but `keep`; 0, 1 and 2 lead to /dev/null: no file takes their place."""
    kept = sorted(set(keep))
    null = os.open(os.devnull, os.O_RDWR)
    for standard in {0, 1, 2} - set(kept):
        os.dup2(null, standard, inheritable=False)
    first = 3
    for descriptor in (d for d in kept if d > 2):
        os.closerange(first, descriptor)
        first = descriptor + 1
    with contextlib.suppress(ValueError):
        most = os.sysconf("SC_OPEN_MAX")
        os.closerange(first, max(most, first, 65536))


def _drop_capabilities(known: Architecture) -> None:
    """Give up what makes root more than a user. capset(2), _LINUX_CAPABILITY_VERSION_3."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    none = (ctypes.c_uint32 * 6)()
    libc.syscall(known.numbers["capset"], libc.address(header), libc.address(none))
