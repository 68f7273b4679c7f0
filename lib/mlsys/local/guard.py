"""Run a command that ends when whoever started it is gone.

    python -m mlsys.local.guard [--remove FOLDER] -- COMMAND [ARGUMENT ...]

The starter holds the write end of the guard's standard input and never writes to it. When that
pipe closes, the starter has stopped, crashed or was killed; the kernel closes it in every case,
so no signal handler of the starter is needed, and it works wherever there are pipes.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence

GRACE = 10.0  # seconds between the polite signal and the other one
_USAGE = "usage: python -m mlsys.local.guard [--remove FOLDER] -- COMMAND [ARGUMENT ...]"


def guard(command: Sequence[str], remove: str | None = None, stdin: int = 0) -> int:
    """Run `command` until it ends or `stdin` reaches its end, and return its exit code.

    The command gets a process group of its own, so that its children end with it. The exit code
    follows the shell: 128 + the signal's number if a signal ended it, 127 if it is not there.
    When `stdin` reached its end, the folder `remove` is removed afterwards.
    """
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    # Handlers, not SIG_IGN: an ignored signal would stay ignored in the command. Ctrl-C and a
    # closed terminal reach the whole foreground group; only the starter decides what they mean.
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    except OSError as exc:
        print(f"{command[0]}: {exc.strerror}", file=sys.stderr)
        return 127
    starter_gone = False
    while child.poll() is None:
        ready, _, _ = select.select([stdin, wake_read], [], [])
        if stdin in ready and not os.read(stdin, 4096):
            starter_gone = True
            break
        if wake_read in ready and signal.SIGTERM in os.read(wake_read, 4096):
            break
    _end(child)
    if starter_gone and remove:
        shutil.rmtree(remove, ignore_errors=True)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child politely, and in any case within `GRACE` seconds; then what it started."""
    if child.poll() is None:
        # As on Cloud Run, to the child alone: how its own children end is its business.
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
    # Also after an orderly end: what the child left behind belongs to nobody. macOS answers
    # PermissionError for a group of which only zombies are left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def main(arguments: Sequence[str]) -> int:
    """Parse the guard's own arguments and run it; 2 means that they were wrong."""
    remove = None
    if len(arguments) > 1 and arguments[0] == "--remove":
        remove, arguments = arguments[1], arguments[2:]
    if len(arguments) < 2 or arguments[0] != "--":
        print(_USAGE, file=sys.stderr)
        return 2
    return guard(arguments[1:], remove)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
