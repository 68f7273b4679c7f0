"""A process that forks children which run one function each, inside the walls or without them."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SECONDS = 60.0  # for one child
MEMORY = 2 * 2**30
PASSED = ("LD_LIBRARY_PATH", "PATH")


@dataclass(frozen=True)
class Outcome:
    """How a child ended: with a value, an error, or by a signal or an exit status alone."""

    value: Any = None
    error: str = ""  # the exception's type, and its text
    errno: int = 0
    died: int | None = None  # as `os.waitstatus_to_exitcode` says
    signals: int = 0  # that reached the zygote since the last child


class Zygote:
    """The test's side."""

    def __init__(
        self,
        *,
        prepared: bool = False,
        imports: tuple[str, ...] = (),
        canaries: dict[str, Any] | None = None,
        pass_fds: tuple[int, ...] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        paths = [str(Path(__file__).parent), *filter(None, sys.path)]
        variables = {name: os.environ[name] for name in PASSED if name in os.environ}
        variables["PYTHONPATH"] = os.pathsep.join(paths)
        options = json.dumps({"prepared": prepared, "imports": imports, "canaries": canaries or {}})
        self._process = subprocess.Popen(
            [sys.executable, __file__, options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=pass_fds,
            env=variables | (environment or {}),
            start_new_session=True,
        )

    def run(self, name: str, walls: str = "all", **limits: Any) -> Outcome:
        """Return the outcome of the function named `module:function` in a child.

        `walls` is `all`, `none`, `filter` (Landlock lets it read everything) or `landlock` (alone).
        """
        request = json.dumps({"name": name, "walls": walls, "limits": limits})
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(request.encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the zygote has died"
        return Outcome(**json.loads(line))

    def stop(self) -> None:
        """End the zygote."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()


def enclose(walls: str, keep: list[int], limits: dict[str, Any]) -> None:
    """Put up the walls that the test names."""
    from workers.sandbox.walls import Limits, landlock, libc, syscalls
    from workers.sandbox.walls import enclose as enclose_process

    if walls == "landlock":
        architecture = syscalls.architecture()
        assert architecture is not None
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        landlock.restrict(architecture, [Path("/usr"), Path(sys.base_prefix)])
    elif walls != "none":
        readable = None if walls == "all" else [Path("/")]
        made = Limits(**({"memory": MEMORY} | limits))
        enclose_process(made, keep=keep, readable=readable)


def child(request: dict[str, Any], pipe: int, canaries: SimpleNamespace) -> None:
    """Run the function, and write how it ended."""
    module, name = request["name"].split(":")
    function = getattr(importlib.import_module(module), name)
    kept = [pipe, *(getattr(canaries, "kept", None) or [])]
    answer: dict[str, Any]
    try:
        enclose(request["walls"], kept, request["limits"])
        answer = {"value": function(canaries)}
    except BaseException as exc:
        cause = getattr(exc, "reason", exc)  # of a URLError
        number = getattr(cause, "errno", None)
        answer = {
            "error": f"{type(exc).__name__}: {exc}"[:500],
            "errno": number if isinstance(number, int) else 0,
        }
    view = memoryview(json.dumps(answer, default=repr).encode())
    while view:
        view = view[os.write(pipe, view) :]


def main() -> None:
    """Fork a child for every line of the standard input, and write its outcome to the output."""
    options = json.loads(sys.argv[1])
    canaries = SimpleNamespace(**options["canaries"])
    if options["prepared"]:
        from workers.sandbox.walls import prepare

        prepare()
    for module in ("workers.sandbox.walls", *options["imports"]):
        importlib.import_module(module)
    signals = 0

    def count(*_: object) -> None:
        nonlocal signals
        signals += 1

    signal.signal(signal.SIGUSR1, count)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        ours, theirs = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # OpenBLAS's threads, which it starts again
            pid = os.fork()
        if not pid:
            try:
                os.close(ours)
                child(request, theirs, canaries)
            finally:
                os._exit(0)
        os.close(theirs)
        content, deadline = b"", time.monotonic() + SECONDS
        while select.select([ours], [], [], max(0.0, deadline - time.monotonic()))[0]:
            piece = os.read(ours, 65536)
            if not piece:
                break
            content += piece
        else:
            os.kill(pid, signal.SIGKILL)
        os.close(ours)
        died = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        outcome = Outcome(**(json.loads(content) if content else {"died": died}))
        outcome = dataclasses.replace(outcome, signals=signals)
        signals = 0
        sys.stdout.write(json.dumps(dataclasses.asdict(outcome)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
