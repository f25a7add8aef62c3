"""Plot: a figure of some records, drawn, to be looked at, changed with matplotlib and saved for a paper."""

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from vision_attn.figures import lettering, rendering, theme
from vision_attn.figures.base import Figure as FigureSpec
from vision_attn.figures.labels import relabel_axes, relabelled
from vision_attn.figures.latex import latex
from vision_attn.records import Records
from vision_attn.spec import InputError, short
from vision_attn.store import write_atomic
from vision_attn.wording import is_number

Width = Literal["column", "page"] | float
WIDTHS = {"column": 3.25, "page": 6.75}
"""In inches: of one column and of two, as ICML and many journals have them."""
NARROWEST, WIDEST = 1.5, 100
"""In inches: below, some figures have no room for panels; above, files become too large to draw."""
FORMATS = ("pdf", "svg", "png", "tex")


class Plot:
    """A figure of some records.

    It is drawn into `into`, axes or a figure that are there already, or becomes a figure of its own: as wide as it
    needs, or `width` ("column", "page" or inches). `title` stands above it; `labels` maps levels, such as models, and
    the texts of axes to what shall stand in their place.
    `sheet` is what matplotlib knows it by, `axes` its panels; `table`, `printed` and `caption` are what a page shows.
    """

    def __init__(
        self,
        figure: FigureSpec,
        records: Records,
        *,
        into: theme.Canvas | None = None,
        width: Width | None = None,
        title: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> None:
        if into is not None and width is not None:
            raise InputError("width must be left out where ax or figure has one.")
        self._asked = (figure, records)
        if not isinstance(labels, Mapping | None):
            raise InputError(f"labels must be a dict, such as {{'ViT': 'ours'}}. Got {short(labels)} instead.")
        if not isinstance(title, str | None):
            raise InputError(f"title must be a text. Got {short(title)} instead.")
        self._labels = {name: str(text) for name, text in (labels or {}).items()}
        self._title, self._width, self._into = title, width, into
        self.figure, renamed, self._texts = relabelled(figure, records, self._labels)
        self.records = self.figure.view(renamed)
        self.table: pd.DataFrame = self.figure.table(self.records)
        self.sheet = self._drawn()

    def _drawn(self) -> theme.Canvas:
        into = theme.Page(width=inches(self._width)) if self._width is not None else self._into
        sheet = self.figure.draw(self.table, self.records, into=into)
        if self._texts:
            levels = [str(one) for own in self._asked[1].plan.factors.values() for one in own if isinstance(one, str)]
            relabel_axes(sheet, self._texts, levels=levels)
        with theme.style(into):
            lettering.small_print(sheet, self.figure.small_print(self.table, self.records))
            if self._title:
                lettering.headed(sheet, self._title)
        return sheet

    @property
    def axes(self) -> list[Axes]:
        """The panels, in the order of reading."""
        return [self.sheet] if isinstance(self.sheet, Axes) else [one for one in self.sheet.axes if one.get_visible()]

    @functools.cached_property
    def caption(self) -> str:
        """What is seen: the quantity, the interval, the numbers of seeds, the data set."""
        return self.figure.caption(self.table, self.records)

    @functools.cached_property
    def printed(self) -> pd.DataFrame:
        """The table to be read by people."""
        return self.figure.printed(self.table, self.records)

    def save(
        self,
        path: str | Path,
        *,
        width: Width | None = None,
        title: str | None = None,
        labels: Mapping[str, str] | None = None,
        formats: Sequence[str] = FORMATS,
    ) -> list[Path]:
        """Write it beside `path` in several formats: x.pdf, x.svg with its text as text, x.png, and the table as x.tex.

        With `width`, `title` or `labels` it is drawn anew for the files. Returns the files written. Raises
        `InputError` where a format is unknown, or the path is none of a file.
        """
        if not isinstance(path, str | os.PathLike) or Path(path).name in ("", ".."):
            raise InputError(f"path must be that of a file, such as 'figure.pdf'. Got {short(path)} instead.")
        target, formats = Path(path), _known("formats", formats, FORMATS)
        suffix = target.suffix[1:].lower()
        if suffix in FigureCanvasBase.get_supported_filetypes() and suffix not in FORMATS:
            raise InputError(f"path must end in {', '.join(f'.{kind}' for kind in FORMATS)} or in none. Got '{path}'.")
        target = target.with_suffix("") if suffix in FORMATS else target
        if width is not None or title is not None or labels is not None or not isinstance(self.sheet, Figure):
            return self._again(width, title, labels).save(target, formats=formats)
        contents = self.rendered(kinds=[kind for kind in formats if kind != "tex"])
        if "tex" in formats:
            contents["tex"] = latex(self.printed, caption=self.caption).encode()
        files = [target.with_name(f"{target.name}.{kind}") for kind in contents]
        for file, content in zip(files, contents.values(), strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, content)
        return files

    def _again(self, width: Width | None, title: str | None, labels: Mapping[str, str] | None) -> "Plot":
        """The same, drawn for itself."""
        return Plot(
            *self._asked,
            width=self._width if width is None else width,
            title=self._title if title is None else title,
            labels=self._labels if labels is None else labels,
        )

    def rendered(self, kinds: Sequence[str] = ("svg", "png")) -> dict[str, bytes]:
        """Its files by their format, text in SVG and PDF being text."""
        kinds = _known("kinds", kinds, tuple(rendering.UNWRITTEN))
        with theme.style():
            return rendering.written(self.sheet, kinds=kinds)

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows."""
        return self.rendered(kinds=("png",))["png"] if isinstance(self.sheet, Figure) else None


def inches(width: Any) -> float:
    """A width in inches. Raises `InputError` where it is none that figures can be drawn at."""
    if is_number(width) and NARROWEST <= width <= WIDEST:
        return float(width)
    if isinstance(width, str) and width in WIDTHS:
        return WIDTHS[width]
    allowed = f"'column', 'page' or a number of inches from {NARROWEST} to {WIDEST}"
    raise InputError(f"width must be {allowed}. Got {short(width)} instead.")


def _known(field: str, given: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    """The formats that are asked for. Raises `InputError` where they are no list of those that there are."""
    names = ", ".join(map(repr, known))
    if isinstance(given, str) or not isinstance(given, Iterable):
        hint = f": write ({given!r},)" if given in known else ""
        raise InputError(f"{field} must be a tuple of some of {names}. Got {short(given)} instead{hint}.")
    kinds = tuple(given)
    for kind in kinds:
        if kind not in known:
            raise InputError(f"{field} must be among {names}. Got {short(kind)} instead.")
    return kinds
