"""What was measured, as tables, `RESULTS.md` and a picture."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.ways import LIMIT, PEERS_PYTHON, SERVICE, WHOLE, Measured
from benchmarks.workloads import Workload

FOLDER = Path(__file__).parent
PACKAGES = ("scikit-learn", "pandas", "numpy", "pyarrow", "google-cloud-bigquery", "bqemulator")
PEER_PACKAGES = {"MLflow pyfunc": "mlflow_skinny", "Dask": "dask", "Ray Data": "ray"}
MIB = 2**20
HEAD = (
    *("way", "rows/s", "rows per CPU s", "peak MiB", "rows/s", "rows per CPU s", "peak"),
    *("of the limit", "CPU over predict", "emulators' CPU s"),
)
NOTES = f"""\
- **rows/s** by the clock, from the request to the loaded output; imports, starts of processes and
  (but for the service) the loading of the model are not in it. The local BigQuery and Cloud Storage
  run on the same cores, so their work slows every way.
- **rows per CPU s** counts the way's own processes alone, by the CPU time that the system keeps of
  each. The local servers' CPU seconds stand in the last column.
- **peak MiB**: all processes of a way together, anonymous memory by its proportional set size and
  mapped files once.
- The ratios (×) are to the whole-table way: of each round's two figures, then the median.
- **{LIMIT}** is the limit: `model.predict` over frames of 65,536 rows that are in memory already,
  in one process. **of the limit** is a way's rows/s over its; **CPU over predict** the way's CPU
  seconds over its. The service skips pandas where it can prove the same bits, so it may need less.
"""


@dataclass(frozen=True, slots=True)
class Registry:
    """What the registry took, in seconds."""

    event_to_row: float
    events: int
    models: int
    rescan: float
    rescans: int

    def text(self) -> str:
        """Both as sentences."""
        return (
            f"From the end of a model's upload until a query shows its row: "
            f"{self.event_to_row:.2f} s (median of {self.events}).\n"
            f"A rescan of {self.models:,} unchanged models: {self.rescan:.2f} s "
            f"(median of {self.rescans})."
        )


@dataclass(frozen=True, slots=True)
class Report:
    """All of a run."""

    workloads: Sequence[Workload]
    rounds: Sequence[Measured]
    registry: Registry | None
    machine: str
    failed: Sequence[str]

    def text(self) -> str:
        """The tables, as they are printed and written."""
        parts = [self.table(workload) for workload in self.workloads]
        if self.registry:
            parts.append(f"## Registry\n\n{self.registry.text()}")
        if self.failed:
            lines = "\n".join(f"- {' '.join(line.split())[:300]}" for line in self.failed)
            parts.append(f"## Failed, and left out\n\n{lines}")
        return "\n\n".join(parts)

    def write(self) -> None:
        """Write `RESULTS.md` and `results.png` beside this file."""
        (FOLDER / "RESULTS.md").write_text(
            "# What `make bench` measured\n\n"
            "Written by the run itself. A shared machine's times vary: the ratios are what to"
            f" read.\n\n{self.machine}\n\n![ratios to the whole-table way](results.png)\n\n"
            f"{NOTES}\n{self.text()}\n"
        )
        self.draw(FOLDER / "results.png")

    def table(self, workload: Workload) -> str:
        """A workload's line for each way."""
        rows = self.of(workload, SERVICE)[0].rows
        count = len(self.of(workload, SERVICE))
        ratio_columns = [f"{name} ×" for name in HEAD[4:7]]
        lines = [
            f"## {workload.key}: {workload.title}, {rows:,} rows, medians of {count} rounds",
            "",
            f"| {' | '.join((*HEAD[:4], *ratio_columns, *HEAD[7:]))} |",
            f"|{'---|' * len(HEAD)}",
        ]
        lines += [self.line(workload, way) for way in self.ways(workload)]
        return "\n".join(lines)

    def line(self, workload: Workload, way: str) -> str:
        """One way's figures."""
        mine = self.of(workload, way)
        limit = self.of(workload, LIMIT)
        cells = [
            way,
            f"{statistics.median(m.rows / m.seconds for m in mine):,.0f}",
            f"{statistics.median(m.rows / m.cpu for m in mine):,.0f}",
            f"{statistics.median(m.peak for m in mine) / MIB:,.0f}",
            *(f"{ratio:.2f}" for ratio in self.ratios(workload, way)),
        ]
        pairs = list(zip(mine, limit, strict=False))
        cells += [
            f"{statistics.median(b.seconds / a.seconds for a, b in pairs):.0%}" if pairs else "",
            f"{statistics.median(a.cpu / b.cpu for a, b in pairs):.2f}" if pairs else "",
            f"{statistics.median(m.emulators for m in mine):.1f}",
        ]
        return f"| {' | '.join(cells)} |"

    def ratios(self, workload: Workload, way: str) -> tuple[float, float, float]:
        """Rows/s, rows per CPU second and peak memory over those of the whole-table way."""
        pairs = list(zip(self.of(workload, way), self.of(workload, WHOLE), strict=True))
        return (
            statistics.median(b.seconds / a.seconds for a, b in pairs),
            statistics.median(b.cpu / a.cpu for a, b in pairs),
            statistics.median(a.peak / b.peak for a, b in pairs),
        )

    def of(self, workload: Workload, way: str) -> list[Measured]:
        """The rounds of a way, in order."""
        return [m for m in self.rounds if (m.workload, m.way) == (workload.key, way)]

    def ways(self, workload: Workload) -> list[str]:
        """The ways that were measured; the limit is the last one."""
        found = dict.fromkeys(m.way for m in self.rounds if m.workload == workload.key)
        order = [SERVICE, WHOLE, *sorted(found.keys() - {SERVICE, WHOLE, LIMIT}), LIMIT]
        return [way for way in order if way in found]

    def draw(self, path: Path) -> None:
        """Draw the ratios: a group of bars for each workload, a bar for each way."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        drawn = [way for workload in self.workloads for way in self.ways(workload)]
        ways = [way for way in dict.fromkeys(drawn) if way not in (WHOLE, LIMIT)]
        titles = ("rows/s", "rows per CPU second, local servers apart", "peak memory")
        figure = Figure(figsize=(11, 9), layout="constrained")
        FigureCanvasAgg(figure)
        for i, (title, ax) in enumerate(zip(titles, figure.subplots(3), strict=True)):
            width = 0.8 / len(ways)
            for k, way in enumerate(ways):
                at = [n for n, w in enumerate(self.workloads) if way in self.ways(w)]
                values = [self.ratios(self.workloads[n], way)[i] for n in at]
                places = [n + (k - (len(ways) - 1) / 2) * width for n in at]
                bars = ax.bar(places, values, width * 0.92, label=way)
                ax.bar_label(bars, fmt="%.2g", padding=2, fontsize=9)
            ax.axhline(1, color="black", linewidth=1, linestyle="--")
            ax.margins(y=0.15)
            ax.set_title(f"{title}: times the whole-table way", loc="left")
            ax.spines[["top", "right"]].set_visible(False)
            labels = [
                f"{w.key}: {w.title}, {self.of(w, SERVICE)[0].rows:,} rows".replace(", ", "\n")
                for w in self.workloads
            ]
            ax.set_xticks(range(len(labels)), labels)
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=4
        )
        figure.savefig(path, dpi=110)


def machine(ways: Sequence[str]) -> str:
    """The machine as it is now, and the versions of what is measured."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    for name in [PEER_PACKAGES[way] for way in ways if way in PEER_PACKAGES]:
        for found in PEERS_PYTHON.parents[1].glob(f"lib/*/site-packages/{name}-*.dist-info"):
            versions.append(found.name.removesuffix(".dist-info").replace("-", " "))
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, load before the run "
        f"{os.getloadavg()[0]:.1f}. Python {platform.python_version()}, {', '.join(versions)}."
    )
