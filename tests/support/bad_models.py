"""Models that are damaged, hostile, endless or fatal, and a service that is asked for them."""

from __future__ import annotations

import itertools
import os
import pickle
import random
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import requests
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hostile_models import hostile
from mlsys.gcs import gcs_put
from mlsys.local.addresses import choose_port
from mlsys.local.service import start_service
from mlsys.local.stack import LocalStack
from pushes import STORAGE, Push, Wire, event
from scoring_cases import Lab
from team_models import Ending, EndingAtLoad

DATA = pd.DataFrame(np.random.RandomState(0).rand(30, 4), columns=list("abcd"))
CLASSES = np.tile(["low", "high", "mid"], 10)
SCORE_EVERY, HEALTH_EVERY = 0.3, 0.2  # seconds
TIMEOUT = 300.0

Made = tuple[str, Callable[[], bytes]]


def damaged(count: int, seed: int) -> list[Made]:
    """Return models that were cut, or had bits flipped."""
    rng = random.Random(seed)
    whole = [
        pickle.dumps(model)
        for model in (
            make_pipeline(StandardScaler(), RandomForestRegressor(3)).fit(DATA, DATA["a"]),
            GradientBoostingClassifier(n_estimators=3).fit(DATA, CLASSES),
            LinearRegression().fit(DATA, DATA["b"]),
        )
    ]

    def cut() -> bytes:
        content = rng.choice(whole)
        return content[: rng.randrange(len(content))]

    def flipped() -> bytes:
        content = bytearray(rng.choice(whole))
        for _ in range(rng.choice([1, 1, 3, 30])):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        return bytes(content)

    return [(f"damaged {n}", (flipped, cut)[n % 3 == 0]) for n in range(count)]


def fatal(count: int) -> list[Made]:
    """Return models that end the process that holds them."""
    kinds = itertools.cycle(
        [Ending("dies", 1.0), EndingAtLoad("dies"), Ending("exits", 1.0), EndingAtLoad("exits")]
    )
    models = [next(kinds).fit(DATA) for _ in range(count)]
    return [(f"fatal {n}", lambda m=m: pickle.dumps(m)) for n, m in enumerate(models)]


def endless() -> list[Made]:
    """Return models that hold the interpreter, or sleep, for longer than they may."""
    models = [EndingAtLoad("spins").fit(DATA), Ending("sleeps", 1.0).fit(DATA)]
    return [(f"endless {m.end}", lambda m=m: pickle.dumps(m)) for m in models]


def some_hostile(count: int, canary: Path) -> list[Made]:
    """Return hostile models, evenly chosen of all that are known."""
    known = hostile()
    step = max(1, len(known) // count)
    return [(name, lambda make=make: make(str(canary))) for name, make in known[::step][:count]]


@dataclass
class Beside:
    """A good caller in a loop, and one that asks for the service's health."""

    lab: Lab
    url: str
    table: str
    good: str
    scored: int = 0
    failures: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=w) for w in (self._score, self._health)]

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask during the block."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(TIMEOUT)

    def _score(self) -> None:
        with session() as own:
            while not self._stop.wait(SCORE_EVERY):
                params = self.lab.params(self.table, self.good)
                try:
                    answer = own.get(f"{self.url}/predict", params=params, timeout=TIMEOUT)
                except requests.RequestException as exc:
                    self.failures.append(f"good caller: {exc!r}")
                    continue
                if answer.status_code != 200 or answer.json()["rows"] != len(DATA):
                    self.failures.append(f"good caller: {answer.status_code} {answer.text}")
                self.scored += 1

    def _health(self) -> None:
        with session() as own:
            while not self._stop.wait(HEALTH_EVERY):
                began = time.monotonic()
                try:
                    answer = own.get(f"{self.url}/health", timeout=30)
                except requests.RequestException as exc:
                    self.failures.append(f"health: {exc!r}")
                    continue
                self.latencies.append(time.monotonic() - began)
                if answer.status_code != 200:
                    self.failures.append(f"health: {answer.status_code} {answer.text}")


def session() -> requests.Session:
    """Return a session that goes to no proxy."""
    made = requests.Session()
    made.trust_env = False
    return made


@dataclass
class BadCaller:
    """Uploads bad models, and has each one predicted, planned and registered."""

    lab: Lab
    url: str
    table: str
    name: str
    refused: int = 0
    served: int = 0  # damage may leave a model as it was
    failures: list[str] = field(default_factory=list)
    longest: tuple[float, str] = (0.0, "")

    def ask(self, models: list[Made]) -> None:
        """Ask for each of the models, one after the other."""
        wire = Wire(self.url, TIMEOUT)
        with session() as own:
            for number, (label, make) in enumerate(models, 1):
                began = time.monotonic()
                self._one(own, wire, label, make, f"v{number}")
                self.longest = max(self.longest, (time.monotonic() - began, label))
        wire.close()

    def _one(
        self,
        own: requests.Session,
        wire: Wire,
        label: str,
        make: Callable[[], bytes],
        version: str,
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = make()
        bucket, path = self.lab.settings.models_bucket("dev"), f"{self.name}/{version}/model.pkl"
        gcs_put(content, bucket, path)
        blob = self.lab.clients.storage.bucket(bucket).get_blob(path, timeout=60)
        params = self.lab.params(self.table, self.name, id_columns="id", allow_rejected="true")
        params["model_version"] = version
        answer = own.get(f"{self.url}/predict", params=params, timeout=TIMEOUT)
        if answer.status_code == 200:
            self.served += 1
        elif answer.status_code == 422:
            self.refused += 1
        may_serve = label.startswith("damaged")
        if answer.status_code not in ((200, 422) if may_serve else (422,)):
            self.failures.append(f"{label}: {answer.status_code} {answer.text}")
        dry = own.get(f"{self.url}/predict", params=params | {"dry_run": "true"}, timeout=TIMEOUT)
        if dry.status_code not in (200, 422) or (not may_serve and dry.json().get("ok")):
            self.failures.append(f"{label}, dry run: {dry.status_code} {dry.text}")
        body = event(bucketId=bucket, objectId=path, objectGeneration=str(blob.generation))
        if (status := wire.send(Push(label, STORAGE, body))) != 204:
            self.failures.append(f"{label}, registration: {status}")


@contextmanager
def service_of_its_own(stack: LocalStack, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the URL of a service that trusts the fatal models, and the file with its PID."""
    trusted = "team_models.Ending,team_models.EndingAtLoad"
    port, pid_file = choose_port(None, "service"), folder / "service.pid"
    support = str(Path(__file__).parent)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (support, before)))
    try:
        server = start_service(
            port=port,
            environment=stack.environment | {"MLSYS_TRUSTED_GLOBALS": trusted},
            log_file=folder / "service.log",
            pid_file=pid_file,
        )
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    try:
        server.wait_until_ready()
        yield f"http://127.0.0.1:{port}", pid_file
    finally:
        server.stop()


def workers(pid_file: Path) -> set[int]:
    """Return the PIDs of the service's main process and of those that answer."""
    main = psutil.Process(int(pid_file.read_text()))
    return {main.pid, *(child.pid for child in main.children())}
