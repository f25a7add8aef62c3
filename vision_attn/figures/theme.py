"""Theme: how levels, numbers and axes look, the same in every figure and every run of the report.

A level's colour and marker follow from its place in the plan, never from what happens to be drawn. Text in SVG is
drawn as outlines: the figure then looks the same where its font is not installed, and the report holds the numbers
as text besides.
"""

import contextlib
import dataclasses
import io
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.mathtext import MathTextParser

from vision_attn.figures import svg
from vision_attn.plan import Plan
from vision_attn.spec import InputError
from vision_attn.wording import level_text

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#5b5b5b")
"""Okabe and Ito's colours, told apart by the colour-blind, without yellow and black."""
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 2, 1, 2)))
"""Lines of levels that have no colours."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
UNWRITTEN = {"svg": ("Date", "Creator"), "png": ("Software",), "pdf": ("CreationDate", "Creator", "Producer")}
"""What would differ from day to day or machine to machine, and is left out of the files."""
INK, FAINT = "#222222", "#8a8a8a"
PANEL = (2.45, 2.35)
SINGLE = (5.6, 3.9)

NARROWEST = 1.45
"""The inches that a panel needs at least."""

Canvas = Figure | SubFigure | Axes
"""What is drawn on: a figure of its own, a part of one, or axes that are there already."""


class Page(Figure):
    """A figure of ours: as large as what is drawn on it needs, or of a given width and as high as it then needs."""

    def __init__(self, *, width: float | None = None) -> None:
        super().__init__(layout="constrained")
        self.given_width = width


@dataclasses.dataclass(frozen=True)
class Style:
    """The colour and the marker of a level."""

    colour: str
    marker: str


def colours() -> Sequence[str]:
    """Ours, or those of the cycle that the user has set (`axes.prop_cycle`)."""
    cycle = mpl.rcParams["axes.prop_cycle"]
    is_ours = cycle == mpl.rcParamsDefault["axes.prop_cycle"]
    return COLOURS if is_ours else cycle.by_key().get("color", COLOURS)


def styles(plan: Plan, factor: str) -> dict[Any, Style]:
    """The style of every level of a factor, by its place in the plan; 64 levels differ."""
    cycle = colours()
    return {
        level: Style(cycle[i % len(cycle)], MARKERS[(i + i // len(COLOURS)) % len(MARKERS)])
        for i, level in enumerate(plan.levels(factor))
    }


SETTINGS: dict[str, Any] = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("paper", font_scale=1.1),
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "figure.titlesize": 10.5,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.8,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "svg.hashsalt": "vision-attn",
    "figure.dpi": 100,
    "savefig.dpi": 200,
}
"""How figures look where the user has not said otherwise."""
SMALL: dict[str, Any] = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "figure.titlesize": 8.5,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
}
"""The same for figures of the width of a column or page of a paper."""


@contextlib.contextmanager
def style(into: Canvas | None = None) -> Iterator[None]:
    """Draw in our style, but for the settings of matplotlib (`rcParams`) that the user has changed.

    What goes `into` somebody else's figure is drawn in the style of that one. Settings outside are left as they were.
    """
    if into is not None and not isinstance(into, Page):
        yield
        return
    own = SETTINGS | (SMALL if isinstance(into, Page) and into.given_width else {})
    now: Any = mpl.rcParams
    default: Any = mpl.rcParamsDefault
    unchanged: Any = {name: value for name, value in own.items() if now[name] == default[name]}
    with mpl.rc_context(unchanged):
        yield


def reproducible() -> contextlib.AbstractContextManager[None]:
    """Draw as on any other machine, whatever the user has changed."""
    return mpl.style.context("default")


def inches(sheet: Canvas) -> float:
    """How wide a sheet is."""
    if isinstance(sheet, Axes):
        return float(sheet.get_window_extent().width / sheet.figure.dpi)
    return float(sheet.bbox.width / sheet.dpi)


def sheet(size: tuple[float, float], *, into: Canvas | None = None, is_scaled: bool = False) -> Figure | SubFigure:
    """An empty figure of that size, or what is to be drawn into, which has its own.

    A page of given width is as high as the size says, or, where what is drawn `is_scaled`, in that proportion.
    """
    if isinstance(into, Axes):
        raise InputError("ax must be left out for a figure of several panels. Give it a figure to fill (figure=).")
    if isinstance(into, Figure | SubFigure) and not isinstance(into, Page):
        return into
    page = Page() if into is None else into
    width = page.given_width or size[0]
    page.set_size_inches(width, size[1] * (width / size[0] if is_scaled else 1))
    return page


def canvas(
    panels: int, *, columns: int = 3, size: tuple[float, float] | None = None, into: Canvas | None = None
) -> tuple[Canvas, list[Axes]]:
    """A sheet of that many empty panels with common axes, row by row; surplus places stay blank.

    The labels of x and y show where the common axes are labelled. Axes that were given are left as they are.
    """
    if isinstance(into, Axes) and panels == 1:
        return into, [into]
    columns = min(columns, panels)
    if isinstance(into, Page) and into.given_width:
        columns = max(1, min(columns, int(into.given_width / NARROWEST)))
    rows = math.ceil(panels / columns)
    wide, high = PANEL if columns > 2 else (3.3, 2.9)
    natural = SINGLE if panels == 1 else (wide * columns + 0.5, high * rows + 0.75)
    page = sheet(size or natural, into=into, is_scaled=size is None)
    grid = page.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    axes = list(grid.flat)
    for i, each in enumerate(axes):
        each.grid(visible=True, axis="y")
        each.set_axisbelow(True)
        if i >= panels:
            each.set_visible(False)
        each.tick_params(labelbottom=i + columns >= panels)
        each.xaxis.label.set_visible(i + columns >= panels)
        each.yaxis.label.set_visible(i % columns == 0)
    for each in axes:
        sns.despine(ax=each)
    return page, axes[:panels]


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


def reference_line(axes: Axes, y: float, text: str, *, dotted: bool = False) -> None:
    """A horizontal line to compare with, named at its right end."""
    style = {"color": FAINT, "linestyle": ":"} if dotted else {"color": INK, "linestyle": "-"}
    axes.axhline(y, linewidth=1.1, zorder=1, **style)  # type: ignore[arg-type]
    where = ("axes fraction", "data")
    axes.annotate(
        shown(text),
        (1, y),
        (0, 2),
        xycoords=where,
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=8,
        color=FAINT,
    )


def interval_line(
    axes: Axes,
    x: np.ndarray,
    rows: pd.DataFrame,
    style: Style,
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


def handle(style: Style, *, hollow: bool = False, line: Any = None) -> Line2D:
    """A legend entry in the style of a level."""
    return Line2D([], [], **_line(style, hollow=hollow, line=line))


def _line(style: Style, *, hollow: bool, line: Any = None) -> dict[str, Any]:
    own = {"linestyle": "--", "markerfacecolor": "white", "markeredgecolor": style.colour} if hollow else {}
    own |= {} if line is None else {"linestyle": line}
    return {"color": style.colour, "marker": style.marker, "markeredgecolor": "white", **own}


def seeds_scatter(axes: Axes, x: Sequence[float], y: Sequence[float], style: Style) -> None:
    """Every single seed as a faint point."""
    axes.scatter(x, y, s=9, color=style.colour, alpha=0.45, linewidths=0, zorder=1.5)


def width(axes: Axes) -> float:
    """The inches that a panel has of the width of its sheet."""
    figure, grid = axes.get_figure(root=False), axes.get_gridspec()
    if figure is None or grid is None:
        return inches(axes)
    return inches(figure) / grid.ncols


def shown(text: str) -> str:
    """A text as matplotlib is to be given it: a formula between dollars where it is one, else letter by letter."""
    if mpl.rcParams["text.usetex"]:
        return text if _is_formula(text) else re.sub(r"([%#&_{}$])", r"\\\1", text)
    return text if "$" not in text or _is_formula(text) else text.replace("$", r"\$")


def _is_formula(text: str) -> bool:
    if text.count("$") - text.count(r"\$") < 2:
        return False
    try:
        MathTextParser("path").parse(text)
    except ValueError:
        return False
    return True


def text_width(texts: Iterable[str]) -> float:
    """The inches that the longest of some texts takes, about."""
    return 0.072 * max(map(len, texts), default=0)


def legend(figure: Canvas, entries: dict[str, Line2D]) -> None:
    """One legend for the sheet, above its panels, in as few rows as fit; further rows make a page of ours taller."""
    handles, texts = list(entries.values()), [shown(text) for text in entries]
    if isinstance(figure, Axes):
        if entries:
            figure.legend(handles, texts)
        return
    if not entries:
        return
    scale = FontProperties(size=mpl.rcParams["legend.fontsize"]).get_size_in_points() / 9
    widths = [scale * (0.072 * len(text) + 0.62) for text in entries]
    for columns in range(len(widths), 0, -1):
        parts = np.array_split(widths, columns)  # as matplotlib fills its columns
        if sum(part.max() for part in parts) <= inches(figure):
            break
    if isinstance(figure, Page):
        figure.set_figheight(figure.get_figheight() + 0.2 * scale * (len(parts[0]) - 1))
    elif isinstance(figure, Figure) and figure.get_layout_engine() is None:
        figure.set_layout_engine("constrained")
    figure.legend(handles, texts, loc="outside upper center", ncols=columns, frameon=False, handlelength=2.2)


def interval_dot(axes: Axes, row: Any, place: float, style: Style) -> None:
    """An estimate as a dot in a row of a dot plot, with its interval where it has one."""
    axes.plot(row["estimate"], place, "o", markersize=6.5, color=style.colour, markeredgecolor="white", zorder=3)
    if not (pd.isna(row["low"]) or pd.isna(row["high"])):
        axes.hlines(place, row["low"], row["high"], color=style.colour, linewidth=1.6, alpha=0.75, zorder=2)


def titled(axes: Axes, text: str) -> None:
    """Title a panel, in several lines where it is long."""
    if text:
        axes.set_title(shown("\n".join(textwrap.wrap(text, max(12, int(width(axes) / 0.085))))))


def headed(sheet: Canvas, text: str) -> None:
    """Put a title above all that is drawn, the legend too."""
    if isinstance(sheet, Axes):
        sheet.set_title(shown(text))
    elif sheet.legends:  # a title of the figure would lie over its legend
        sheet.legends[0].set_title(shown(text), prop=FontProperties(size=mpl.rcParams["figure.titlesize"]))
        if isinstance(sheet, Page):
            sheet.set_figheight(sheet.get_figheight() + 0.25)
    else:
        sheet.suptitle(shown(text))


def label_all(sheet: Canvas, text: str) -> None:
    """Label the y axis that all panels share, in the middle of the sheet."""
    assert isinstance(sheet, Figure | SubFigure)
    sheet.supylabel(shown(text))


def blank(axes: Axes) -> None:
    """Say in a panel that there is nothing to draw."""
    axes.tick_params(labelleft=False)
    axes.grid(visible=False)
    axes.text(0.5, 0.6, "nothing measured yet", transform=axes.transAxes, ha="center", va="center", color=FAINT)


def panels(table: pd.DataFrame, names: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """The rows of every combination of the factors `names`, titled with their levels; all rows where there is none."""
    if not names or table.empty:
        return [("", table)]
    groups = table.groupby(list(names), observed=True, dropna=False)
    return [(", ".join(level_text(n, v) for n, v in zip(names, key, strict=True)), rows) for key, rows in groups]


def rendered(figure: Canvas, *, kinds: Sequence[str] = ("svg", "png")) -> dict[str, bytes]:
    """The figure as svg and png, or also pdf; the same figure gives the same bytes."""
    with reproducible(), style():
        images = written(figure, kinds=kinds)
    return {kind: svg.compact(data) if kind == "svg" else data for kind, data in images.items()}


def written(figure: Canvas, *, kinds: Sequence[str]) -> dict[str, bytes]:
    """The figure in some formats, by the settings in force."""
    assert isinstance(figure, Figure)
    out = {}
    for kind in kinds:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=dict.fromkeys(UNWRITTEN[kind]))
        figure.set_layout_engine("none")
        out[kind] = buffer.getvalue()
    return out
