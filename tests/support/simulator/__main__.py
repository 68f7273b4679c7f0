"""Play many histories, and print how often each point was reached with each fault.

    PYTHONPATH=tests/support python -m simulator 0-1000 --scenario registry

The seeds are a number, or the first and the one after the last. A failure is printed as the
shortest history found. `--write` puts the table into docs/simulation.md.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from simulator.choices import ALL, NONE
from simulator.kernel import POINTS
from simulator.seeds import SCENARIOS, play_all

DOCUMENT = Path(__file__).parents[3] / "docs" / "simulation.md"
BEGIN, END = "<!-- table -->", "<!-- end of the table -->"
SHORT = (
    *("reached", "crash before", "crash after", "503", "answer lost", "repeated", "stalled"),
    *("clock jumps", "refused"),
)


def main(arguments: Sequence[str]) -> int:
    """Play the seeds, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m simulator")
    parser.add_argument("seeds", type=_seeds)
    parser.add_argument("--scenario", choices=[*SCENARIOS, "all"], default="all")
    parser.add_argument("--digest", action="store_true", help="print a checksum of the histories")
    parser.add_argument("--write", action="store_true", help="put the table into the document")
    options = parser.parse_args(arguments)
    reached: Counter[tuple[str, int]] = Counter()
    told = []
    for scenario in SCENARIOS if options.scenario == "all" else [options.scenario]:
        began = time.process_time()
        try:
            total = play_all(scenario, options.seeds)
        except AssertionError as exc:
            print(exc)
            return 1
        seconds = time.process_time() - began
        reached += Counter(
            {(f"{scenario}: {point}", k): n for (point, k), n in total.reached.items()}
        )
        told.append(
            f"{scenario}: {total.histories:,} histories with {total.calls:,} calls, "
            f"{60 * total.histories / max(seconds, 1e-9):,.0f} a minute of one core; "
            f"{len(total.gaps)} with a gap (decision 151)"
        )
        if options.digest:
            print(scenario, total.digest.hexdigest())
    lines = table(reached)
    if options.write:
        text = DOCUMENT.read_text()
        inside = "\n".join([BEGIN, *[f"- {line}" for line in told], "", *lines, END])
        DOCUMENT.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: inside, text, flags=re.DOTALL))
    if not options.digest:
        print(*lines, *told, sep="\n")
    return 0


def table(reached: Counter[tuple[str, int]]) -> list[str]:
    """Return how often each point was reached, in all and with each fault, as Markdown."""
    rows = [f"| point | {' | '.join(SHORT)} |", "|---" * (1 + len(SHORT)) + "|"]
    for point in sorted({point for point, _ in reached}):
        possible = POINTS.get(point.partition(": ")[2], ())
        counts = [
            f"{reached[point, kind]:,}" if kind in (NONE, *possible) else ""
            for kind in (NONE, *ALL)
        ]
        rows.append(f"| {point} | {' | '.join(counts)} |")
    return rows


def _seeds(text: str) -> range:
    first, _, end = text.partition("-")
    return range(int(first), int(end)) if end else range(int(first))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
