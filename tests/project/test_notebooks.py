"""Every example notebook runs on the local stack, and is committed with its plots."""

import json
from pathlib import Path

import pytest

from mlsys.cloud.clients import Clients

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_from_top_to_bottom(
    path: Path, environment: dict[str, str], clients: Clients
) -> None:
    import nbformat  # two seconds, which the quick tests save
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--log-level=40"],
    ).execute()
    assert "passengers scored" in notebook.cells[-1].outputs[0].text
    scored = clients.bigquery.get_table("mlsys-local.titanic.predictions", timeout=30)
    assert scored.num_rows == 418


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_committed_with_its_plots_and_named_by_the_rule(path: Path) -> None:
    notebook = json.loads(path.read_bytes())
    assert notebook["nbformat"] == 4
    outputs = [o for cell in notebook["cells"] for o in cell.get("outputs", [])]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 5
    assert not any(o["output_type"] == "error" for o in outputs)
    model_name, _, purpose = path.stem.rpartition("-")
    assert model_name and purpose
