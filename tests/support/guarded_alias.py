"""An alias with a guard over a cloud in memory: versions, runs, reports, and who asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mlsys.artifact.refs import AliasRef
from mlsys.errors import ModelNotFound
from mlsys.settings.guards import read_guards
from warehouse import Warehouse
from workers.inference.verdict import Verdict
from workers.registry.move import Moved, MoveRequest, move_alias

REF = AliasRef("m", "champion")
ADA = "ada@example.com"
LOWER = "lower.mlsys_staging"
LABELS = "p.d.truth.label"
# A guard with every clause, which v2 satisfies and v3 does not
FULL: dict[str, Any] = {
    "movers": [ADA, "ben@example.com"],
    "why": True,
    "golden_rows": True,
    "runs": {"at_least": 3, "ledgers": [LOWER]},
    "metrics": {"auc": {"at_least": 0.8, "worse_by": 0.02}, "rmse": {"at_most": 2}},
    "shadow": {"agreement": 0.9, "rows": 100},
}


class Guarded:
    """The alias champion of the model m, which named v1 before it was guarded."""

    def __init__(self, guard: dict[str, Any] | None = None) -> None:
        self.cloud = Warehouse()
        self.verdicts: dict[str, Verdict | Exception] = {}
        self.requests = 0
        self.cloud.ledgers[LOWER] = []
        self.upload("v1", auc=0.9, rmse=1.5)
        self.upload("v2", auc=0.89, rmse=1.0)
        self.upload("v3", auc=0.5, rmse=9)
        self.ask("v1")
        self.run("v2", LOWER)
        self.run("v2", LOWER)
        self.run("v2")
        self.shadow_run("v1", "v2", rows=200, equal=190)
        self.guard_by(FULL if guard is None else guard)

    def guard_by(self, guard: dict[str, Any], name: str = "champion") -> None:
        errors: list[str] = []
        guards = read_guards(json.dumps({"dev": {name: guard}}), ("dev",), errors)
        assert not errors
        self.cloud.settings = replace(self.cloud.settings, alias_guards=guards)

    def upload(self, version: str, **metrics: Any) -> None:
        """Upload a version whose golden rows match."""
        self.describe(version, **metrics)
        self.cloud.bucket.put(f"m/{version}/model.pkl")
        self.verdicts[version] = Verdict("ready", golden_rows=5)

    def describe(self, version: str, **metrics: Any) -> None:
        content = json.dumps({"metrics": metrics}).encode()
        self.cloud.bucket.put(f"m/{version}/metadata.json", content=content)

    def measure(
        self, version: str, labels: str = LABELS, rows: int = 100, **metrics: float
    ) -> None:
        """Let the version, as it is now, have these metrics by labels."""
        generation = self.cloud.bucket.objects[f"m/{version}/model.pkl"].generation
        assert generation is not None
        self.cloud.measured["m", version, generation, labels] = [
            {"metric": name, "value": value, "evaluated": rows} for name, value in metrics.items()
        ]

    def run(self, version: str, dataset: str = "p.mlsys_dev", **changes: Any) -> str:
        """Add a run of the version as it is now to a ledger."""
        model = self.cloud.bucket.objects[f"m/{version}/model.pkl"]
        self.requests += 1
        row = {
            "run_id": f"run-{self.requests}",
            "model_name": "m",
            "model_version": version,
            "model_crc32c": model.crc32c,
            "model_generation": model.generation if dataset == "p.mlsys_dev" else 7,
            "state": "succeeded",
            "rows_scored": 10,
            "shadow": None,
        }
        self.cloud.ledgers[dataset].append(row | changes)
        return str(row["run_id"])

    def shadow_run(self, champion: str, version: str, rows: int, equal: int) -> None:
        run_id = self.run(champion, shadow=version)
        generation = self.cloud.bucket.objects[f"m/{version}/model.pkl"].generation
        shadow = {
            "model_version": version,
            "model_generation": generation,
            "report": {"rows": rows, "equal": equal},
        }
        content = json.dumps({"shadow": shadow}).encode()
        self.cloud.runs.put(f"{run_id}/result.json", content=content)

    def ask(self, version: str | None = "v2", **values: Any) -> Moved:
        """Ask for a move as Ada, with a reason."""
        self.requests += 1
        asked = {"who": ADA, "why": "better", "request_id": f"{self.requests:032x}"} | values
        return move_alias(self.cloud, "dev", MoveRequest(REF, version, **asked))  # type: ignore[arg-type]

    def verdict(self, key: Any, fetch: Callable[[], bytes], *_: Any, again: bool) -> Verdict:
        """Judge as the sandbox would; a stored verdict does not count."""
        assert again
        fetch()
        given = self.verdicts[key[0].split("/")[-2]]
        if isinstance(given, Exception):
            raise given
        return given

    @property
    def named(self) -> str | None:
        """The version that the alias's object names."""
        blob = self.cloud.bucket.objects.get(REF.path)
        return json.loads(blob.content)["version"] if blob else None

    @property
    def records(self) -> list[str]:
        """The names of the records of moves."""
        return [name for name in self.cloud.runs.objects if name.startswith("_aliases/")]

    @property
    def log(self) -> list[dict[str, Any]]:
        return [row.values for row in self.cloud.aliases.rows]


GONE = ModelNotFound("it was replaced")
