"""`mlsys evaluate` prints the metrics of a run, or of several, and why others have none."""

import datetime as dt
import json
from typing import Any

import pytest

from mlsys.artifact.refs import ModelRef
from mlsys.cli import parser as cli
from mlsys.errors import InvalidRequest
from mlsys.remote.service import Service
from mlsys.runs import Run, evaluate

ROW = {
    "run_id": "titanic-v1-0",
    "model_name": "titanic",
    "model_version": "v1",
    "predicted_at": "2026-11-28T12:00:00+00:00",
    "task": "classification",
    "rows_evaluated": 1_200,
    "rows_without_label": 3,
    "accuracy": 0.75,
    "roc_auc": 0.875,
    "rmse": None,
    "details": {
        "positive_class": 1,
        "classes": [
            {"label": 0, "rows": 800, "predicted": 700, "precision": 0.8, "recall": 0.7, "f1": 0.75}
        ],
        "notes": ["roc_auc is odd"],
    },
}
OF_NUMBERS = {
    **{"run_id": "fare-v2-1", "model_version": "v2", "rows_evaluated": 9, "rmse": 1.5},
    "details": {"error_quantiles": [{"share": 0.5, "error": -0.25}]},
}
LABELS = ("--env", "dev", "--labels-table", "my-project.a.b", "--label-column", "Survived")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Let a service answer; return the requests."""
    requests: list[dict[str, str]] = []

    def ask(_: Service, path: str, params: Any = None, **__: Any) -> dict[str, Any]:
        assert path == "/evaluate"
        requests.append(dict(params))
        if params.get("model_name") == "nobody":
            return {"evaluations": [], "not_evaluated": [{"run_id": "r9", "reason": "It is gone."}]}
        rows = [ROW, OF_NUMBERS] if "model_name" in params else [ROW]
        rows = [OF_NUMBERS] if params.get("run_id") == "fare-v2-1" else rows
        return {"evaluations": rows, "not_evaluated": []}

    monkeypatch.setattr(Service, "ask", ask)
    monkeypatch.setenv("MLSYS_URL", "http://localhost:8080")
    return requests


def test_one_run_is_shown_in_full(
    asked: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", "titanic-v1-0", *LABELS]) == 0
    out, err = capsys.readouterr()
    for words in ("accuracy", "0.75", "rows_without_label", "LABEL", "PRECISION", "1,200"):
        assert words in out
    assert "rmse" not in out and err == "note: titanic-v1-0: roc_auc is odd\n"
    assert cli.main(["evaluate", "fare-v2-1", *LABELS, "--id-columns", "a,b"]) == 0
    assert "SHARE  ERROR\n  0.5  -0.25" in capsys.readouterr().out
    known = {"env": "dev", "labels_table": "my-project.a.b", "label_column": "Survived"}
    assert asked == [
        known | {"run_id": "titanic-v1-0"},
        known | {"run_id": "fare-v2-1", "id_columns": "a,b"},
    ]


def test_several_runs_are_a_line_each(
    asked: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    period = ("--model-name", "titanic", "--since", "2026-11-01")
    assert cli.main(["evaluate", *LABELS, *period]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.split()[-4:] == ["ROWS", "ACCURACY", "ROC_AUC", "RMSE"] and len(lines) == 2
    assert cli.main(["evaluate", *LABELS, *period, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["evaluations"][0]["roc_auc"] == 0.875
    assert cli.main(["evaluate", *LABELS, "--model-name", "nobody"]) == 1
    assert capsys.readouterr().err == "not evaluated: r9: It is gone.\n"


def test_a_notebook_gets_a_row_for_each_run(
    asked: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ("my-project.a.b", "Survived")
    frame = evaluate(*labels, run=Run({"run_id": "titanic-v1-0"}), id_columns=["a", "b"])
    assert frame["accuracy"].tolist() == [0.75] and frame["rmse"].isna().all()
    assert frame["rows_evaluated"].tolist() == [1_200]
    assert frame["predicted_at"][0] == dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC)
    assert frame["details"][0]["positive_class"] == 1
    since = dt.date(2026, 11, 1)
    assert len(evaluate(*labels, model=ModelRef("titanic", "v1"), since=since)) == 2
    assert evaluate(*labels, model="nobody").empty
    assert "not evaluated: r9: It is gone." in "".join(capsys.readouterr())
    assert asked[0]["id_columns"] == "a,b" and asked[0]["run_id"] == "titanic-v1-0"
    assert asked[1] | {"model_version": "v1", "since": "2026-11-01"} == asked[1]
    for wrong in ({}, {"run": "a", "model": "b"}, {"model": "b", "since": 3}):
        with pytest.raises(InvalidRequest, match="pass"):
            evaluate(*labels, **wrong)  # type: ignore[arg-type]
