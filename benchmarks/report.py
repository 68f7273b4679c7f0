"""What was measured, as tables, `RESULTS.md` and a picture."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.limits import cores
from benchmarks.ways import LIMIT, ONE_CORE, PYTHONS, SERVICE, WHOLE, Measured
from benchmarks.workloads import Case

FOLDER = Path(__file__).parent
PACKAGES = ("scikit-learn", "pandas", "numpy", "pyarrow", "google-cloud-bigquery", "bqemulator")
PEER_PACKAGES = {
    "MLflow pyfunc": ("mlflow_skinny",),
    "Dask": ("dask",),
    "Ray Data": ("ray",),
    "Beam RunInference": ("apache_beam", "numpy", "pyarrow"),  # older ones than the others
}
MIB = 2**20
HEAD = (
    *("way", "rows/s", "rows per CPU s", "peak MiB", "rows/s", "rows per CPU s", "peak"),
    *("of the limit", "CPU over predict", "emulators' CPU s"),
)
APART = "Without BigQuery's share, rows/s ×"
NOTES = f"""\
- **rows/s** by the clock, from the request to the loaded output; imports, starts of processes and
  (but for the service and Beam) the loading of the model are not in it; but Ray Data starts its
  actors, which import pandas and scikit-learn, anew for each table. A service stays up, so it has
  scored 250,000 rows before; the other ways make their first call of the model. The local BigQuery
  and Cloud Storage run on the same cores, so their work slows every way.
- **rows per CPU s** counts the way's own processes alone, by the CPU time that the system keeps of
  each. The local servers' CPU seconds stand in the last column.
- **peak MiB**: all processes of a way together, anonymous memory by its proportional set size and
  mapped files once.
- The ratios (×) are to the whole-table way: of each round's two figures, then the median.
- **{LIMIT}** is the limit: `model.predict` over frames of 65,536 rows that are in memory already,
  in one process. **of the limit** is a way's rows/s over its; **CPU over predict** the way's CPU
  seconds over its. The service skips pandas where it can prove the same bits, so it may need less.
- **{ONE_CORE}**: each thread of the service's processes is kept to one core; the local
  servers are not. Its peak has the idle processes in it. **cores over 1** is the service's rows/s
  over that.
- **without BigQuery's share**: the service's rows/s × if only a way's own work took time: the CPU
  seconds of its busiest process and of that one's ancestors. On the cloud what the local servers do
  here, on the same cores, is done elsewhere. All threads of a process count, so that ways that keep
  two of them busy come off worse by it.
"""


@dataclass(frozen=True, slots=True)
class Report:
    """All of a run."""

    cases: Sequence[Case]
    rounds: Sequence[Measured]
    sections: Mapping[str, str]  # what else was measured: title and text
    machine: str
    failed: Sequence[str]

    def text(self) -> str:
        """The tables, as they are printed and written."""
        parts = [self.table(case) for case in self.cases]
        parts += [f"## {title}\n\n{text}" for title, text in self.sections.items()]
        if self.failed:
            lines = "\n".join(f"- {' '.join(line.split())[:300]}" for line in self.failed)
            parts.append(f"## Failed, and left out\n\n{lines}")
        return "\n\n".join(parts)

    def write(self, long: bool) -> None:
        """Write `RESULTS.md` and `results.png` beside this file, or those of the long form."""
        form = "-long" if long else ""
        (FOLDER / f"RESULTS{form}.md").write_text(
            f"# What `make bench{form}` measured\n\n"
            "Written by the run itself. A shared machine's times vary: the ratios are what to read."
            f"\n\n{self.machine}\n\n![ratios to the whole-table way](results{form}.png)\n\n"
            f"{NOTES}\n{self.text()}\n"
        )
        self.draw(FOLDER / f"results{form}.png")

    def table(self, case: Case) -> str:
        """A line for each way, and what else the rounds say of the service."""
        count = len(self.of(case, SERVICE))
        ratio_columns = [f"{name} ×" for name in HEAD[4:7]]
        lines = [
            f"## {case}, medians of {count} rounds",
            "",
            f"| {' | '.join((*HEAD[:4], *ratio_columns, *HEAD[7:]))} |",
            f"|{'---|' * len(HEAD)}",
        ]
        lines += [self.line(case, way) for way in self.ways(case)]
        for name, ratio in self.of_the_service(case).items():
            lines += ["", f"{name}: {ratio:.2f} (median of the rounds' ratios)"]
        return "\n".join(lines)

    def line(self, case: Case, way: str) -> str:
        """One way's figures."""
        mine = self.of(case, way)
        limit = self.of(case, LIMIT)
        cells = [
            way,
            f"{statistics.median(m.rows / m.seconds for m in mine):,.0f}",
            f"{statistics.median(m.rows / m.cpu for m in mine):,.0f}",
            f"{statistics.median(m.peak for m in mine) / MIB:,.0f}",
            *(f"{ratio:.2f}" for ratio in self.ratios(case, way)),
        ]
        pairs = list(zip(mine, limit, strict=False))
        cells += [
            f"{statistics.median(b.seconds / a.seconds for a, b in pairs):.0%}" if pairs else "",
            f"{statistics.median(a.cpu / b.cpu for a, b in pairs):.2f}" if pairs else "",
            f"{statistics.median(m.emulators for m in mine):.1f}",
        ]
        return f"| {' | '.join(cells)} |"

    def ratios(self, case: Case, way: str) -> tuple[float, float, float]:
        """Rows/s, rows per CPU second and peak memory over those of the whole-table way."""
        pairs = list(zip(self.of(case, way), self.of(case, WHOLE), strict=True))
        return (
            statistics.median(b.seconds / a.seconds for a, b in pairs),
            statistics.median(b.cpu / a.cpu for a, b in pairs),
            statistics.median(a.peak / b.peak for a, b in pairs),
        )

    def of_the_service(self, case: Case) -> dict[str, float]:
        """What all cores give it, and what it is to the whole-table way without the emulators."""
        mine, one = self.of(case, SERVICE), self.of(case, ONE_CORE)
        found = {}
        if one:
            found[f"{cores()} cores over 1"] = statistics.median(
                b.seconds / a.seconds for a, b in zip(mine, one, strict=True)
            )
        found[APART] = statistics.median(
            b.own / a.own for a, b in zip(mine, self.of(case, WHOLE), strict=True)
        )
        return found

    def of(self, case: Case, way: str) -> list[Measured]:
        """The rounds of a way, in order."""
        key = (case.workload.key, case.rows, way)
        return [m for m in self.rounds if (m.workload, m.rows, m.way) == key]

    def ways(self, case: Case) -> list[str]:
        """The ways that were measured; the limit is the last one."""
        first = [SERVICE, ONE_CORE, WHOLE]
        others = sorted({m.way for m in self.rounds} - {*first, LIMIT})
        return [way for way in (*first, *others, LIMIT) if self.of(case, way)]

    def draw(self, path: Path) -> None:
        """Draw the ratios: a group of bars for each table, a bar for each way."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        drawn = [way for case in self.cases for way in self.ways(case)]
        ways = [way for way in dict.fromkeys(drawn) if way not in (ONE_CORE, WHOLE, LIMIT)]
        titles = ("rows/s", "rows per CPU second, local servers apart", "peak memory")
        figure = Figure(figsize=(max(11, 2.2 * len(self.cases)), 9), layout="constrained")
        FigureCanvasAgg(figure)
        for i, (title, ax) in enumerate(zip(titles, figure.subplots(3), strict=True)):
            width = 0.8 / len(ways)
            for k, way in enumerate(ways):
                at = [n for n, case in enumerate(self.cases) if way in self.ways(case)]
                values = [self.ratios(self.cases[n], way)[i] for n in at]
                places = [n + (k - (len(ways) - 1) / 2) * width for n in at]
                bars = ax.bar(places, values, width * 0.92, label=way)
                ax.bar_label(bars, fmt="%.2g", padding=2, fontsize=9)
            ax.axhline(1, color="black", linewidth=1, linestyle="--")
            ax.margins(y=0.15)
            ax.set_title(f"{title}: times the whole-table way", loc="left")
            ax.spines[["top", "right"]].set_visible(False)
            labels = [str(case).replace(", ", "\n") for case in self.cases]
            ax.set_xticks(range(len(labels)), labels)
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(ways)
        )
        figure.savefig(path, dpi=110)


def machine(ways: Sequence[str]) -> str:
    """The machine as it is now, and the versions of what is measured."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    for way in [way for way in ways if way in PEER_PACKAGES]:
        packages = PYTHONS[way].parents[1].glob("lib/*/site-packages/*.dist-info")
        named = dict(found.name.removesuffix(".dist-info").split("-", 1) for found in packages)
        own, *others = [f"{name} {named[name]}" for name in PEER_PACKAGES[way]]
        versions.append(f"{own} ({', '.join(others)})" if others else own)
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, load before the run "
        f"{os.getloadavg()[0]:.1f}. Python {platform.python_version()}, {', '.join(versions)}."
    )
