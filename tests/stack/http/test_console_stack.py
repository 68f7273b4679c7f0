"""The console's pages over the local stack: their SQL, objects and sandbox are the real ones."""

import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from app.console import calls
from console_cloud import Seen, moment
from mlsys.artifact.refs import ModelRef
from mlsys.local.stack import LocalStack
from scoring_cases import Lab, unique
from workers.registry.at_a_glance import list_at_a_glance
from workers.registry.difference import difference
from workers.registry.sync import converge

DATA = pd.DataFrame(
    {"id": range(20), "a": [i % 7 for i in range(20)], "b": [i / 2 for i in range(20)]}
)


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.mark.slow
def test_the_pages_show_a_model_and_its_run(lab: Lab, environment: dict[str, str]) -> None:
    X, y, name = DATA[["a"]], DATA["b"], unique("shown")
    lab.upload(Ridge(alpha=1.0).fit(X, y), X, name, metrics={"r2": 0.5})
    lab.upload(Ridge(alpha=2.0).fit(X, y), X, name, "v2", metrics={"r2": 0.75})
    before = difference(lab.clients, "dev")
    assert {f"{name}/v1", f"{name}/v2"} <= {*before.missing, *before.outdated} or not before.total
    for version in ("v1", "v2"):
        converge(lab.clients, "dev", ModelRef(name, version))
    assert f"{name}/v1" not in difference(lab.clients, "dev").missing
    run = lab.here(lab.params(lab.put(DATA), name)).done()

    def shown(path: str, **passed: str) -> str:
        answer = lab.here(passed, f"/ui{path}")
        assert answer.status == 200, answer.text
        assert answer.headers["Content-Type"].startswith("text/html")
        return Seen(answer.text).text

    listed = shown("/models", q=name, sort="run")
    assert name in listed and "v2" in listed and "just now" in listed
    assert "No model fits" in shown("/models", q=name, status="rejected")
    assert "0.75" in shown(f"/models/{name}")
    assert "from mlsys.runs import predict" in shown(f"/models/{name}/v1")
    assert "names.CLASSES['sklearn.linear_model._ridge']" in shown(f"/models/{name}/v1/contents")
    assert "alpha" in shown(f"/models/{name}/compare", a="v1", b="v2")
    page = shown(f"/runs/{run['run_id']}")
    assert "stream 0" in page and "load job" in page and "record in the ledger" in page
    assert "Features" in shown(f"/runs/{run['run_id']}/drift")
    assert f"The first {min(len(DATA), 10)} rows" in shown(f"/runs/{run['run_id']}/rows")
    assert "Not measured yet" in shown(f"/runs/{run['run_id']}/measured")
    assert "was measured yet" in shown(f"/models/{name}/measured")
    assert run["run_id"] in shown("/runs", model_name=name)
    assert run["run_id"] in shown("/")
    assert "Rows scored" in shown("/numbers") and shown("/checks")


def test_the_first_steps_that_the_overview_names_lead_to_a_run(
    lab: Lab, environment: dict[str, str]
) -> None:
    name = unique("first")
    project = lab.clients.settings.project
    exec(calls.training(project).replace("titanic-survival", name), {})
    tables = calls.sample_tables(project)
    request = tables | {"env": "dev", "model_name": name, "model_version": "v1"}
    verdict = lab.here(request | {"dry_run": "true"}).json
    assert verdict["ok"] and verdict["rows"] == 418
    form = lab.here(request, "/ui/new-run").text
    assert f'<option value="{project}.titanic.' in form  # tables are offered


@pytest.mark.parametrize("sort", ["name", "uploaded", "run"])
def test_models_are_listed_in_every_order(lab: Lab, sort: str) -> None:
    rows, _ = list_at_a_glance(lab.clients, "dev", since=moment(10**6), sort=sort)  # type: ignore[arg-type]
    key = {"name": "model_name", "uploaded": "uploaded_at", "run": "last_run_at"}[sort]
    values = [row[key] for row in rows if row[key] is not None]
    assert values == sorted(values, reverse=sort != "name")
    assert [row[key] for row in rows][: len(values)] == values  # without one last
