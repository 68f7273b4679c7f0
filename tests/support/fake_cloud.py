"""Stand-ins for gcloud and curl in tests of deploy.sh: a Cloud Run service and its console.

Both are in a JSON file. The name it is called by selects the stand-in. FAKE_CLOUD names a folder
with `state.json` and `calls`, to which each command line is appended. Unknown commands are refused.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("FAKE_CLOUD", "."))
URL = "https://mlsys-dev-1.example.run.app"
HEALTH = {"status": "healthy", "envs": ["dev"]}


def new_state(service: str = "mlsys-dev") -> dict[str, Any]:
    """Return the state of a service that Terraform has just created, without revisions."""
    return {
        "service": service,
        "revisions": {},  # name: image
        "traffic": {},  # revision or LATEST: percent
        "tags": {},  # tag: revision
        "unready": [],  # images that never start
        "sick": {},  # image: where it is unhealthy: candidate, traffic, predict or a check
        "jobs": {},  # name: image
        "consoles": {},  # name: the state of one, as this
        "refuse": [],  # options that make gcloud fail
    }


def add_revision(state: dict[str, Any], image: str) -> str:
    """Create a revision of `image` and return its name; the traffic does not move."""
    name = f"{state['service']}-{len(state['revisions']) + 1:05}-abc"
    state["revisions"][name] = image
    return name


def split(state: dict[str, Any]) -> dict[str, int]:
    """Return the traffic by revision name."""
    latest = list(state["revisions"])[-1:]
    return {(latest[0] if r == "LATEST" else r): p for r, p in state["traffic"].items() if latest}


def gcloud(state: dict[str, Any], arguments: list[str]) -> int:
    words = [a for a in arguments if not a.startswith("--")]
    options = dict(a[2:].partition("=")[::2] for a in arguments if a.startswith("--"))
    verb, names = words[:3], words[3:]
    if verb == ["run", "revisions", "describe"]:
        assert options == {"format": "value(spec.containers[0].image)"}
        print(state["revisions"][names[0]])
        return 0
    if verb == ["run", "jobs", "list"]:
        assert options == {"format": "value(metadata.name)"}
        print("\n".join(state["jobs"]))
        return 0
    if verb == ["run", "jobs", "describe"]:
        path = "spec.template.spec.template.spec.containers[0].image"
        assert options == {"format": f"value({path})"}
        print(state["jobs"][names[0]])
        return 0
    if verb == ["run", "jobs", "update"]:
        assert options.keys() == {"image", "quiet"} and names[0] in state["jobs"]
        state["jobs"][names[0]] = options["image"]
        return 0
    if verb == ["run", "services", "list"]:
        assert options == {"format": "value(metadata.name)"}
        print("\n".join([state["service"], *state["consoles"]]))
        return 0
    state = state["consoles"].get(names[0], state)
    if names != [state["service"]]:
        return fail(f"Cannot find service {names}")
    if set(options) & set(state["refuse"]):
        return fail("refused, as the test wants it")
    if verb == ["run", "services", "describe"]:
        assert options == {"format": "json"}
        annotations = {"run.googleapis.com/iap-enabled": "true"} if state.get("iap") else {}
        env = [{"name": name, "value": "x"} for name in state.get("env", ())]
        spec = {"template": {"spec": {"containers": [{"env": env}]}}}
        about = {"metadata": {"annotations": annotations}, "spec": spec}
        print(json.dumps(about | {"status": status(state)}))
        return 0
    options.pop("quiet")  # without it gcloud may prompt
    if verb == ["run", "services", "update"]:
        if options == {"iap": ""}:
            state["iap"] = True
            return 0
        image = options.pop("image")
        assert options == {"no-traffic": ""}
        state["traffic"] = split(state)  # the share of LATEST is pinned to its revision
        add_revision(state, image)
        return fail("the revision is not ready") if image in state["unready"] else 0
    if verb == ["run", "services", "update-traffic"]:
        if tags := options.pop("update-tags", None):
            tag, revision = tags.split("=")
            assert revision in state["revisions"]
            state["tags"][tag] = revision
        if tag := options.pop("remove-tags", None):
            state["tags"].pop(tag, None)
        if revisions := options.pop("to-revisions", None):
            traffic = {r: int(p) for r, p in (part.split("=") for part in revisions.split(","))}
            assert sum(traffic.values()) == 100 and traffic.keys() <= state["revisions"].keys()
            state["traffic"] = traffic
        assert not options
        return 0
    raise AssertionError(arguments)


def status(state: dict[str, Any]) -> dict[str, Any]:
    """Return `status` of the service in the form of the Cloud Run Admin API, version 1."""
    found: dict[str, Any] = {"url": URL}
    if state["revisions"]:
        found["latestCreatedRevisionName"] = list(state["revisions"])[-1]
    targets = [{"revisionName": r, "percent": p} for r, p in split(state).items()]
    for tag, revision in state["tags"].items():
        url = URL.replace("https://", f"https://{tag}---")
        targets.append({"revisionName": revision, "tag": tag, "url": url})
    return found | ({"traffic": targets} if targets else {})


def curl(state: dict[str, Any], arguments: list[str]) -> int:
    assert arguments[:2] == ["--config", "-"]
    assert arguments[-3:-1] == ["--write-out", r"\n%{http_code}"]
    status, body = answer(state, arguments[-1], sys.stdin.read())
    print(body, status, sep="\n", end="")
    return 0


def answer(state: dict[str, Any], url: str, config: str) -> tuple[int, str]:
    """Return the status and the body of a GET."""
    if config != 'header = "Authorization: Bearer the-token"\n':
        return 401, "Unauthorized"
    base, _, path = url.removeprefix("https://").partition("/")
    tag, tagged, _ = base.partition("---")
    if tagged:
        revisions = [state["tags"][tag]] if tag in state["tags"] else []
    else:
        revisions = [r for r, percent in split(state).items() if percent]
    for revision in revisions:
        sick = state["sick"].get(state["revisions"][revision])
        if sick == ("candidate" if tagged else "traffic"):
            return 503, "the revision is sick"
        if path.startswith("predict") and sick == "predict":
            return 200, '{"ok": false, "problems": ["no such table"]}'
        if path.startswith("check"):
            assert path == "check?env=dev"
            return 200, json.dumps({"checks": checks(sick)})
    if not revisions:
        return 404, "Not Found"
    if path.startswith("health") and sick == "no envs":
        return 200, json.dumps(HEALTH | {"envs": []})
    return 200, '{"ok": true}' if path.startswith("predict") else json.dumps(HEALTH)


def checks(sick: str | None) -> list[dict[str, Any]]:
    """Return what the service says of its tables and of a topic."""
    fix = "terraform -chdir=infrastructure/envs/dev apply"
    answer = []
    for name in (
        "registry-table",
        "aliases-table",
        "ledger-table",
        "evaluations-table",
        "profiles-table",
        "publish-events",
    ):
        state, seen = ("failed", f"{name} is broken.") if sick == name else ("ok", "")
        answer.append({"id": name, "state": state, "seen": seen, "fix": fix if seen else None})
    return answer[1:] if sick == "no registry-table" else answer


def fail(message: str) -> int:
    print(f"ERROR: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    program, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    with (FOLDER / "calls").open("a") as calls:
        calls.write(" ".join([program, *arguments]) + "\n")
    state = json.loads((FOLDER / "state.json").read_text())
    code = {"gcloud": gcloud, "curl": curl}[program](state, arguments)
    (FOLDER / "state.json").write_text(json.dumps(state))
    sys.exit(code)
