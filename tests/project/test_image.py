"""The image: its contents, and, where images can be built, that the service works in it.

Those marked `image` need podman (or what CONTAINER_ENGINE names) and the images that the Dockerfile
builds on; `make test-image` runs them.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest
import requests
from sklearn.base import BaseEstimator, ClassifierMixin

from benchmarks import containers
from benchmarks.containers import (
    TAG,
    UNCONNECTED,
    Container,
    NoImages,
    bases,
    engine,
    require_bases,
    run,
)
from benchmarks.containers import build as build_image
from checkers import checker
from mlsys.bq import bq_get, bq_put
from mlsys.gcs import gcs_put
from mlsys.local.addresses import Ports, choose_addresses
from mlsys.local.stack import LocalStack

ROOT = Path(__file__).parents[2]
ROWS = 1_000_000
DOCKERFILE = (ROOT / "Dockerfile").read_text()
STAGES = [f"FROM{stage}" for stage in DOCKERFILE.split("\nFROM")[1:]]
SERVICE_STAGE = STAGES[-1]
# Packages that only development, notebooks or the local stack need.
FOREIGN = ["bqemulator", "duckdb*", "fake-gcs-server*", "jupyter*", "ipykernel", "matplotlib"]
FOREIGN += ["mypy", "nb*", "pre-commit*", "pytest*", "ruff", "hypothesis", "uv", "pip", "zizmor"]


def locked(lock: str) -> set[str]:
    """Return the names that a lock pins."""
    return set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / lock).read_text(), re.MULTILINE))


def test_the_runtime_lock_has_no_package_of_development_or_of_the_emulators() -> None:
    runtime, development = locked("requirements.lock"), locked("requirements-dev.lock")
    assert len(runtime) > 30 and runtime < development
    assert not [name for name in runtime if any(fnmatch(name, pattern) for pattern in FOREIGN)]


def test_beam_has_a_lock_of_its_own_with_the_other_versions_of_the_rest() -> None:
    runtime, development, of_beam = (
        dict(re.findall(r"^([a-z0-9._-]+)==([^ ;]+)", (ROOT / name).read_text(), flags=re.M))
        for name in ("requirements.lock", "requirements-dev.lock", "requirements-beam.lock")
    )
    assert "apache-beam" in of_beam
    assert "apache-beam" not in runtime | development
    assert set(runtime) <= set(of_beam)
    differing = {n for n, v in of_beam.items() if development.get(n, v) != v}
    assert differing <= {"numpy", "pillow", "pyarrow"}
    assert of_beam["scikit-learn"] == runtime["scikit-learn"]


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-beam.lock"])
def test_every_pin_of_a_lock_without_tests_has_hashes(name: str) -> None:
    pins = re.split(r"^(?=[a-z0-9._-]+==)", (ROOT / name).read_text(), flags=re.M)
    assert len(pins) > 30
    assert all("--hash=sha256:" in pin for pin in pins[1:])


def test_the_image_installs_by_hashes() -> None:
    assert "--require-hashes requirements.lock" in DOCKERFILE


def test_the_image_is_built_in_stages_on_python_3_12() -> None:
    builder, runtime = (base.partition("@")[0] for base in bases(DOCKERFILE))
    assert builder == "ghcr.io/astral-sh/uv:python3.12-bookworm-slim"
    assert runtime == "python:3.12-slim-bookworm"


def test_the_image_does_not_run_as_root() -> None:
    (user,) = re.findall(r"^USER (\S+)", SERVICE_STAGE, re.MULTILINE)
    assert int(user) > 0


def test_the_service_is_pid_1_and_gets_the_signals() -> None:
    (command,) = re.findall(r"^CMD (.+)", SERVICE_STAGE, re.MULTILINE)
    assert command.startswith('["python", "-m", "gunicorn"')
    assert "ENTRYPOINT" not in SERVICE_STAGE


def test_the_last_stage_copies_only_from_the_builder() -> None:
    copies = re.findall(r"^COPY (.+)", SERVICE_STAGE, re.MULTILINE)
    assert copies and all(c.startswith("--from=builder ") for c in copies)


def sources() -> list[str]:
    copies = re.findall(r"^COPY (?!--from)(.+)", DOCKERFILE, re.MULTILINE)
    return [name for copy in copies for name in copy.split()[:-1]]


@pytest.mark.parametrize("source", sources())
def test_copied_sources_exist_and_are_not_ignored(source: str) -> None:
    assert (ROOT / source).exists()
    for ignore in (".dockerignore", ".gcloudignore"):
        lines = (ROOT / ignore).read_text().splitlines()
        assert {f"!{source}", f"!/{source}"} & set(lines), f"{ignore} leaves {source} out"


def test_nothing_else_reaches_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {r.removeprefix("!") for r in rules if r.startswith("!")} == set(sources())
    assert "**/__pycache__" in rules


def test_hadolint_finds_nothing() -> None:
    command = [checker("hadolint"), str(ROOT / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout


def test_without_an_engine_no_image_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "ENGINE", "no-such-engine")
    with pytest.raises(NoImages, match="not installed"):
        require_bases()


@pytest.fixture
def empty_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Yield an engine that has no image and reaches no registry."""
    engine = tmp_path / "engine"
    engine.write_text("#!/bin/sh\necho trying >&2\necho no registry >&2\nexit 1\n")
    engine.chmod(0o755)
    monkeypatch.setattr(containers, "ENGINE", str(engine))
    monkeypatch.delenv("IMAGE_BASES", raising=False)
    return tmp_path


def test_base_images_that_cannot_be_pulled_are_named(empty_engine: Path) -> None:
    with pytest.raises(NoImages, match="^ghcr.io/.* could not be pulled: no registry$"):
        require_bases()


def test_image_bases_may_be_a_command_that_builds_the_bases(
    empty_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = empty_engine / "made"
    monkeypatch.setenv("IMAGE_BASES", f"touch '{made}'")
    require_bases()
    assert made.exists()
    monkeypatch.setenv("IMAGE_BASES", "false")
    with pytest.raises(NoImages, match="IMAGE_BASES"):
        require_bases()


@pytest.fixture(scope="session")
def image() -> str:
    """Return the image, built from this tree."""
    if sys.platform != "linux":
        pytest.skip("a container reaches the local stack by the host's network, on Linux alone")
    try:
        require_bases()
    except NoImages as exc:
        if os.environ.get("REQUIRE_IMAGE"):  # where skipping would look like passing
            raise
        pytest.skip(f"no image can be built here: {exc}")
    build_image()
    return TAG


def free_port() -> int:
    return choose_addresses(Ports()).service


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[Container]:
    """Yield the service in a container, without a backend.

    It has room for the service and for a command with a sandbox of its own. With less, files that
    are read for the first time push each other out, and every command takes minutes.
    """
    with run(free_port(), UNCONNECTED, memory="2g") as running:
        yield running


def get(url: str, **parameters: str) -> requests.Response:
    session = requests.Session()
    session.trust_env = False
    return session.get(url, params=parameters, timeout=120)


@pytest.mark.image
def test_the_container_answers_health(container: Container) -> None:
    answer = get(f"{container.url}/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "healthy")


@pytest.mark.image
def test_the_container_runs_as_its_own_user_who_can_write_only_to_tmp(container: Container) -> None:
    assert container.execute("id", "-u").stdout == "10001\n"
    assert container.execute("touch", "/tmp/file").returncode == 0
    assert container.execute("touch", "/srv/file").returncode != 0


@pytest.mark.image
def test_a_model_answers_behind_every_wall_without_any_privilege(container: Container) -> None:
    script = (
        "import os, pickle, sys; import numpy as np; from pathlib import Path\n"
        "from sklearn.linear_model import LinearRegression\n"
        "from mlsys.artifact.metadata import ModelMetadata\n"
        "from workers.sandbox import nursery\n"
        "from workers.sandbox.client import ModelFile, SandboxedModel\n"
        "from workers.sandbox.walls import available\n"
        "status = Path('/proc/self/status').read_text()\n"
        "assert 'CapBnd:\\t0000000000000000' in status and 'NoNewPrivs:\\t1' in status, status\n"
        "X = np.arange(12.0).reshape(6, 2)\n"
        "content = pickle.dumps(LinearRegression().fit(X, X[:, 0]))\n"
        "with SandboxedModel(ModelFile(content, 'model.pkl', (), 2**30)) as model:\n"
        "    print(os.getuid(), model.judge(ModelMetadata()).status, available())\n"
        "nursery.close()\n"
    )
    done = container.execute("python", "-c", script)
    assert re.match(r"10001 ready filter, (no )?landlock", done.stdout), done.stderr
    assert "undumpable" in done.stdout


@pytest.mark.image
def test_the_image_holds_the_locked_packages_and_no_installer(container: Container) -> None:
    script = (
        "import importlib.metadata as m; print(*(d.name for d in m.distributions()), sep='\\n')"
    )
    done = container.execute("python", "-c", script)
    names = {re.sub(r"[-_.]+", "-", name).lower() for name in done.stdout.split()}
    assert "mlsys" in names
    assert names - {"mlsys"} <= locked("requirements.lock")
    assert container.execute("sh", "-c", "command -v uv").returncode != 0


@pytest.mark.image
def test_the_image_holds_compiled_source_and_no_tests(container: Container) -> None:
    assert set(container.execute("ls", "/srv").stdout.split()) == {"app", "packages", "workers"}
    script = (
        "import importlib, pathlib, sys\n"
        "for name in ('app', 'workers', 'mlsys', 'flask', 'pandas', 'pyarrow', 'sklearn'):\n"
        "    assert pathlib.Path(importlib.import_module(name).__cached__).is_file(), name\n"
    )
    done = container.execute("python", "-c", script)
    assert done.returncode == 0, done.stderr


@pytest.mark.image
def test_the_container_scores_a_table_within_a_gibibyte_and_resumes_after_sigterm(
    image: str, stack: LocalStack, environment: dict[str, str]
) -> None:
    from sklearn.dummy import DummyClassifier

    from mlsys.models import upload_model

    rows = bq_get("SELECT * FROM titanic.train")
    X, y = rows[["Pclass", "SibSp"]], rows["Survived"]
    model = DummyClassifier().fit(X, y)
    upload_model(model, "in-a-container", "v1", X=X, y=y, id_columns=["PassengerId"])
    bq_get(
        "CREATE TABLE titanic.many AS "
        "SELECT n AS PassengerId, MOD(n, 3) AS Pclass, MOD(n, 5) AS SibSp "
        f"FROM UNNEST(GENERATE_ARRAY(1, {ROWS})) AS n"
    )
    parameters = {
        "env": "dev",
        "input_table": f"{stack.settings.project}.titanic.many",
        "output_table": f"{stack.settings.project}.titanic.by_container",
        "model_name": "in-a-container",
        "model_version": "v1",
        "run_id": "in-a-container",
    }
    with (
        ThreadPoolExecutor(1) as pool,
        run(free_port(), environment, memory="1g") as running,
    ):
        cut_off = pool.submit(get, f"{running.url}/predict", **parameters)
        time.sleep(2)  # scoring has begun; should it have ended already, the rest still holds
        code, _ = running.stop()
        assert code == 0, running.logs()  # it ended, and was not killed
        assert cut_off.exception() or cut_off.result().status_code in (200, 503)
    with run(free_port(), environment, memory="1g") as running:
        answer = get(f"{running.url}/predict", **parameters)
        assert answer.status_code == 200, answer.text
        assert answer.json()["rows"] == ROWS
        assert running.stop()[0] == 0
    counts = bq_get(
        "SELECT COUNT(*) AS n, COUNT(DISTINCT PassengerId) AS ids FROM titanic.by_container"
    )
    assert counts.to_dict("records") == [{"n": ROWS, "ids": ROWS}]


def curious_model() -> bytes:
    """Return a pickled model of its own code, which predicts a 1 for each try that succeeded."""

    class Curious(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        classes_ = np.array([0, 1])
        feature_names_in_ = np.array(["a"], dtype=object)
        n_features_in_ = 1

        def predict(self, X: pd.DataFrame) -> Any:
            import os
            import socket
            from pathlib import Path

            tries = (
                lambda: Path(os.__file__).read_bytes(),  # the only one that it may
                lambda: socket.create_connection(("127.0.0.1", int(os.environ["PORT"]))),
                lambda: socket.socket(socket.AF_UNIX),
                lambda: os.fork() or os._exit(0),
                lambda: os.execv("/bin/true", ["true"]),
                lambda: Path("/tmp/curious").write_bytes(b""),
                lambda: Path("/dev/shm/curious").write_bytes(b""),
                lambda: os.kill(1, 0),
                lambda: Path("/proc/1/environ").read_bytes(),
                lambda: os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY),
                lambda: os.environ["GCP_PROJECT_ID"],
            )
            answers = np.zeros(len(X), int)
            for number, attempt in enumerate(tries):
                try:
                    attempt()
                    answers[number] = 1
                except (OSError, KeyError):
                    pass
            return answers

    return cloudpickle.dumps(Curious())


@pytest.mark.image
def test_a_model_in_the_container_reaches_nothing(
    image: str, stack: LocalStack, environment: dict[str, str]
) -> None:
    gcs_put(curious_model(), stack.settings.models_bucket("dev"), "curious/v1/model.pkl")
    table = f"{stack.settings.project}.titanic.curious"
    bq_put(pd.DataFrame({"id": np.arange(100), "a": 1.0}), table)
    parameters = {
        "env": "dev",
        "input_table": table,
        "output_table": f"{table}_scored",
        "model_name": "curious",
        "model_version": "v1",
        "id_columns": "id",
    }
    with run(free_port(), environment | {"MLSYS_MODELS": "any"}, memory="1g") as running:
        walls = get(f"{running.url}/health", detail="true").json()["sandboxes"]["walls"]
        assert "filter" in walls and "undumpable" in walls
        assert get(f"{running.url}/model-registry", env="dev").ok, running.logs()
        answer = get(f"{running.url}/predict", **parameters)
        assert answer.status_code == 200, answer.text
        assert answer.json()["loader"] == "any"
    tried = bq_get("SELECT id FROM titanic.curious_scored WHERE prediction = 1")
    assert tried["id"].tolist() == [0]


@pytest.mark.image
def test_no_container_is_left_running(image: str) -> None:
    with run(free_port(), UNCONNECTED) as running:
        pass
    assert running.id[:12] not in engine("ps", "--all", "--quiet").stdout
