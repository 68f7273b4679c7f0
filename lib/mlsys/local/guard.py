"""Run a command that ends when its starter has ended.

    python -m mlsys.local.guard [--remove FOLDER] -- COMMAND [ARGUMENT ...]

The starter holds the write end of the guard's standard input. When that pipe closes, the starter
has stopped, crashed or was killed; the kernel closes it in every case, so no signal handler of the
starter is needed, and it works wherever pipes do. A starter that stops in an orderly way writes a
byte before. On Linux the kernel ends the command too if the guard itself is killed.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

GRACE = 10.0  # seconds between SIGTERM and SIGKILL
KILLED_GRACE = 2.0  # the same after the starter was killed: a restart waits for it
_PR_SET_PDEATHSIG = 1  # prctl(2)
_USAGE = "usage: python -m mlsys.local.guard [--remove FOLDER] -- COMMAND [ARGUMENT ...]"


def guard(command: Sequence[str], remove: str | None = None, stdin: int = 0) -> int:
    """Run `command` until it ends or `stdin` reaches its end, and return its exit code.

    The command gets a process group of its own, so that its children end with it. The exit code
    follows the shell: 128 + the signal's number if a signal ended it, 127 if it was not found.
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
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            process_group=0,
            preexec_fn=_end_with_parent() if sys.platform == "linux" else None,
        )
    except OSError as exc:
        print(f"{command[0]}: {exc.strerror}", file=sys.stderr)
        return 127
    starter_gone, orderly = False, False
    while child.poll() is None:
        ready, _, _ = select.select([stdin, wake_read], [], [])
        if stdin in ready:
            if not os.read(stdin, 4096):
                starter_gone = True
                break
            orderly = True
        if wake_read in ready and signal.SIGTERM in os.read(wake_read, 4096):
            orderly = True
            break
    _end(child, GRACE if orderly else KILLED_GRACE)
    if starter_gone and remove:
        shutil.rmtree(remove, ignore_errors=True)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _end_with_parent() -> Callable[[], None]:
    """Return a function that, called in a new process, makes it end with its parent."""
    import ctypes

    libc, parent = ctypes.CDLL(None), os.getpid()

    def end_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return end_with_parent


def _end(child: subprocess.Popen[bytes], grace: float) -> None:
    """End the child by SIGTERM, or after `grace` seconds by SIGKILL; then its descendants."""
    if child.poll() is None:
        # As on Cloud Run, only to the child, which ends its own children.
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(grace)
    # Also after an orderly end: nothing else would end what the child left behind. macOS
    # raises PermissionError for a group that has only zombies left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def main(arguments: Sequence[str]) -> int:
    """Parse the guard's own arguments and run it; return 2 if they are invalid."""
    remove = None
    if len(arguments) > 1 and arguments[0] == "--remove":
        remove, arguments = arguments[1], arguments[2:]
    if len(arguments) < 2 or arguments[0] != "--":
        print(_USAGE, file=sys.stderr)
        return 2
    return guard(arguments[1:], remove)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
