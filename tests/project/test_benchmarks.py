"""The benchmarks: their report of invented rounds, and their command line."""

import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from sklearn.linear_model import LinearRegression

from benchmarks.__main__ import arguments, cases, counts
from benchmarks.job_model import Parts, compute, table
from benchmarks.limits import cores, on_one_core
from benchmarks.processes import Watch, all_seconds, busiest, own_seconds
from benchmarks.report import PEER_PACKAGES, Report
from benchmarks.ways import LIMIT, ONE_CORE, PEERS, PYTHONS, SERVICE, WHOLE, Measured
from benchmarks.workloads import Case, Workload

ROOT = Path(__file__).parents[2]
WORKLOAD = Workload("d", "LinearRegression", LinearRegression(), ("f0",))
SMALL, LARGE = Case(WORKLOAD, 1_000), Case(WORKLOAD, 5_000)


def rounds(case: Case) -> list[Measured]:
    """Return two rounds; everything takes twice as long in the second."""
    seconds = {SERVICE: 3.0, ONE_CORE: 6.0, WHOLE: 4.0, LIMIT: 1.5}
    own = {SERVICE: 1.0, ONE_CORE: 2.0, WHOLE: 3.5, LIMIT: 1.5}
    first = [
        Measured("d", way, case.rows, s, s, own[way], 1.0, 2**20) for way, s in seconds.items()
    ]
    return first + [replace(m, seconds=2 * m.seconds, own=2 * m.own) for m in first]


def report(*measured: Measured) -> Report:
    """Return the report of these rounds."""
    cases = [case for case in (SMALL, LARGE) if any(m.rows == case.rows for m in measured)]
    return Report(cases, measured, {"Registry": "a second"}, "a machine", [])


def test_the_report_has_one_table_for_each_number_of_rows() -> None:
    text = report(*rounds(SMALL), *rounds(LARGE)).text()
    for case in (SMALL, LARGE):
        assert f"## {case}, medians of 2 rounds" in text
    assert text.count(f"| {SERVICE} |") == 2


def test_the_report_has_the_speedup_by_cores_and_the_ratio_without_bigquery() -> None:
    text = report(*rounds(SMALL)).text()
    assert f"{cores()} cores over 1: 2.00 (median of the rounds' ratios)" in text
    assert "Without BigQuery's share, rows/s ×: 3.50 (median of the rounds' ratios)" in text


def test_cases_without_a_measurement_are_left_out() -> None:
    text = report(*[m for m in rounds(SMALL) if m.way != ONE_CORE]).text()
    assert "over 1:" not in text


def test_the_busiest_process_counts_with_its_ancestors() -> None:
    before = {1: (0, 5.0), 2: (1, 4.0)}
    now = {1: (0, 6.0), 2: (1, 4.5), 3: (1, 0.75)}  # 3 started in between
    assert busiest(before, now) == 1.75
    assert busiest({}, {1: (0, 5.0), 2: (7, 4.0)}) == 5.0


def test_the_cpu_time_of_an_ended_process_counts() -> None:
    before = {1: (0, 5.0), 2: (1, 4.0)}
    assert all_seconds(before, {1: (0, 6.0), 2: (1, 4.5), 3: (1, 0.75)}) == 2.25
    work = "import time\nwhile time.process_time() < 0.5: pass"
    with Watch(psutil.Process().children, interval=0.01) as seen:
        child = subprocess.Popen([sys.executable, "-c", work])
        child.wait(timeout=60)
    assert child.pid not in own_seconds(psutil.Process().children())
    assert all_seconds({}, {child.pid: seen.own[child.pid]}) > 0.25


def test_each_processs_cpu_seconds_are_measured() -> None:
    me, parent = psutil.Process(), psutil.Process(os.getppid())
    alone = sum(parent.cpu_times()[:2])
    seconds = own_seconds([me, parent])
    assert seconds[parent.pid][1] >= alone
    assert seconds[me.pid][0] == parent.pid
    assert seconds[me.pid][1] >= time.process_time() - 0.1


@pytest.mark.parametrize("name", ["RESULTS.md", "RESULTS-long.md"])
def test_the_committed_results_have_the_words_that_the_report_writes(name: str) -> None:
    committed = (ROOT / "benchmarks" / name).read_text()
    document = report(*rounds(SMALL)).document(long="long" in name)
    head = document[: document.index("## d:")].replace("a machine", "")
    paragraphs = [part for part in re.split(r"\n\n|^(?=- )", head, flags=re.MULTILINE) if part]
    assert len(paragraphs) > 8
    assert [part for part in paragraphs if part.strip() not in committed] == []


def test_the_report_can_be_drawn(tmp_path: Path) -> None:
    report(*rounds(SMALL), *rounds(LARGE)).draw(tmp_path / "results.png")
    assert (tmp_path / "results.png").stat().st_size


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_has_a_script_and_packages(name: str) -> None:
    assert (ROOT / "benchmarks" / "peers" / f"{name}.py").exists()
    of_beam = ".venv-beam" in str(PYTHONS[PEERS[name]])
    packages = "requirements-beam.lock" if of_beam else "benchmarks/peers.txt"
    wanted = PEER_PACKAGES[PEERS[name]][0].replace("_", "-")
    assert wanted in (ROOT / packages).read_text()


@pytest.mark.parametrize(("text", "rows"), [("5", [5]), ("1_000,5,5", [1_000, 5])])
def test_numbers_of_rows_are_comma_separated(text: str, rows: list[int]) -> None:
    assert counts(text) == rows


@pytest.mark.parametrize(
    ("line", "sizes"),
    [
        ("", {"1000000": "abcde", "5000000": "ad"}),
        ("--long", {"5000000": "bce", "20000000": "ad"}),
        ("--long --rows 10 --only ab", {"10": "a", "5000000": "b"}),
        ("--slow-rows 10 --only bd", {"10": "b", "1000000": "d", "5000000": "d"}),
    ],
)
def test_the_command_line_chooses_the_tables(
    monkeypatch: pytest.MonkeyPatch, line: str, sizes: dict[str, str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", *line.split()])
    chosen: dict[str, str] = {}
    for case in cases(arguments()):
        chosen[str(case.rows)] = chosen.get(str(case.rows), "") + case.workload.key
    assert chosen == sizes


@pytest.mark.skipif(cores() < 2, reason="needs two cores and an affinity that can be set")
def test_on_one_core_pins_every_thread_and_restores_the_affinity() -> None:
    before, done = os.sched_getaffinity(0), threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    assert thread.native_id is not None
    with on_one_core(lambda: [psutil.Process()]):
        inside = [os.sched_getaffinity(at) for at in (0, thread.native_id)]
    after = [os.sched_getaffinity(at) for at in (0, thread.native_id)]
    done.set()
    thread.join()
    assert inside == [{min(before)}, {min(before)}]
    assert after == [before, before]


JOB = Parts(
    rows=1_000_000,
    tasks=2,
    plan=0.1,
    session=0.4,
    start=0.1,
    task_start=2.0,
    scoring=100.0,
    listing=0.001,
    footer=0.016,
    finish=0.1,
    load=1.0,
)


def test_a_job_with_the_measured_tasks_is_computed_as_it_was_measured() -> None:
    assert JOB.rate == 5_000
    run = compute(JOB, 1_000_000, 2)
    assert run.scoring == 100.0
    assert (run.starts, run.load) == (pytest.approx(0.1 + 0.4 + 0.1 + 2.0), 1.0)
    assert run.listing == pytest.approx(2 * 8 * 0.001 + (8 + 8) / 16 * 0.016)
    assert run.serial_share == pytest.approx(1 - 100 / run.seconds)


def test_more_tasks_shorten_only_the_scoring_and_no_more_than_there_are_streams() -> None:
    runs = [compute(JOB, 100_000_000, tasks) for tasks in (1, 10, 100, 1_000, 10_000)]
    assert [run.scoring for run in runs] == [20_000, 2_000, 200, 20, 20]
    assert {(run.starts, run.load) for run in runs} == {(JOB.plan + 0.4 + 0.1 + 2.0, 100.0)}
    assert [run.listing for run in runs] == sorted(run.listing for run in runs)
    assert [run.serial_share for run in runs] == sorted(run.serial_share for run in runs)
    text = table(JOB, 100_000_000, [1, 1_000])
    assert text.count("Computed for 100,000,000 rows") == 1
    assert "| 1 | 20,000.0 |" in text and "| 1,000 | 20.0 |" in text
