"""Every process logs lines of JSON, with the run and the trace that they are about."""

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from workers import logs

ROOT = Path(__file__).parents[2]


def formatted(message: str = "text", **extra: object) -> dict[str, object]:
    record = logging.LogRecord("a.logger", logging.WARNING, "", 0, message, (), None)
    vars(record).update(extra)
    return json.loads(logs.CloudFormatter().format(record))


def test_lines_have_the_fields_of_the_work_that_they_are_about() -> None:
    with logs.of({"run_id": "a-run", logs.TRACE: "projects/p/traces/t"}):
        line = formatted()
        assert (line["severity"], line["run_id"]) == ("WARNING", "a-run")
        assert line["logging.googleapis.com/trace"] == "projects/p/traces/t"
        assert formatted(run_id="another")["run_id"] == "another"
        assert logs.within({"run_id": "inner"}, lambda: formatted()["run_id"]) == "inner"
        logs.add(model="m/v1")
        assert formatted()["model"] == "m/v1"
    assert not {"run_id", "model"} & formatted().keys()


def test_the_fields_are_those_of_a_thread() -> None:
    seen: list[dict[str, object]] = []
    with logs.of({"run_id": "a-run"}):
        thread = threading.Thread(target=lambda: seen.append(formatted()))
        thread.start()
        thread.join(10)
    assert "run_id" not in seen[0]


CHILD = """
import concurrent.futures, logging, os, sys, threading, warnings
from workers import forking, logs
from workers.scoring.shards.pool_process import start_process

def work():
    logging.getLogger("mlsys.sandbox").warning("The rows go another way")
    warnings.warn("an old name", FutureWarning, stacklevel=1)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    return sorted(name for name in os.environ if "TOKEN" in name or "SECRET" in name)

if __name__ == "__main__":
    logs.configure()
    options = {"mp_context": forking.context(), "initializer": start_process, "initargs": (True,)}
    with concurrent.futures.ProcessPoolExecutor(1, **options) as executor:
        fields = {"run_id": "a-run", logs.TRACE: "projects/p/traces/t"}
        print(executor.submit(logs.within, fields, work).result(60))
    assert os.environ["API_TOKEN"] == "x"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere processes are spawned")
def test_a_process_that_scores_logs_as_the_service_and_has_no_secret(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text(CHILD)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "lib")]),
        "API_TOKEN": "x",
        "CLIENT_SECRET": "y",
    }
    done = subprocess.run(
        [sys.executable, str(tmp_path / "child.py")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    *lines, secrets = done.stdout.splitlines()
    assert secrets == "[]"
    warning, old, uncaught = map(json.loads, lines)
    assert warning["message"] == "The rows go another way"
    assert (warning["severity"], warning["logger"]) == ("WARNING", "mlsys.sandbox")
    assert warning["run_id"] == old["run_id"] == "a-run"
    assert warning["logging.googleapis.com/trace"] == "projects/p/traces/t"
    assert "FutureWarning: an old name" in old["message"]
    assert uncaught["severity"] == "ERROR"
    assert uncaught["message"].startswith("ZeroDivisionError\nTraceback")
