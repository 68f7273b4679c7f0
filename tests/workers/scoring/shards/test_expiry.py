"""A run that cannot end within its read session fails early, and says what would do."""

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest

from mlsys.errors import Conflict, SessionOver
from workers import machine
from workers.scoring.journal.decisions import Counts
from workers.scoring.shards import watch
from workers.scoring.shards.chain import Chain
from workers.scoring.shards.expiry import LASTS, at_work, check_left_alone, check_pace
from workers.scoring.shards.part import Footer
from workers.scoring.shards.read_session import current_session
from workers.scoring.shards.session import Session, given_up
from workers.scoring.shards.watch import Watch

NOW = dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC)
HOUR, MINUTE = dt.timedelta(hours=1), dt.timedelta(minutes=1)


def minutes(*moments: float) -> list[dt.datetime]:
    return [NOW + moment * MINUTE for moment in moments]


@pytest.mark.parametrize(
    ("parts", "busy"),
    [
        ((), 0),
        ((2,), 2),
        ((300,), 10),
        ((2, 4, 6, 300, 302), 18),
        ((6, 2, 4), 6),
        (tuple(range(1, 361)), 360),
    ],
)
def test_times_without_parts_are_not_work(parts: tuple[float, ...], busy: float) -> None:
    assert at_work(NOW, minutes(*parts)) == busy * MINUTE


def test_a_run_that_was_left_alone_may_begin_again() -> None:
    check_left_alone("run", (NOW + LASTS).isoformat(), minutes(1, 2, 200), 3_000, 10_000)


def test_a_run_that_was_at_work_all_the_time_may_not() -> None:
    with pytest.raises(Conflict) as caught:
        check_left_alone("run", (NOW + LASTS).isoformat(), minutes(*range(350)), 3_000, 10_000)
    for word in ("3,000 of 10,000 rows", "5.8 hours", "where", "cores"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("rate", "left", "hours", "ends"),
    [
        (1_000, 3_000_000, 1, True),  # 50 minutes
        (1_000, 4_000_000, 1, True),  # 67 minutes: the pace is not exact
        (1_000, 5_000_000, 1, False),
        (100_000, 2_000_000_000, 6, True),
        (10_000, 2_000_000_000, 6, False),
        (0, 1, 6, False),
        (0, 0, 6, True),
        (1, 10**9, None, True),  # the local BigQuery's sessions do not expire
    ],
)
def test_the_pace_must_suffice_for_the_rows_left(
    rate: float, left: int, hours: float | None, ends: bool
) -> None:
    expires = None if hours is None else (NOW + hours * HOUR).isoformat()
    if ends:
        check_pace("run", rate, left, expires, 2, NOW)
        return
    with pytest.raises(Conflict, match="cannot end before BigQuery ends its read session"):
        check_pace("run", rate, left, expires, 2, NOW)


def test_the_refusal_has_the_figures_and_what_would_do() -> None:
    with pytest.raises(Conflict) as caught:
        check_pace("run-1", 10_000, 2_000_000_000, (NOW + 6 * HOUR).isoformat(), 4, NOW)
    words = ("10,000 rows a second", "4 cores", "2,000,000,000 rows are left", "55.6 hours")
    for word in (*words, "6.0", "About 38 cores", "where", "MOD("):
        assert word in str(caught.value)


# The watch that measures it


class Store:
    """The objects of a run, in memory."""

    def __init__(self) -> None:
        self.run_id = "run"
        self.footers: dict[str, Footer] = {}
        self.objects: dict[str, dict[str, Any]] = {}
        self.written_at = NOW

    def parts(self, session: int, shard: int | None = None) -> dict[str, Any]:
        blob = SimpleNamespace(time_created=self.written_at)
        return {name: blob for name in self.footers if name.startswith(f"parts/{session}/")}

    def add(self, session: int, offset: int, rows: int, last: bool = False) -> None:
        name = f"parts/{session}/00000-{offset:012d}.parquet"
        self.footers[name] = Footer(Counts(rows, rows, 0, 0), None, "", "s", offset, last)

    def read(self, name: str) -> dict[str, Any] | None:
        return self.objects.get(name)

    def create(self, name: str, value: dict[str, Any]) -> bool:
        return self.objects.setdefault(name, value) is value

    def parse(self, name: str, value: Any, to: Any) -> Any:
        return to(value)

    def uri(self, name: str) -> str:
        return name


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Store()

    def read(blobs: Any) -> list[Footer]:
        return [made.footers[name] for name in sorted(made.footers)][: len(list(blobs))]

    monkeypatch.setattr(watch, "readable_footers", lambda _: [made.footers[max(made.footers)]])
    monkeypatch.setattr("workers.scoring.shards.session.readable_footers", read)
    monkeypatch.setattr("workers.scoring.shards.chain.read_footers", read)
    monkeypatch.setattr(watch, "EVERY", 0.0)
    monkeypatch.setattr(machine, "cores", lambda: 2)
    return made


class Clock:
    """A `time` whose seconds a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: self.now))


def watching(
    store: Any, rows: int, where: str | None = None, left: dt.timedelta = 6 * HOUR
) -> Watch:
    expires = (dt.datetime.now(dt.UTC) + left).isoformat()
    session = Session(0, ("s",), expires, rows, 1_000)
    plan: Any = SimpleNamespace(run_id="run", is_filtered=where is not None)
    return Watch(store, plan, session, [Chain(0)])


def looked(store: Any, clock: Clock, seen: Watch, seconds: float) -> None:
    """Let a part of 1,000 rows appear every `seconds` seconds, ten times."""
    for number in range(10):
        clock.now += seconds
        store.add(0, 1_000 * number, 1_000)
        seen.look()


@pytest.mark.parametrize(("rows", "ends"), [(2_000_000, True), (20_000_000, False)])
def test_a_slow_run_is_refused_after_its_first_parts(
    store: Any, monkeypatch: pytest.MonkeyPatch, rows: int, ends: bool
) -> None:
    clock = Clock(monkeypatch)
    seen = watching(store, rows)
    if ends:  # 100 rows a second are 2.2 million in six hours
        looked(store, clock, seen, 10.0)
        return
    with pytest.raises(Conflict, match="100 rows a second"):
        looked(store, clock, seen, 10.0)
    assert clock.now == watch.PACE_SECONDS + 10.0


def test_a_session_that_is_nearly_over_is_replaced_by_one_that_is_long_enough(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SessionOver, match="before the run would"):
        looked(store, Clock(monkeypatch), watching(store, 1_000_000, left=10 * MINUTE), 10.0)


def test_the_start_of_a_try_does_not_count_for_the_pace(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    seen = watching(store, 2_000_000)
    clock.now = 500.0  # models are loaded
    looked(store, clock, seen, 10.0)


def test_a_filter_leaves_the_pace_unjudged(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    looked(store, clock, watching(store, 10**9, where="id < 5"), 10.0)


# Sessions that are over


def session_with(store: Any, left: dt.timedelta) -> None:
    expires = (dt.datetime.now(dt.UTC) + left).isoformat()
    store.objects["session-0.json"] = {
        "number": 0,
        "streams": ["s"],
        "expires_at": expires,
        "rows": 5_000,
        "rows_exact": True,
    }
    store.objects["session-1.json"] = store.objects["session-0.json"] | {
        "number": 1,
        "expires_at": None,
    }


def current(store: Any, deadline: float = 540.0) -> Session:
    clients: Any = SimpleNamespace(settings=SimpleNamespace(request_timeout=3_600.0))
    return current_session(clients, store, None, deadline=watch.time.monotonic() + deadline)  # type: ignore[arg-type]


def test_a_session_is_judged_by_the_callers_deadline(store: Any) -> None:
    session_with(store, 20 * MINUTE)
    assert current(store).number == 0
    assert current(store, 3_540.0).number == 1


def test_a_session_with_parts_is_used_to_its_end(store: Any) -> None:
    session_with(store, 5 * MINUTE)
    store.add(0, 0, 1_000)
    assert current(store).number == 0
    assert given_up(store) == []


def test_a_session_whose_rows_were_all_read_needs_no_other(store: Any) -> None:
    session_with(store, -HOUR)
    store.add(0, 0, 1_000, last=True)
    assert current(store).number == 0


def test_a_run_that_was_left_alone_says_what_it_reads_again(store: Any) -> None:
    session_with(store, -24 * HOUR)
    store.add(0, 0, 1_000)
    assert current(store).number == 1
    [over] = given_up(store)
    assert (over.number, over.kind, over.rows) == (0, "expired", 1_000)


def test_a_run_that_worked_for_a_whole_session_does_not_begin_again(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.scoring.shards.expiry.BUSY", MINUTE)
    session_with(store, -MINUTE)
    store.written_at = dt.datetime.now(dt.UTC) - HOUR
    store.add(0, 0, 1_000)
    for _ in range(2):
        with pytest.raises(Conflict, match=r"1,000 of 5,000 rows"):
            current(store)
    assert given_up(store) == []


def test_a_process_that_was_stopped_for_an_hour_does_not_take_the_hour_for_work(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    seen = watching(store, 200_000)
    looked(store, clock, seen, 60)  # 1,000 rows a minute
    clock.now += 3_600
    store.add(0, 10_000, 1_000)
    seen.look()
