"""Share memory, run what was written, and take more than allowed."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import threading
from pathlib import Path
from typing import Any

from escapes.table import ENOSYS, EPERM, LIBC, call, checked, escape, raw


@escape(EPERM)
def make_memory_with_a_descriptor(c: Any) -> None:
    os.close(os.memfd_create("x"))


@escape(EPERM, control=(ENOSYS,))
def make_secret_memory(c: Any) -> None:
    os.close(call("memfd_secret", 0))


@escape(EPERM)
def make_posix_shared_memory(c: Any) -> None:
    import _posixshmem

    name = f"/mlsys-test-{os.getpid()}"
    os.close(_posixshmem.shm_open(name, os.O_CREAT | os.O_RDWR, 0o600))
    _posixshmem.shm_unlink(name)


@escape(EPERM)
def make_a_file_in_shared_memory(c: Any) -> None:
    path = Path(f"/dev/shm/mlsys-test-{os.getpid()}")
    path.write_text("x")
    path.unlink()


@escape(EPERM)
def make_sysv_shared_memory(c: Any) -> None:
    call("shmctl", call("shmget", 0, 4096, 0o600), 0, 0)


@escape(EPERM)
def open_a_sysv_queue(c: Any) -> None:
    LIBC.msgctl(call("msgget", 0, 0o600), 0, None)


@escape(EPERM)
def open_sysv_semaphores(c: Any) -> None:
    LIBC.semctl(call("semget", 0, 1, 0o600), 0, 0)


@escape(EPERM, control=(errno.ENOENT, ENOSYS))
def open_a_posix_queue(c: Any) -> None:
    call("mq_open", ctypes.c_char_p(b"mlsys-none"), 0, 0, 0)


@escape(EPERM)
def map_memory_for_others(c: Any) -> None:
    mmap.mmap(-1, 4096).close()


@escape(EPERM, control=(EPERM, ENOSYS), cannot="may be switched off by a sysctl")
def handle_page_faults(c: Any) -> None:
    os.close(call("userfaultfd", 1))


@escape(EPERM)
def map_memory_that_can_be_run(c: Any) -> None:
    protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, protection).close()


@escape(EPERM)
def make_memory_run_later(c: Any) -> None:
    at = checked(LIBC.mmap(None, 4096, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0))
    call("mprotect", at, 4096, 5)


@escape(EPERM)
def run_shared_memory(c: Any) -> None:
    checked(LIBC.mmap(None, 4096, 5, mmap.MAP_PRIVATE, c.kept[1], 0))


@escape(EPERM)
def write_and_run_a_file(c: Any) -> None:
    descriptor = os.open(os.__file__, os.O_RDONLY)
    checked(LIBC.mmap(None, 4096, 7, mmap.MAP_PRIVATE, descriptor, 0))


@escape("MemoryError")
def take_more_memory_than_allowed(c: Any) -> None:
    if (
        LIBC.mmap(None, ctypes.c_size_t(3 * 2**30), 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        == -1
    ):
        raise MemoryError


@escape("MemoryError")
def take_memory_that_is_not_counted(c: Any) -> None:
    """Memory counts while it can be written: 12 GiB in pieces that are then made read-only."""
    for _ in range(48):
        at = LIBC.mmap(None, 2**28, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        if at == -1:
            raise MemoryError
        call("mprotect", at, 2**28, 1)


@escape("RuntimeError")
def start_more_threads_than_fit(c: Any) -> None:
    """Start threads whose stacks of 8 MiB count as memory."""
    end = threading.Event()
    threads = [threading.Thread(target=end.wait) for _ in range(400)]
    try:
        for thread in threads:
            thread.start()
    finally:
        end.set()


@escape(errno.EMFILE)
def open_more_files_than_allowed(c: Any) -> None:
    for _ in range(100):
        os.open(os.__file__, os.O_RDONLY)


if platform.machine() == "x86_64":
    # int 0x80 with the number of getpid on 32-bit x86, which is 20; then ret
    _INT80 = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"
    _page = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 7)
    _page.write(_INT80)

    @escape("died -31", control=(ENOSYS,))
    def make_a_call_of_32_bit_x86(c: Any) -> int:
        """From memory that could be run before: SIGSYS kills the process."""
        at = ctypes.addressof(ctypes.c_char.from_buffer(_page))
        return ctypes.CFUNCTYPE(ctypes.c_int)(at)()

    @escape(EPERM, control=(ENOSYS,))
    def make_a_call_of_x32(c: Any) -> int:
        return raw(0x40000000 | 39)
