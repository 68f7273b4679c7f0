"""Sandboxes in a process as Cloud Run starts it: no capability, and no folder to write to."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import without_privileges
from workers.sandbox.walls import available

NOBODY = 65534
DROP = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
OTHER_USER = (*DROP, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


def can_start(command: tuple[str, ...], environment: dict[str, str]) -> bool:
    """Return whether Python and a package start by the command: its user may not read them."""
    started = subprocess.run(
        [*command, sys.executable, "-c", "import sklearn, workers"],
        **{"env": environment, "cwd": "/", "capture_output": True, "timeout": 60},
    )
    return started.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(
    not available().filter or not available().landlock, reason="this machine lacks walls"
)
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give capabilities up by setpriv")
def test_the_walls_hold_and_models_answer_without_any_privilege(tmp_path: Path) -> None:
    """As another user where that one can read Python, and else as root without capabilities."""
    paths = [str(Path(without_privileges.__file__).parent), *filter(None, sys.path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = OTHER_USER if can_start(OTHER_USER, environment) else DROP
    for name in ("watched", "secret"):
        (tmp_path / name).write_text("content")
    (tmp_path / "empty").mkdir()
    for path in (*tmp_path.iterdir(), tmp_path):
        path.chmod(0o555)
    done = subprocess.run(
        [*command, sys.executable, without_privileges.__file__, str(tmp_path)],
        **{"env": environment, "cwd": tmp_path, "capture_output": True, "text": True},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["may"] == {
        "uid": NOBODY if command is OTHER_USER else 0,
        "capabilities": [0] * 5,
        "no_new_privileges": True,
        "written": False,
    }
    assert len(seen["outputs"]) == len(without_privileges.MODELS) and all(seen["outputs"])
    assert seen["escaped"] == {}
