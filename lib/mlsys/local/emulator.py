"""bqemulator with what it lacks: `python -m mlsys.local.emulator start ...`."""

import os

from bqemulator.cli import main

from mlsys.local import job_ids, parsing, partition_times, partitions, snapshots, streams
from mlsys.local.bounded import bound

if __name__ == "__main__":
    partitions.install()
    snapshots.install()
    partition_times.install()
    streams.install()
    job_ids.install()
    parsing.install()
    parsing.share_with_readers()
    bound(int(os.environ["MLSYS_LOCAL_MEMORY"]))
    main()
