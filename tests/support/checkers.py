"""Paths of the programs that check workflows and the Dockerfile."""

import os
import shutil
import sys
from pathlib import Path


def checker(name: str) -> str:
    """Return the program's path: in this environment, else on the PATH. See `make install`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    found = shutil.which(name, path=path)
    assert found, f"{name} is not installed: run `make install`"
    return found
