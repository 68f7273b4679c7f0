"""Long library calls show on stderr that they are still running."""

import io
import re
import sys
import threading
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

import mlsys.bq
import mlsys.gcs
import mlsys.models
from broken_cloud import GENERATION, BrokenCloud
from mlsys.cloud import progress, uploads
from mlsys.errors import CloudUnavailable
from mlsys.registry import row


class Terminal(io.StringIO):
    """A terminal's stderr; `written` is set as soon as something is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        size = super().write(text)
        self.written.set()
        return size


class Clock:
    """A clock that advances only in `wait`, until the work has taken `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.now, self._ends = 100.0, 100.0 + seconds
        self.waited: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        self.now = min(self.now + seconds, self._ends)
        return self.now == self._ends


def shown(seconds: float, doing: str = "Waiting") -> tuple[list[str], Clock]:
    """Return the lines that work of `seconds` shows, and the clock."""
    clock, stream = Clock(seconds), Terminal()
    line = progress.Line(doing, stream, clock)
    line.show(clock.wait)
    line.end("done")
    return stream.getvalue().split("\r")[1:], clock


def test_nothing_is_shown_for_three_seconds() -> None:
    assert shown(2.9)[0] == []


def test_one_line_is_rewritten_at_growing_intervals() -> None:
    lines, _ = shown(13)
    assert [line.rstrip(" ") for line in lines] == [
        "Waiting (3 s)",
        "Waiting (6 s)",
        "Waiting (12 s)",
        "Waiting (13 s, done)\n",
    ]
    lines, clock = shown(240)  # the longest wait for the registry
    assert len(lines) < 15 and max(clock.waited) == progress.MOST
    assert "".join(lines).count("\n") == 1


def test_what_is_done_is_a_percentage_in_a_terminal_and_a_bar_in_a_notebook() -> None:
    class OutStream(Terminal):
        __module__ = "ipykernel.iostream"

    for stream, first in (
        (Terminal(), "Downloading (3 s, 25%)"),
        (OutStream(), "Downloading █████░░░░░░░░░░░░░░░ (3 s, 25%)"),
    ):
        so_far = progress.Done(1_000, 250)
        line = progress.Line("Downloading", stream, clock := Clock(20), so_far)
        line.show(clock.wait)
        line.end("done")
        lines = [text.rstrip() for text in stream.getvalue().split("\r")[1:]]
        assert (lines[0], lines[-1]) == (first, "Downloading (20 s, done)")
        assert max(clock.waited[1:]) <= progress.MOST_OF_A_BAR


def test_a_bar_never_passes_its_end_and_an_unknown_total_has_none() -> None:
    assert progress.Done(10, 20).share == 1.0
    assert progress.Done(0, 20).share is None and progress.Done(10, 0).share is None


def test_a_large_upload_is_sent_in_several_requests_and_counted() -> None:
    sent: list[int] = []

    class Blob:
        chunk_size = 0

        def upload_from_file(self, file: Any, size: int, **options: Any) -> None:
            assert options["if_generation_match"] == 3
            while chunk := file.read(self.chunk_size):
                sent.append(len(chunk))
                assert done.count == sum(sent[:-1])

    done = progress.Done(40 << 20)
    uploads.upload(Blob(), b"x" * (40 << 20), "a/b", done, if_generation_match=3)  # type: ignore[arg-type]
    assert sent == [16 << 20, 16 << 20, 8 << 20] and done.count == done.total


def test_a_line_is_never_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines, _ = shown(13, "Uploading to gs://" + "x" * 300)
    assert max(len(line.rstrip("\n")) for line in lines) < 40
    assert lines[0].endswith("... (3 s)")
    monkeypatch.setenv("COLUMNS", "5")
    shown(13)


def test_a_shorter_line_erases_the_previous_one() -> None:
    stream = Terminal()
    clock = Clock(5)
    line = progress.Line("Waiting", stream, clock)
    line.show(clock.wait)
    clock.now = 101.0
    line.end("")
    first, last = stream.getvalue().split("\r")[1:]
    assert len(last.rstrip("\n")) >= len(first)


def test_a_closed_stderr_does_not_stop_the_work() -> None:
    stream, clock = Terminal(), Clock(20)
    line = progress.Line("Waiting", stream, clock)
    stream.close()
    line.show(clock.wait)
    line.end("done")


def test_no_progress_is_written_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "FIRST", 0.0)
    closed = Terminal()
    closed.close()
    for stream in (io.StringIO(), None, closed):
        monkeypatch.setattr(sys, "stderr", stream)
        before = threading.active_count()
        with progress.progress("Waiting"):
            assert threading.active_count() == before
        if isinstance(stream, io.StringIO) and not stream.closed:
            assert stream.getvalue() == ""


def test_progress_is_shown_in_jupyter() -> None:
    class OutStream(io.StringIO):
        __module__ = "ipykernel.iostream"

    assert progress.is_watched(OutStream())
    assert not progress.is_watched(io.StringIO())


def watched(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stderr a terminal, and show the first line at once; pytest resets stderr at a call."""
    monkeypatch.setattr(progress, "FIRST", 0.0)
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


class SlowCloud(BrokenCloud):
    """A cloud whose call `slow` returns once the terminal shows something."""

    def __init__(self, slow: str, terminal: Terminal, exc: Exception | None = None) -> None:
        super().__init__(0, None)
        self._slow, self._terminal, self._raises = slow, terminal, exc

    def call(self, name: str, value: Any = None) -> Any:
        if name == self._slow:
            self._terminal.written.clear()
            assert self._terminal.written.wait(10)
            if self._raises is not None:
                raise self._raises
        return super().call(name, value)


def upload() -> Any:
    from sklearn.dummy import DummyRegressor

    X = pd.DataFrame({"a": [1.0, 2.0]})
    return mlsys.models.upload_model(DummyRegressor().fit(X, [1, 2]), "demo", X=X)


@pytest.mark.parametrize(
    ("slow", "call", "says"),
    [
        ("result", lambda: mlsys.bq.bq_get("SELECT 1"), "Waiting for the query's result"),
        ("to_arrow", lambda: mlsys.bq.bq_get("SELECT 1"), "Downloading 1 row"),
        (
            "load",
            lambda: mlsys.bq.bq_put(pd.DataFrame({"a": [1, 2]}), "demo-project.d.t"),
            "Writing 2 rows into demo-project.d.t",
        ),
        ("download", lambda: mlsys.gcs.gcs_get("demo-b", "a/b"), "Downloading gs://demo-b/a/b"),
        (
            "download",
            lambda: mlsys.gcs.gcs_get_pickle("demo-b", "a/b"),
            "Downloading gs://demo-b/a/b",
        ),
        (
            "upload",
            lambda: mlsys.gcs.gcs_put(b"x" * 1000, "demo-b", "a/b"),
            "Uploading 1,000 bytes to gs://demo-b/a/b",
        ),
        ("upload", upload, "Uploading demo ("),
        ("result", upload, "Waiting until the registry of dev shows demo/v1"),
    ],
)
def test_long_calls_show_their_action(
    monkeypatch: pytest.MonkeyPatch, slow: str, call: Callable[[], Any], says: str
) -> None:
    terminal, threads = watched(monkeypatch), threading.active_count()
    cloud = SlowCloud(slow, terminal)
    for module in (mlsys.bq, mlsys.gcs, mlsys.models):
        monkeypatch.setattr(module, "default_clients", lambda: cloud)
    call()
    assert threading.active_count() <= threads  # those of other tests may end
    lines = [line.rstrip() for line in terminal.getvalue().split("\r")]
    mine = [line for line in lines if line.startswith(says)]
    assert re.search(r" \(0 s\)$", mine[0]) and mine[-1].endswith("(0 s, done)"), lines


def test_a_failing_call_ends_its_line_without_claiming_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = watched(monkeypatch)
    cloud = SlowCloud("download", terminal, ConnectionError("reset"))
    monkeypatch.setattr(mlsys.gcs, "default_clients", lambda: cloud)
    with pytest.raises(CloudUnavailable):
        mlsys.gcs.gcs_get("demo-b", "a/b")
    assert terminal.getvalue().endswith("\n") and "done" not in terminal.getvalue()


def test_waiting_for_the_registry_shows_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    cloud: Any = SlowCloud("result", terminal)
    ref = mlsys.models.ModelRef("demo", "v1")
    assert row.wait_until_registered(cloud, "dev", ref, GENERATION).status == "ready"
    assert "Waiting until the registry of dev shows demo/v1" in terminal.getvalue()
