"""The report of a run: tables, `RESULTS.md` and a picture."""

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
    "Beam RunInference": ("apache_beam", "numpy", "pyarrow"),  # older than the project's
}
MIB = 2**20
HEAD = (
    *("way", "rows/s", "rows per CPU s", "peak MiB", "rows/s", "rows per CPU s", "peak"),
    *("of the limit", "CPU over predict", "emulators' CPU s"),
)
APART = "Without BigQuery's share, rows/s ×"
NOTES = f"""\
- **rows/s** is measured by wall-clock time, from the request to the loaded output. It excludes
  imports, process starts and, except for the service and Beam, loading the model. Ray Data's actors
  are the exception: they start again for each table, and import pandas and scikit-learn. A service
  stays up, so it has scored 250,000 rows before; the other ways call the model for the first time.
  The local BigQuery and Cloud Storage run on the same cores, so their work slows every way.
- **rows per CPU s** counts only the way's own processes, by the CPU time that the kernel records
  for each. The last column has the CPU seconds of the local servers.
- **peak MiB** adds up all processes of a way: anonymous memory by its proportional set size, mapped
  files once.
- The ratios (×) compare a way with the whole-table way: one ratio a round, then their median.
- **{LIMIT}** is the limit: `model.predict` over frames of 65,536 rows that are already in memory,
  in one process. **of the limit** divides a way's rows/s by the limit's, **CPU over predict** a
  way's CPU seconds by the limit's. The service skips pandas where it can prove that the bits are
  the same, so it may need less.
- **{ONE_CORE}** pins each thread of the service's processes to one core; the local servers
  may use all cores. Its peak includes the idle processes. **cores over 1** divides the service's
  rows/s by these.
- **without BigQuery's share** is the service's rows/s × if only a way's own work took time: the CPU
  seconds of its busiest process and of that process's ancestors. On the cloud, other machines do
  what the local servers do here on the same cores. All threads of a process count, so this figure
  is worse for a way that keeps two threads busy.
"""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a run measured."""

    cases: Sequence[Case]
    rounds: Sequence[Measured]
    sections: Mapping[str, str]  # what else was measured: title and text
    machine: str
    failed: Sequence[str]

    def text(self) -> str:
        """Return the tables, as they are printed and written."""
        parts = [self.table(case) for case in self.cases]
        parts += [f"## {title}\n\n{text}" for title, text in self.sections.items()]
        if self.failed:
            lines = "\n".join(f"- {' '.join(line.split())[:300]}" for line in self.failed)
            parts.append(f"## Failed, and left out\n\n{lines}")
        return "\n\n".join(parts)

    def write(self, long: bool) -> None:
        """Write `RESULTS.md` and `results.png` beside this file, or those of the long form."""
        form = "-long" if long else ""
        (FOLDER / f"RESULTS{form}.md").write_text(self.document(long))
        self.draw(FOLDER / f"results{form}.png")

    def document(self, long: bool) -> str:
        """Return the content of `RESULTS.md`, or of `RESULTS-long.md`."""
        command, form = ("make bench ARGS=--long", "-long") if long else ("make bench", "")
        return (
            f"# Results of `{command}`\n\n"
            "Written by the run. Times on a shared machine vary: compare the ratios.\n\n"
            f"{self.machine}\n\n![ratios to the whole-table way](results{form}.png)\n\n"
            f"{NOTES}\n{self.text()}\n"
        )

    def table(self, case: Case) -> str:
        """Return a case's table: a line for each way, then the service's own ratios."""
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
        """Return the line of one way's figures."""
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
        """Return rows/s, rows per CPU second and peak memory over the whole-table way's."""
        pairs = list(zip(self.of(case, way), self.of(case, WHOLE), strict=True))
        return (
            statistics.median(b.seconds / a.seconds for a, b in pairs),
            statistics.median(b.cpu / a.cpu for a, b in pairs),
            statistics.median(a.peak / b.peak for a, b in pairs),
        )

    def of_the_service(self, case: Case) -> dict[str, float]:
        """Return the speed-up by all cores, and the ratio to the whole table without emulators."""
        mine, one = self.of(case, SERVICE), self.of(case, ONE_CORE)
        ratios = {}
        if one:
            ratios[f"{cores()} cores over 1"] = statistics.median(
                b.seconds / a.seconds for a, b in zip(mine, one, strict=True)
            )
        ratios[APART] = statistics.median(
            b.own / a.own for a, b in zip(mine, self.of(case, WHOLE), strict=True)
        )
        return ratios

    def of(self, case: Case, way: str) -> list[Measured]:
        """Return the rounds of a way, in order."""
        key = (case.workload.key, case.rows, way)
        return [m for m in self.rounds if (m.workload, m.rows, m.way) == key]

    def ways(self, case: Case) -> list[str]:
        """Return the ways that were measured, the limit last."""
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
    """Describe the machine, its present load, and the versions of the measured packages."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    for way in [way for way in ways if way in PEER_PACKAGES]:
        packages = PYTHONS[way].parents[1].glob("lib/*/site-packages/*.dist-info")
        installed = dict(path.name.removesuffix(".dist-info").split("-", 1) for path in packages)
        own, *others = [f"{name} {installed[name]}" for name in PEER_PACKAGES[way]]
        versions.append(f"{own} ({', '.join(others)})" if others else own)
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, load before the run "
        f"{os.getloadavg()[0]:.1f}. Python {platform.python_version()}, {', '.join(versions)}."
    )
