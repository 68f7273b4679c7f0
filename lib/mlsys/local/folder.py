"""The folder of a local stack, with its objects, tables and logs, for one stack at a time.

The kernel holds the locks, not a file's content, so a process that died leaves none behind.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from mlsys.errors import SettingsError
from mlsys.local.guard import GRACE


class Folder:
    """A folder that belongs to this process until it is closed.

    `lock` is the file of a lock that the servers' guards keep open as long as one of them runs.
    """

    def __init__(self, data_dir: Path | None, progress: Callable[[str], None]) -> None:
        """Create the folder, or a temporary one, and wait for the servers of a killed stack to end.

        Raises:
            SettingsError: another stack uses it, or it cannot be used.
        """
        self._kept = data_dir is not None
        with contextlib.ExitStack() as exits:
            try:
                # Resolved: macOS reaches its temporary folder through a link.
                self.path = (
                    Path(tempfile.mkdtemp(prefix="mlsys-local-"))
                    if data_dir is None
                    else data_dir.expanduser()
                ).resolve()
                exits.callback(self._remove)
                for path in (self.storage, self.bigquery, self.logs):
                    path.mkdir(parents=True, exist_ok=True)
                self._lock = exits.enter_context(_lock_folder(self.path))
                self.lock = exits.enter_context(_lock_servers(self.path, progress))
            except (OSError, RuntimeError) as exc:  # RuntimeError: no such home
                reason = getattr(exc, "strerror", None) or exc
                where = data_dir or "the folder for temporary files, TMPDIR,"
                raise SettingsError(
                    f"{where} cannot be used ({reason}): pass another --data-dir"
                ) from exc
            self._exits = exits.pop_all()

    @property
    def storage(self) -> Path:
        """The folder of the buckets."""
        return self.path / "storage"

    @property
    def bigquery(self) -> Path:
        """The folder of the tables."""
        return self.path / "bigquery"

    @property
    def logs(self) -> Path:
        """The folder of the servers' logs."""
        return self.path / "logs"

    def close(self) -> None:
        """Release the folder; a temporary one is removed. Can be called again."""
        self._exits.close()

    def _remove(self) -> None:
        if not self._kept:
            shutil.rmtree(self.path, ignore_errors=True)


def _lock_folder(folder: Path) -> IO[str]:
    """Lock the folder for this process, as long as the returned file is open.

    Raises:
        SettingsError: another process holds it.
    """
    lock = _try_lock(folder / "lock")
    if lock is None:
        raise SettingsError(
            f"another local stack uses {folder}: stop it first, or pass another --data-dir"
        )
    return lock


def _lock_servers(folder: Path, progress: Callable[[str], None]) -> IO[str]:
    """Wait until no server of an earlier stack runs in the folder, and lock it for this stack's.

    The servers of a stack that was killed end within seconds after it.

    Raises:
        SettingsError: one of them does not end.
    """
    deadline = time.monotonic() + GRACE + 10
    reported = False
    while (lock := _try_lock(folder / "servers.lock")) is None:
        if time.monotonic() > deadline:
            raise SettingsError(
                f"servers of an earlier stack still run in {folder}: end them, or pass another "
                "--data-dir"
            )
        if not reported:
            progress("Waiting for the servers of a stack that was killed")
            reported = True
        time.sleep(0.05)
    return lock


def _try_lock(path: Path) -> IO[str] | None:
    import fcntl

    lock = path.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    except OSError:
        lock.close()
        raise
    return lock
