"""Theme: how levels, numbers and axes look, the same in every figure and every run of the report.

A level's colour and marker follow from its name and the plan, never from what happens to be drawn. Text in the SVG of
a page is drawn as outlines: it then looks the same where its font is not installed, and the report holds the numbers
as text besides.
"""

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.colors
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from vision_attn.figures import fonts, palette
from vision_attn.plan import Plan
from vision_attn.spec import InputError
from vision_attn.wording import level_text

COLOURS, MARKERS = palette.COLOURS, palette.MARKERS
Style = palette.Style
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 2, 1, 2)))
"""Lines of levels that have no colours."""
INK, SOFT, FAINT = "#222222", "#5f6368", "#8a8a8a"
PANEL = (2.45, 2.35)
SINGLE = (5.6, 3.9)

NARROWEST, FLATTEST = 1.45, 1.6
"""The inches that a panel needs at least across, and down with its texts."""
AROUND = 0.8
"""The inches that a title and an axis take of the height of a panel."""
NARROW = 5.0
"""The width of a page, in inches, below which what else stands side by side stands below one another."""

Canvas = Figure | SubFigure | Axes
"""What is drawn on: a figure of its own, a part of one, or axes that are there already."""


class Page(Figure):
    """A figure of ours: as large as what is drawn on it needs, or of a given width and as high as it then needs."""

    def __init__(self, *, width: float | None = None) -> None:
        super().__init__(layout=ConstrainedLayoutEngine(w_pad=0.08))  # no text at the very edge
        self.given_width = width
        self.told: list[tuple[Line2D, list[str]]] = []
        """Marks whose numbers a page shows where one points at them: a text for every point."""

    def tell(self) -> list[tuple[float, float, str]]:
        """What is said of every mark once the page is laid out: its place in percent of the page, from the top left."""
        out = []
        for line, texts in self.told:
            where = line.get_transform().transform(np.asarray(line.get_xydata(), float))
            for (x, y), text in zip(100 * where / self.bbox.size, texts, strict=True):
                if 0 <= x <= 100 and 0 <= y <= 100:
                    out.append((round(x, 1), round(100 - y, 1), text))
        return out


def colours() -> Sequence[str]:
    """Ours, or those of the cycle that the user has set (`axes.prop_cycle`)."""
    cycle = mpl.rcParams["axes.prop_cycle"]
    is_ours = cycle == mpl.rcParamsDefault["axes.prop_cycle"]
    return COLOURS if is_ours else cycle.by_key().get("color", COLOURS)


def styles(plan: Plan, factor: str) -> dict[Any, Style]:
    """The style of every level of a factor: that of its name, or where the user has set colours, of its place."""
    levels, cycle = plan.levels(factor), colours()
    if cycle is not COLOURS:
        return {level: Style(cycle[i % len(cycle)], MARKERS[i % len(MARKERS)]) for i, level in enumerate(levels)}
    return {level: palette.style(place) for level, place in palette.places(levels).items()}


SETTINGS: dict[str, Any] = {
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
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "text.hinting": "none",  # hinted letters are wider in PNG than the layout, which all formats share, has room for
    "svg.hashsalt": "vision-attn",
    "figure.dpi": 100,
    "savefig.dpi": 200,
}
"""How figures look where the user has not said otherwise, beside what seaborn sets."""
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


@functools.cache
def _settings() -> dict[str, Any]:
    import seaborn as sns  # and with it scipy.stats: a second that every start of a command and a worker would wait

    ours = SETTINGS | {"font.family": list(fonts.families())}
    return sns.axes_style("ticks") | sns.plotting_context("paper", font_scale=1.1) | ours


@contextlib.contextmanager
def style(into: Canvas | None = None) -> Iterator[None]:
    """Draw in our style, but for the settings of matplotlib (`rcParams`) that the user has changed.

    What goes `into` somebody else's figure is drawn in the style of that one. Settings outside are left as they were.
    """
    if into is not None and not isinstance(into, Page):
        yield
        return
    own = _settings() | (SMALL if isinstance(into, Page) and into.given_width else {})
    now: Any = mpl.rcParams
    default: Any = mpl.rcParamsDefault
    unchanged: Any = {name: value for name, value in own.items() if now[name] == default[name]}
    with mpl.rc_context(unchanged), fonts.quiet():
        yield


def reproducible() -> contextlib.AbstractContextManager[None]:
    """Draw as on any other machine, whatever the user has changed."""
    return mpl.style.context("default")


def darker(colour: str) -> str:
    """A colour for text: that of a level, dark enough to be read on white."""
    red, green, blue = mpl.colors.to_rgb(colour)
    return mpl.colors.to_hex((0.72 * red, 0.72 * green, 0.72 * blue))


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
    panels: int,
    *,
    columns: int = 3,
    size: tuple[float, float] | None = None,
    beside: float = 0.0,
    into: Canvas | None = None,
) -> tuple[Canvas, list[Axes]]:
    """A sheet of that many empty panels with common axes, row by row, at most so many beside each other; rows are as
    even as can be, surplus places stay blank. Texts `beside` the panels take so many inches.

    The labels of x and y show where the common axes are labelled. Axes that were given are left as they are.
    """
    if isinstance(into, Axes) and panels == 1:
        return into, [into]
    columns = min(columns, panels)
    asked = math.ceil(panels / columns)
    if isinstance(into, Page) and into.given_width:
        columns = max(1, min(columns, int((into.given_width - beside) / NARROWEST)))
    rows = math.ceil(panels / columns)
    columns = math.ceil(panels / rows)
    wide, high = PANEL if columns > 2 else (3.3, 2.9)
    natural = SINGLE if panels == 1 else (wide * columns + 0.5, high * rows + 0.75)
    page = sheet((size[0], size[1] * rows / asked) if size else natural, into=into, is_scaled=size is None)
    if isinstance(page, Page) and page.given_width and size is None:
        page.set_figheight(max(page.get_figheight(), FLATTEST * rows + 0.4))
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
        each.spines[["top", "right"]].set_visible(False)
    return page, axes[:panels]


def width(axes: Axes) -> float:
    """The inches that a panel has of the width of its sheet."""
    figure, grid = axes.get_figure(root=False), axes.get_gridspec()
    if figure is None or grid is None:
        return inches(axes)
    return inches(figure) / grid.ncols


def height(axes: Axes) -> float:
    """About the inches that a panel has between its title and its axis."""
    figure, grid = axes.get_figure(root=False), axes.get_gridspec()
    if figure is None or grid is None:
        return float(axes.get_window_extent().height / axes.figure.dpi)
    return max(0.3, float(figure.bbox.height / figure.dpi) / grid.nrows - AROUND)


def is_narrow(into: Canvas | None) -> bool:
    """Whether it is a page of ours as narrow as a column of a paper."""
    return isinstance(into, Page) and into.given_width is not None and into.given_width < NARROW


def panels(table: pd.DataFrame, names: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """The rows of every combination of the factors `names`, titled with their levels; all rows where there is none."""
    if not names or table.empty:
        return [("", table)]
    groups = table.groupby(list(names), observed=True, dropna=False)
    return [(", ".join(level_text(n, v) for n, v in zip(names, key, strict=True)), rows) for key, rows in groups]
