"""`make demo`: run the main job from end to end on the local stack.

Starts the stack, loads the sample tables, runs the example notebook (which uploads a model, which
registers itself), then scores a table and rescans the registry with curl.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from mlsys.local.stack import LocalStack, local_stack

NOTEBOOK = Path(__file__).parent / "titanic-survival-example.ipynb"
EXECUTED = Path(__file__).parent.parent / ".demo" / NOTEBOOK.name

PREDICTIONS = """
SELECT PassengerId, prediction, model_version, run_id
FROM titanic.demo_predictions ORDER BY PassengerId LIMIT 5
"""
ACCURACY = """
SELECT COUNT(*) AS row_count, COUNTIF(prediction = Survived) AS correct
FROM titanic.demo_predictions JOIN titanic.test_survived USING (PassengerId)
"""
REGISTRY = """
SELECT model_name, model_version, status, model_class, uploaded_at, registered_at, registered_by
FROM mlsys_dev.model_registry WHERE model_version = 'v1'
"""


def main() -> None:
    """Run the demo, with a heading for each step."""
    began = time.monotonic()
    say("Start Cloud Storage, BigQuery, Pub/Sub and the service on this machine")
    with local_stack(samples=True, progress=lambda line: print(f"  {line}")) as stack:
        os.environ.update(stack.environment)
        say(f"Run notebooks/{NOTEBOOK.name}")
        run_notebook()
        show_the_rest(stack)
        say("Stop everything")
    print(f"\nDone in {time.monotonic() - began:.0f} seconds.")
    print(f"The notebook with its plots: {EXECUTED.relative_to(Path.cwd(), walk_up=True)}")
    print(
        "Next: `make local` keeps the stack up for your own models, and prints the address of its"
    )
    print("console, where this run would be a page.")


def show_the_rest(stack: LocalStack) -> None:
    """Show the registry's new row, score a table, read it back, rescan."""
    from mlsys.bq import bq_get

    say("The upload created this row in model_registry, without a call to the service")
    for name, value in bq_get(REGISTRY).iloc[0].items():
        print(f"  {name:15} {value}")

    project = stack.settings.project
    say("Score titanic.test into titanic.demo_predictions")
    curl(
        f"{stack.url}/predict?env=dev&input_table={project}.titanic.test"
        f"&output_table={project}.titanic.demo_predictions"
        "&model_name=titanic-survival&model_version=v1&id_columns=PassengerId"
    )

    say("The first predictions, and the share of all that are right")
    print(indent(bq_get(PREDICTIONS).to_string(index=False)))
    counts = bq_get(ACCURACY).iloc[0]
    share = counts["correct"] / counts["row_count"]
    print(f"\n  {counts['correct']} of {counts['row_count']} are right: accuracy {share:.1%}")

    say("A full rescan finds nothing to change")
    curl(f"{stack.url}/model-registry?env=dev")


def run_notebook() -> None:
    """Run every cell of the example notebook in a new kernel, and save its outputs."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    done = 0

    def on_cell(cell: Any, **_: Any) -> None:
        nonlocal done
        if cell.cell_type == "code":
            done += 1
            if sys.stdout.isatty():
                print(f"\r  cell {done} of {cells}", end="", flush=True)

    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
        on_cell_executed=on_cell,
        extra_arguments=["--log-level=40"],  # no warning that loopback TCP is in plain text
    )
    client.execute()
    print(f"\r  {cells} cells run")
    EXECUTED.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, EXECUTED)


def curl(url: str) -> None:
    """Call the service with curl, and print the call with its answer."""
    print(f'  $ curl "{url}"')
    if program := shutil.which("curl"):
        command = [program, "-sS", "--fail-with-body", "--noproxy", "*", url]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    else:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url) as response:
            answer = response.read().decode()
    print(indent(answer.strip()))


def indent(text: str) -> str:
    """Indent each line by two spaces."""
    return "\n".join(f"  {line}" for line in text.splitlines())


def say(heading: str) -> None:
    """Print the heading of a step."""
    print(f"\n== {heading}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
