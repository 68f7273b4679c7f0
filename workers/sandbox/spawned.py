"""A sandbox's process where processes must not be forked: on macOS.

It costs seconds of imports, and ends with its channel: nothing kills it with its requester.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any


class Spawned:
    """A process that was started from nothing, where a process must not be forked: on macOS."""

    def __init__(
        self, main: str, arguments: Sequence[Any], fds: Sequence[int], imports: Sequence[str] = ()
    ) -> None:
        call = json.dumps([main, list(fds), list(arguments)])
        code = f"from workers.sandbox.forks import call; call(*__import__('json').loads({call!r}))"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=fds,
            env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ.get("PATH", "")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.pid = self._process.pid

    def reap(self, *, end: bool) -> int | None:
        """Return its exit code: see `Child.reap`."""
        if end:
            self._process.kill()
            return self._process.wait()
        return self._process.poll()
