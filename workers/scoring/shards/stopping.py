"""Tell what ends a run from what fails in a part of it that the run can do without."""

from __future__ import annotations

from collections.abc import Callable

from mlsys.errors import RunInterrupted


class Stop:
    """A run's `stop`, which also raises: a run is cancelled so. It remembers what it raised."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop
        self._raised: Exception | None = None

    def __call__(self) -> bool:
        """Return what the run's own returns."""
        try:
            return self._stop()
        except Exception as exc:
            self._raised = exc
            raise

    def caused(self, exc: Exception) -> bool:
        """Tell whether `exc` means that the run is to stop, wherever that was noticed."""
        return isinstance(exc, RunInterrupted) or exc is self._raised
