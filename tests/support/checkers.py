"""Where the programs are that check workflows and the Dockerfile."""

import os
import shutil
import sys
from pathlib import Path


def checker(name: str) -> str:
    """The program's path: of this environment, else of the PATH. `make install` brings them all."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    found = shutil.which(name, path=path)
    assert found, f"{name} is not installed: run `make install`"
    return found
