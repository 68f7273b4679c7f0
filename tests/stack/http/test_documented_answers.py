"""Requests generated from the API's description get documented answers."""

import sys
import time
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
import schemathesis
from flask_openapi3 import OpenAPI
from google.cloud.bigquery import TimePartitioning
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi import checks
from sklearn.linear_model import LinearRegression, LogisticRegression

from mlsys.artifact.refs import AliasRef
from mlsys.local.stack import LocalStack
from scoring_cases import Lab, unique
from workers.scoring.planning.find_run import prepare

FEW, MANY = 10, 1_000
ROUTES = [
    ("GET", "/health"),
    ("GET", "/check"),
    ("GET", "/models/{model_name}/compare"),
    ("GET", "/predict"),
    ("POST", "/predict"),
    ("GET", "/backfill"),
    ("POST", "/backfill"),
    ("GET", "/evaluate"),
    ("GET", "/runs/{run_id}/profile"),
    ("GET", "/models/{model_name}/drift"),
    ("GET", "/runs"),
    ("GET", "/runs/{run_id}"),
    ("DELETE", "/runs/{run_id}"),
    ("POST", "/runs/{run_id}/undo"),
    ("GET", "/model-registry"),
    ("GET", "/models"),
    ("GET", "/models/{model_name}/aliases"),
    ("GET", "/models/{model_name}/aliases/{alias}"),
    ("POST", "/models/{model_name}/aliases/{alias}"),
    ("DELETE", "/models/{model_name}/aliases/{alias}"),
    ("GET", "/models/{model_name}/aliases/{alias}/history"),
    ("POST", "/events/storage"),
    ("POST", "/events/predictions"),
]
CHECKS: list[Any] = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
ROWS = pd.DataFrame({"id": range(6), "a": np.arange(6) / 2, "b": np.arange(6) % 3})
X = ROWS[["a", "b"]]


class Known:
    """Parameters that name existing tables, models and runs."""

    def __init__(self, lab: Lab) -> None:
        self.table = lab.put(ROWS)
        days = TimePartitioning(field="day")
        columns = {"id": "INT64", "a": "FLOAT64", "b": "FLOAT64", "day": "DATE"}
        self.by_day = lab.create(columns, time_partitioning=days)
        self.view = lab.view(f"SELECT * FROM `{self.table}`")
        self.outputs = [lab.name("output") for _ in range(40)]
        self.tables = [self.table, self.table, self.view, lab.name("missing"), "other-project.a.b"]
        self.regressor = unique("regressor")  # in the registry, for its routes
        for version in ("v1", "v2"):
            model = LinearRegression(positive=version == "v2").fit(X, ROWS["a"])
            lab.upload(model, X, self.regressor, version, wait=True)
        self.classifier = lab.upload(LogisticRegression().fit(X, ROWS["a"] > 1), X)
        result = lab.here(lab.params(self.table, self.regressor, output_table=self.outputs[0]))
        self.run_id = result.done()["run_id"]
        wrong = lab.params(self.table, self.regressor, output_table=self.outputs[1])
        self.wrong = lab.here(wrong).done()["run_id"]  # to be undone
        waits = lab.params(self.table, self.regressor, run_id="to-be-cancelled")
        prepare(lab.clients, lab.request(waits), waits["run_id"]).close()
        self.cancelled = waits["run_id"]
        self.aliases = [f"a{number}" for number in range(MANY if "long" in sys.argv else FEW)]
        bucket = lab.stack.clients.storage.bucket(lab.stack.settings.models_bucket("dev"))
        for name in self.aliases:
            blob = bucket.blob(AliasRef(self.regressor, name).path)
            blob.upload_from_string('{"version": "v1"}', timeout=10)

    def parameters(self, path: str) -> st.SearchStrategy[dict[str, Any]]:
        """Return a strategy for a route's parameters, with some of the optional ones."""
        if path == "/predict":
            return st.fixed_dictionaries(
                {
                    "env": st.just("dev"),
                    "input_table": st.sampled_from(self.tables),
                    "output_table": st.sampled_from(self.outputs),
                    "model_name": st.sampled_from([self.regressor, self.classifier, "missing"]),
                    "model_version": st.sampled_from(["v1", "latest"]),
                },
                optional={
                    "run_id": st.sampled_from([self.run_id, "mine", "yours"]),
                    "id_columns": st.sampled_from(["id", "*", "a,id", "missing"]),
                    "outputs": st.sampled_from(["predict", "predict,predict_proba"]),
                    "where": st.sampled_from(["a > 1", "a > 100", "missing = 1", "a >"]),
                    "max_rejects": st.sampled_from(["0", "10", "1%"]),
                    "write_disposition": st.sampled_from(
                        ["WRITE_APPEND", "WRITE_TRUNCATE", "WRITE_EMPTY"]
                    ),
                    "engine": st.sampled_from(["auto", "service"]),
                    "dry_run": st.sampled_from(["true", "false"]),
                    "wait": st.sampled_from(["true", "true", "false"]),
                },
            )
        if path == "/backfill":
            return st.fixed_dictionaries(
                {
                    "env": st.just("dev"),
                    "input_table": st.sampled_from([*[self.by_day] * 8, self.table, self.view]),
                    "output_table": st.sampled_from(self.outputs),
                    "model_name": st.just(self.regressor),
                    "model_version": st.sampled_from(["v1", "latest"]),
                    "from": st.sampled_from(["2026-11-01", "2026-11"]),
                    "to": st.sampled_from(["2026-11-05", "2026-11", "today"]),
                },
            )
        if path == "/evaluate":
            run = st.sampled_from([self.run_id, self.run_id, self.run_id, self.cancelled])
            model = {"model_name": st.just(self.regressor)}
            since = st.sampled_from(["2026-01-01", "2026-01-01T10:00:00+01:00", "today"])
            labels = {
                "env": st.just("dev"),
                "labels_table": st.sampled_from(self.tables[:4]),
                "label_column": st.sampled_from(["a", "a", "b", "missing"]),
            }
            others = {
                "id_columns": st.sampled_from(["id", "id", "missing"]),
                "task": st.sampled_from(["regression", "classification"]),
            }
            return st.one_of(
                st.fixed_dictionaries(labels | {"run_id": run}, optional=others),
                st.fixed_dictionaries(labels | model, optional=others | {"since": since}),
            )
        if path.endswith("/undo"):
            return st.fixed_dictionaries({"env": st.just("dev"), "why": st.just("a reason")})
        if path == "/models":
            return st.fixed_dictionaries(
                {"env": st.just("dev")},
                optional={
                    "model_name": st.just(self.regressor),
                    "status": st.sampled_from(["ready", "rejected"]),
                    "limit": st.integers(1, 1_000).map(str),
                    "metadata": st.sampled_from(["true", "false"]),
                },
            )
        if path == "/models/{model_name}/compare":
            versions = st.sampled_from(["v1", "v2", "latest"])
            fixed = {"env": st.just("dev"), "a": st.just("v1"), "b": versions}
            return st.fixed_dictionaries(
                fixed, optional={"all": st.sampled_from(["true", "false"])}
            )
        if path == "/runs":
            return st.fixed_dictionaries(
                {"env": st.just("dev")},
                optional={
                    "model_name": st.just(self.regressor),
                    "state": st.sampled_from(["succeeded", "failed", "cancelled"]),
                    "limit": st.integers(1, 1_000).map(str),
                },
            )
        return st.just({} if path == "/health" or path.startswith("/events/") else {"env": "dev"})


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture(scope="module")
def known(lab: Lab) -> Known:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in lab.stack.environment.items():
            patch.setenv(name, value)
        return Known(lab)


@pytest.fixture(scope="module")
def document(lab: Lab) -> BaseSchema:
    """Return the description as the service gives it, connected to the service."""
    assert isinstance(lab.app, OpenAPI)
    return schemathesis.openapi.from_wsgi("/openapi.json", lab.app)


def cases(document: BaseSchema, known: Known, method: str, path: str) -> st.SearchStrategy[Case]:
    """Return a strategy for valid, invalid and successful requests to a route."""
    operation = document[path][method]
    allowed = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)

    def lead(case: Case, parameters: dict[str, Any], kept: list[str], alias: str) -> Case:
        if "aliases" in path:
            case.query = parameters
            case.path_parameters = {"model_name": known.regressor, "alias": alias}
            if method == "POST":
                case.body = {"version": "v1", "why": "a reason"} | dict.fromkeys(
                    (name for name in kept if name == "dry_run"), True
                )
            return case
        if method == "POST" and path in ("/predict", "/backfill"):
            made_up = case.body if isinstance(case.body, dict) else {}
            case.body = {k: v for k, v in made_up.items() if k in kept} | parameters
            return case
        made_up = case.query or {}
        case.query = {k: v for k, v in made_up.items() if k in kept} | parameters
        if case.path_parameters and "model_name" in case.path_parameters:
            case.path_parameters["model_name"] = known.regressor
        elif path.endswith("/undo"):
            case.path_parameters = {"run_id": known.cancelled if kept else known.wrong}
        elif case.path_parameters and kept:
            of_done = "dry_run" in kept or method == "GET"
            case.path_parameters["run_id"] = known.run_id if of_done else known.cancelled
        return case

    kept = st.lists(st.sampled_from(["where", "id_columns", "run_id", "dry_run"]), max_size=1)
    alias = st.sampled_from(known.aliases)
    leading = st.builds(lead, allowed, known.parameters(path), kept, alias)
    if path == "/health":
        return allowed
    forbidden = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    # one_of would prefer strategies with more forms.
    return st.sampled_from([*[leading] * 6, allowed, forbidden]).flatmap(lambda s: s)


def ask(document: BaseSchema, known: Known, method: str, path: str, count: int) -> Counter[int]:
    """Send `count` requests to a route, check every answer, and count the statuses."""
    statuses: Counter[int] = Counter()

    @seed(count)
    @settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(document, known, method, path))
    def answered_as_documented(case: Case) -> None:
        answer = case.call_and_validate(checks=CHECKS)
        statuses[answer.status_code] += 1

    answered_as_documented()
    return statuses


def good(statuses: Counter[int]) -> float:
    """Return the share of successful answers."""
    return sum(n for status, n in statuses.items() if status < 300) / statuses.total()


def test_every_described_route_is_tested(lab: Lab) -> None:
    paths = lab.app.api_doc["paths"]
    described = [(method.upper(), path) for path in paths for method in paths[path]]
    assert sorted(described) == sorted(ROUTES)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_ten_generated_requests_to_a_route_get_documented_answers(
    lab: Lab, document: BaseSchema, known: Known, method: str, path: str
) -> None:
    assert good(ask(document, known, method, path, FEW)) > 0  # the share is the long form's
    lab.stack.pubsub.wait_until_quiet(60)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_thousand_generated_requests_to_a_route_get_documented_answers(
    lab: Lab, document: BaseSchema, known: Known, method: str, path: str
) -> None:
    began = time.monotonic()
    statuses = ask(document, known, method, path, MANY)
    seconds = time.monotonic() - began
    share = good(statuses)
    print(f"\n{method} {path}: {dict(sorted(statuses.items()))}, {share:.0%} good, {seconds:.0f} s")
    assert share > 0.1
    lab.stack.pubsub.wait_until_quiet(300)
