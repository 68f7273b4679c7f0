"""Progress of a run on stderr: a bar in a terminal or a notebook, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from mlsys.cloud.progress import is_notebook, is_watched
from mlsys.plural import plural

NOTEBOOK_COLUMNS = 100  # characters of a bar
LINE_EVERY = 10.0  # seconds between two lines of progress without a terminal


def say(line: str) -> None:
    """Print a line on stderr."""
    print(line, file=sys.stderr, flush=True)


class Progress:
    """Progress of a run: a bar in a terminal or a notebook, otherwise a line every `LINE_EVERY`."""

    def __init__(self) -> None:
        self.latest: Mapping[str, Any] = {}
        self._bar: Any = None
        self._began = self._printed = time.monotonic()

    def show(self, status: Mapping[str, Any]) -> None:
        """Show the answer of `GET /runs/{run_id}`."""
        self.latest = status
        total = status.get("rows_total")  # None: unknown for a view or a filter
        shards = status["shards_done"]
        shards_text = plural(shards, "part")
        if is_watched(sys.stderr):
            self._draw(total, shards_text)
        elif time.monotonic() - self._printed >= LINE_EVERY:
            self._printed = time.monotonic()
            rows = f"{rows_done(self.latest):,}" + (f" of {total:,}" if total else "") + " rows"
            seconds = f"{self._printed - self._began:.0f} s"
            say(", ".join(filter(None, (rows, shards_text, seconds))))

    def note(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        if self._bar is None:
            say(line)
        else:
            self._bar.write(line, file=sys.stderr)

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def _draw(self, total: int | None, shards_text: str) -> None:
        from tqdm import tqdm

        if self._bar is None:  # `initial`: rows of an earlier try do not count for the rate
            self._bar = tqdm(
                total=total,
                initial=rows_done(self.latest),
                unit=" rows",
                unit_scale=True,
                # A notebook's stream has no width.
                ncols=NOTEBOOK_COLUMNS if is_notebook(sys.stderr) else None,
                dynamic_ncols=not is_notebook(sys.stderr),
                leave=False,  # the result is printed afterwards
                file=sys.stderr,
            )
        self._bar.total = total
        self._bar.set_postfix_str(shards_text, refresh=False)
        self._bar.update(rows_done(self.latest) - self._bar.n)
        self._bar.refresh()


def rows_done(status: Mapping[str, Any]) -> int:
    """Return how many rows of a run are done."""
    return int(status.get("rows_done") or 0)
