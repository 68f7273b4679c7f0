"""`mlsys predict`: `GET /predict` with progress, repeated until it is answered.

The result goes to stdout, everything else to stderr. The service checks the parameters; this
command knows only their names.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlsys.errors import TryAgain
from mlsys.plural import does, plural

if TYPE_CHECKING:
    from mlsys.remote.call import Call

REQUIRED = {
    "env": ("ENV", "dev, staging or prod"),
    "input_table": ("P.D.T", "the table to score, project.dataset.table"),
    "output_table": ("P.D.T", "where the predictions go; created if it does not exist"),
    "model_name": ("NAME", "the model, such as titanic-survival"),
}
OPTIONAL = {
    "run_id": ("ID", "name the run yourself (default: derived from the request and the input)"),
    "id_columns": ("A,B", "columns to carry over (default: the model's, else all but features)"),
    "prediction_column": ("NAME", "names the predictions (default: the target, or prediction)"),
    "class_columns": ("NAMES", 'names for classes: low,high or {"<=50K": "low", ">50K": "high"}'),
    "outputs": ("A,B", "the model's methods to write, such as predict,predict_proba"),
    "write_disposition": ("W", "WRITE_APPEND (default), WRITE_TRUNCATE or WRITE_EMPTY"),
    "where": ("SQL", "score only the rows for which this condition holds"),
    "max_rejects": (
        "N",
        "how many rows may be set aside, 100 or 1%% of them (default: 0)",
    ),
    "incremental": ("COLUMN", "score only rows above its last value, or by ids those that lack"),
    "engine": ("E", "auto (default), service, or job: the tasks of a Cloud Run job"),
    "max_drift": ("D", "publish nothing if a column is further from the training data, 0 to 1"),
    "profile": ("BOOL", "false: neither count the columns nor compare them (default: true)"),
    "contract": ("C", "enforce the model's contract (default), only warn, or off"),
    "shadow": ("V", "another version or alias that scores the same rows, into P.D.T_shadow"),
    "max_bytes": ("N", "refuse the run if BigQuery would charge for more bytes, such as 10GB"),
    "max_cost": ("USD", "refuse the run if BigQuery would charge more US dollars, such as 0.5"),
}
FLAGS = {
    "allow_rejected": "use a model although its golden rows no longer match",
    "allow_version_mismatch": "use a model although another scikit-learn version saved it",
}


def add_to(commands: Any) -> None:
    """Add the command to the parser's others."""
    parser = commands.add_parser(
        "predict",
        help="score a BigQuery table by the service, and show the progress",
        description="Score a BigQuery table by the service: checks that it would work, scores, "
        "shows the progress, repeats what timed out, and prints the result. Ctrl-C stops the "
        "waiting, not the run. Options are checked by the service; GET /docs describes them.",
    )
    parser.set_defaults(run=run)
    for name, (metavar, text) in REQUIRED.items():
        parser.add_argument(flag(name), required=True, metavar=metavar, help=text)
    add_options(parser, OPTIONAL, version="latest")
    parser.add_argument(
        "--check-ids", action="store_true", help="first count rows with duplicate ids, too"
    )
    parser.add_argument("--dry-run", action="store_true", help="only check whether it would work")
    parser.add_argument("--no-wait", action="store_true", help="start the run and do not wait")
    parser.add_argument("--url", help="the service's address (default: MLSYS_URL)")
    parser.add_argument("--json", action="store_true", help="print only the service's JSON answer")


def add_options(
    parser: argparse.ArgumentParser, optional: Mapping[str, tuple[str, str]], *, version: str
) -> None:
    """Add the options of a request: its version with this default, those of `optional`, `FLAGS`."""
    parser.add_argument(
        "--model-version",
        default=version,
        metavar="V",
        help="v1, v2, ..., latest or an alias (default: %(default)s)",
    )
    for name, (metavar, text) in optional.items():
        parser.add_argument(flag(name), metavar=metavar, help=text)
    for name, text in FLAGS.items():
        parser.add_argument(
            flag(name), action="store_const", const="true", help=f"{text} (default: refuse)"
        )


def run(options: argparse.Namespace) -> int:
    """Run the command and return the exit code."""
    from mlsys.remote.answers import faults
    from mlsys.remote.call import Call
    from mlsys.remote.service import RefusedByService, Service, Unreachable, service_url
    from mlsys.remote.verdict import indented

    names = [*REQUIRED, "model_version", *OPTIONAL, *FLAGS]
    given = {name: getattr(options, name) for name in names}
    params = {name: value for name, value in given.items() if value is not None}
    call = Call(Service(service_url(options.url)), params, check_ids=options.check_ids)
    try:
        return _run(call, options)
    except RefusedByService as exc:
        if options.json and exc.body:
            _print_json(exc.body)
        _tell(f"mlsys: {exc}", *indented(faults(exc.body or {})))
        return 1
    except TryAgain as exc:
        answered = call.sent or not isinstance(exc, Unreachable)
        _tell(f"mlsys: {exc}", *(_next_steps(call, options) if answered else ()))
        return 1
    except KeyboardInterrupt:
        if call.sent:
            stopped = "No longer waiting; the run is not stopped."
            options.stopped = "\n".join([stopped, *_next_steps(call, options)])
        raise


def _run(call: Call, options: argparse.Namespace) -> int:
    from mlsys.remote.verdict import headline, problems

    verdict = call.verdict()
    if options.dry_run:
        if options.json:
            _print_json(verdict)
        else:
            _print_verdict(call, verdict)
    if not verdict["ok"]:
        if options.json and not options.dry_run:
            _print_json(verdict)
        _tell(*(line if line.startswith(" ") else f"mlsys: {line}" for line in problems(verdict)))
        return 1
    if options.dry_run:
        return 0
    _tell(headline(call, verdict), *(f"warning: {w}" for w in verdict.get("warnings", ())))
    result = call.start() if options.no_wait else call.score()
    if options.json:
        _print_json(result)
    elif "status_url" in result:
        print(f"run_id        {result['run_id']}")
        url = str(result["status_url"])
        print(f"its state     {url if '://' in url else call.service.address(url)}")
    else:
        _print_result(result)
    return 0


def _next_steps(call: Call, options: argparse.Namespace) -> list[str]:
    """Return where to see the run's state, and the command that resumes or repeats it."""
    words = ["mlsys", "predict"]
    for name, value in call.params.items():
        words += [flag(name)] if name in FLAGS else [flag(name), value]
    words += ["--url", options.url] if options.url else []
    words += [
        flag(name)
        for name in ("check_ids", "dry_run", "no_wait", "json")
        if getattr(options, name) and (not call.sent or name not in ("check_ids", "dry_run"))
    ]
    if not call.sent:
        return [f"To repeat it: {shlex.join(words)}"]
    lines = [f"To resume it or to see its result: {shlex.join(words)}"]
    if call.run_id:
        state = call.service.address(f"/runs/{call.run_id}", {"env": call.params["env"]})
        lines.insert(0, f"Its state: {state}")
    return lines


def flag(name: str) -> str:
    """Return the option of a parameter."""
    return f"--{name.replace('_', '-')}"


def _tell(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr, flush=True)


def _print_json(body: Mapping[str, Any]) -> None:
    print(json.dumps(body, indent=2, ensure_ascii=False))


def _print_verdict(call: Call, verdict: Mapping[str, Any]) -> None:
    from mlsys.remote.verdict import headline, increment

    print(headline(call, verdict))
    state = "exists already" if verdict.get("run_exists") else "is new"
    print(f"run_id        {verdict['run_id']} ({state})")
    if verdict["ok"]:
        state = "exists" if verdict.get("output_table_exists") else "would be created"
        print(f"output table  {call.params['output_table']} ({state})")
        print(f"reads         {', '.join(map(str, verdict.get('reads', ())))}")
        print(f"writes        {', '.join(map(_column, verdict.get('writes', ())))}")
        for line in increment(verdict.get("incremental")):
            print(f"incremental   {line}")
        if verdict.get("price_usd") is not None:
            price = f"{verdict['price_usd']:.4f} USD for {verdict['bytes']:,} bytes"
            print(f"price         {price}, at US list prices")
        if drift := verdict.get("drift"):
            print(f"compares      {_compared(drift)}")
        if verdict.get("duplicate_ids") is not None:
            print(f"duplicate ids {plural(verdict['duplicate_ids'], 'row')}")
        for warning in verdict.get("warnings", ()):
            print(f"warning       {warning}")
    if verdict.get("run_is_done"):
        print("It is done: the same request answers with its result.")
    else:
        print("It would work." if verdict["ok"] else "It would not work.")


def _column(column: Mapping[str, str]) -> str:
    """Return a column with its type, and its label if its name does not end in that."""
    text = f"{column['name']} {column['type']}"
    label = column.get("label")
    return text if label is None or column["name"].endswith(label) else f"{text} ({label!r})"


def _compared(drift: Mapping[str, Any]) -> str:
    """Return what a run's columns would be compared with."""
    if not drift["columns"]:
        return "nothing: the predictions are only counted, for the next run"
    source = drift["reference"]
    by = "the training data" if source == "training" else f"the run {source}"
    return f"{plural(drift['columns'], 'column')} with {by}"


def _shadow(shadow: Mapping[str, Any] | None) -> list[str]:
    """Return what to say about the version that scored the same rows, if there is one."""
    if shadow is None:
        return []
    version = shadow.get("model_version") or shadow.get("requested")
    report = shadow.get("report")
    if report is None:
        return [f"{version} has no report: {shadow.get('reason')}"]
    share = report["agreement"]
    percent = "" if share is None else f" ({share:.2%})"
    lines = [f"{version} in {shadow.get('output_table')}: {report['equal']:,} of "]
    lines[0] += f"{plural(report['rows'], 'row')} {does(report['equal'], 'is')} equal{percent}"
    for column in report["columns"]:
        if column["kind"] == "numbers" and column["quantiles"]:
            middle, most = column["quantiles"]["0.5"], column["max_absolute"]
            lines.append(
                f"{column['shadow_column']} less {column['column']}: mean {column['mean']:.6g}, "
                f"median {middle:.6g}, at most {most:.6g} apart"
            )
    return lines


def _print_result(result: Mapping[str, Any]) -> None:
    print(f"rows          {result['rows']:,}")
    for warning in result.get("warnings", ()) if not result["rows"] else ():
        print(f"warning       {warning}")
    if rejected := result.get("rows_rejected"):
        print(f"rejected      {plural(rejected, 'row')}, in {result.get('rejects_table')}")
    if result.get("watermark") and result["incremental"] != "ids":  # which are not ordered
        print(f"watermark     {result['incremental']} = {result['watermark']}")
    if (contract := result.get("contract")) is not None:
        print(f"contract      {contract['text']}")
    print(f"output table  {result['output_table']}")
    print(f"run_id        {result['run_id']}")
    print(f"seconds       {result.get('seconds')}")
    if (engine := result.get("engine", "service")) != "service":
        print(f"engine        {engine}: {result.get('engine_reason')}")
    if drift := result.get("drift"):
        print(f"drift         {drift['text']}")
    for line in _shadow(result.get("shadow")):
        print(f"shadow        {line}")
    if result.get("reused"):
        print("reused        the run was done already")
