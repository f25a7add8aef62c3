"""Summary: several figures on one page, lettered, for a paper."""

import dataclasses
import string
from typing import ClassVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Page
from matplotlib.figure import SubFigure

from vision_attn.figures import lettering, theme
from vision_attn.figures.base import Figure
from vision_attn.figures.view import View
from vision_attn.records import Records
from vision_attn.spec import InputError, spec

WIDTH, TALLEST, LEAST = 7.5, 10.5, 0.65
"""The width of the page in inches, and the height to which parts shrink, but to no smaller a share of their own."""
LOWEST = {"small": 2.3, "wide": 1.7}
"""The least height of a row of parts before they shrink."""


@spec
class Summary(Figure):
    """Other figures as parts a, b, c of one page: two small ones a row, those of several panels a row of their own.

    Parts shrink for the page to fit a sheet of paper; many panels make it longer than that. The legend of the levels
    of `hue` is drawn once, above; a part whose legend says something else keeps it. The table is the parts' tables
    one below the other; a part that has none says why. Parts about what the experiment does not have, as a preset may
    lack it, are left out, and named in the caption.
    """

    title: ClassVar[str] = "Summary"

    parts: tuple[Figure, ...]
    hue: str = "model"

    def check(self) -> None:
        self.require("parts", 1 <= len(self.parts) <= 12, "1 to 12 figures")
        self.require("parts", not any(isinstance(part, Summary) for part in self.parts), "figures other than Summary")

    def _lettered(self, records: Records) -> list[tuple[str, Figure]]:
        """The parts that apply to the plan, or, where none does, all of them."""
        parts = [part for part in self.parts if part.applies(records.plan)] or self.parts
        return list(zip(string.ascii_lowercase, parts, strict=False))

    def table(self, records: Records) -> pd.DataFrame:
        if taken := [name for name in records.plan.factors if name in ("part", "figure", "problem")]:
            raise InputError(f"factors of Summary must have other names than columns of its own. Got {taken[0]!r}.")
        rows = []
        for letter, part in self._lettered(records):
            own = _table(part, records)
            if isinstance(own, str):
                own = pd.DataFrame({"problem": [own]})
            head = pd.DataFrame({"part": letter, "figure": type(part).__name__}, index=own.index)
            rows.append(pd.concat([head, own], axis=1).astype(object))
        return pd.concat(rows, ignore_index=True)

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Canvas | None = None) -> theme.Canvas:
        made = [(letter, part, _table(part, records)) for letter, part in self._lettered(records)]
        lines: list[list[int]] = []
        natural = [_natural(part, own, records) for _, part, own in made]
        if theme.is_narrow(into):
            natural = [(high, True) for high, _ in natural]
        for i, (_, is_wide) in enumerate(natural):
            if is_wide or not lines or len(lines[-1]) == 2 or natural[lines[-1][0]][1]:
                lines.append([i])
            else:
                lines[-1].append(i)
        heights = np.array([max(natural[i][0] for i in line) for line in lines])
        heights *= max(LEAST, min(1.0, TALLEST / heights.sum()))
        entries = {}
        if self.hue in records.plan.factors:
            own = {field.name: getattr(records, field.name) for field in dataclasses.fields(Records)}
            entries = View(**own, hue=self.hue).legend()
        with theme.style(into):
            page = theme.sheet((WIDTH, float(heights.sum()) + 0.3), into=into)
            bands = page.subfigures(len(lines), 1, height_ratios=list(heights), squeeze=False).ravel()
            is_shared = False
            for line, band in zip(lines, bands, strict=True):
                for i, place in zip(line, band.subfigures(1, len(line), squeeze=False).ravel(), strict=True):
                    _draw_part(place, *made[i], records)
                    is_shared |= _take_legend(place, set(entries))
            if is_shared:
                lettering.legend(page, entries)
        return page

    def small_print(self, table: pd.DataFrame, records: Records) -> str:
        parts = [(letter, part, _table(part, records)) for letter, part in self._lettered(records)]
        said = [
            f"{letter}: {part.small_print(own, records)}" for letter, part, own in parts if not isinstance(own, str)
        ]
        alike = {text.partition(": ")[2] for text in said}
        return alike.pop() if len(alike) == 1 else "; ".join(said)

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        said = []
        for letter, part in self._lettered(records):
            own = _table(part, records)
            text = own if isinstance(own, str) else part.caption(own, records)
            said.append(f"({letter}) {part.title}: {text}")
        shown = [part for _, part in self._lettered(records)]
        if absent := [part.title for part in self.parts if part not in shown]:
            said.append(f"Left out, as the experiment does not have what they are about: {', '.join(absent)}.")
        return " ".join(said)

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        out = []
        for letter, part in self._lettered(records):
            rows = table[table["part"] == letter]
            problem = rows["problem"].iloc[0] if "problem" in rows and rows["problem"].notna().any() else ""
            out.append({"part": letter, "figure": part.title, "rows in the CSV": problem or str(len(rows))})
        return pd.DataFrame(out)


def _table(part: Figure, records: Records) -> pd.DataFrame | str:
    """The table of a part, or why there is none."""
    if not part.applies(records.plan):
        return "The experiment does not have what this figure is about."
    try:
        return part.table(records)
    except InputError as error:
        return str(error)


def _natural(part: Figure, table: pd.DataFrame | str, records: Records) -> tuple[float, bool]:
    """The height in inches that a part is due on the page, and whether it has several panels side by side."""
    if isinstance(table, str):
        return 1.0, False
    alone = part.draw(table, records)
    assert isinstance(alone, Page)
    width, height = alone.get_size_inches()
    columns = max((grid.ncols for each in alone.axes if (grid := each.get_gridspec()) is not None), default=1)
    if columns > 1:
        return max(height * WIDTH / max(width, WIDTH), LOWEST["wide"]) + 0.25, True
    return max(height * WIDTH / 2 / width, LOWEST["small"]), False


def _draw_part(place: SubFigure, letter: str, part: Figure, table: pd.DataFrame | str, records: Records) -> None:
    inner = place.add_subfigure(place.add_gridspec(1, 1)[0])  # below the title, which would lie over a legend otherwise
    if isinstance(table, str):
        axes = inner.subplots()
        axes.set_axis_off()
        text = lettering.shown(lettering.wrapped(table, int(theme.inches(place) / 0.09)))
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=theme.FAINT)
    else:
        part.draw(table, records, into=inner)
    place.suptitle(f"{letter}   {part.title}", x=0.05 / theme.inches(place), ha="left", fontsize=10, fontweight="bold")


def _take_legend(place: SubFigure, names: set[str]) -> bool:
    """Take the legend off a part if the page's says the same; whether it was."""
    for legend in list(place.subfigs[0].legends):
        if {text.get_text() for text in legend.get_texts()} <= names:
            legend.remove()
            return True
    return False
