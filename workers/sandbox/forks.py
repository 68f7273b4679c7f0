"""The nursery's own loop: fork and reap as the requester says. No code of a model runs here."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
import warnings
from typing import Any

from workers.sandbox import walls
from workers.sandbox.walls import libc

MAX_MESSAGE = 4096  # bytes
MAX_FDS = 16
MAX_OPEN = 2**16  # descriptors that are closed one by one


def serve(requests: socket.socket, parent: int | None = None) -> None:
    """Fork and reap as the requester says, until it closes its end or ends."""
    die_with(parent or os.getppid())
    fd = _only(requests)
    _prepare()
    children: set[int] = set()
    with socket.socket(fileno=fd) as ours:
        while True:
            try:
                message, fds, _, _ = socket.recv_fds(ours, MAX_MESSAGE, MAX_FDS)
                if not message:
                    break
                answer = _obey(json.loads(message), fds, children)
                ours.send(json.dumps(answer).encode())
            except ConnectionError:
                break
    for pid in children:
        os.kill(pid, signal.SIGKILL)  # none of the numbers is another process's: see `_reap`


def _only(requests: socket.socket) -> int:
    """Return the socket's descriptor in a process that has no other but the standard ones."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    fd = os.dup2(requests.detach(), 3) if requests.fileno() != 3 else requests.detach()
    _close_above(fd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the requester
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return fd


def _prepare() -> None:
    """Do once what every sandbox needs, and forget what none may know."""
    _import(["workers.sandbox.child"])
    walls.prepare()
    walls.installation()
    walls.clear_environment()
    walls.protect_memory()
    gc.freeze()  # so that a child's collections copy no page of its parent's


def _close_above(last: int) -> None:
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:  # a process that is not dumpable may not look
        os.closerange(last + 1, min(os.sysconf("SC_OPEN_MAX"), MAX_OPEN))
        return
    for number in numbers:
        if number > last:
            with contextlib.suppress(OSError):  # the folder's own
                os.close(number)


def _obey(request: dict[str, Any], fds: list[int], children: set[int]) -> dict[str, Any]:
    _import(request.get("imports", []))
    if (main := request.get("fork")) is not None:
        try:
            pid = _fork(main, fds, request["arguments"])
        except OSError as exc:
            return {"error": os.strerror(exc.errno or 0)}
        finally:
            for fd in fds:
                os.close(fd)
        children.add(pid)
        return {"pid": pid}
    if "reap" in request and (pid := request["reap"]) in children:
        return {"code": _reap(pid, request["end"], children)}
    return {}


def _import(modules: list[str]) -> None:
    """Import what the sandboxes need: a fork does not inherit the threads of a library."""
    if new := [module for module in modules if module not in sys.modules]:
        for module in new:
            with contextlib.suppress(Exception):  # the sandbox says what is wrong with it
                importlib.import_module(module)
        gc.freeze()


def _fork(main: str, fds: list[int], arguments: list[Any]) -> int:
    parent = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads: only libraries' own, which reset in forks
        pid = os.fork()
    if not pid:
        try:
            os.dup2(0, 1)
            os.dup2(0, 2)
            os.close(3)  # the requests
            die_with(parent)
            call(main, fds, arguments)
        finally:
            os._exit(1)
    return pid


def _reap(pid: int, end: bool, children: set[int]) -> int | None:
    """Return the exit code of a child. Until this has returned it, its PID is not given again."""
    gone, status = os.waitpid(pid, os.WNOHANG)
    if not gone and end:
        os.kill(pid, signal.SIGKILL)
        gone, status = os.waitpid(pid, 0)
    if not gone:
        return None
    children.discard(pid)
    return os.waitstatus_to_exitcode(status)


def call(main: str, fds: list[int], arguments: list[Any]) -> None:
    """Import `main`, named `module:function`, and call it."""
    module, name = main.split(":")
    getattr(importlib.import_module(module), name)(fds, *arguments)


def die_with(parent: int) -> None:
    """Have the kernel kill this process as soon as its parent has ended."""
    if sys.platform == "linux":
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before
            os._exit(1)
