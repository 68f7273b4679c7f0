"""Ready-made calls: a request for curl, the command line and a notebook; SQL over its rows."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from mlsys.settings import Settings

FLAGS = ("allow_rejected", "allow_version_mismatch")  # of the command line
SWITCHES = (*FLAGS, "profile")
POSITIONAL = ("input_table", "output_table", "model_name", "model_version")
LISTS = ("id_columns", "outputs", "prediction_column")
INDENT = " \\\n  "


def calls(request: Mapping[str, Any]) -> dict[str, str]:
    """Return the request, as `GET /predict` takes it, as calls by what they are for."""
    return {
        "curl": curl(request),
        "Command line": command_line(request),
        "Notebook": notebook(request),
    }


def curl(request: Mapping[str, Any]) -> str:
    """Return the request for a shell, its address in MLSYS_URL."""
    passed = (f"--data-urlencode {shlex.quote(f'{k}={v}')}" for k, v in request.items())
    return INDENT.join(('curl -G "$MLSYS_URL/predict"', *passed))


def command_line(request: Mapping[str, Any]) -> str:
    """Return the request as `mlsys predict` takes it."""
    options = []
    for name, value in request.items():
        option = f"--{name.replace('_', '-')}"
        is_flag = name in FLAGS and value in (True, "true")
        options.append(option if is_flag else f"{option} {shlex.quote(str(value))}")
    return INDENT.join(("mlsys predict", *options))


def notebook(request: Mapping[str, Any]) -> str:
    """Return the request as Python."""
    arguments = [repr(str(request.get(name, ""))) for name in POSITIONAL]
    for name, value in request.items():
        if name in SWITCHES:
            arguments.append(f"{name}={value in (True, 'true')}")
        elif name in LISTS:
            arguments.append(f"{name}={str(value).split(',')!r}")
        elif name not in POSITIONAL:
            arguments.append(f"{name}={str(value)!r}")
    inner = "".join(f"    {argument},\n" for argument in arguments)
    text = "from mlsys.runs import predict\n\n"
    return f"{text}run = predict(\n{inner})\nrun.to_dataframe()"


def upload(settings: Settings) -> str:
    """Return the upload of a first model; on the local stack commands that train one too."""
    if not settings.emulators:
        return """from mlsys.models import upload_model

upload_model(model, "titanic-survival", X=X_train, y=y_train, id_columns=["PassengerId"])"""
    return f"""set -a; . .local/env; set +a   # in the folder where `make local` runs
.venv/bin/python - <<'END'
{training(settings.project)}
END"""


def training(project: str) -> str:
    """Return Python that trains a model on a sample table of the local stack, and uploads it."""
    return f"""from sklearn.ensemble import HistGradientBoostingClassifier
from mlsys.bq import bq_get
from mlsys.models import upload_model

df = bq_get("SELECT * FROM `{project}.titanic.train`")
X, y = df[["Pclass", "Age", "SibSp", "Parch", "Fare"]], df["Survived"]
model = HistGradientBoostingClassifier(random_state=0).fit(X, y)
upload_model(model, "titanic-survival", X=X, y=y, id_columns=["PassengerId"])"""


def sample_tables(project: str) -> dict[str, str]:
    """Return the sample table of the local stack that is to be scored, and where its rows go."""
    names = {"input_table": "test", "output_table": "scored"}
    return {name: f"{project}.titanic.{table}" for name, table in names.items()}


def rows_of_model(output_table: str, model_name: str, version: str) -> str:
    """Return SQL for the rows that a version has written into a table."""
    return (
        f"SELECT *\nFROM {quoted(output_table)}\n"
        f"WHERE model_name = {text(model_name)} AND model_version = {text(version)}"
    )


def lineage(
    input_table: str,
    output_table: str,
    run_id: str,
    ids: Iterable[str],
    snapshot_at: str | None,
) -> str:
    """Return SQL that joins a run's rows to the rows of the input that they were made from.

    Without `snapshot_at` the input is read as it is now: a view has no earlier rows.
    """
    at = f" FOR SYSTEM_TIME AS OF TIMESTAMP {text(snapshot_at)}" if snapshot_at else ""
    ids = list(ids)
    if not ids:
        return (
            f"-- The run carries no id column, by which its rows could be joined to the input.\n"
            f"SELECT *\nFROM {quoted(output_table)}\nWHERE run_id = {text(run_id)}"
        )
    on = " AND ".join(f"scored.{quoted(name)} = input.{quoted(name)}" for name in ids)
    then = "as they were then (kept for 7 days)" if snapshot_at else "as they are now"
    return (
        f"-- The rows of the run, beside those of the input {then}.\n"
        f"SELECT input.*, scored.* EXCEPT ({', '.join(map(quoted, ids))})\n"
        f"FROM {quoted(output_table)} AS scored\n"
        f"JOIN {quoted(input_table)}{at} AS input\n  ON {on}\n"
        f"WHERE scored.run_id = {text(run_id)}"
    )


def quoted(name: str) -> str:
    """Return a name in backticks; one with a backtick or a backslash is escaped."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def text(value: str) -> str:
    """Return a text as a literal of BigQuery's SQL, which has JSON's escapes."""
    return json.dumps(value, ensure_ascii=False)
