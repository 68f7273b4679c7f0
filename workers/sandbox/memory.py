"""Memory that a sandbox and its requester share.

The requester makes each region, and it alone grows it. A region never shrinks, because a process
that reads a mapping beyond the end of its file is killed; the kernel's seal enforces this.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import tempfile
import threading
import weakref
from typing import TYPE_CHECKING, Any

from workers.sandbox.channel import Closed, Malformed
from workers.sandbox.tables import stream_size, write_stream

if TYPE_CHECKING:
    import pyarrow as pa

STEP = 2**20  # bytes; sizes are multiples
_OFFSET = ctypes.c_int64  # off_t
_FAILED = ctypes.c_void_p(-1).value


class Region:
    """Shared memory of the requester: a file without a name that a sandbox has open too."""

    def __init__(self) -> None:
        self.fd = _nameless()
        self.size = 0
        self._map: mmap.mmap | None = None
        self._lock = threading.Lock()

    def grow(self, size: int) -> None:
        """Make room for `size` bytes.

        Raises:
            Closed: the region is closed.
            OSError: the system has no room.
        """
        with self._lock:
            self._grow(size)

    def put(self, table: pa.Table) -> int:
        """Write a table and return its bytes.

        Raises:
            Closed, OSError: see `grow`.
        """
        size = stream_size(table)
        with self._lock:
            self._grow(size)
            if self._map is None:
                self._map = mmap.mmap(self.fd, self.size)
            write_stream(table, self._map)
        return size

    def copy(self, size: int) -> pa.Buffer:
        """Return a copy of the first `size` bytes, which no sandbox can change.

        They are read from the file: a read ends early where a mapping's reader would be killed.

        Raises:
            Malformed: there are fewer.
        """
        import pyarrow as pa

        buffer = pa.allocate_buffer(size)
        view, got = memoryview(buffer).cast("B"), 0
        while got < size:
            piece = os.preadv(self.fd, [view[got:]], got)
            if not piece:
                raise Malformed("its table ends early")
            got += piece
        return buffer

    def close(self) -> None:
        """Give the memory back."""
        with self._lock:
            if self.fd >= 0:
                os.close(self.fd)
            self.fd, self._map = -1, None

    def _grow(self, size: int) -> None:
        if self.fd < 0:
            raise Closed
        if size > self.size:
            size = -(-max(size, 2 * self.size) // STEP) * STEP  # unused pages take no memory
            os.ftruncate(self.fd, size)
            self.size, self._map = size, None


class Mapped:
    """A region as the sandbox sees it.

    Python's own `mmap` duplicates the descriptor, which the sandbox's filter refuses.
    """

    def __init__(self, fd: int, *, writable: bool) -> None:
        self._fd = fd
        self._protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self._room: Any = None
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.mmap.restype = ctypes.c_void_p
        self._libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, _OFFSET]
        self._libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

    def view(self, size: int) -> Any:
        """Return at least `size` bytes as an object with a buffer. Earlier ones stay valid."""
        if self._room is None or ctypes.sizeof(self._room) < size:
            length = os.fstat(self._fd).st_size
            at = self._libc.mmap(None, length, self._protection, mmap.MAP_SHARED, self._fd, 0)
            if at == _FAILED:
                raise MemoryError(os.strerror(ctypes.get_errno()))
            self._room = (ctypes.c_char * length).from_address(at)
            weakref.finalize(self._room, self._libc.munmap, at, length).atexit = False
        return self._room

    def table(self, size: int) -> pa.Table:
        """Return the table that the requester put here, without copying it.

        It is valid until the requester puts the next one.
        """
        import pyarrow as pa

        room = memoryview(self.view(size)).toreadonly()[:size]
        return pa.ipc.open_stream(pa.py_buffer(room)).read_all()


def _nameless() -> int:
    """Return a descriptor of an empty file that has no name and lives in memory on Linux."""
    if sys.platform != "linux":
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
    import fcntl

    fd = os.memfd_create("mlsys", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return fd
