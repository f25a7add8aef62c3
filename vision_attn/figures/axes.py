"""Axes: logarithmic y axes whose numbers can be read, and the rows of dot plots."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from vision_attn.figures.wording import short


def rows_axis(axes: Axes, texts: Sequence[str]) -> None:
    """Name the rows of a dot plot, the first one on top."""
    axes.set_yticks(range(len(texts)), texts)
    axes.set_ylim(len(texts) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")


def log_axis(axes: Axes) -> None:
    """Numbers of a logarithmic y axis as they are, few enough to be read."""
    low, high = axes.get_ylim()
    decades = np.log10(high / low)
    steps = (1.0,) if decades > 2 else (1.0, 3.0) if decades > 1 else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(subs=steps, numticks=8))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: short(y) if y >= 1e-3 else f"{y:.0e}"))


def powers_axis(axes: Axes) -> None:
    """The powers of two on a logarithmic y axis, as numbers."""
    axes.yaxis.set_major_locator(LogLocator(base=2, numticks=12))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: short(y)))
