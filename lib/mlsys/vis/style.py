"""The colours and matplotlib's defaults of the plots."""

from __future__ import annotations

from typing import Any

# The palette of Okabe and Ito (2008), which suits any kind of colour vision, without its yellow,
# which is too faint on white.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#666666")


def setup_plot_style() -> None:
    """Make this process's plots readable in a notebook and safe for colour-blind readers.

    Sets matplotlib's defaults (`rcParams`); a second call changes nothing.
    """
    plt = pyplot()
    plt.rcParams.update(
        {
            "axes.axisbelow": True,
            "axes.grid": True,
            "axes.prop_cycle": plt.cycler(color=COLORS),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlelocation": "left",
            "axes.titlesize": 12,
            "axes.titleweight": "bold",
            "figure.dpi": 110,
            "figure.figsize": (7, 4.5),
            "font.size": 10,
            "grid.alpha": 0.3,
            "image.cmap": "cividis",
            "legend.frameon": False,
            "savefig.bbox": "tight",
            "savefig.dpi": 150,
        }
    )


def pyplot() -> Any:
    """Return `matplotlib.pyplot`.

    Raises:
        ModuleNotFoundError: matplotlib is not installed; the message says how to install it.
    """
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError("Plots need matplotlib: pip install 'mlsys[vis]'") from exc
    return plt
