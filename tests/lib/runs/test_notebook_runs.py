"""`mlsys.runs` passes every parameter, goes on with interrupted runs, and reads a run's rows."""

import datetime as dt
import inspect
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import mlsys.runs.run
from app.api.predict_queries import PredictQuery
from mlsys import runs
from mlsys.errors import Conflict, InvalidRequest, SettingsError, TryAgain
from mlsys.models import ModelRef, list_models
from mlsys.remote import unfinished
from mlsys.remote.service import RefusedByService, Service
from mlsys.runs import Run, get_run, list_runs, predict, preview

TABLES = ("my-project.titanic.test", "my-project.titanic.scored")
VERDICT = {
    "ok": True,
    "run_id": "titanic-v1-abc",
    "run_exists": False,
    "run_id_required": False,
    "model_name": "titanic",
    "model_version": "v1",
    "rows": 418,
    "problems": [],
    "warnings": ["Fare is NULL"],
}
RESULT = {
    "run_id": "titanic-v1-abc",
    "state": "succeeded",
    "model_name": "titanic",
    "model_version": "v1",
    "input_table": TABLES[0],
    "output_table": TABLES[1],
    "rows": 418,
    "rows_rejected": 0,
    "predicted_at": "2026-11-28T12:00:00+00:00",
    "seconds": 1.5,
    "warnings": ["<b>bold</b>"],
    "reused": False,
}
STATUS = {
    "run_id": "titanic-v1-abc",
    "env": "dev",
    "state": "running",
    "request": {"input_table": TABLES[0], "output_table": TABLES[1], "model_name": "titanic"},
    "rows_done": 1_000,
    "rows_total": 5_000,
    "rows_rejected": 0,
    "shards_done": 1,
    "shards_total": None,
    "attempts": 1,
    "seconds": 3.0,
}


class Answers:
    """A service that answers by the function of a test; `asked` are the requests."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.known: set[str] = set()  # runs
        self.verdict: dict[str, Any] = VERDICT
        self.result: Callable[[dict[str, str]], dict[str, Any]] = lambda _: RESULT

    def ask(self, _: Service, path: str, params: Any = None, **__: Any) -> dict[str, Any]:
        params = dict(params or {})
        self.asked.append((path, params))
        if path.startswith("/runs/"):
            if path.removeprefix("/runs/") in self.known:
                return dict(STATUS)
            raise RefusedByService("The run does not exist", {"type": "urn:mlsys:problem:x"})
        if "dry_run" in params:
            return dict(self.verdict) | {"run_id": params.get("run_id", self.verdict["run_id"])}
        return self.result(params)

    def sent(self) -> dict[str, str]:
        """Return the parameters of the last scoring request."""
        return [p for path, p in self.asked if path == "/predict" and "dry_run" not in p][-1]


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answers:
    answers = Answers()
    monkeypatch.setenv("MLSYS_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(Service, "ask", lambda self, *a, **o: answers.ask(self, *a, **o))
    return answers


def refuse(*_: Any) -> Any:
    raise RefusedByService("refused", {"type": "urn:mlsys:problem:prediction-failed"})


def interrupt(*_: Any) -> Any:
    raise KeyboardInterrupt


# Parameters


def test_predict_has_every_parameter_of_the_route() -> None:
    named = {"model_name": "model", "model_version": "version"}
    route = {named.get(name, name) for name in PredictQuery.model_fields}
    assert route - set(inspect.signature(predict).parameters) == set()
    without_a_run = {"run_id", "dry_run", "check_ids", "wait", "write_disposition", "engine"}
    of_preview = set(inspect.signature(preview).parameters)
    # A preview shows each reason, scores by one version, counts nothing, and is of all rows.
    without_a_run |= {"max_rejects", "shadow", "max_drift", "profile", "contract", "incremental"}
    assert route - without_a_run <= of_preview


def test_values_are_passed_as_the_texts_that_the_route_takes(service: Answers) -> None:
    predict(
        *TABLES,
        "titanic",
        "v3",
        env="prod",
        id_columns=["a", "b"],
        outputs=("predict", "predict_proba"),
        class_columns={"<=50K": "low"},
        max_rejects=0.01,
        allow_rejected=True,
        where="age > 30",
        run_id="mine",
        check_ids=True,
    )
    assert service.sent() == {
        "env": "prod",
        "input_table": TABLES[0],
        "output_table": TABLES[1],
        "model_name": "titanic",
        "model_version": "v3",
        "id_columns": "a,b",
        "outputs": "predict,predict_proba",
        "class_columns": '{"<=50K": "low"}',
        "max_rejects": "0.01",
        "allow_rejected": "true",
        "where": "age > 30",
        "run_id": "mine",
    }
    assert service.asked[0][1]["check_ids"] == "true"


def test_a_model_is_a_name_or_what_upload_model_returned(service: Answers) -> None:
    predict(*TABLES, ModelRef("titanic", "v7"))
    assert service.sent()["model_version"] == "v7"
    predict(*TABLES, "titanic", max_rejects=100)
    assert (service.sent()["model_version"], service.sent()["max_rejects"]) == ("champion", "100")


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: predict(*TABLES, object()), "model: is an object: pass its name"),  # type: ignore[arg-type]
        (lambda: predict(*TABLES, ModelRef("a", "v1"), "v2"), "version: 'v2', and model is a/v1"),
        (lambda: predict(*TABLES, "a", 2), "version: is an int: pass 'v1'"),  # type: ignore[arg-type]
        (lambda: predict(*TABLES, "a", env="qa"), "env: 'qa': pass dev, staging or prod"),
        (lambda: predict(*TABLES, "a", id_columns=["x,y"]), "id_columns: 'x,y' has a comma"),
        (lambda: predict(*TABLES, "a", outputs=[1]), "outputs: holds an int"),  # type: ignore[list-item]
        (lambda: preview(TABLES[0], "a", rows=1.5), "rows: is a float"),  # type: ignore[arg-type]
        (lambda: list_runs(limit=0), "limit: 0: pass a number above 0"),
        (lambda: list_runs(state="done"), "state: 'done': pass running, succeeded, failed, "),
    ],
)
def test_a_value_that_the_route_cannot_take_is_refused_before_any_request(
    service: Answers, call: Callable[[], Any], reason: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        call()
    assert str(caught.value).startswith(reason)
    assert service.asked == []


def test_without_an_address_the_message_says_where_to_set_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLSYS_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"in a notebook url=.*or in a \.env"):
        get_run("mine")


# Runs


def test_the_check_and_its_warnings_are_shown_and_the_result_is_returned(
    service: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    run = predict(*TABLES, "titanic")
    assert capsys.readouterr().err.splitlines() == [
        "titanic v1 on my-project.titanic.test: 418 rows",
        "warning: Fare is NULL",
    ]
    assert (run.run_id, run.state, run.rows, run.warnings) == (
        "titanic-v1-abc",
        "succeeded",
        418,
        ["<b>bold</b>"],
    )
    with pytest.raises(AttributeError, match="a run has no 'row': it has"):
        _ = run.row
    assert "output_table" in dir(run)


def test_a_run_that_would_not_start_is_refused_with_each_column(service: Answers) -> None:
    columns = [{"name": "age", "problem": "is missing"}, {"name": "sex", "problem": "is INT64"}]
    problem = {"detail": "It does not fit. age: is missing; sex: is INT64", "columns": columns}
    service.verdict = VERDICT | {"ok": False, "problems": [problem]}
    with pytest.raises(RefusedByService) as caught:
        predict(*TABLES, "titanic")
    assert str(caught.value) == "It does not fit.\n  age: is missing\n  sex: is INT64"
    assert caught.value.body is not None and caught.value.body["ok"] is False
    assert predict(*TABLES, "titanic", dry_run=True)["ok"] is False


def test_a_refusal_names_each_parameter(service: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        body = {"type": "urn:mlsys:problem:x", "parameters": [{"name": "where", "problem": "no"}]}
        raise RefusedByService("A parameter is malformed", body)

    monkeypatch.setattr(Service, "ask", refused)
    with pytest.raises(RefusedByService, match=r"^A parameter is malformed\n  where: no$"):
        predict(*TABLES, "titanic")


def test_the_same_call_goes_on_with_an_interrupted_run(
    service: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    """The input changed meanwhile, or is a view: the request alone would be another run."""
    service.result = interrupt
    with pytest.raises(KeyboardInterrupt):
        predict(*TABLES, "titanic")
    assert "The same call goes on with it" in capsys.readouterr().err
    service.known.add("titanic-v1-abc")
    service.verdict = VERDICT | {"run_id": "titanic-v1-new"}
    service.result = lambda params: RESULT | {"run_id": params.get("run_id", "titanic-v1-new")}
    assert predict(*TABLES, "titanic").run_id == "titanic-v1-abc"
    assert "Resuming titanic-v1-abc" in capsys.readouterr().err
    assert predict(*TABLES, "titanic").run_id == "titanic-v1-new"  # that one was done
    assert "Resuming" not in capsys.readouterr().err


def test_another_call_or_an_explicit_run_id_is_another_run(service: Answers) -> None:
    service.result = interrupt
    with pytest.raises(KeyboardInterrupt):
        predict(*TABLES, "titanic")
    service.known.add("titanic-v1-abc")
    service.result = lambda _: RESULT
    predict(*TABLES, "titanic", where="a > 1")
    assert "run_id" not in service.sent()
    predict(*TABLES, "titanic", run_id="mine")
    assert service.sent()["run_id"] == "mine"
    predict(*TABLES, "titanic", url="http://127.0.0.1:8")
    assert "run_id" not in service.sent()


@pytest.mark.parametrize("end", ["refused", "never planned", "a day ago", "damaged"])
def test_a_run_that_ended_or_is_old_is_not_resumed(
    service: Answers, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.result = refuse if end == "refused" else interrupt
    with pytest.raises((KeyboardInterrupt, RefusedByService)):
        predict(*TABLES, "titanic")
    if end != "never planned":
        service.known.add("titanic-v1-abc")
    if end == "a day ago":
        monkeypatch.setattr(unfinished, "LASTS", dt.timedelta(0))
    if end == "damaged":
        [file] = unfinished.folder().glob("*.json")
        file.write_text("[]")
    service.result = lambda _: RESULT
    predict(*TABLES, "titanic")
    assert "run_id" not in service.sent()


def test_a_folder_that_cannot_be_written_stops_nothing(
    service: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert predict(*TABLES, "titanic").rows == 418


def test_a_service_that_cannot_be_reached_leaves_the_run_to_be_resumed(
    service: Answers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def busy(*_: Any) -> Any:
        raise TryAgain("busy")

    monkeypatch.setattr("mlsys.remote.patience.Patience.wait", lambda *_: busy())
    service.result = busy
    with pytest.raises(TryAgain):
        predict(*TABLES, "titanic")
    assert "get_run('titanic-v1-abc') shows its state" in capsys.readouterr().err
    assert list(unfinished.folder().glob("*.json"))


def test_wait_false_returns_the_run_at_once(service: Answers) -> None:
    accepted = {"run_id": "titanic-v1-abc", "state": "accepted", "status_url": "http://x/runs/a"}
    service.result = lambda _: accepted
    run = predict(*TABLES, "titanic", wait=False)
    assert service.sent()["wait"] == "false"
    assert "status_url    http://x/runs/a" in repr(run) and "titanic v1" in repr(run)
    with pytest.raises(Conflict, match=r"is accepted.*get_run\('titanic-v1-abc'\)"):
        run.to_dataframe()


def test_a_runs_state_names_its_progress_or_its_failure(service: Answers) -> None:
    service.known.add("titanic-v1-abc")
    run = get_run("titanic-v1-abc")
    assert "1,000 of 5,000 are scored" in repr(run) and run.state == "running"
    failed = STATUS | {"state": "failed", "failure": {"detail": "no memory"}}
    assert "failure       no memory" in repr(Run.of_status(failed))
    undone = STATUS | {"state": "undone", "result": RESULT}
    assert Run.of_status(undone).state == "undone"
    done = STATUS | {"state": "succeeded", "result": RESULT, "rows_done": 418}
    assert Run.of_status(done).rows == 418


def test_a_run_is_shown_as_text_and_as_html_without_markup_of_others() -> None:
    run = Run(RESULT | {"reused": True})
    assert repr(run).splitlines() == [
        "run_id        titanic-v1-abc",
        "state         succeeded",
        "model         titanic v1",
        f"input_table   {TABLES[0]}",
        f"output_table  {TABLES[1]}",
        "rows          418",
        "seconds       1.5",
        "reused        yes, the run was done already",
        "warning       <b>bold</b>",
    ]
    page = run._repr_html_()
    assert "&lt;b&gt;bold&lt;/b&gt;" in page and page.count("<tr>") == 9


# Rows


def rows_of(monkeypatch: pytest.MonkeyPatch, stored: int) -> list[tuple[str, Any]]:
    """Let the output table hold `stored` rows of the run; return the queries."""
    queries: list[tuple[str, Any]] = []

    def get(query: str, params: Any) -> pd.DataFrame:
        queries.append((query, params))
        limit = int(query.partition("LIMIT ")[2] or stored)
        return pd.DataFrame({"id": range(min(stored, limit))})

    monkeypatch.setattr(mlsys.runs.run, "bq_get", get)
    return queries


def test_the_rows_of_a_run_are_read_by_its_id_and_its_day(monkeypatch: pytest.MonkeyPatch) -> None:
    queries = rows_of(monkeypatch, 418)
    assert len(Run(RESULT | {"output_table": f"{TABLES[1]}$20261128"}).to_dataframe()) == 418
    [(query, params)] = queries
    assert query == (
        f"SELECT * FROM `{TABLES[1]}` WHERE run_id = @run_id AND predicted_at = @predicted_at "
        "LIMIT 100000"
    )
    noon = dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC)
    assert params == {"run_id": "titanic-v1-abc", "predicted_at": noon}


@pytest.mark.parametrize(
    ("limit", "stored", "read", "says"),
    [
        (100, 418, 100, "100 of the run's 418 rows were read: pass limit=None"),
        (418, 418, 418, None),
        (None, 418, 418, None),
        (100_000, 17, 17, "holds 17 of the 418 rows that titanic-v1-abc wrote"),
        (100, 17, 17, "holds 17 of the 418 rows"),
    ],
)
def test_a_frame_that_is_cut_or_short_says_so(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, stored: int, read: int, says: str | None
) -> None:
    rows_of(monkeypatch, stored)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(Run(RESULT).to_dataframe(limit)) == read
    assert len(caught) == (says is not None)
    assert says is None or says in str(caught[0].message)


@pytest.mark.parametrize("limit", [0, -1, True, "10", 1.5])
def test_a_limit_is_a_number_of_rows(limit: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^limit: .*pass a number"):
        Run(RESULT).to_dataframe(limit)


# Lists


def test_lists_follow_every_page_and_have_the_types_of_their_table(
    service: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = {
        None: {"runs": [{"run_id": "b", "finished_at": "2026-11-28T12:00:00Z", "rows_read": 7}]},
        "1.b": {"runs": [{"run_id": "a", "finished_at": None, "rows_read": None}]},
    }
    asked = []

    def ask(_: Service, path: str, params: Any, **__: Any) -> Any:
        asked.append(params)
        after = params.get("after")
        if params.get("state") == "running":
            return {"runs": [{"run_id": "c", "stage": "reading"}], "next": None}
        return pages[after] | {"next": None if after else "1.b"}

    monkeypatch.setattr(Service, "ask", ask)
    frame = list_runs("titanic", state="succeeded", limit=5)
    assert list(frame["run_id"]) == ["b", "a"] and len(asked) == 2
    assert asked[1] == {
        "env": "dev",
        "model_name": "titanic",
        "state": "succeeded",
        "limit": "4",
        "after": "1.b",
    }
    assert str(frame["finished_at"].dtype) == "datetime64[us, UTC]"
    assert list_runs(limit=1)["run_id"].tolist() == ["c", "b"]
    assert list_runs(state="running")["stage"].tolist() == ["reading"]


def test_an_empty_list_has_the_columns_of_its_table(
    service: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Service, "ask", lambda *_, **__: {"models": [], "runs": [], "next": None})
    assert {"model_name", "status", "metrics"} <= set(list_models().columns)
    assert list(list_runs().columns)[:2] == ["run_id", "state"]
    assert len(list_runs()) == len(list_models(status="ready")) == 0


# Previews


def test_a_preview_shows_predictions_inputs_and_reasons(
    service: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    service.result = lambda _: {
        "model_name": "titanic",
        "model_version": "v1",
        "columns": [
            {"name": "id", "type": "INT64"},
            {"name": "price", "type": "NUMERIC"},
            {"name": "prediction", "type": "FLOAT64"},
        ],
        "inputs": [{"name": "ID", "type": "INT64"}, {"name": "at", "type": "TIMESTAMP"}],
        "rows": [
            {
                "output": {"id": str(2**60), "price": "1.5", "prediction": "NaN"},
                "input": {"ID": str(2**60), "at": "2026-11-28T12:00:00+00:00"},
                "reason": None,
            },
            {"output": None, "input": {"ID": 2, "at": None}, "reason": "it is odd"},
        ],
        "warnings": ["careful"],
    }
    frame = preview(TABLES[0], "titanic", rows=2)
    assert service.sent() == {
        "env": "dev",
        "input_table": TABLES[0],
        "model_name": "titanic",
        "model_version": "champion",
        "preview": "2",
    }
    assert list(frame.columns) == ["id", "price", "prediction", "at", "reason"]
    assert frame["id"].tolist() == [2**60, 2]
    assert str(frame["at"].dtype) == "datetime64[us, UTC]"
    assert frame["reason"].tolist()[1] == "it is odd"
    assert frame.attrs["warnings"] == ["careful"]
    err = capsys.readouterr().err
    assert "titanic v1 on my-project.titanic.test: 2 rows, nothing was written" in err


def test_the_public_names_are_documented() -> None:
    text = (Path(__file__).parents[3] / "docs/models.md").read_text()
    assert all(f"`{name}(" in text or f"`{name}`" in text for name in runs.__all__)


def test_the_memory_of_a_run_holds_no_values_of_the_request(service: Answers) -> None:
    service.result = interrupt
    with pytest.raises(KeyboardInterrupt):
        predict(*TABLES, "titanic", where="ssn = '123'")
    [file] = unfinished.folder().glob("*.json")
    assert json.loads(file.read_text()).keys() == {"run_id", "at"}
