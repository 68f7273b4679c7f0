"""Code in a model tries to reach something: inside the walls, and without them as the control."""

import contextlib
import ctypes
import errno
import http.server
import os
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from escapes import TRIES
from escapes.handlers import WITHOUT_DESCRIPTORS
from walls_zygote import Outcome, Zygote
from workers.sandbox import nursery
from workers.sandbox.died import SandboxDied
from workers.sandbox.process import Sandbox
from workers.sandbox.walls import available

pytestmark = pytest.mark.skipif(
    not available().filter or not available().landlock, reason="this machine lacks walls"
)
PLANTED = "the-parents-secret"
FILTERED = "Seccomp:\t0" not in Path("/proc/self/status").read_text()
# What Landlock refuses, and the version that was the first to do so
BY_LANDLOCK = {
    "write_a_file": 1,
    "append_to_a_file": 1,
    "make_a_directory": 1,
    "make_a_fifo": 1,
    "link_a_name": 1,
    "remove_a_file": 1,
    "rename_a_file": 1,
    "read_a_secret_file": 1,
    "read_the_users_of_the_system": 1,
    "list_a_directory": 1,
    "make_a_file_in_shared_memory": 1,
    "read_the_parents_memory_file": 1,
    "truncate_a_file": 3,
    "connect_tcp": 4,
    "connect_abstract_unix": 6,
    "signal_the_parent": 6,
}
WATCHED = "what the file holds"


@dataclass
class Watch:
    """What a try could reach, and whether something did."""

    folder: Path
    listeners: list[socket.socket]
    inherited: socket.socket
    scratch: Any
    requests: list[str]
    canaries: dict[str, Any]

    @property
    def empty(self) -> Path:
        return self.folder / "empty"

    @property
    def watched(self) -> Path:
        return self.folder / "watched"

    def reset(self) -> None:
        """Put everything back as it was."""
        for path in self.empty.iterdir():
            path.rmdir() if path.is_dir() else path.unlink()
        with contextlib.suppress(OSError):
            self.watched.unlink()
        self.watched.write_text(WATCHED)
        self.watched.chmod(0o644)
        os.utime(self.watched, (10**9, 10**9))
        for name in ("inherited", "kept"):
            os.truncate(self.folder / name, 0)
        self.scratch.value = b"whole!"
        self.requests.clear()

    def noticed(self) -> list[str]:
        """Return what rang, and take it away."""
        rang = [path.name for path in self.empty.iterdir()]
        rang += [n for n in ("inherited", "kept") if (self.folder / n).stat().st_size]
        state = self.watched.stat() if self.watched.exists() else None
        if state is None or self.watched.read_text() != WATCHED:
            rang.append("content")
        elif state.st_mode & 0o777 != 0o644 or state.st_mtime != 10**9:
            rang.append("mode or times")
        elif os.listxattr(self.watched):
            rang.append("attribute")
        if self.scratch.value != b"whole!":
            rang.append("memory")
        for ready in select.select([*self.listeners, self.inherited], [], [], 0)[0]:
            if ready.type == socket.SOCK_DGRAM or ready is self.inherited:
                rang.append(f"{ready.recv(100)!r}")
            else:
                ready.accept()[0].close()
                rang.append(f"connection to {ready.getsockname()!r}")
        return rang + self.requests


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Watch, Zygote]]:
    """Yield watched listeners, files and memory, and a zygote whose children know of them."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "empty").mkdir()
    for name in ("watched", "inherited", "kept"):
        (folder / name).touch()
    (folder / "secret").write_text(PLANTED)
    requests: list[str] = []

    class Metadata(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(f"metadata {self.path}")
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"access_token": "t"}')

        def log_message(self, *args: Any) -> None:
            pass

    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(str(folder / "unix"))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0mlsys-{os.getpid()}-{folder.name}")
        for listener in (unix, abstract):
            listener.listen()
        ours, theirs = map(stack.enter_context, socket.socketpair())
        server = stack.enter_context(http.server.HTTPServer(("127.0.0.1", 0), Metadata))
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        secret = ctypes.create_string_buffer(PLANTED.encode())
        scratch = ctypes.create_string_buffer(b"whole!")
        inherited = os.open(folder / "inherited", os.O_RDWR)
        kept = os.open(folder / "kept", os.O_RDWR)
        memory = os.memfd_create("kept", os.MFD_ALLOW_SEALING)
        os.ftruncate(memory, 4096)
        canaries = {
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "metadata": server.server_port,
            "unix": str(folder / "unix"),
            "abstract": f"mlsys-{os.getpid()}-{folder.name}",
            "empty": str(folder / "empty"),
            "watched": str(folder / "watched"),
            "secret": str(folder / "secret"),
            "parent": os.getpid(),
            "address": ctypes.addressof(secret),
            "scratch": ctypes.addressof(scratch),
            "length": len(PLANTED),
            "inherited_socket": theirs.fileno(),
            "inherited_file": inherited,
            "kept": [kept, memory],
        }
        zygote = Zygote(
            imports=("escapes",),
            canaries=canaries,
            pass_fds=(theirs.fileno(), inherited, kept, memory),
            environment={"MLSYS_PLANTED": PLANTED},
        )
        stack.callback(zygote.stop)
        made = Watch(folder, [tcp, udp, unix, abstract], ours, scratch, requests, canaries)
        yield made, zygote
        server.shutdown()
        thread.join(5)
        for descriptor in (inherited, kept, memory):
            os.close(descriptor)


def refused(outcome: Outcome, by: Any) -> bool:
    """Return whether a child ended as the table of tries says."""
    if isinstance(by, str):
        return by in outcome.error or f"died {outcome.died}" == by
    return bool(outcome.error) and outcome.errno in by


@pytest.mark.parametrize("name", TRIES)
def test_a_try_is_refused_inside(name: str, watch: tuple[Watch, Zygote]) -> None:
    """It fails as expected, and nothing that is watched notices it."""
    state, zygote = watch
    state.reset()
    outcome = zygote.run(TRIES[name].name)
    assert refused(outcome, TRIES[name].refused), outcome
    assert state.noticed() == []
    assert outcome.signals == 0
    assert PLANTED not in str(outcome)


@pytest.mark.parametrize("name", TRIES)
def test_the_control_the_same_try_without_walls(name: str, watch: tuple[Watch, Zygote]) -> None:
    """It succeeds, or reaches the kernel, and what is watched notices it."""
    try_ = TRIES[name]
    if try_.cannot:
        pytest.skip(try_.cannot)
    if try_.root and os.getuid() != 0:
        pytest.skip("only root can do this anywhere")
    state, zygote = watch
    state.reset()
    outcome = zygote.run(TRIES[name].name, walls="none")
    rang = state.noticed() or outcome.signals
    state.reset()
    if FILTERED and outcome.errno in (errno.EPERM, errno.ENOSYS):
        pytest.skip("the container that runs the tests has a filter of its own")
    assert not outcome.error or outcome.errno in try_.control, outcome
    assert outcome.died in (None, 0), outcome
    if try_.rings and not outcome.error:
        assert rang


def test_there_are_enough_tries() -> None:
    """The suite is a list that only grows."""
    assert len(TRIES) >= 100


def test_the_filter_alone_refuses_all_but_reading(watch: tuple[Watch, Zygote]) -> None:
    """On a kernel without Landlock, files of the user can be read and nothing else changes."""
    state, zygote = watch
    reads = {
        name
        for name, try_ in TRIES.items()
        if not isinstance(try_.refused, str) and 13 in try_.refused and 1 not in try_.refused
    }
    state.reset()
    results = {name: zygote.run(TRIES[name].name, walls="filter") for name in TRIES}
    open_ = {n for n, outcome in results.items() if not refused(outcome, TRIES[n].refused)}
    assert open_ - reads - {"look_a_name_up", "open_the_terminal"} <= {"enter_a_namespace"} | (
        {"read_the_kernels_messages"} if os.getuid() == 0 else set()
    ), {n: results[n] for n in open_ - reads}
    assert state.noticed() == []
    assert "read_a_secret_file" in open_
    # Overwritten, besides being nobody's to read
    environment = results["read_its_own_initial_environment"]
    assert not (environment.value or "").strip("\0"), environment


def test_landlock_alone_refuses_files_and_tcp(watch: tuple[Watch, Zygote]) -> None:
    """It holds where a filter has a gap."""
    state, zygote = watch
    state.reset()
    for name, since in BY_LANDLOCK.items():
        if since > available().landlock:
            continue
        outcome = zygote.run(TRIES[name].name, walls="landlock")
        assert outcome.errno in (1, 13), (name, outcome)
    assert state.noticed() == []


def test_a_try_is_refused_in_a_real_sandbox(watch: tuple[Watch, Zygote]) -> None:
    """The nursery forks it, and its memory is limited by its requester."""
    state, _ = watch
    state.reset()
    sandbox: Sandbox | None = None
    try:
        for name in WITHOUT_DESCRIPTORS:
            sandbox = sandbox or Sandbox("escapes.handlers:HANDLERS", memory=2 * 2**30)
            try:
                answer = sandbox.call("try", {"name": name, "canaries": state.canaries}, seconds=20)
                outcome = Outcome(**answer.body)
            except SandboxDied as exc:
                assert "signal 31" in exc.detail, (name, exc)
                outcome, sandbox = Outcome(died=-31), None
            assert refused(outcome, TRIES[name].refused), (name, outcome)
        assert len(WITHOUT_DESCRIPTORS) >= 100
        assert state.noticed() == []
    finally:
        if sandbox is not None:
            sandbox.close()
        nursery.close()
