"""`predict` and `preview`: `/predict` from a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlsys.arguments import check_choice, kind_of
from mlsys.artifact.refs import ModelRef
from mlsys.errors import InvalidRequest, TryAgain
from mlsys.remote.answers import PREVIEW
from mlsys.remote.call import Call
from mlsys.remote.frames import frame_of
from mlsys.remote.progress import say
from mlsys.remote.service import RefusedByService, Service, service_url
from mlsys.remote.texts import switch, texts
from mlsys.remote.unfinished import Unfinished
from mlsys.remote.verdict import headline, in_full, refusal, row_count
from mlsys.runs.run import Run
from mlsys.settings import ENVS

if TYPE_CHECKING:
    import pandas as pd

CHAMPION = "champion"
PREVIEW_SECONDS = 600.0


def predict(
    input_table: str,
    output_table: str,
    model: str | ModelRef,
    version: str | None = None,
    *,
    env: str = "dev",
    id_columns: str | Sequence[str] | None = None,
    outputs: str | Sequence[str] | None = None,
    prediction_column: str | Sequence[str] | None = None,
    class_columns: str | Mapping[Any, str] | Sequence[str] | None = None,
    where: str | None = None,
    write_disposition: str | None = None,
    max_rejects: int | float | str | None = None,
    max_drift: float | str | None = None,
    profile: bool = True,
    allow_rejected: bool = False,
    allow_version_mismatch: bool = False,
    engine: str | None = None,
    shadow: str | None = None,
    contract: str | None = None,
    max_bytes: int | str | None = None,
    max_cost: float | str | None = None,
    incremental: str | None = None,
    run_id: str | None = None,
    check_ids: bool = False,
    dry_run: bool = False,
    wait: bool = True,
    url: str | None = None,
) -> Any:
    """Score a table into another, exactly once, and return the run.

    The request is checked first, then scored with a progress bar. An interrupted call (Ctrl-C, a
    kernel that restarts, a connection that breaks) does not stop the run: the same call goes on
    with it, within a day even if the input changed since. A run that is done is not repeated.

    `model` is a name or what `upload_model` returned; `version` is v1, v2, ..., latest or an alias.
    A name without a version means its alias `champion`. The other parameters are those of
    `/predict` (docs/api.md): names are a list or a text with commas, `class_columns` may be a dict,
    `max_rejects` a count (100) or a share (0.01), `max_bytes` a number or a text such as "10GB",
    `max_cost` US dollars. `incremental` names a column, and scores only the
    rows above its last watermark; "ids" scores those whose ids the output lacks. `dry_run` returns
    the verdict of the check as a dict, `wait=False` returns at once, and `get_run` shows the run's
    state. The service's address is `url`, or else MLSYS_URL.

    Raises:
        RefusedByService: the service refuses the request; the message names each column or
            parameter, `body` is its answer. A run that failed is reported so, too.
        InvalidRequest: a parameter has a type that the route does not take.
        SettingsError: the service's address is not known.
        CredentialsMissing: an identity token cannot be fetched.
        TryAgain: the service cannot be reached, or made no progress for a long time.
    """
    params = named(model, version) | texts(
        {
            "env": check_choice(env, ENVS, "env"),
            "input_table": input_table,
            "output_table": output_table,
            "id_columns": id_columns,
            "outputs": outputs,
            "prediction_column": prediction_column,
            "class_columns": class_columns,
            "where": where,
            "write_disposition": write_disposition,
            "max_rejects": max_rejects,
            "max_drift": max_drift,
            "profile": switch(profile),
            "allow_rejected": allow_rejected,
            "allow_version_mismatch": allow_version_mismatch,
            "engine": engine,
            "shadow": shadow,
            "contract": contract,
            "max_bytes": max_bytes,
            "max_cost": max_cost,
            "incremental": incremental,
            "run_id": run_id,
        }
    )
    call = Call(Service(service_url(url)), params, check_ids=check_ids)
    with in_full():
        if dry_run:
            return call.verdict()
        return _run(call, Unfinished(call.service.url, call.params), wait)


def _run(call: Call, unfinished: Unfinished, wait: bool) -> Run:
    """Take a call to its end, and remember its run until then."""
    earlier = unfinished.earlier() if call.run_id is None else None
    if earlier is not None and call.resume(earlier.run_id):
        say(
            f"Resuming {earlier.run_id}, started at {earlier.at:%Y-%m-%d %H:%M} UTC and "
            "interrupted: its rows are those of that time"
        )
    verdict = call.verdict()
    if not verdict["ok"]:
        raise refusal(verdict)
    say(headline(call, verdict))
    _warn(verdict)
    unfinished.keep(str(call.run_id))
    try:
        answer = call.score() if wait else call.start()
    except RefusedByService:
        unfinished.forget()
        raise
    except (KeyboardInterrupt, TryAgain):
        unfinished.keep(str(call.run_id))
        say(
            f"No longer waiting for {call.run_id}; the run is not stopped. The same call goes on "
            f"with it, and get_run({call.run_id!r}) shows its state."
        )
        raise
    if "status_url" not in answer:
        unfinished.forget()
    known = {name: call.params[name] for name in ("env", "input_table", "output_table")}
    known |= {name: verdict[name] for name in ("model_name", "model_version")}
    return Run(known | answer)


def preview(
    input_table: str,
    model: str | ModelRef,
    version: str | None = None,
    *,
    rows: int = 10,
    output_table: str | None = None,
    env: str = "dev",
    id_columns: str | Sequence[str] | None = None,
    outputs: str | Sequence[str] | None = None,
    prediction_column: str | Sequence[str] | None = None,
    class_columns: str | Mapping[Any, str] | Sequence[str] | None = None,
    where: str | None = None,
    allow_rejected: bool = False,
    allow_version_mismatch: bool = False,
    max_bytes: int | str | None = None,
    max_cost: float | str | None = None,
    url: str | None = None,
) -> pd.DataFrame:
    """Score the first `rows` rows of a table, at most 100, and return them; nothing is written.

    The frame has the ids and the predictions as the output table would have them, then the columns
    that the model reads. A row that the model cannot score has NULLs, and the column `reason`. Its
    `attrs` has the model's version and the warnings. With `output_table` that table is checked, as
    before a run. A view is queried for its first rows, at the price of its query, which
    `max_bytes` and `max_cost` limit.

    Raises:
        RefusedByService, InvalidRequest, SettingsError, CredentialsMissing, TryAgain: as `predict`.
    """
    if isinstance(rows, bool) or not isinstance(rows, int):
        raise InvalidRequest(("rows", f"is {kind_of(rows)}: pass a number from 1 to 100"))
    params = named(model, version) | texts(
        {
            "env": check_choice(env, ENVS, "env"),
            "input_table": input_table,
            "output_table": output_table,
            "id_columns": id_columns,
            "outputs": outputs,
            "prediction_column": prediction_column,
            "class_columns": class_columns,
            "where": where,
            "allow_rejected": allow_rejected,
            "allow_version_mismatch": allow_version_mismatch,
            "max_bytes": max_bytes,
            "max_cost": max_cost,
            "preview": rows,
        }
    )
    service = Service(service_url(url))
    with in_full():
        answer = service.ask("/predict", params, timeout=PREVIEW_SECONDS, fields=[PREVIEW])
    scored = f"{answer['model_name']} {answer['model_version']}"
    say(f"{scored} on {input_table}: {row_count(len(answer['rows']))}, nothing was written")
    _warn(answer)
    return _preview_frame(answer)


def _warn(answer: Mapping[str, Any]) -> None:
    for warning in answer.get("warnings") or ():
        say(f"warning: {warning}")


def _preview_frame(answer: Mapping[str, Any]) -> pd.DataFrame:
    import pandas as pd

    rows = answer["rows"]
    columns = [(c["name"], c["type"]) for c in answer["columns"]]
    written = {name.casefold() for name, _ in columns}
    # An id is in both; a feature may have the name of a prediction.
    inputs = [(c["name"], c["type"]) for c in answer["inputs"]]
    parts = [
        frame_of([row["output"] or _ids(row, columns) for row in rows], columns),
        frame_of(
            [row["input"] for row in rows], [i for i in inputs if i[0].casefold() not in written]
        ),
    ]
    if any(row.get("reason") for row in rows):
        parts.append(frame_of(rows, [("reason", "STRING")]))
    frame = pd.concat(parts, axis=1)
    kept = ("model_name", "model_version", "warnings")
    frame.attrs = {name: answer.get(name) for name in kept}
    return frame


def _ids(row: Mapping[str, Any], columns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return what an output row has in common with a row that cannot be scored."""
    known = {name.casefold(): value for name, value in row["input"].items()}
    return {name: known.get(name.casefold()) for name, _ in columns}


def named(model: Any, version: Any) -> dict[str, str]:
    """Return the parameters that name the model.

    Raises:
        InvalidRequest: they contradict each other, or are not names.
    """
    if isinstance(model, ModelRef):
        if version not in (None, model.version):
            text = f"{version!r}, and model is {model}: pass the model's name, or no version"
            raise InvalidRequest(("version", text))
        return {"model_name": model.name, "model_version": model.version}
    if not isinstance(model, str):
        text = f"is {kind_of(model)}: pass its name, such as 'titanic-survival'; upload_model gives"
        raise InvalidRequest(("model", f"{text} one to a fitted model"))
    if version is not None and not isinstance(version, str):
        raise InvalidRequest(("version", f"is {kind_of(version)}: pass 'v1', 'latest' or an alias"))
    return {"model_name": model, "model_version": version or CHAMPION}
