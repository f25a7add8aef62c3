"""Lines: what all figures of lines share. Means with intervals along x, a line for every level, panels."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import lettering, marks, theme
from vision_attn.figures.axes import share_axis, size_axis
from vision_attn.figures.base import OverSeeds
from vision_attn.figures.view import View
from vision_attn.records import Records, chance
from vision_attn.spec import spec

NUMBERED = ("layer", "block", "stage", "severity")
"""Factors and coordinates whose levels are numbered in their order, and no sizes."""
CUT_TEXT = "Intervals of two seeds are cut at the axis; full values in the table."


@dataclasses.dataclass(frozen=True)
class Panel:
    """What one panel shows: the `rows` of the table, how each line is drawn, and where the levels of x lie.

    `singles` are the single values of all panels, where they are drawn as faint points.
    """

    axes: Axes
    rows: pd.DataFrame
    styles: dict[Any, dict[str, Any]]
    places: dict[Any, float]
    singles: pd.DataFrame | None


@spec
class Lines(OverSeeds, abc.ABC):
    """A metric against `x`, one line a level of `hue`, with Student-t intervals over `over`.

    A subclass gives the single `values` and says in words what is seen; everything else, from the table to the
    legend, may be left as it is here or replaced in part. Its fields `metric` and `x` say what is along y and x.
    """

    factor_fields: ClassVar[tuple[str, ...]] = ("x", "hue", "over")
    ends_at_100: ClassVar[bool] = True
    """Whether an axis of shares ends at 0 and 100 %, whatever the intervals."""
    is_linear: ClassVar[bool] = False
    """Whether x is linear also where all its levels are positive numbers."""

    @abc.abstractmethod
    def values(self, view: View) -> pd.DataFrame:
        """The single values: a row each, with the factors and `value`."""

    @abc.abstractmethod
    def quantity(self, view: View) -> str:
        """What stands along y, without its unit: "test accuracy"."""

    @abc.abstractmethod
    def sentence(self, table: pd.DataFrame, view: View) -> str:
        """The first sentence of the caption: what is seen, of which data."""

    def metric_name(self) -> str:
        """The metric along y, by which numbers are written."""
        return getattr(self, "metric", "")

    def is_percent(self) -> bool:
        """Whether y is in percent: of metrics that are shares."""
        return wording.is_share(self.metric_name())

    def x_name(self, view: View) -> str:
        """The column of the table that lies along x."""
        return view.x

    def line_name(self) -> str:
        """The column of the table whose levels are lines."""
        return self.hue

    def panel_names(self, view: View) -> list[str]:
        """The columns of the table of which every combination has a panel."""
        return list(view.panels)

    def places(self, table: pd.DataFrame, view: View) -> list[Any]:
        """The levels along x."""
        return view.levels(self.x_name(view))

    def line_levels(self, table: pd.DataFrame, view: View) -> list[Any]:
        """The levels that are lines, in order."""
        return view.levels(self.line_name())

    def styles(self, rows: pd.DataFrame, names: Sequence[Any], view: View) -> dict[Any, dict[str, Any]]:
        """How the line of each of those levels is drawn in the panel of those rows: arguments of `interval_line`."""
        return {name: view.style(name) for name in names}

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        return view.means(self.values(view), by=view.by)

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Canvas | None = None) -> theme.Canvas:
        view = self.view(records)
        with theme.style(into):
            drawn = wording.percent(table) if self.is_percent() else table
            parts = view.parts(drawn, self.panel_names(view))
            sheet, panels = theme.canvas(len(parts), columns=self.columns(len(parts), view), into=into)
            singles, names, levels = self.singles(view), self.line_levels(table, view), self.places(table, view)
            if singles is not None and self.is_percent():
                singles = wording.percent(singles)
            for axes, (title, rows) in zip(panels, parts, strict=True):
                if levels:
                    is_linear = self.is_linear or self.x_name(view) in NUMBERED
                    places = size_axis(axes, levels, label=self.x_text(view), linear=is_linear)
                    self.under(axes, rows, view)
                    self.lines(Panel(axes, rows, self.styles(rows, names, view), places, singles), view)
                lettering.titled(axes, title)
                lettering.label_y(axes, self.y_text(view))
            if limits := self.cut(table, view):
                panels[0].set_ylim(*(100 * np.array(limits) if self.is_percent() else limits))
            self.finish(panels, drawn, view)
            for axes, (_, rows) in zip(panels if levels else [], parts, strict=False):
                self.name_compared(axes, rows, places, view)
            for axes, (_, rows) in zip(panels, parts, strict=True):
                if not rows["n"].sum():
                    lettering.blank(axes)
            is_one = len(panels) == 1 and levels
            if not (is_one and lettering.at_ends(panels[0], self.ends(drawn, places, view))):
                lettering.legend(sheet, self.legend(table, view))
        return sheet

    def cut(self, table: pd.DataFrame, view: View) -> tuple[float, float] | None:
        """The limits of y where intervals of two seeds, of 12.7 standard errors, go beyond all else; others need three.

        None where they are within, or where no mark stands for more than two.
        """
        few = table["n"] == 2
        if not (few.any() and (table["n"] > 2).any()):
            return None
        singles, line = self.singles(view), self.compared(view)
        rest = [table["estimate"], table.loc[~few, "low"], table.loc[~few, "high"]]
        rest += [] if singles is None else [singles["value"]]
        rest += [] if line is None else [pd.Series([line[0] / (100 if self.is_percent() else 1)])]
        values = pd.concat(rest).astype(float)
        margin = 0.07 * (values.max() - values.min())
        low, high = values.min() - margin, values.max() + margin
        is_cut = (table.loc[few, "low"] < low).any() or (table.loc[few, "high"] > high).any()
        return (low, high) if is_cut and margin > 0 else None

    def columns(self, panels: int, view: View) -> int:
        """How many of so many panels stand side by side."""
        return 3

    def singles(self, view: View) -> pd.DataFrame | None:
        """The single values that are drawn as faint points, where any are."""
        return self.values(view)

    def under(self, axes: Axes, rows: pd.DataFrame, view: View) -> None:
        """What lies under the lines: chance, of accuracies."""
        if (guess := self.chance(view)) is not None:
            marks.reference_line(axes, 100 * guess, dotted=True)

    def compared(self, view: View) -> tuple[float, str] | None:
        """The height and the name of the line that others are compared with: chance, of accuracies."""
        guess = self.chance(view)
        return None if guess is None else (100 * guess, "chance")

    def name_compared(self, axes: Axes, rows: pd.DataFrame, places: dict[Any, float], view: View) -> None:
        """Name that line where nothing else is drawn, once the axis has its limits; the caption has it, too."""
        line, (low, high) = self.compared(view), axes.get_ylim()
        if line is None or not low < line[0] < high or lettering.text_width([line[1]]) > theme.width(axes):
            return
        own = rows[rows[self.x_name(view)].isin(list(places)) & rows["estimate"].notna()]
        bounds = [own[end].fillna(own["estimate"]) for end in ("low", "high")]
        taken = np.column_stack([own[self.x_name(view)].map(places).astype(float), *bounds])
        if (end := marks.free_end(axes, *line, taken)) is not None:
            marks.name_line(axes, *line, at=end)

    def lines(self, panel: Panel, view: View) -> None:
        """The lines of a panel and single values beside them, moved aside a little so that none hides another."""
        x, line, axes, rows, singles = self.x_name(view), self.line_name(), panel.axes, panel.rows, panel.singles
        if singles is not None and len(singles):
            keys = list(dict.fromkeys([*self.panel_names(view), line, x]))
            singles = singles.merge(rows[keys].drop_duplicates(), on=keys)
        for i, (name, style) in enumerate(panel.styles.items()):
            at, aside = marks.dodge(panel.places, i, len(panel.styles), logarithmic=axes.get_xscale() == "log")
            own = rows[rows[line] == name].set_index(x).reindex(list(panel.places))
            if singles is not None and len(singles):
                points = singles[(singles[line] == name) & singles[x].isin(own.index[own["n"] > 1])]
                heights = points["value"].to_numpy(float)
                marks.seeds_scatter(axes, [aside[each] for each in points[x]], heights, style["style"])
            marks.interval_line(axes, np.array(list(at.values())), own, **style, name=wording.level_text(line, name))
            self.marks(axes, own, at, style["style"], rows)

    def marks(
        self, axes: Axes, own: pd.DataFrame, at: dict[Any, float], style: theme.Style, rows: pd.DataFrame
    ) -> None:
        """What is drawn over a line: `own` has a row a level of x, `at` their places, `rows` all rows of the panel."""

    def finish(self, panels: Sequence[Axes], table: pd.DataFrame, view: View) -> None:
        """The y axis, common to all panels, once they are drawn."""
        if self.is_percent() and self.ends_at_100:
            share_axis(panels[0])

    def ends(self, drawn: pd.DataFrame, places: dict[Any, float], view: View) -> list[tuple[str, float, float, str]]:
        """The name of every line, where it ends and its colour; none where a legend says more than names."""
        if self.line_name() != self.hue:
            return []
        shown, out = drawn[drawn["estimate"].notna()], []
        for name, style in self.styles(drawn, view.levels(self.hue), view).items():
            own = shown[shown[self.hue] == name].set_index(self.x_name(view))["estimate"]
            if measured := [level for level in places if level in own.index]:
                last = measured[-1]
                end = places[last], float(own[own.index == last].iloc[0])  # own.loc[[True]] would be a mask
                out.append((wording.level_text(self.hue, name), *end, style["style"].colour))
        return out

    def legend(self, table: pd.DataFrame, view: View) -> dict[str, Any]:
        """The entries of the legend: the levels that something is drawn of; all where nothing is measured yet."""
        levels, measured = self.line_levels(table, view), set(table.loc[table["n"] > 0, self.line_name()])
        return view.legend([level for level in levels if level in measured] or levels)

    def x_text(self, view: View) -> str:
        """The label of the x axis."""
        return wording.factor_text(self.x_name(view))

    def y_text(self, view: View) -> str:
        """The label of the y axis."""
        return f"{self.quantity(view)} (%)" if self.is_percent() else self.quantity(view)

    def chance(self, view: View) -> float | None:
        """The accuracy of guessing, where the metric is an accuracy and it is known."""
        return chance(view) if self.metric_name() == "accuracy" else None

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        view = self.view(records)
        said = [self.sentence(table, view), wording.seeds_text(*self.counted(table, view), unit=self.over)]
        if (table["n"] > 1).any():
            cut = "" if self.cut(table, view) is None else CUT_TEXT
            clipped = table[table["n"] != 2] if cut else table
            said += [self.bars(), cut, wording.cut_text(clipped, self.metric_name()) if self.ends_at_100 else ""]
        guess = self.chance(view)
        dotted = "" if guess is None else f"Dotted: chance, {100 * guess:.3g} %."
        return " ".join(filter(None, [*said, *self.remarks(table, view), dotted]))

    def counted(self, table: pd.DataFrame, view: View) -> tuple[pd.DataFrame, list[str]]:
        """The rows whose seeds are counted in the caption, and the columns that name them."""
        return table, view.by

    def bars(self) -> str:
        """What the intervals are."""
        return f"Bars: {100 * self.level:g} % Student-t intervals; faint points: single {self.over}s."

    def remarks(self, table: pd.DataFrame, view: View) -> list[str]:
        """Further sentences of the caption."""
        return []

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        view = self.view(records)
        rows, names = [*self.panel_names(view), self.x_name(view)], self.line_levels(table, view)
        return view.wide(table, self.cell, rows=rows, columns=self.line_name(), names=names)

    def cell(self, row: dict[Any, Any]) -> str:
        """A row of the table as it is printed."""
        return wording.interval(row, metric=self.metric_name())


@spec
class SplitLines(Lines, abc.ABC):
    """A metric of the images of one split along x, one line a level of `hue`."""

    metric: str = "accuracy"
    split: str = "test"

    def values(self, view: View) -> pd.DataFrame:
        return view.pick(self.metric, split=self.split)

    def quantity(self, view: View) -> str:
        return f"{self.split} {wording.metric_text(self.metric)}"

    def what(self, view: View) -> str:
        """The beginning of the caption: "Test accuracy on digits"."""
        return f"{self.split.capitalize()} {wording.metric_text(self.metric)}{view.data_text}"

    def sentence(self, table: pd.DataFrame, view: View) -> str:
        return f"{self.what(view)} against the {self.x_text(view)}."

    def remarks(self, table: pd.DataFrame, view: View) -> list[str]:
        return [view.elsewhere(table, self.metric, self.split)]
