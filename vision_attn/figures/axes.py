"""Axes: sizes along x, shares and logarithms along y whose numbers can be read, and the rows of dot plots."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator, NullLocator

from vision_attn.figures import lettering, theme
from vision_attn.plan import Plan
from vision_attn.records import require_factor
from vision_attn.spec import InputError
from vision_attn.statistics.tails import ROUNDING
from vision_attn.wording import exact, is_number, short


def rows_axis(axes: Axes, texts: Sequence[str]) -> None:
    """Name the rows of a dot plot, the first one on top."""
    axes.set_yticks(range(len(texts)), [lettering.shown(text) for text in texts])
    axes.set_ylim(max(len(texts), 1) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")


def rows_size(texts: Sequence[str], panels: int, *, panel: float, row: float) -> tuple[float, float]:
    """The inches, wide and high, of so many dot plots, two side by side: of a panel without its texts, and of a row."""
    high = (0.95 + row_height(texts, row) * len(texts)) * -(-panels // 2) + 0.5
    return lettering.text_width(texts) + panel * min(2, panels), high


def row_height(texts: Sequence[str], row: float) -> float:
    """The inches of a row, which are more where a name has several lines."""
    lines = max((text.count("\n") + 1 for text in texts), default=1)
    return max(row, 1.25 * lines * lettering.points("ytick.labelsize") / 72 + 0.06) if lines > 1 else row


def require_sizes(plan: Plan, what: str, name: str, *, field: str = "x") -> None:
    """Raise the standard sentence where the `field` of the figure `what` is no factor of positive numbers."""
    require_factor(plan, field, what, name)
    if wrong := [level for level in plan.levels(name) if not (is_number(level) and level > 0)]:
        given = next((level for level in wrong if not str(level).replace(".", "", 1).isdigit()), wrong[0])
        raise InputError(f"{field} of {what} must be a factor of positive numbers. Got {given!r} in {name!r} instead.")


def log_axis(axes: Axes, *, dense: bool = False, unit: str = "") -> None:
    """Numbers of a logarithmic y axis as they are, few enough to be read, with their unit: 10 µs, 1 ms, 0.1 s.

    `dense`: 1, 2, 5 in twice as many decades.
    """
    low, high = axes.get_ylim()
    decades = np.log10(high / low) / (2 if dense else 1)
    steps = (1.0,) if decades > 2 else (1.0, 3.0) if decades > 1 else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(subs=steps, numticks=8))
    axes.yaxis.set_minor_locator(NullLocator())
    plain = FuncFormatter(lambda y, _: short(y) if y >= 1e-3 else f"{y:.0e}")
    axes.yaxis.set_major_formatter(EngFormatter(unit) if unit else plain)


def powers_axis(axes: Axes) -> None:
    """The powers of two on a logarithmic y axis, as numbers."""
    axes.yaxis.set_major_locator(LogLocator(base=2, numticks=12))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: short(y)))


def size_axis(axes: Axes, levels: Sequence[Any], *, label: str, linear: bool = False) -> dict[Any, float]:
    """Put the levels themselves on the x axis, on a logarithmic scale where they are positive numbers, or `linear`.

    Returns the place of each level. Numbers that would touch are left out, their ticks are not; words are slanted.
    """
    width = theme.width(axes) - 0.4
    numeric = all(is_number(level) for level in levels)
    logarithmic = numeric and min(levels) > 0 and len(levels) > 1 and not linear
    places = {level: float(level) if numeric else float(i) for i, level in enumerate(levels)}
    texts = {places[level]: (exact(level) if numeric else lettering.shown(str(level))) for level in levels}
    span = np.log10(list(texts)) if logarithmic else np.array(list(texts))
    margin = 0.06 * float(np.ptp(span)) or 0.5
    low, high = float(span.min()) - margin, float(span.max()) + margin
    shown: set[float] = set()
    last = math.inf
    for place, at in sorted(zip(texts, span, strict=True), reverse=True):
        inches = (float(at) - low) / (high - low) * width
        if last - inches >= 0.085 * len(texts[place]) + 0.08:
            shown.add(place)
            last = inches
    axes.set_xscale("log" if logarithmic else "linear")
    axes.set_xlim(*(10.0**low, 10.0**high) if logarithmic else (low, high))
    axes.xaxis.set_major_locator(FixedLocator(list(texts)))
    axes.xaxis.set_minor_locator(NullLocator())
    is_slanted = not numeric and len(shown) < len(texts)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: texts[x] if x in shown or is_slanted else ""))
    if is_slanted:
        for text in axes.get_xticklabels():
            text.set(rotation=30, rotation_mode="anchor", horizontalalignment="right")
    axes.set_xlabel(lettering.shown(lettering.wrapped(label, max(10, int((theme.width(axes) - 0.35) / 0.062)))))
    return places


def difference_axis(axes: Axes, table: pd.DataFrame, *, along: Literal["x", "y"]) -> None:
    """Room on both sides of 0 where no difference of a table is more than rounding, which makes an axis of 1e-17."""
    if table[["estimate", "low", "high"]].abs().max(axis=None) < ROUNDING:
        (axes.set_xlim if along == "x" else axes.set_ylim)(-1, 1)


def share_axis(axes: Axes, *, along: Literal["x", "y"] = "y") -> None:
    """Shares in percent, once all panels are drawn: their common axis ends at 0 and 100 %, intervals or not.

    It goes on beyond them for as long as marks there are drawn whole, without numbers.
    """
    axis, length = (axes.xaxis, theme.width(axes)) if along == "x" else (axes.yaxis, theme.height(axes))
    low, high = axis.get_view_interval()
    mark = (0.5 * mpl.rcParams["lines.markersize"] * 1.25 + 1) / 72 / length
    margin = max(2.0, mark * (min(high, 100) - max(low, 0)))
    low, high = max(low, -margin), min(high, 100 + margin)
    (axes.set_xlim if along == "x" else axes.set_ylim)(low, high)
    if low < 0 or high > 100:
        numbers = [tick for tick in axis.get_majorticklocs() if 0 <= tick <= 100]
        axis.set_major_locator(FixedLocator(numbers))
