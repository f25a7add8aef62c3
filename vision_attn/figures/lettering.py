"""Lettering: titles, legends and labels of a sheet, as texts that matplotlib is to be given."""

import re
import textwrap
from collections.abc import Iterable

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.mathtext import MathTextParser
from matplotlib.textpath import TextPath

from vision_attn.figures import theme


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
    """The inches that the longest of some texts takes beside an axis, with a little room before it."""
    font = FontProperties(size=mpl.rcParams["ytick.labelsize"])
    widths = (TextPath((0, 0), shown(text), prop=font).get_extents().width for text in texts if text)
    return 0.12 + max(widths, default=0) / 72


def legend(figure: theme.Canvas, entries: dict[str, Line2D]) -> None:
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
        if sum(part.max() for part in parts) <= theme.inches(figure):
            break
    if isinstance(figure, theme.Page):
        figure.set_figheight(figure.get_figheight() + 0.2 * scale * (len(parts[0]) - 1))
    elif isinstance(figure, Figure) and figure.get_layout_engine() is None:
        figure.set_layout_engine("constrained")
    figure.legend(handles, texts, loc="outside upper center", ncols=columns, frameon=False, handlelength=2.2)


def titled(axes: Axes, text: str) -> None:
    """Title a panel, in several lines where it is long."""
    if text:
        axes.set_title(shown("\n".join(textwrap.wrap(text, max(12, int(theme.width(axes) / 0.085))))))


def headed(sheet: theme.Canvas, text: str) -> None:
    """Put a title above all that is drawn, the legend too."""
    if isinstance(sheet, Axes):
        sheet.set_title(shown(text))
    elif sheet.legends:  # a title of the figure would lie over its legend
        sheet.legends[0].set_title(shown(text), prop=FontProperties(size=mpl.rcParams["figure.titlesize"]))
        if isinstance(sheet, theme.Page):
            sheet.set_figheight(sheet.get_figheight() + 0.25)
    else:
        sheet.suptitle(shown(text))


def label_all(sheet: theme.Canvas, text: str) -> None:
    """Label the y axis that all panels share, in the middle of the sheet."""
    assert isinstance(sheet, Figure | SubFigure)
    sheet.supylabel(shown(text))


def blank(axes: Axes) -> None:
    """Say in a panel that there is nothing to draw."""
    axes.tick_params(labelleft=False)
    axes.grid(visible=False)
    axes.text(0.5, 0.6, "nothing measured yet", transform=axes.transAxes, ha="center", va="center", color=theme.FAINT)
