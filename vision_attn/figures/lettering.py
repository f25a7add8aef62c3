"""Lettering: titles, legends and labels of a sheet, as texts that matplotlib is to be given."""

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.mathtext import MathTextParser
from matplotlib.textpath import TextPath
from matplotlib.ticker import FixedLocator

from vision_attn.figures import theme
from vision_attn.statistics import rising

SMALL_PRINT = 7.0
"""The size of the text below a figure, in points."""
END = 0.12
"""The inches between a line and its name."""
WIDEST_ENDS, FARTHEST = 0.3, 2.0
"""The share of a page of given width that names of lines may take; how many lines of text a name may be moved."""
WORD = re.compile(r"(?:\\.|\$(?:\\.|[^$])*\$|[^\s$])+")
"""What is not cut: letters between spaces, and formulas with all that is in them."""
WIDEST_NAMES = 0.4
"""The share of a page of given width that names of rows may take."""


def shown(text: str) -> str:
    """A text as matplotlib is to be given it: a formula between dollars where it is one, else letter by letter."""
    if mpl.rcParams["text.usetex"]:
        return text if _is_formula(text) else re.sub(r"([%#&_{}$])", r"\\\1", text)
    return text if "$" not in text or _is_formula(text) else text.replace("$", r"\$")


def unshown(text: str) -> str:
    """The text that `shown` was given."""
    if "\\" not in text or _is_formula(text):
        return text
    return re.sub(r"\\([%#&_{}$])", r"\1", text) if mpl.rcParams["text.usetex"] else text.replace(r"\$", "$")


def _is_formula(text: str) -> bool:
    if text.count("$") - text.count(r"\$") < 2:
        return False
    try:
        MathTextParser("path").parse(text.replace("\n", " "))
    except ValueError:
        return False
    return True


def points(setting: Literal["axes.labelsize", "figure.titlesize", "legend.fontsize", "ytick.labelsize"]) -> float:
    """The size of letters of a setting of matplotlib, which may be a word."""
    return float(FontProperties(size=mpl.rcParams[setting]).get_size_in_points())


def text_width(texts: Iterable[str]) -> float:
    """The inches that the longest of some texts takes beside an axis, with a little room before it."""
    font = FontProperties(size=mpl.rcParams["ytick.labelsize"])
    lines = (line for text in texts for line in text.split("\n") if line.strip())
    widths = (TextPath((0, 0), shown(line), prop=font).get_extents().width for line in lines)
    return 0.12 + max(widths, default=0) / 72


def row_names(texts: Iterable[str], *, into: theme.Canvas | None) -> list[str]:
    """The names of rows as they stand beside an axis: in several lines on narrow pages, but for formulas."""
    if not isinstance(into, theme.Page) or not into.given_width:
        return list(texts)
    letters = max(12, int(WIDEST_NAMES * into.given_width / (0.6 * points("ytick.labelsize") / 72)))
    return [wrapped(text, letters) for text in texts]


def legend(figure: theme.Canvas, entries: dict[str, Line2D]) -> None:
    """One legend for the sheet, above its panels, in as few rows as fit; further rows make a page of ours taller.

    Names wider than the sheet are continued in further lines.
    """
    handles, texts = list(entries.values()), list(entries)
    if isinstance(figure, Axes):
        if entries:
            figure.legend(handles, [shown(text) for text in texts])
        return
    if not entries:
        return
    scale = points("legend.fontsize") / 9
    widths = [scale * (0.072 * len(text) + 0.62) for text in entries]
    for columns in range(len(widths), 0, -1):
        parts = np.array_split(widths, columns)  # as matplotlib fills its columns
        if sum(part.max() for part in parts) <= theme.inches(figure):
            break
    if columns == 1:
        letters = max(12, int((theme.inches(figure) / scale - 0.62) / 0.072))
        texts = [wrapped(text, letters) for text in texts]
    lines = sum(text.count("\n") + 1 for text in texts[: len(parts[0])])
    if isinstance(figure, theme.Page):
        figure.set_figheight(figure.get_figheight() + 0.2 * scale * (lines - 1))
    elif isinstance(figure, Figure) and figure.get_layout_engine() is None:
        figure.set_layout_engine("constrained")
    names = [shown(text) for text in texts]
    figure.legend(handles, names, loc="outside upper center", ncols=columns, frameon=False, handlelength=2.2)


def at_ends(axes: Axes, lines: Sequence[tuple[str, float, float, str]]) -> bool:
    """Name lines at their right ends, each a text, the end and a colour; False, with nothing done, for want of room.

    There is room on a page of ours with one panel, whose lines all end at the same place, not too close together.
    """
    page = axes.get_figure(root=False)
    if not isinstance(page, theme.Page) or not lines or len({x for _, x, _, _ in lines}) > 1:
        return False
    size = points("legend.fontsize")
    wide = text_width([text for text, *_ in lines]) * size / 8.5 + END
    if page.given_width is None:
        room = wide
    elif wide > WIDEST_ENDS * page.given_width:
        return False
    else:
        room = 0.0
    gap = 1.25 * size / 72 / (page.get_figheight() - 1.1)  # the share of the panel that a line of text takes
    ends = (axes.transScale + axes.transLimits).transform([(x, y) for _, x, y, _ in lines])[:, 1]
    order = np.argsort(ends, kind="stable")
    places = _apart(ends[order], gap)
    if places is None or np.abs(places - ends[order]).max() > FARTHEST * gap:
        return False
    for place, (text, x, y, colour) in zip(places, (lines[i] for i in order), strict=True):
        axes.annotate(
            shown(text),
            (x, y),
            (1, place),
            xycoords="data",
            textcoords="axes fraction",
            va="center",
            fontsize=size,
            color=theme.darker(colour),
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 5},
        )
    page.set_figwidth(page.get_figwidth() + room)
    return True


def _apart(heights: np.ndarray, gap: float) -> np.ndarray | None:
    """Rising places at least a gap apart, as near to the heights as that lets them be; None where they need more."""
    if (len(heights) - 1) * gap > 1:
        return None
    steps = gap * np.arange(len(heights))
    return np.clip(rising(heights - steps), 0, 1 - steps[-1]) + steps


def small_print(sheet: theme.Canvas, text: str) -> None:
    """What a figure says of itself wherever it goes, below it on a page of ours: the data, n, the intervals."""
    if not text or not isinstance(sheet, theme.Page):
        return
    text = wrapped(text.replace("\n", " "), int(sheet.get_figwidth() / (0.6 * SMALL_PRINT / 72)))
    sheet.set_figheight(sheet.get_figheight() + 1.3 * SMALL_PRINT / 72 * (text.count("\n") + 1) + 0.05)
    style: dict[str, Any] = {"fontsize": SMALL_PRINT, "color": theme.SOFT, "ha": "left", "linespacing": 1.1}
    sheet.supxlabel(shown(text), x=0.05 / sheet.get_figwidth(), **style)


def sentence(text: str, *, into: theme.Canvas | None) -> theme.Canvas:
    """A sheet with a sentence in the place of a drawing."""
    given = into.given_width if isinstance(into, theme.Page) else None
    wide = given or (theme.SINGLE[0] if into is None or isinstance(into, theme.Page) else theme.inches(into))
    text = wrapped(text.replace("\n", " "), max(20, int(wide / 0.078)))
    high = 0.25 + 0.17 * (text.count("\n") + 1)
    sheet, (axes,) = theme.canvas(1, size=(theme.SINGLE[0], high), into=into)
    axes.set_axis_off()
    axes.text(0.5, 0.5, shown(text), transform=axes.transAxes, ha="center", va="center")
    return sheet


def wrap_x(axes: Axes, *, beside: float) -> None:
    """Break the label of an x axis into lines that the panel is wide enough for, texts `beside` the sheet's panels."""
    grid = axes.get_gridspec()
    room = theme.width(axes) - beside / (grid.ncols if grid is not None else 1)
    size = points("axes.labelsize")
    letters = max(12, int((room + 0.25) / (0.6 * size / 72)))
    axes.set_xlabel(shown(wrapped(unshown(axes.get_xlabel()), letters)))


def label_y(axes: Axes, text: str) -> None:
    """Label a y axis, in several lines where the text is longer than the panel is high."""
    size = points("axes.labelsize")
    letters = max(16, int((theme.height(axes) + 0.2) / (0.58 * size / 72)))
    axes.set_ylabel(shown(wrapped(text, letters)))


def wrapped(text: str, letters: int) -> str:
    """Every line of a text in lines of at most so many letters; a formula stays in one, however long."""
    lines: list[str] = []
    for part in text.split("\n"):
        lines += _around_formulas(part, letters) if "$" in part and _is_formula(part) else textwrap.wrap(part, letters)
    return "\n".join(lines)


def _around_formulas(text: str, letters: int) -> list[str]:
    """The lines of a text that has formulas, which are a part of a word each."""
    lines = [""]
    for word in WORD.findall(text):
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if len(longer) <= letters or not lines[-1] else [*lines, word]
    return lines


def titled(axes: Axes, text: str, *, size: float | None = None, wide: float | None = None) -> None:
    """Title a panel, in several lines where it is long.

    `size` in points, where it is smaller than other titles; `wide` in inches, where it has less room than its panel.
    """
    if not text:
        return
    wide = theme.width(axes) if wide is None else wide
    letters = max(12, int(wide / 0.085)) if size is None else int(wide / (0.6 * size / 72))
    title = axes.set_title(shown(wrapped(text.replace("\n", " "), letters)))
    if size is not None:
        title.set_fontsize(size)


def headed(sheet: theme.Canvas, text: str) -> None:
    """Put a title above all that is drawn, the legend too, in as many lines as it needs."""
    if isinstance(sheet, Axes):
        titled(sheet, text)
        return
    size = points("figure.titlesize")
    text = wrapped(text, max(12, int(theme.inches(sheet) / (0.6 * size / 72))))
    if sheet.legends:  # a title of the figure would lie over its legend
        sheet.legends[0].set_title(shown(text), prop=FontProperties(size=size))
    else:
        sheet.suptitle(shown(text))
    if isinstance(sheet, theme.Page):
        sheet.set_figheight(sheet.get_figheight() + 0.25 + 1.2 * size / 72 * text.count("\n"))


def label_all(sheet: theme.Canvas, text: str) -> None:
    """Label the y axis that all panels share, in the middle of the sheet."""
    assert isinstance(sheet, Figure | SubFigure)
    sheet.supylabel(shown(text))


def blank(axes: Axes) -> None:
    """Say in a panel that there is nothing to draw."""
    axes.tick_params(labelleft=False, left=False)
    if not isinstance(axes.xaxis.get_major_locator(), FixedLocator):  # no levels lie along x
        axes.tick_params(labelbottom=False, bottom=False)
    axes.grid(visible=False)
    axes.text(0.5, 0.6, "nothing measured yet", transform=axes.transAxes, ha="center", va="center", color=theme.FAINT)
