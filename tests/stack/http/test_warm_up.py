"""A service's first requests, which arrive while it still imports modules."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pandas as pd
import pytest
import requests
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlsys.local.addresses import HOST, choose_port
from mlsys.local.processes import listens
from mlsys.local.service import start_service
from mlsys.local.stack import LocalStack
from scoring_cases import Lab

pytestmark = [pytest.mark.usefixtures("environment"), pytest.mark.slow]

X = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [2.0, 1.0, 4.0, 3.0]})
MODELS = (
    make_pipeline(make_column_transformer((StandardScaler(), ["a", "b"])), LinearRegression()),
    KNeighborsRegressor(n_neighbors=1),
)


class Fresh:
    """A gunicorn that has served no request yet."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.url = f"http://{HOST}:{(port := choose_port(None, 'service'))}"
        self.log_file = folder / "service.log"
        self.server = start_service(
            port=port,
            environment=lab.stack.environment,
            log_file=self.log_file,
            pid_file=folder / "service.pid",
        )
        deadline = time.monotonic() + 60
        while not listens(port):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def at_once(self, requests_: list[tuple[str, dict[str, str]]]) -> list[requests.Response]:
        """Send requests at the same time and return the answers."""
        ready = Barrier(len(requests_))

        def ask(path: str, params: dict[str, str]) -> requests.Response:
            with requests.Session() as session:
                session.trust_env = False
                ready.wait(30)
                return session.get(self.url + path, params=params, timeout=90)

        with ThreadPoolExecutor(len(requests_)) as pool:
            return list(pool.map(ask, *zip(*requests_, strict=True)))

    def warm_ups(self) -> int:
        """Return the number of times it has warmed up."""
        lines = self.log_file.read_text().splitlines()
        return sum(json.loads(line)["message"].startswith("Warmed up in ") for line in lines)


@pytest.fixture
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture
def fresh(lab: Lab, tmp_path: Path) -> Iterator[Fresh]:
    started = Fresh(lab, tmp_path)
    yield started
    started.server.stop()


def test_concurrent_first_requests_are_all_served(lab: Lab, fresh: Fresh) -> None:
    table = lab.put(X.assign(id=range(len(X))))
    names = [lab.upload(model.fit(X, X["a"]), X) for model in MODELS] * 2
    requests_ = [("/predict", lab.params(table, name)) for name in names]
    requests_ += [(path, {"env": "dev"}) for path in ("/model-registry", "/models", "/runs")]
    answers = fresh.at_once(requests_)
    assert [(answer.status_code, answer.text) for answer in answers if not answer.ok] == []
    assert fresh.warm_ups() == 1


def test_health_answers_at_once_and_warms_up_once(fresh: Fresh) -> None:
    answers = fresh.at_once([("/health", {})] * 4)
    assert [answer.json()["status"] for answer in answers] == ["healthy"] * 4
    assert fresh.warm_ups() == 0
    deadline = time.monotonic() + 60
    while not fresh.warm_ups():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(0.5)
    assert fresh.warm_ups() == 1
