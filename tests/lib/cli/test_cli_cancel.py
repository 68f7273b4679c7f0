"""`mlsys cancel` says what became of the run, and ends with the documented codes."""

import json

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from mlsys.cli import parser as cli
from mlsys.local.stack import LocalStack
from scoring_cases import Lab, unique
from workers.scoring.planning.find_run import prepare

pytestmark = pytest.mark.usefixtures("environment")

DATA = pd.DataFrame({"id": range(8), "a": range(8)})


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture
def params(lab: Lab) -> dict[str, str]:
    """Return a request for a run of its own."""
    name = lab.upload(LinearRegression().fit(DATA[["a"]], DATA["a"]), DATA[["a"]])
    return lab.params(lab.put(DATA), name, run_id=unique("cancel"))


def test_a_run_is_cancelled_once_and_the_answer_says_so(
    lab: Lab, params: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = params["run_id"]
    prepare(lab.clients, lab.request(params), run_id).close()
    words = ["cancel", run_id, "--env", "dev"]
    assert cli.main([*words, "--why", "the wrong table"]) == 0
    assert capsys.readouterr().out == f"{run_id} is cancelled, and publishes nothing\n"
    assert cli.main(words) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"{run_id} was cancelled already, at 20")
    assert output.endswith(": the wrong table\n")
    assert cli.main([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["run_id"], answer["state"], answer["already"]) == (run_id, "cancelled", True)
    # A request that names it is told.
    options = [w for k, v in params.items() for w in (f"--{k.replace('_', '-')}", v)]
    assert cli.main(["predict", *options]) == 1
    assert "the wrong table" in capsys.readouterr().err
    assert not lab.exists(params["output_table"])


def test_a_run_that_has_published_is_not_cancelled(
    lab: Lab, params: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = params["run_id"]
    lab.here(params).done()
    assert cli.main(["cancel", run_id, "--env", "dev", "--json"]) == 1
    output = capsys.readouterr()
    assert json.loads(output.out)["type"] == "urn:mlsys:problem:run-published"
    assert f"undo it: mlsys undo {run_id}" in output.err
    assert output.err.count("\n") == 1


@pytest.mark.parametrize(
    ("run_id", "says"),
    [("no-such-run", "does not exist in dev"), ("a/b?c", "does not exist"), ("UPPER", "run_id")],
)
def test_a_run_that_does_not_exist_is_named(
    run_id: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["cancel", run_id, "--env", "dev"]) == 1
    output = capsys.readouterr()
    assert output.err.startswith("mlsys: ") and says in output.err
    assert output.out == ""
