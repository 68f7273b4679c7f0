"""An alias as the model's version, from the command line and from a notebook to the rows."""

import datetime as dt
import json
from typing import Any

import pytest
from sklearn.linear_model import LinearRegression

from backfill_cases import Command, X
from mlsys import runs
from mlsys.cli import parser as cli
from mlsys.local.stack import LocalStack
from mlsys.models import set_alias
from scoring_cases import Lab

pytestmark = [pytest.mark.usefixtures("environment"), pytest.mark.slow]

OTHER = LinearRegression().fit(X, X["b"])
DAYS = ["2026-11-23", "2026-11-24"]


@pytest.fixture
def command(stack: LocalStack) -> Command:
    """Return a table of two days, and a model whose alias champion names v1 of two versions."""
    made = Command(Lab(stack), DAYS)
    made.lab.upload(OTHER, X, made.model, "v2", id_columns=["id", "day"], wait=True)
    return made


def versions(command: Command) -> list[str]:
    """Return the version that has scored each row of the output, in the order of days."""
    rows = command.lab.rows(command.output)
    expected = {"v1": X["a"], "v2": X["b"]}
    for version, some in rows.groupby("model_version"):
        assert some["prediction"].tolist() == pytest.approx(
            expected[version].iloc[some["id"] % len(X)].tolist()
        )
    return rows["model_version"].tolist()


def test_commands_score_by_an_alias_and_again_once_it_has_moved(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str) -> Any:
        capsys.readouterr()
        assert cli.main([*words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    backfill = [*command.words, "--model-version", "champion"]
    board = said(*backfill)
    assert (board["model_version"], board["model_alias"]) == ("v1", "champion")
    assert versions(command) == ["v1"] * 24
    command.check()

    set_alias(command.model, "champion", "v2")
    shown = said(*backfill, "--status")["partitions"]
    assert [entry["state"] for entry in shown] == ["stale", "stale", "empty"]
    assert said(*backfill)["totals"]["done"] == 2
    assert versions(command) == ["v2"] * 24

    predict = ["predict", "--env", "dev", "--model-name", command.model]
    predict += ["--model-version", "champion", "--input-table", f"{command.input}$20261123"]
    predict += ["--output-table", command.output]
    result = said(*predict)
    assert (result["model_version"], result["model_alias"]) == ("v2", "champion")
    assert versions(command) == ["v2"] * 36
    set_alias(command.model, "champion", "v1")
    moved = said(*predict)
    assert (moved["model_version"], moved["model_alias"]) == ("v1", "champion")
    assert sorted(versions(command)) == ["v1"] * 12 + ["v2"] * 36

    for run, left in ((moved, ["v2"] * 36), (result, ["v2"] * 24)):
        undone = said("undo", run["run_id"], "--env", "dev", "--why", "a test")
        assert (undone["state"], undone["tables"][0]["rows_removed"]) == ("undone", 12)
        assert versions(command) == left
    again = said(*predict)  # the alias names v1 again, and that run was undone
    assert (again["run_id"], again["reused"]) == (f"{moved['run_id']}-2", False)
    ledger = command.ledger().set_index("run_id")
    assert set(ledger["model_alias"]) == {"champion"}
    assert ledger.loc[[moved["run_id"], result["run_id"]], "state"].tolist() == ["undone"] * 2


def test_a_notebook_scores_by_an_alias_and_undoes_the_run_whatever_it_names_by_then(
    command: Command,
) -> None:
    def backfill(**more: Any) -> Any:
        days = {"first": dt.date.fromisoformat(DAYS[0]), "last": DAYS[1]}
        tables = (command.input, command.output)
        return runs.backfill(*tables, command.model, "champion", **days, **more)

    board = backfill()
    assert board["state"].tolist() == ["done"] * 2
    assert board["model_version"].tolist() == ["v1"] * 2
    assert board["model_alias"].tolist() == ["champion"] * 2
    assert board.attrs["model_version"] == "v1"
    set_alias(command.model, "champion", "v2")
    assert backfill(status=True)["state"].tolist() == ["stale"] * 2
    assert backfill()["model_version"].tolist() == ["v2"] * 2
    assert versions(command) == ["v2"] * 24

    monday = f"{command.input}$20261123"
    appended = runs.predict(monday, command.output, command.model, "champion")
    assert (appended.model_version, appended.model_alias) == ("v2", "champion")
    assert appended.to_dataframe()["model_version"].tolist() == ["v2"] * 12
    set_alias(command.model, "champion", "v1")
    later = runs.predict(monday, command.output, command.model)  # by its default
    assert (later.model_version, later.model_alias) == ("v1", "champion")
    assert sorted(versions(command)) == ["v1"] * 12 + ["v2"] * 36

    answer = runs.undo(appended, "a test")
    assert (answer["state"], answer["tables"][0]["rows_removed"]) == ("undone", 12)
    assert sorted(versions(command)) == ["v1"] * 12 + ["v2"] * 24
    assert runs.get_run(appended.run_id).state == "undone"
    runs.undo(later.run_id, "a test")
    set_alias(command.model, "champion", "v2")
    again = runs.predict(monday, command.output, command.model, "champion")
    assert again.run_id == f"{appended.run_id}-2"
    assert versions(command) == ["v2"] * 36
