"""README and docs are true: their calls, tables of names, answers and links."""

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

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs/decisions").glob("*.md")),
]
GUIDES = [page for page in PAGES if page.parent.name != "decisions"]
TEXT = "\n".join(page.read_text() for page in GUIDES)
# A shell call of curl, and the JSON after it up to the end of the block. `...` in the JSON stands
# for omitted fields.
CALLS = re.findall(r"^\$ curl (\"[^\"\n]*\")\n(\{.*?^\})$", TEXT, re.MULTILINE | re.DOTALL)


def shape(value: Any) -> Any:
    """Return the keys of an answer, with the types of their values."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    if isinstance(value, list):
        return [shape(v) for v in value[:1]]
    return type(value).__name__


@pytest.fixture(scope="module")
def model(stack: LocalStack) -> None:
    """Upload a model without metadata, as the README's calls need it."""
    from sklearn.dummy import DummyClassifier

    from mlsys.artifact.pickling import pickled
    from mlsys.cloud.clients import clients_for
    from mlsys.columns.frames import to_frame
    from workers.registry.sync import rescan

    stack.clients.bigquery.delete_table("titanic.scored", not_found_ok=True)
    rows = stack.clients.bigquery.list_rows("titanic.train")
    passengers = to_frame(rows.to_arrow(create_bqstorage_client=False))
    model = DummyClassifier().fit(passengers[["Pclass", "SibSp"]], passengers["Survived"])
    clients = clients_for(stack.settings)
    blob = clients.storage.bucket("mlsys-models-dev").blob("titanic-survival/v1/model.pkl")
    blob.upload_from_string(pickled(model))
    rescan(clients, "dev")


def test_the_documents_have_calls_to_check() -> None:
    assert len(CALLS) == 8


@pytest.mark.slow
@pytest.mark.parametrize(("call", "answer"), CALLS, ids=lambda text: text[:40])
def test_a_call_gives_the_documented_answer(
    stack: LocalStack, model: None, call: str, answer: str
) -> None:
    (url,) = shlex.split(call)
    session = requests.Session()
    session.trust_env = False
    real = session.get(url.replace("$MLSYS_URL", stack.url or ""), timeout=60).json()
    cut = "\n  ...\n" in answer
    documented = json.loads(answer.replace(",\n  ...\n", "\n"))
    if "skipped" in documented:  # the test session's bucket holds more than the document's
        real["skipped"] = []
    if cut:
        real = {name: value for name, value in real.items() if name in documented}
    assert list(real) == list(documented)
    assert shape(real) == shape(documented)
    if "detail" in documented:
        assert real == documented


def test_every_make_target_in_the_documents_exists() -> None:
    verbs = set(re.findall(r"(?:^|`)make ([a-z-]+)", TEXT, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert verbs <= targets
    assert {"check", "demo", "test", "lint", "local", "bench", "lock"} <= verbs


def test_every_variable_of_the_settings_is_documented() -> None:
    source = (ROOT / "lib/mlsys/settings/reading.py").read_text()
    read = set(re.findall(r'read\("([A-Z_]+)"', source)) - {"K_SERVICE", "GOOGLE_CLOUD_PROJECT"}
    read |= set(Emulators.VARIABLES.values()) | {"GCS_BUCKET_MODELS_DEV", "GCS_BUCKET_RUNS_DEV"}
    example = (ROOT / ".env.example").read_text()
    assert not {name for name in read if name not in TEXT}
    assert not {name for name in read if name not in example}


def test_every_plot_is_documented() -> None:
    plots = {n for n in dir(vis) if n.startswith("plot_")} | {"setup_plot_style"}
    assert not {name for name in plots if name not in TEXT}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_linked_path_exists(page: Path) -> None:
    links = re.findall(r"\]\((?!http|#)([^)#]+)[^)]*\)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


def test_every_linked_heading_exists() -> None:
    for page in GUIDES:
        for path, anchor in re.findall(r"\]\(([^)#:]*\.md)#([^)]+)\)", page.read_text()):
            headings = re.findall(r"^#+ (.*)$", (page.parent / path).read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in slugs, (page.name, path, anchor)


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_the_shell_blocks_of_a_page_are_valid_shell(page: Path) -> None:
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
        done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 150
