"""A program for `test_without_privileges`: check itself, a model in a sandbox, and the escapes."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression

from both_sides import compare
from escapes import TRIES
from escapes.handlers import WITHOUT_DESCRIPTORS
from workers.sandbox import nursery
from workers.sandbox.died import SandboxDied
from workers.sandbox.process import Sandbox
from workers.sandbox.walls import protect_memory

MEMORY = 2 * 2**30
X = np.arange(60.0).reshape(20, 3)
MODELS: tuple[Any, ...] = (LinearRegression(), RandomForestClassifier(3, random_state=0))


def privileges() -> dict[str, Any]:
    """Return what this process may do."""
    status = dict(re.findall(r"^(\w+):\t(.*)$", Path("/proc/self/status").read_text(), re.M))
    try:
        Path("written").touch()
        written = True
    except OSError:
        written = False
    capabilities = [int(status[f"Cap{which}"], 16) for which in ("Prm", "Eff", "Bnd", "Amb", "Inh")]
    return {
        "uid": os.getuid(),
        "capabilities": capabilities,
        "no_new_privileges": status["NoNewPrivs"] == "1",
        "written": written,
    }


def escaped(folder: str) -> dict[str, str]:
    """Return the tries that ended in another way than a refusal, with how they ended."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        canaries = {
            **{"tcp": port, "udp": port, "metadata": port},
            **{"unix": f"{folder}/unix", "abstract": f"none-{os.getpid()}"},
            **{"empty": f"{folder}/empty", "watched": f"{folder}/watched"},
            **{"secret": f"{folder}/secret", "parent": os.getpid()},
            **{"address": id(folder), "scratch": id(folder), "length": 8},
        }
        ends: dict[str, str] = {}
        sandbox: Sandbox | None = None
        for name in WITHOUT_DESCRIPTORS:
            refused = TRIES[name].refused
            sandbox = sandbox or Sandbox("escapes.handlers:HANDLERS", memory=MEMORY)
            body: dict[str, Any]
            try:
                body = sandbox.call("try", {"name": name, "canaries": canaries}, seconds=20).body
            except SandboxDied as exc:
                sandbox, body = None, {"error": exc.detail, "errno": 0, "died": "signal 31"}
            if isinstance(refused, str):
                ended = refused in body.get("error", "") or (
                    refused == "died -31" and body.get("died", "-") in body["error"]
                )
            else:
                ended = body.get("errno") in refused
            if not ended:
                ends[name] = str(body)
        if sandbox is not None:
            sandbox.close()
        return ends


def main() -> None:
    """Write one JSON document with what was seen."""
    may = privileges()
    protect_memory()
    outputs = [compare(model.fit(X, (X[:, 0] > 20).astype(int)), X) for model in MODELS]
    ends = escaped(sys.argv[1])
    nursery.close()
    print(json.dumps({"may": may, "outputs": outputs, "escaped": ends}))


if __name__ == "__main__":
    main()
