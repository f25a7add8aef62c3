"""Distance curve: accuracy against how far away lies what has to be told."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import lettering, marks, theme
from vision_attn.figures.axes import share_axis, size_axis
from vision_attn.figures.by_distance import by_distance, cells, distances
from vision_attn.figures.lines import SplitLines
from vision_attn.figures.view import View
from vision_attn.records import Records
from vision_attn.spec import spec
from vision_attn.statistics import mean_interval

CROWDED, COLUMNS = 6, 5
"""More models than this have a panel each, so many in a row."""


@spec
class DistanceCurve(SplitLines):
    """The mean accuracy over seeds against distance in cells, one line a level of `hue`, with Student-t intervals.

    Marks above a panel: the theoretical reach of each model (of the last layer, in the mode `mode`), beyond which
    accuracy is due to be chance. `x` is a factor, or a coordinate of the probe AccuracyByDistance where one run meets
    several distances; `direction` tells the directions apart, from that probe. More than six models have a panel each.
    """

    title: ClassVar[str] = "Accuracy by distance"
    own_columns: ClassVar[tuple[str, ...]] = ("reach_low", "reach_high")
    factor_fields: ClassVar[tuple[str, ...]] = ("hue", "over")
    is_linear: ClassVar[bool] = True

    x: str = "distance"
    mode: str = "architectural"
    direction: bool = False

    def coordinates(self) -> tuple[str, ...]:
        return (self.x,)

    def x_name(self, view: View) -> str:
        return self.x

    def panel_names(self, view: View) -> list[str]:
        return [*(["direction"] if self.direction else []), *view.panels]

    def values(self, view: View) -> pd.DataFrame:
        options = {"metric": self.metric, "split": self.split, "x": self.x, "direction": self.direction}
        return by_distance(view, what="DistanceCurve", **options)  # type: ignore[arg-type]

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        values, by = self.values(view), [*self.panel_names(view), self.hue, self.x]
        grid = cells(view, values, by=[*view.panels, self.hue], x=self.x)
        if self.direction:
            names = list(dict.fromkeys(values["direction"])) or ["any"]
            grid = grid.merge(pd.DataFrame({"direction": names}), how="cross")
        means = mean_interval(values, by=by, level=self.level)
        out = grid.merge(means, on=by, how="left").merge(self._reaches(view), on=self.hue, how="left")
        out["n"] = out["n"].fillna(0).astype(int)
        return out[[*by, "estimate", "low", "high", "n", "sd", "planned", "reach_low", "reach_high"]]

    def _reaches(self, view: View) -> pd.DataFrame:
        """The reach of each model's last layer in cells: the least and the largest over the directions."""
        values = view.pick("reach", mode=self.mode, along=("layer", "direction"))
        layer = view.column("layer")
        if len(values):
            values = values[values[layer] == values.groupby("run")[layer].transform("max")]
        groups = values.groupby(self.hue, observed=True)["value"]
        return groups.agg(reach_low="min", reach_high="max").reset_index()

    def places(self, table: pd.DataFrame, view: View) -> list[Any]:
        return distances(view, table, self.x)

    def _is_apart(self, view: View) -> bool:
        return len(view.styles) > CROWDED and not view.panels

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Canvas | None = None) -> theme.Canvas:
        view = self.view(records)
        return self._draw_apart(table, view, into) if self._is_apart(view) else super().draw(table, view, into=into)

    def _draw_apart(self, table: pd.DataFrame, view: View, into: theme.Canvas | None) -> theme.Canvas:
        """A panel a model: its line before the pale ones of all others, or its lines for the directions."""
        levels = self.places(table, view)
        table = wording.percent(table) if self.is_percent() else table
        ways = list(dict.fromkeys(table["direction"])) if self.direction else []
        with theme.style(into):
            styles = {way: theme.Style(theme.COLOURS[i], theme.MARKERS[i]) for i, way in enumerate(ways)}
            size = (8.6, 1.75 * -(-len(view.styles) // COLUMNS) + 0.7)
            sheet, panels = theme.canvas(len(view.styles), columns=COLUMNS, size=size, into=into)
            for axes, (name, style) in zip(panels, view.styles.items(), strict=True):
                own = table[table[self.hue] == name]
                places = size_axis(axes, levels, label=self.x_text(view), linear=True)
                if (guess := self.chance(view)) is not None:
                    marks.reference_line(axes, 100 * guess, "", dotted=True)
                lines = {way: own[own["direction"] == way] for way in ways} or {name: own}
                for i, (key, rows) in enumerate(lines.items()):
                    at, _ = marks.dodge(places, i, len(lines), logarithmic=False)
                    line = rows.set_index(self.x).reindex(levels)
                    marks.interval_line(axes, np.array(list(at.values())), line, styles.get(key, style), name=str(key))
                if not self.direction:
                    for _, other in table[table[self.hue] != name].groupby(self.hue, observed=True):
                        line = other.set_index(self.x)["estimate"].reindex(levels)
                        axes.plot(list(places.values()), line, color="#d9d9d9", linewidth=0.8, zorder=0.5)
                for end in self._ends(own):
                    axes.axvline(end, color=theme.INK, linewidth=0.9, linestyle=(0, (2, 3)), zorder=0.8)
                lettering.titled(axes, wording.level_text(self.hue, name))
            lettering.label_all(sheet, self.y_text(view))
            self.finish(panels, table, view)
            if self.direction:
                lettering.legend(sheet, {str(way): marks.handle(style) for way, style in styles.items()})
        return sheet

    def _ends(self, own: pd.DataFrame) -> list[float]:
        """The reaches of a model that are less than the largest distance."""
        ends = own[["reach_low", "reach_high"]].iloc[0].dropna().unique()
        return [end for end in ends if end < own[self.x].max()]

    def finish(self, panels: Any, table: pd.DataFrame, view: View) -> None:
        if self.is_percent():
            share_axis(panels[0])
        if self._is_apart(view):
            return
        parts = view.parts(table, self.panel_names(view))
        stack = max(self._mark(axes, rows, view) for axes, (_, rows) in zip(panels, parts, strict=True))
        for axes in panels:
            axes.set_title(axes.get_title(), pad=6 + 9 * stack)

    def _mark(self, axes: Axes, rows: pd.DataFrame, view: View) -> int:
        """The models' marks above the panel at their reach, stacked where several share one; how high the stack is."""
        count: dict[float, int] = {}
        for name, own in rows.groupby(self.hue, observed=True):
            for end in self._ends(own):
                place = count.get(end, 0)
                count[end] = place + 1
                style = view.styles[name]
                axes.axvline(end, color=style.colour, linewidth=0.9, linestyle=(0, (2, 3)), zorder=0.8)
                axes.plot(
                    end,
                    1.035 + 0.05 * place,
                    style.marker,
                    color=style.colour,
                    markerfacecolor="white",
                    markersize=5,
                    transform=axes.get_xaxis_transform(),
                    clip_on=False,
                )
        return max(count.values(), default=0)

    def x_text(self, view: View) -> str:
        return f"{wording.factor_text(self.x)} (cells)"

    def sentence(self, table: pd.DataFrame, view: View) -> str:
        return f"{self.what(view)} against {wording.factor_text(self.x)} in cells."

    def counted(self, table: pd.DataFrame, view: View) -> tuple[pd.DataFrame, list[str]]:
        return table, [*self.panel_names(view), self.hue, self.x]

    def remarks(self, table: pd.DataFrame, view: View) -> list[str]:
        said = super().remarks(table, view)
        said += ["Pale: the other models."] if self._is_apart(view) and not self.direction else []
        if table["reach_low"].notna().any():
            lines = "Dashed lines" if self._is_apart(view) else "Hollow marks above and dashed lines"
            said.append(
                f"{lines}: how far each model can see by its architecture (least and largest over the directions), "
                "where that is less than the largest distance. Beyond the largest, no model can know."
            )
        return said
