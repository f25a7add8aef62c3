"""Marks: lines, dots and their intervals on axes, and how they stand in a legend."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from vision_attn.figures import lettering, theme


def dodge(places: dict[Any, float], index: int, count: int, *, logarithmic: bool) -> tuple[dict[Any, float], ...]:
    """The places of the means and of the seeds of one of `count` levels, moved aside so that none hides another."""
    values = list(places.values())
    step = min(0.018, 0.05 / count) if len(values) > 1 else 0.05
    shifts = (step * (index - (count - 1) / 2), step * (index - (count - 1) / 2 + 0.42))
    if logarithmic:
        ratio = max(values) / min(values)
        return tuple({level: place * ratio**shift for level, place in places.items()} for shift in shifts)
    span = max(values) - min(values) or 1.0
    return tuple({level: place + span * shift for level, place in places.items()} for shift in shifts)


def reference_line(
    axes: Axes, y: float, text: str, *, dotted: bool = False, at: Literal["left", "right"] = "right"
) -> None:
    """A horizontal line to compare with, named at one of its ends."""
    style = {"color": theme.FAINT, "linestyle": ":"} if dotted else {"color": theme.INK, "linestyle": "-"}
    axes.axhline(y, linewidth=1.1, zorder=1, **style)  # type: ignore[arg-type]
    where = ("axes fraction", "data")
    axes.annotate(
        lettering.shown(text),
        (float(at == "right"), y),
        (0 if at == "right" else 4, 2),
        xycoords=where,
        textcoords="offset points",
        ha=at,
        va="bottom",
        fontsize=8,
        color=theme.FAINT,
    )


def interval_line(
    axes: Axes,
    x: np.ndarray,
    rows: pd.DataFrame,
    style: theme.Style,
    *,
    hollow: bool = False,
    line: Any = None,
    alpha: float = 0.75,
) -> None:
    """Means joined by a line that breaks where one is missing, each with its interval where it has one.

    `line` is a line style of matplotlib's, "" for none; None: solid, or dashed where marks are hollow.
    """
    axes.plot(x, rows["estimate"].to_numpy(float), **_line(style, hollow=hollow, line=line))
    low, high = rows["low"].to_numpy(float), rows["high"].to_numpy(float)
    has = ~np.isnan(low)
    axes.vlines(x[has], low[has], high[has], color=style.colour, linewidth=1.3, alpha=alpha, zorder=1.8)


def handle(style: theme.Style, *, hollow: bool = False, line: Any = None) -> Line2D:
    """A legend entry in the style of a level."""
    return Line2D([], [], **_line(style, hollow=hollow, line=line))


def _line(style: theme.Style, *, hollow: bool, line: Any = None) -> dict[str, Any]:
    own = {"linestyle": "--", "markerfacecolor": "white", "markeredgecolor": style.colour} if hollow else {}
    own |= {} if line is None else {"linestyle": line}
    return {"color": style.colour, "marker": style.marker, "markeredgecolor": "white", **own}


def seeds_scatter(axes: Axes, x: Sequence[float], y: Sequence[float], style: theme.Style) -> None:
    """Every single seed as a faint point."""
    axes.scatter(x, y, s=9, color=style.colour, alpha=0.45, linewidths=0, zorder=1.5)


def whiten(axes: Axes, rows: pd.DataFrame, at: dict[Any, float], style: theme.Style) -> None:
    """White marks over those of a line, for some of its rows, by their level of x."""
    heights = rows["estimate"].to_numpy(float)
    white: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": style.colour, "zorder": 3}
    places = [at[level] for level in rows.index]
    axes.plot(places, heights, marker=style.marker, linestyle="", color=style.colour, **white)


def interval_dot(axes: Axes, row: Any, place: float, style: theme.Style) -> None:
    """An estimate as a dot in a row of a dot plot, with its interval where it has one."""
    axes.plot(row["estimate"], place, "o", markersize=6.5, color=style.colour, markeredgecolor="white", zorder=3)
    if not (pd.isna(row["low"]) or pd.isna(row["high"])):
        axes.hlines(place, row["low"], row["high"], color=style.colour, linewidth=1.6, alpha=0.75, zorder=2)
