"""The Terraform files as Python values, and the settings that they must never have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hcl2

ROOT = Path(__file__).parents[2]
INFRASTRUCTURE = ROOT / "infrastructure"
MODULE = INFRASTRUCTURE / "modules" / "mlsys"

PLAIN = hcl2.SerializationOptions(
    with_comments=False, explicit_blocks=False, strip_string_quotes=True, preserve_heredocs=False
)

# Roles on a project reach every table or object in it, except these: jobs and read sessions exist
# in projects only, and the plan's role has no permission on data.
PROJECT_ROLES = {
    "roles/bigquery.jobUser",
    "roles/bigquery.readSessionUser",
    # The deploy account's, to read which image a revision runs, and the runtime account's, to see
    # whether an execution has ended
    "roles/run.viewer",
    "${google_project_iam_custom_role.plan.name}",
}


@dataclass(slots=True)
class Config:
    """The locals, variables and resources of a folder's files; `${...}` stays as written."""

    locals: dict[str, Any] = field(default_factory=dict)
    resources: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    modules: dict[str, dict[str, Any]] = field(default_factory=dict)
    variables: dict[str, dict[str, Any]] = field(default_factory=dict)
    terraform: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, files: Mapping[str, str]) -> Config:
        """Parse the files, by name."""
        found = cls()
        for text in files.values():
            parsed = hcl2.loads(text, serialization_options=PLAIN)
            for block in parsed.get("locals", []):
                found.locals |= block
            for block in parsed.get("resource", []):
                for kind, named in block.items():
                    found.resources |= {(kind, name): body for name, body in named.items()}
            for block in parsed.get("variable", []):
                found.variables |= block
            for block in parsed.get("module", []):
                found.modules |= block
            for block in parsed.get("terraform", []):
                found.terraform |= block
        return found


class Recorder(dict[str, str]):
    """An environment that records which variables were read."""

    def __init__(self, **values: str) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)


class Topics:
    """A Pub/Sub that records what was created."""

    def __init__(self) -> None:
        self.topics: set[str] = set()
        self.subscriptions: dict[str, Any] = {}

    def create_topic(self, name: str) -> None:
        self.topics.add(name)

    def create_subscription(self, subscription: Any) -> None:
        self.subscriptions[subscription.name] = subscription

    def listen(self, topic: str, callback: Any) -> None:
        self.topics.discard(topic)  # the topics that get the local bucket's events


def files_of(folder: Path) -> dict[str, str]:
    """Return the texts of a folder's .tf files, by name."""
    return {path.name: path.read_text() for path in sorted(folder.glob("*.tf"))}


def named(text: str, env: str = "dev") -> str:
    """Return a name with the environment filled in, without its prefix."""
    filled = {"var.env": env, "upper(var.env)": env.upper(), "local.name": f"mlsys-{env}"}
    filled["var.bucket_prefix"] = ""
    return re.sub(r"\$\{([^}]*)\}", lambda m: filled.get(m[1], m[0]), text)


def strings(value: Any) -> Iterator[str]:
    """Yield every text in a nested value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def dangers(files: Mapping[str, str]) -> list[str]:
    """Return what would grant public access, lose a message or silently revoke a right."""
    found = []
    for (kind, name), body in Config.read(files).resources.items():
        where = f"{kind}.{name}"
        texts = list(strings(body))
        if any(re.search(r"\ball(Authenticated)?Users\b", text) for text in texts):
            found.append(f"{where} lets everybody in")
        if kind == "google_service_account_key":
            found.append(f"{where} is a key")
        if re.search(r"_iam_(binding|policy)$", kind):
            found.append(f"{where} takes away the rights that it does not name")
        if kind == "google_project_iam_member":
            roles = [*list(strings(body.get("for_each", ""))), body["role"]]
            given = {r for text in roles for r in re.findall(r"roles/[\w.]+|\$\{google.*\}", text)}
            found += [f"{where} gives {role} on the project" for role in given - PROJECT_ROLES]
        if kind == "google_storage_bucket" and (
            body.get("public_access_prevention") != "enforced"
            or body.get("uniform_bucket_level_access") is not True
        ):
            found.append(f"{where} could be made public")
        if kind == "google_cloud_run_v2_service" and body.get("invoker_iam_disabled") is not False:
            found.append(f"{where} does not check who calls")
        if kind == "google_pubsub_subscription":
            if body.get("expiration_policy") != [{"ttl": ""}]:
                found.append(f"{where} expires")
            if "push_config" in body and "dead_letter_policy" not in body:
                found.append(f"{where} has no dead letter")
    return found
