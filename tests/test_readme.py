"""What the README says is true: its calls, its tables of names, its answers."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from mlsys import vis
from mlsys.local.stack import LocalStack
from mlsys.settings import Emulators

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
# A shell call of curl, and the JSON that follows it up to the end of the block.
CALLS = re.findall(r"^\$ curl (\"[^\"\n]*\")\n(\{.*?^\})$", README, re.MULTILINE | re.DOTALL)


def shape(value: Any) -> Any:
    """The keys of an answer, with the types of their values."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    if isinstance(value, list):
        return [shape(v) for v in value[:1]]
    return type(value).__name__


@pytest.fixture(scope="module")
def model(stack: LocalStack) -> None:
    """A model without metadata, as the README's calls find it."""
    from sklearn.dummy import DummyClassifier

    from mlsys.clients import clients_for
    from mlsys.frames import to_frame
    from mlsys.gcs import pickled
    from workers.registry_sync import rescan

    stack.clients.bigquery.delete_table("titanic.scored", not_found_ok=True)
    rows = stack.clients.bigquery.list_rows("titanic.train")
    passengers = to_frame(rows.to_arrow(create_bqstorage_client=False))
    model = DummyClassifier().fit(passengers[["Pclass", "SibSp"]], passengers["Survived"])
    clients = clients_for(stack.settings)
    blob = clients.storage.bucket("mlsys-models-dev").blob("titanic-survival/v1/model.pkl")
    blob.upload_from_string(pickled(model))
    rescan(clients, "dev")


def test_there_are_calls_to_check() -> None:
    assert len(CALLS) == 5


@pytest.mark.parametrize(("call", "answer"), CALLS, ids=lambda text: text[:40])
def test_a_call_answers_as_the_readme_says(
    stack: LocalStack, model: None, call: str, answer: str
) -> None:
    (url,) = shlex.split(call)
    session = requests.Session()
    session.trust_env = False
    real = session.get(url.replace("$MLSYS_URL", stack.url or ""), timeout=60).json()
    told = json.loads(answer)
    if "skipped" in told:  # the bucket of the test session holds more than the README's
        real["skipped"] = []
    assert list(real) == list(told)
    assert shape(real) == shape(told)
    if "detail" in told:
        assert real == told


def test_every_verb_of_make_that_the_readme_names_is_there() -> None:
    verbs = set(re.findall(r"\bmake ([a-z-]+)\b", README)) - {"sure"}
    there = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert verbs <= there
    assert {"demo", "test", "lint", "local", "bench", "lock"} <= verbs


def test_every_variable_that_the_settings_read_is_in_the_readme_and_the_example() -> None:
    source = (ROOT / "lib/mlsys/settings.py").read_text()
    read = set(re.findall(r'read\("([A-Z_]+)"', source)) - {"K_SERVICE", "GOOGLE_CLOUD_PROJECT"}
    read |= set(Emulators.VARIABLES.values()) | {"GCS_BUCKET_MODELS_DEV", "GCS_BUCKET_RUNS_DEV"}
    example = (ROOT / ".env.example").read_text()
    assert not {name for name in read if name not in README}
    assert not {name for name in read if name not in example}


def test_every_plot_is_in_the_readme() -> None:
    plots = {n for n in dir(vis) if n.startswith("plot_")} | {"setup_plot_style"}
    assert not {name for name in plots if name not in README}


def test_every_path_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


def test_the_shell_of_the_readme_is_shell() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
