"""The console's actions without a backend: the functions that they call, and what was done."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient

from edge_cases import SERVICE
from mlsys.cloud.quarantine import Record
from mlsys.errors import RunNotFound
from wired import wired
from workers.registry.difference import Difference
from workers.registry.move import Moved, MoveRequest

OWN = {"Sec-Fetch-Site": "same-origin"}
VERDICT: dict[str, Any] = {
    **{"ok": True, "problems": [], "warnings": [], "run_id": "run-1", "run_exists": False},
    **{"run_is_done": False, "run_id_required": False, "model_name": "titanic"},
    **{"model_version": "v2", "model_generation": 7, "model_alias": "champion", "rows": 418},
    **{"engine": "service", "engine_reason": "it fits", "bytes": 1000, "price_usd": 0.0001},
    **{"reads": ["Age"], "writes": [{"name": "survived", "type": "INT64"}]},
    **{"output_table_exists": False, "rejects_table": "p.d.t_rejects"},
}
STATE: dict[str, Any] = {
    **{"run_id": "run-1", "env": "dev", "state": "running", "request": {}, "rows_done": 10},
    **{"rows_total": 418, "rows_rejected": 0, "shards_done": 1, "shards_total": 2},
    **{"attempts": 1, "seconds": 2.0},
}
MODELS = [
    {"model_name": "titanic", "model_version": version, "status": status}
    for version, status in (("v3", "rejected"), ("v2", "ready"), ("v1", "ready"))
]
DIFFERENCE = Difference(("titanic/v4",), (), ("gone/v1",))
MESSAGE = Record(
    "quarantine/2026-11-28/a.json", "2026-11-28T10:00:00+00:00", "/events/storage", "no JSON", "{"
)


@dataclass
class World:
    """What the workers answer, and what they were asked to do."""

    verdict: dict[str, Any] = field(default_factory=lambda: dict(VERDICT))
    taken: bool = False
    fault: Exception | None = None  # that the next action raises
    done: list[Any] = field(default_factory=list)
    difference: Difference = field(default_factory=lambda: DIFFERENCE)

    def did(self, *what: Any) -> None:
        """Note an action, or fail."""
        if self.fault is not None:
            raise self.fault
        self.done.append(what)

    def preflight(self, _: Any, request: Any, run_id: str | None) -> dict[str, Any]:
        if self.fault is not None:
            raise self.fault
        return self.verdict

    def move(self, _: Any, env: str, request: MoveRequest) -> Moved:
        if not request.dry_run:
            self.did("moved", request)
        elif self.fault is not None:
            raise self.fault
        return Moved(request.version, "v1", not request.dry_run, {"registry": {"status": "ready"}})

    def status(self, _: Any, env: str, run_id: str) -> dict[str, Any]:
        if run_id != STATE["run_id"]:
            raise RunNotFound(f"The run {run_id} does not exist in {env}")
        return STATE


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Replace the workers, and return what they are."""
    made = World()
    aliases = [SimpleNamespace(alias="champion", version="v1")]
    replaced: dict[str, Any] = {
        "app.logs.configure": lambda: None,
        "app.console.views.new_run.publish_request": lambda *a: made.did("published", *a),
        "workers.scoring.answers.dry_run.preflight": made.preflight,
        "app.console.views.new_run.is_taken": lambda *_: made.taken,
        "workers.scoring.publishing.cancellation.cancel": lambda _, env, run_id, by, why: (
            made.did("cancelled", run_id, by, why),
            True,
        ),
        "workers.scoring.answers.status.status": made.status,
        "workers.registry.table.list_models": lambda *_, **__: (MODELS, False),
        "workers.scoring.planning.offered.offered_tables": lambda _: ["my-project.titanic.test"],
        "workers.registry.move.move_alias": made.move,
        "workers.registry.move.aliases_now": lambda *a: [
            row for row in aliases if len(a) < 4 or row.alias == a[3]
        ],
        "workers.registry.difference.difference": lambda *_: made.difference,
        "workers.registry.hints.hint": lambda _, env, keys: made.did("hinted", keys) or len(keys),
        "mlsys.cloud.quarantine.objects": lambda *_: [MESSAGE.name],
        "mlsys.cloud.quarantine.read": lambda _, env, names: [
            (name, MESSAGE) for name in names if name == MESSAGE.name
        ],
        "mlsys.cloud.quarantine.replay": lambda _, env, record: made.did("replayed", record.name),
    }
    for path in replaced:  # a module that is imported later would keep what is there then
        pkgutil.resolve_name(path)
    for path, value in replaced.items():
        monkeypatch.setattr(path, value)
    return made


@pytest.fixture
def console(world: World) -> FlaskClient:
    """Return a client of the console, as a browser on this machine."""
    client = wired(SERVICE).test_client()
    client.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"
    return client
