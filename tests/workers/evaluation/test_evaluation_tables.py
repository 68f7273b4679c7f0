"""Labels that BigQuery cannot read beside the predictions are refused with what to do."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.bigquery import Table

from console_cloud import plan_of
from mlsys.cloud.tables import TableRef
from mlsys.errors import MlsysError, PermissionMissing, SchemaMismatch
from workers.evaluation import comparison
from workers.evaluation import evaluate as evaluation
from workers.evaluation.evaluate import EvaluationRequest, evaluate
from workers.evaluation.evaluated_runs import ScoredRun

LABELS = "my-project.truth.labels"
OUTPUT = "my-project.titanic.scored"
DENIED = exceptions.Forbidden("secret words", errors=[{"reason": "accessDenied"}])
BUSY = exceptions.Forbidden("secret words", errors=[{"reason": "quotaExceeded"}])

Evaluate = Callable[..., dict[str, Any]]


def table(location: str | None = "US", kind: str = "TABLE") -> Table:
    columns = ("PassengerId", "Survived", "truth")
    fields = [{"name": name, "type": "INTEGER"} for name in columns]
    values = {"schema": {"fields": fields}, "type": kind, "location": location}
    project, dataset, name = LABELS.split(".")
    own = {"projectId": project, "datasetId": dataset, "tableId": name}
    return Table.from_api_repr(values | {"tableReference": own})


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    """Return a function that evaluates runs over these tables, by their names."""

    def ask(tables: dict[str, Any], **request: Any) -> dict[str, Any]:
        def find(_: Any, name: TableRef) -> Any:
            known = tables.get(str(name), table())
            if isinstance(known, Exception):
                raise known
            return known

        def query(*_: Any, **__: Any) -> Any:
            raise tables["query"]

        run = ScoredRun(plan_of(), 9)
        monkeypatch.setattr(evaluation, "find_table", find)
        monkeypatch.setattr(evaluation, "scored_run", lambda *_, **__: run)
        monkeypatch.setattr(evaluation, "runs_of_model", lambda *_: ["a-run"])
        monkeypatch.setattr(evaluation, "write", lambda *_: None)
        monkeypatch.setattr(evaluation, "columns_of_query", query)
        monkeypatch.setattr(comparison, "select", query)
        named = {"run_id": "a-run"} | request
        wanted = EvaluationRequest("dev", TableRef.parse(LABELS), "truth", **named)
        return evaluate(SimpleNamespace(), wanted)  # type: ignore[arg-type]

    return ask


@pytest.mark.parametrize(
    ("tables", "error", "says"),
    [
        pytest.param(
            {LABELS: table("EU")},
            SchemaMismatch,
            f"{LABELS} is in EU, and {OUTPUT} in US, and a query reads only one location: copy",
            id="another location",
        ),
        pytest.param(
            {LABELS: DENIED},
            PermissionMissing,
            f"The table with labels, {LABELS}, cannot be read: BigQuery denies it to the service's",
            id="no rights on the labels",
        ),
        pytest.param(
            {OUTPUT: DENIED},
            PermissionMissing,
            f"The output table of a-run, {OUTPUT}, cannot be read",
            id="no rights on the output",
        ),
        pytest.param(
            {LABELS: table(kind="VIEW"), "query": DENIED},
            PermissionMissing,
            f"The table with labels, {LABELS}, cannot be read",
            id="no rights below a view, as it is looked up",
        ),
        pytest.param(
            {"query": DENIED},
            PermissionMissing,
            f"{OUTPUT} or {LABELS}, or a table below one of these, cannot be read",
            id="no rights on the rows",
        ),
        pytest.param(
            {"query": exceptions.NotFound("Dataset x was not found in location US")},
            SchemaMismatch,
            "cannot compare",
            id="a view of another location",
        ),
    ],
)
def test_labels_that_cannot_be_read_are_refused(
    evaluated: Evaluate, tables: dict[str, Any], error: type[MlsysError], says: str
) -> None:
    with pytest.raises(error) as caught:
        evaluated(tables)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("tables", [{LABELS: BUSY}, {OUTPUT: BUSY}, {"query": BUSY}])
def test_a_quota_is_not_a_missing_permission(evaluated: Evaluate, tables: Any) -> None:
    with pytest.raises(exceptions.Forbidden):
        evaluated(tables)


@pytest.mark.parametrize("fault", [table("EU"), DENIED])
def test_of_several_runs_those_that_cannot_be_read_are_named(
    evaluated: Evaluate, fault: Any
) -> None:
    answer = evaluated({OUTPUT: fault}, run_id=None, model_name="titanic-survival")
    assert answer["evaluations"] == []
    [refused] = answer["not_evaluated"]
    assert refused["run_id"] == "a-run" and OUTPUT in refused["reason"]


@pytest.mark.parametrize("location", [None, "us"])
def test_a_location_that_is_the_same_or_unknown_is_not_refused(
    evaluated: Evaluate, location: str | None
) -> None:
    with pytest.raises(SchemaMismatch, match="cannot compare"):
        evaluated({LABELS: table(location), "query": exceptions.BadRequest("it ran")})
