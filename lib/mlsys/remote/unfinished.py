"""Runs that a notebook started and did not see end, so that the same call goes on with them.

The run of a request usually follows from it, and needs no memory. It does not if the input is a
view, or if the table changed since. One small file a request is kept in the user's cache, which
outlives the kernel:

```
~/.cache/mlsys/unfinished/{digest of the service's address and the parameters}.json
```
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# The rows of an older run would surprise: a copy of a view's rows lasts seven days, a person's
# memory of the interruption less.
LASTS = dt.timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Earlier:
    """An interrupted run, and when it was started."""

    run_id: str
    at: dt.datetime


class Unfinished:
    """The memory of one request's interrupted run."""

    def __init__(self, url: str, params: Mapping[str, str]) -> None:
        text = json.dumps([url, sorted(params.items())])
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        self._path = folder() / f"{digest}.json"

    def earlier(self) -> Earlier | None:
        """Return the request's interrupted run, or None if there is none of the last day."""
        try:
            value = json.loads(self._path.read_text())
            earlier = Earlier(str(value["run_id"]), dt.datetime.fromisoformat(value["at"]))
            age = dt.datetime.now(dt.UTC) - earlier.at
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return earlier if age < LASTS else None

    def keep(self, run_id: str) -> None:
        """Remember the request's run; without a folder to write to, nothing is remembered."""
        if (earlier := self.earlier()) is not None and earlier.run_id == run_id:
            return  # with the time of its start
        value = {"run_id": run_id, "at": dt.datetime.now(dt.UTC).isoformat()}
        new = self._path.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(json.dumps(value))
            new.replace(self._path)

    def forget(self) -> None:
        """Forget the request's run: it has ended."""
        with contextlib.suppress(OSError):
            self._path.unlink()


def folder() -> Path:
    """Return the folder of the files: in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or ""
    try:
        base = Path(cache) if os.path.isabs(cache) else Path.home() / ".cache"
    except RuntimeError:  # the user has no home
        base = Path(tempfile.gettempdir())
    return base / "mlsys" / "unfinished"
