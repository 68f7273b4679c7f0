"""`mlsys compare`: what differs between two versions of a model."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from mlsys.cli.tables import table
from mlsys.settings import ENVS

SECTIONS = {
    "metrics": "METRIC",
    "parameters": "PARAMETER",
    "columns": "COLUMN",
    "contract": "CONTRACT",
    "versions": "LIBRARY",
    "profile": "TRAINING DATA",
    "about": "MODEL",
    "runs": "RUNS",
}
MAX_WIDTH = 60  # of a value


def add_to(commands: Any) -> None:
    """Add the command to the parser's others."""
    parser = commands.add_parser(
        "compare",
        help="show what differs between two versions of a model",
        description="Show what differs between two versions of a model: metrics, parameters, "
        "columns, contract, libraries, training data, size and runs.",
    )
    parser.set_defaults(run=_compare)
    parser.add_argument("name", help="the model, such as titanic-survival")
    parser.add_argument("a", help="v1, v2, ..., latest or an alias")
    parser.add_argument("b", help="the other one")
    parser.add_argument("--env", required=True, choices=ENVS, help="the environment")
    parser.add_argument("--all", action="store_true", help="show what does not differ, too")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--url", help="the service's address (default: MLSYS_URL)")


def _compare(options: argparse.Namespace) -> int:
    from mlsys.remote.answers import COMPARISON
    from mlsys.remote.service import Service, service_url
    from mlsys.remote.verdict import in_full

    service = Service(service_url(options.url))
    params = {"env": options.env, "a": options.a, "b": options.b}
    params |= {"all": "true"} if options.all else {}
    path = f"/models/{options.name}/compare"
    with in_full():
        answer = service.ask(path, params, fields=[COMPARISON])
    if options.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
        return 0
    shown = [
        _section(heading, answer, name)
        for name, heading in SECTIONS.items()
        if answer.get(name)  # an older service has no contract
    ]
    print("\n\n".join(shown) if shown else f"{answer['a']} and {answer['b']} do not differ.")
    for note in answer["notes"]:
        print(f"note: {note}", file=sys.stderr)
    return 0


def _section(heading: str, answer: Mapping[str, Any], name: str) -> str:
    facts = answer[name]
    changes = any(fact.get("change") is not None for fact in facts)
    headings = [heading, answer["a"], answer["b"], *(["CHANGE"] if changes else [])]
    rows = [
        [fact["name"], _cut(fact["a"]), _cut(fact["b"]), *([fact.get("change")] if changes else [])]
        for fact in facts
    ]
    return table(headings, rows)


def _cut(value: Any) -> Any:
    if not isinstance(value, str | list | dict):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_WIDTH else f"{text[:MAX_WIDTH]}..."
