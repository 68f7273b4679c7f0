"""`GET /models/{name}/compare` over the registry of the local stack."""

import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from mlsys.artifact.refs import ModelRef
from mlsys.local.stack import LocalStack
from scoring_cases import Lab, unique
from workers.registry.sync import converge

DATA = pd.DataFrame(
    {"id": range(20), "a": [i % 7 for i in range(20)], "b": [i / 2 for i in range(20)]}
)


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.mark.slow
def test_versions_are_compared_with_and_without_metadata(
    lab: Lab, environment: dict[str, str]
) -> None:
    X, y, name = DATA[["a"]], DATA["b"], unique("compared")
    lab.upload(Ridge(alpha=1.0).fit(X, y), X, name, metrics={"r2": 0.5})
    second = DATA[["a", "b"]]
    lab.upload(Ridge(alpha=2.0).fit(second, y), second, name, "v2", metrics={"r2": 0.75})
    lab.put_pickle(Ridge(alpha=3.0).fit(X, y), name, "v3")
    for version in ("v1", "v2", "v3"):
        converge(lab.clients, "dev", ModelRef(name, version))
    lab.here(lab.params(lab.put(DATA), name)).done()
    path = f"/models/{name}/compare"
    answer = lab.here({"env": "dev", "a": "v1", "b": "v2"}, path).json
    assert answer["metrics"][0] | {"name": "r2", "a": 0.5, "b": 0.75} == answer["metrics"][0]
    assert [(f["name"], f["a"], f["b"]) for f in answer["parameters"]] == [("alpha", "1.0", "2.0")]
    assert [(f["name"], f["a"]) for f in answer["columns"]] == [("b", None)]
    assert ("succeeded", 1, 0) in [(f["name"], f["a"], f["b"]) for f in answer["runs"]]
    assert answer["versions"] == answer["notes"] == []
    answer = lab.here({"env": "dev", "a": "v1", "b": "latest"}, path).json  # from its sandbox
    assert answer["b"] == "v3"
    assert [(f["name"], f["b"]) for f in answer["parameters"]] == [("alpha", "3.0")]
    assert len(answer["notes"]) == 1 and "v3 has no metadata.json" in answer["notes"][0]
    refused = lab.here({"env": "dev", "a": "v1", "b": "v8"}, path)
    refused.problem(404, "model-not-found", "it has v3, v2, v1")
    lab.here({"env": "dev", "a": "v1"}, path).problem(400, "invalid-request", "b: is missing")
    lab.here({"env": "dev", "a": "v1", "b": "champion"}, path).problem(404, "alias-not-found")
    lab.here({"env": "dev", "a": "v1", "b": "1"}, path).problem(400, "invalid-request", "an alias")
