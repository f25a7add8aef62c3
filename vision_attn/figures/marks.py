"""Marks: lines, dots and their intervals on axes, and how they stand in a legend."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from vision_attn import wording
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


def reference_line(axes: Axes, y: float, text: str = "", *, dotted: bool = False) -> None:
    """A horizontal line to compare with, named at its right end."""
    style = {"color": theme.FAINT, "linestyle": ":"} if dotted else {"color": theme.INK, "linestyle": "-"}
    axes.axhline(y, linewidth=1.1, zorder=1, **style)  # type: ignore[arg-type]
    if text:
        name_line(axes, y, text)


def name_line(axes: Axes, y: float, text: str, *, at: Literal["left", "right"] = "right") -> None:
    """Name a horizontal line at one of its ends."""
    where = ("axes fraction", "data")
    axes.annotate(
        lettering.shown(text),
        (float(at == "right"), y),
        (0 if at == "right" else 4, 2),
        xycoords=where,
        textcoords="offset points",
        ha=at,
        va="bottom",
        fontsize=mpl.rcParams["ytick.labelsize"],
        color=theme.FAINT,
    )


def free_end(axes: Axes, y: float, text: str, taken: np.ndarray) -> Literal["left", "right"] | None:
    """The end of a horizontal line, whose axes have their limits, at which its name lies on nothing; None if neither.

    `taken` are places (K, 3) of marks with their intervals: x, low, high. Of two free ends it is the right one.
    """
    size = lettering.points("ytick.labelsize")
    wide = (0.62 * size * len(text) + 10) / 72 / max(0.3, theme.width(axes) - 0.5)
    high = 1.6 * size / 72 / theme.height(axes)
    to_share = (axes.transScale + axes.transLimits).transform
    line = to_share((axes.get_xlim()[0], y))[1]
    x, low = to_share(taken[:, :2]).T
    top = to_share(taken[:, ::2])[:, 1]
    near = (low < line + high) & (top > line - 0.3 * high)
    if not (near & (x > 1 - wide)).any():
        return "right"
    return None if (near & (x < wide)).any() else "left"


def interval_line(
    axes: Axes,
    x: np.ndarray,
    rows: pd.DataFrame,
    style: theme.Style,
    *,
    hollow: bool = False,
    line: Any = None,
    alpha: float = 0.75,
    name: str = "",
) -> None:
    """Means joined by a line that breaks where one is missing, each with its interval where it has one.

    `line` is a line style of matplotlib's, "" for none; None: solid, or dashed where marks are hollow. `name` is what
    is said of the line where one points at it.
    """
    (drawn,) = axes.plot(x, rows["estimate"].to_numpy(float), **_line(style, hollow=hollow, line=line))
    low, high = rows["low"].to_numpy(float), rows["high"].to_numpy(float)
    has = ~np.isnan(low)
    axes.vlines(x[has], low[has], high[has], color=style.colour, linewidth=1.3, alpha=alpha, zorder=1.8)
    tell(axes, drawn, rows.to_dict("records"), name)


def tell(axes: Axes, drawn: Line2D, rows: Sequence[Mapping[Any, Any]], name: str = "") -> None:
    """Have a page of ours say of every point of a line: ViT: 91.2 [90.1, 92.3], n = 3."""
    page = axes.get_figure(root=True)
    if isinstance(page, theme.Page):
        page.told.append((drawn, [_told(row, name) for row in rows]))


def _told(row: Mapping[Any, Any], name: str) -> str:
    text = wording.number(row["estimate"])
    if not pd.isna(row["low"]):
        text += f" [{wording.number(row['low'])}, {wording.number(row['high'])}]"
    counted = row.get("n", np.nan)
    return (f"{name}: " if name else "") + text + ("" if pd.isna(counted) else f", n = {counted:g}")


def handle(style: theme.Style, *, hollow: bool = False, line: Any = None) -> Line2D:
    """A legend entry in the style of a level."""
    return Line2D([], [], **_line(style, hollow=hollow, line=line))


def _line(style: theme.Style, *, hollow: bool, line: Any = None) -> dict[str, Any]:
    own = {**hollow_mark(style), "linestyle": "--"} if hollow else mark(style)
    return own | ({} if line is None else {"linestyle": line})


SIZES = {"^": 1.25, "v": 1.25, "D": 0.9, "P": 1.2, "X": 1.2, "p": 1.15, "*": 1.6, "h": 1.1, "d": 1.2, "8": 1.05}
"""Of markers, for all to look as large as a disc."""


def mark(style: theme.Style, *, size: float = 1.0) -> dict[str, Any]:
    """How a mark in the style of a level is drawn, `size` times as large as on a line: arguments of `plot`."""
    points = mpl.rcParams["lines.markersize"] * size * SIZES.get(style.marker, 1.0)
    edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.6}
    return {"color": style.colour, "marker": style.marker, "markersize": points, **edge}


MOST_VECTORS = 2000
"""Points of a line that an SVG and a PDF hold one by one: 100,000 would make a page of 20 MB."""


def seeds_scatter(axes: Axes, x: Sequence[float], y: Sequence[float], style: theme.Style) -> None:
    """Every single seed as a faint point; very many of them as one image."""
    look: dict[str, Any] = {"s": 9, "color": style.colour, "alpha": 0.45, "linewidths": 0, "zorder": 1.5}
    axes.scatter(x, y, **look, rasterized=len(x) > MOST_VECTORS)


def whiten(axes: Axes, rows: pd.DataFrame, at: dict[Any, float], style: theme.Style) -> None:
    """White marks over those of a line, for some of its rows, by their level of x."""
    heights = rows["estimate"].to_numpy(float)
    places = [at[level] for level in rows.index]
    axes.plot(places, heights, linestyle="", **hollow_mark(style), zorder=3)


def hollow_mark(style: theme.Style) -> dict[str, Any]:
    """A mark as on a line, white within."""
    return mark(style) | {"markerfacecolor": "white", "markeredgecolor": style.colour, "markeredgewidth": 1.0}


def interval_dot(axes: Axes, row: Any, place: float, style: theme.Style, *, name: str = "") -> None:
    """An estimate as a mark in a row of a dot plot, with its interval where it has one."""
    (drawn,) = axes.plot(row["estimate"], place, linestyle="", **mark(style, size=1.2), zorder=3)
    if not (pd.isna(row["low"]) or pd.isna(row["high"])):
        axes.hlines(place, row["low"], row["high"], color=style.colour, linewidth=1.6, alpha=0.75, zorder=2)
    tell(axes, drawn, [row], name)
