"""`make bench ARGS=image`: the image's size, and the time from its start to the first answer.

The time covers a container on this machine: creating it, starting Python and gunicorn, the first
answer of /health. Cloud Run also fetches the image, and has other processors.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from benchmarks.containers import (
    ROOT,
    TAG,
    UNCONNECTED,
    BuildFailed,
    NoImages,
    bases,
    build,
    require_bases,
    size,
    started,
    wait_until_ready,
)
from mlsys.local.addresses import Ports, choose_addresses

MB = 1_000_000


def main() -> int:
    """Print both tables; the exit code is 1 if the image cannot be built."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.image", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="default: %(default)s")
    options = parser.parse_args()
    try:
        require_bases()
        build()
    except (NoImages, BuildFailed) as exc:
        print(exc, file=sys.stderr)
        return 1
    whole, base = size(TAG), size(bases((ROOT / "Dockerfile").read_text())[-1])
    print(f"{'':24}{'MB':>8}")
    for name, bytes_ in (("base image", base), ("mlsys on top", whole - base), ("all", whole)):
        print(f"{name:24}{bytes_ / MB:8.0f}")
    print(f"\n{'start to first answer':24}{'median':>8}{'least':>8}{'most':>8}{'rounds':>8}")
    seconds = [cold_start() for _ in range(options.repeat)]
    figures = (statistics.median(seconds), min(seconds), max(seconds))
    print(f"{'seconds':24}{''.join(f'{f:8.2f}' for f in figures)}{len(seconds):8}")
    return 0


def cold_start() -> float:
    """Return the seconds from `run` to the first answer of /health, within 512 MiB."""
    port = choose_addresses(Ports()).service
    began = time.monotonic()
    with started(port, UNCONNECTED, memory="512m") as container:
        wait_until_ready(container)
        return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
