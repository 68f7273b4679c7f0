"""Importing has no side effects, and heavy modules do not delay the first `/health`."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from mlsys.local.stack import LocalStack

ROOT = Path(__file__).parents[2]
HEAVY = ("pandas", "sklearn", "pyarrow", "matplotlib", "google.cloud.bigquery")


def modules() -> list[str]:
    """Return the name of every module of ours."""
    names = []
    for root, package in ((ROOT, "app"), (ROOT, "workers"), (ROOT / "lib", "mlsys")):
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [name for name in names if name != "app.gunicorn_conf"]  # for gunicorn only, reads $PORT


def run(code: str, folder: Path) -> str:
    """Run `code` in a fresh interpreter with an empty environment and an empty working folder."""
    path = os.pathsep.join([str(ROOT / "lib"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env={"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_imports_with_an_empty_environment(tmp_path: Path) -> None:
    """None of them reads a setting, creates a client, writes a file or prints anything."""
    names = modules()
    some = {"app", "app.api.events", "workers.scoring.engines.run", "mlsys.cli", "mlsys.vis"}
    assert some <= set(names)
    code = f"""
import importlib, socket
from mlsys import settings
from mlsys.cloud.clients import Clients

def never(*_, **__):
    raise AssertionError("a setting was read, a client made or an address called")

socket.socket.connect = never
settings.Settings.from_env = never
Clients.__init__ = never
for name in {names!r}:
    importlib.import_module(name)
"""
    assert run(code, tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_the_first_health_answer_needs_no_heavy_import(tmp_path: Path) -> None:
    code = f"""
import json, sys
from app import create_app
from mlsys.settings import Emulators, Settings

settings = Settings("demo-project", push_auth="off", emulators=Emulators("http://127.0.0.1:9"))
answer = create_app(settings).test_client().get("/health")
heavy = [name for name in {HEAVY!r} if name in sys.modules]
print(json.dumps([answer.status_code, answer.json["status"], heavy]))
"""
    last = run(code, tmp_path).splitlines()[-1]
    assert json.loads(last) == [200, "healthy", []]


def test_the_scoring_service_imports_nothing_of_the_console(tmp_path: Path) -> None:
    code = """
import sys
from app import create_app
from mlsys.settings import Emulators, Settings

settings = Settings("p", role="api", push_auth="off", emulators=Emulators("http://127.0.0.1:9"))
create_app(settings)
print([name for name in sys.modules if name.startswith("app.console") or name == "app.iap"])
"""
    assert run(code, tmp_path).splitlines()[-1] == "[]"


def test_the_library_imports_without_the_service(tmp_path: Path) -> None:
    """A notebook needs neither Flask nor the service."""
    code = """
import sys
import time
import mlsys.bq, mlsys.gcs, mlsys.models, mlsys.settings
print([name for name in ("flask", "pydantic", "app", "workers", "pandas") if name in sys.modules])
"""
    assert run(code, tmp_path).strip() == "[]"


def test_heavy_modules_are_imported_after_the_first_answer(stack: LocalStack) -> None:
    deadline = time.monotonic() + 60
    while "Warmed up in" not in stack.service_log.read_text():  # the stack has requested /health
        assert time.monotonic() < deadline
        time.sleep(0.1)
