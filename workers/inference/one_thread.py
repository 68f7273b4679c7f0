"""Limit BLAS and OpenMP to one thread, without listing the loaded libraries each time."""

from __future__ import annotations

import ctypes
import sys

from threadpoolctl import ThreadpoolController


class _Library(ctypes.Structure):
    """Glibc's `dl_phdr_info`: dl_iterate_phdr(3)."""

    _fields_ = (
        ("address", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("headers", ctypes.c_void_p),
        ("header_count", ctypes.c_uint16),
        ("adds", ctypes.c_ulonglong),  # libraries that this process has loaded so far
        ("subs", ctypes.c_ulonglong),
    )


_Visit = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Library), ctypes.c_size_t, ctypes.c_void_p)

_controller: ThreadpoolController | None = None
_loads: int | None = None  # when the libraries were listed; None: not known


def limit_to_one_thread() -> None:
    """Limit BLAS, and OpenMP in this thread, to one thread from now on.

    A library that has the limit is left alone: in a forked process OpenBLAS would start its threads
    again to be told, and they busy-wait for some 20 ms.
    """
    for library in _libraries().lib_controllers:
        if library.num_threads != 1:
            library.set_num_threads(1)


def _libraries() -> ThreadpoolController:
    """Return the controller of the loaded libraries. List them again if there are new ones.

    Listing them takes 10 ms of CPU time; a forked process inherits the list.
    """
    global _controller, _loads
    now = _loaded()
    if _controller is None or now is None or now != _loads:
        _controller, _loads = ThreadpoolController(), now
    return _controller


def _loaded() -> int | None:
    """Return how many libraries this process has loaded so far, or None where nothing tells."""
    if sys.platform != "linux":
        return None
    adds: list[int] = []

    def visit(library: ctypes._Pointer[_Library], size: int, _: object) -> int:
        if size >= ctypes.sizeof(_Library):
            adds.append(library.contents.adds)
        return 1  # no other library need be visited

    ctypes.CDLL(None).dl_iterate_phdr(_Visit(visit), None)
    return adds[0] if adds else None
