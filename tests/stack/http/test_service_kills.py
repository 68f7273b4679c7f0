"""The service may be terminated or killed in each phase of a run: no row is duplicated."""

import itertools
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import requests

from kill_cases import OUTPUTS, Bench, open_bench, table_of
from mlsys.local.addresses import choose_port
from mlsys.local.service import kill_service, start_service
from mlsys.local.stack import LocalStack
from workers.scoring.shards import read_session

pytestmark = pytest.mark.slow

ROWS = 250_000
PARTS = read_session.streams_to_request(ROWS)[1]  # the number that the service itself chooses
GRACE = 10.0  # seconds from SIGTERM to SIGKILL on Cloud Run
TIMEOUT = 90.0
PHASES = {  # the call that is held when the service gets SIGTERM, and for how many seconds more
    "planning": ("POST plan.json", "before", 0.5),
    "scoring": ("PUT part", "before", 0.5),
    "scoring, a part is there": ("PUT part", "after", 0.5),
    "publishing": ("POST load", "before", 0.5),
    "publishing, the job runs": ("POST load", "after", 0.0),
    "finishing": ("POST result.json", "before", 0.5),
}


class Service:
    """A gunicorn of the test's own, behind `rules.Rules`."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench = bench
        self.folder = folder
        self.pid_file = folder / "service.pid"
        self.server = None
        self.session = requests.Session()
        self.session.trust_env = False
        self.table = bench.lab.put(table_of(ROWS, width=0))
        output = bench.output()
        outcome = bench.start(output, table=self.table, streams=PARTS, part_rows=ROWS).end()
        assert outcome.kind == "result", outcome.value
        self.clean: pd.DataFrame = bench.lab.rows(output)

    def start(self) -> None:
        """Start it, unless it is running."""
        if self.server is None:
            self.port = choose_port(None, "service")
            self.server = start_service(
                port=self.port,
                environment=self.bench.rules.environment,
                log_file=self.folder / "service.log",
                pid_file=self.pid_file,
            )
            self.server.wait_until_ready()

    def ask(self, output: str) -> requests.Response | None:
        """Request a score of the table; return None if the service ended without an answer."""
        params = self.bench.lab.params(self.table, self.bench.name, output_table=output)
        # The contract of the bench's model sets one row aside.
        params |= {"outputs": ",".join(OUTPUTS), "max_rejects": "1"}
        url = f"http://127.0.0.1:{self.port}/predict"
        try:
            return self.session.get(url, params=params, timeout=TIMEOUT)
        except requests.ConnectionError:
            return None

    def terminate(self) -> int:
        """Send it SIGTERM, as Cloud Run does, and return its PID."""
        pid = int(self.pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        return pid

    def kill(self) -> None:
        """Kill it, as a power cut does."""
        kill_service(self.pid_file)
        self.stop()

    def stop(self) -> None:
        """End it, in any state."""
        if self.server is not None:
            self.server.stop()
            self.server = None


@pytest.fixture(scope="module")
def bench(stack: LocalStack) -> Iterator[Bench]:
    with open_bench(stack) as made:
        yield made


@pytest.fixture(scope="module")
def service(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(bench, tmp_path_factory.mktemp("service"))
    yield made
    made.stop()
    made.session.close()


def wait_for_the_end(pid: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError(f"the service still ran {seconds} s after SIGTERM")


def check(service: Service, output: str) -> None:
    """Check that the repeated request succeeds, and that every row appears once."""
    service.start()
    answer = service.ask(output)
    assert answer is not None
    assert answer.status_code == 200, answer.text
    assert (answer.json()["rows"], answer.json()["shards"]) == (len(service.clean), PARTS)
    assert service.bench.problems(output, service.clean) == []
    service.bench.forget(output)


def terminated_run(service: Service, phase: str, more: float | None = None) -> float:
    """Send the service SIGTERM in a phase of a run; return the seconds until it ended."""
    bench = service.bench
    name, moment, seconds = PHASES[phase]
    bench.rules.job_seconds = 2.0 if "runs" in phase else 0.0
    output = bench.output()
    service.start()
    with ThreadPoolExecutor(1) as pool, bench.rules.holding(name, moment) as held:
        asking = pool.submit(service.ask, output)
        try:
            assert held.reached.wait(TIMEOUT)
            before = bench.lab.objects(f"{bench.name}-v1-")
            parts = {n: generation for n, generation in before.items() if "/attempts/" not in n}
            began = time.monotonic()
            pid = service.terminate()
            if more is None:
                time.sleep(seconds)
                held.release.set()
            wait_for_the_end(pid, GRACE)
            took = time.monotonic() - began
        finally:
            held.release.set()
            service.stop()
        answer = asking.result(TIMEOUT)
    if more is None:
        assert answer is not None
        assert answer.status_code in (200, 503), answer.text
    check(service, output)
    left = bench.lab.objects(f"{bench.name}-v1-")
    assert parts.items() <= left.items()  # existing objects are used unchanged
    return took


def killed_run(service: Service, phase: str) -> None:
    """Kill the service in a phase of a run."""
    bench = service.bench
    name, moment, _ = PHASES[phase]
    bench.rules.job_seconds = 1.0 if "runs" in phase else 0.0
    output = bench.output()
    service.start()
    with ThreadPoolExecutor(1) as pool, bench.rules.holding(name, moment) as held:
        asking = pool.submit(service.ask, output)
        try:
            assert held.reached.wait(TIMEOUT)
        finally:
            service.kill()
        assert asking.result(TIMEOUT) is None
    check(service, output)


@pytest.mark.parametrize(
    "phase", ["scoring", pytest.param("publishing, the job runs", marks=pytest.mark.long)]
)
def test_a_service_that_gets_sigterm_in_a_run_ends_in_time_and_the_repeated_request_resumes(
    service: Service, phase: str
) -> None:
    terminated_run(service, phase)


@pytest.mark.parametrize(
    "phase", [pytest.param("planning", marks=pytest.mark.long), "scoring, a part is there"]
)
def test_a_killed_services_run_is_finished_by_the_repeated_request(
    service: Service, phase: str
) -> None:
    killed_run(service, phase)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_service_ends_in_time_in_every_phase_repeatedly(service: Service) -> None:
    for _, phase in itertools.product(range(3), PHASES):
        print(f"{phase}: {terminated_run(service, phase):.1f} s")


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("phase", PHASES)
def test_the_service_ends_in_time_even_if_a_call_hangs(service: Service, phase: str) -> None:
    assert terminated_run(service, phase, more=TIMEOUT) < GRACE


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_service_survives_kills_in_every_phase_repeatedly(service: Service) -> None:
    for _, phase in itertools.product(range(3), PHASES):
        killed_run(service, phase)
