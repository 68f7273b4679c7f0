"""bqemulator with partitions and a memory limit: `python -m mlsys.local.emulator start ...`."""

import os

from bqemulator.cli import main

from mlsys.local.bounded import bound
from mlsys.local.partitions import install

if __name__ == "__main__":
    install()
    bound(int(os.environ["MLSYS_LOCAL_MEMORY"]))
    main()
