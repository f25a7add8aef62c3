"""Recall by distance: accuracy against how far away lies what has to be told."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import theme
from vision_attn.figures.axes import share_axes, size_axis
from vision_attn.figures.base import OverSeeds
from vision_attn.figures.recalled import cells, distances, recalled
from vision_attn.records import Records, chance, column, facets, pick
from vision_attn.spec import spec
from vision_attn.statistics import mean_interval

CROWDED, COLUMNS = 6, 5
"""More models than this have a panel each, so many in a row."""


@spec
class RecallByDistance(OverSeeds):
    """The mean accuracy over seeds against distance in cells, one line a level of `hue`, with Student-t intervals.

    Marks above a panel: the theoretical reach of each model (of the last layer, in the mode `mode`), beyond which
    accuracy is due to be chance. `x` is a factor, or a coordinate of the probe AccuracyByDistance where one run meets
    several distances; `direction` tells the directions apart, from that probe. More than six models have a panel each.
    """

    title: ClassVar[str] = "Recall by distance"

    metric: str = "accuracy"
    split: str = "test"
    x: str = "distance"
    mode: str = "architectural"
    direction: bool = False

    def _settled(self, records: Records) -> Records:
        return self._settled_for(records, *self.factor_fields, also=(self.x,))

    def _factors(self, records: Records) -> list[str]:
        return [*facets(records.plan, used=(self.x, self.hue, self.over)), self.hue, self.x]

    def _values(self, records: Records) -> pd.DataFrame:
        options = {"metric": self.metric, "split": self.split, "x": self.x, "direction": self.direction}
        return recalled(records, what="RecallByDistance", **options)  # type: ignore[arg-type]

    def table(self, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by, values = self._factors(records), self._values(records)
        grid = cells(records, values, by=by[:-1], x=self.x)
        if self.direction:
            names = list(dict.fromkeys(values["direction"]))
            grid = grid.merge(pd.DataFrame({"direction": names or ["any"]}), how="cross")
            by = ["direction", *by]
        means = mean_interval(values, by=by, level=self.level)
        out = grid.merge(means, on=by, how="left").merge(self._reaches(records), on=self.hue, how="left")
        out["n"] = out["n"].fillna(0).astype(int)
        return out[[*by, "estimate", "low", "high", "n", "sd", "planned", "reach_low", "reach_high"]]

    def _reaches(self, records: Records) -> pd.DataFrame:
        """The reach of each model's last layer in cells: the least and the largest over the directions."""
        values = pick(records, "reach", at={"mode": self.mode}, along=("layer", "direction"))
        layer = column(records, "layer")
        if len(values):
            values = values[values[layer] == values.groupby("run")[layer].transform("max")]
        groups = values.groupby(self.hue, observed=True)["value"]
        return groups.agg(reach_low="min", reach_high="max").reset_index()

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Sheet | None = None) -> theme.Sheet:
        records = self._settled(records)
        by = self._factors(records)
        names = [*(["direction"] if self.direction else []), *by[:-2]]
        looks = theme.looks(records.plan, self.hue)
        if len(looks) > CROWDED and set(names) <= {"direction"}:
            return self._draw_apart(table, records, looks, into)
        with theme.style():
            parts = theme.panels(table, names)
            figure, axes = theme.canvas(len(parts), into=into)
            stack = max(self._mark(each, rows, looks) for each, (_, rows) in zip(axes, parts, strict=True))
            levels = distances(records, table, self.x)
            for each, (title, rows) in zip(axes, parts, strict=True):
                self._panel(each, rows, self._singles(rows, records, [*names, *by[-2:]]), records, levels)
                theme.titled(each, title)
                each.set_title(each.get_title(), pad=6 + 9 * stack)
                if theme.is_left(each):
                    each.set_ylabel(self._quantity())
            if wording.is_share(self.metric):
                share_axes(axes)
            if not table["n"].sum():
                for each in axes:
                    theme.blank(each)
            theme.legend(figure, {wording.level_text(self.hue, k): theme.handle(look) for k, look in looks.items()})
        return figure

    def _draw_apart(
        self, table: pd.DataFrame, records: Records, looks: dict[Any, theme.Look], into: theme.Sheet | None
    ) -> theme.Sheet:
        """A panel a model: its line before the pale ones of all others, or its lines for the directions."""
        levels = distances(records, table, self.x)
        with theme.style():
            rows = -(-len(looks) // COLUMNS)
            figure, axes = theme.canvas(len(looks), columns=COLUMNS, size=(8.6, 1.75 * rows + 0.7), into=into)
            ways = {name: theme.Look(theme.COLOURS[i], theme.MARKERS[i]) for i, name in enumerate(_directions(table))}
            for each, (name, look) in zip(axes, looks.items(), strict=True):
                mine = table[table[self.hue] == name]
                places = size_axis(each, levels, label=f"{wording.factor_text(self.x)} (cells)", linear=True)
                if self.metric == "accuracy" and (guess := chance(records)) is not None:
                    theme.reference_line(each, guess, "", dotted=True)
                lines = [(mine, look)]
                if self.direction:
                    lines = [(mine[mine["direction"] == way], own) for way, own in ways.items()]
                for i, (own, own_look) in enumerate(lines):
                    at, _ = theme.dodge(places, i, len(lines), logarithmic=False)
                    theme.interval_line(
                        each, np.array(list(at.values())), own.set_index(self.x).reindex(levels), own_look
                    )
                if not self.direction:
                    for _, other in table[table[self.hue] != name].groupby(self.hue, observed=True):
                        line = other.set_index(self.x)["estimate"].reindex(levels)
                        each.plot(list(places.values()), line, color="#d9d9d9", linewidth=0.8, zorder=0.5)
                ends = mine[["reach_low", "reach_high"]].iloc[0].dropna().unique()
                for end in ends[ends < max(levels)]:
                    each.axvline(end, color=theme.INK, linewidth=0.9, linestyle=(0, (2, 3)), zorder=0.8)
                theme.titled(each, wording.level_text(self.hue, name))
            figure.supylabel(self._quantity())
            if wording.is_share(self.metric):
                share_axes(axes)
            if self.direction:
                theme.legend(figure, {str(way): theme.handle(own) for way, own in ways.items()})
        return figure

    def _quantity(self) -> str:
        share = " (%)" if wording.is_share(self.metric) else ""
        return f"{self.split} {self.metric.replace('_', ' ')}{share}"

    def _singles(self, rows: pd.DataFrame, records: Records, by: list[str]) -> pd.DataFrame:
        values = self._values(records)
        return values.merge(rows[by].drop_duplicates(), on=by) if len(values) else values

    def _mark(self, axes: Axes, rows: pd.DataFrame, looks: dict[Any, theme.Look]) -> int:
        """The models' marks above the panel at their reach, stacked where several share one; how high the stack is."""
        count: dict[float, int] = {}
        for name, own in rows.groupby(self.hue, observed=True):
            ends = own[["reach_low", "reach_high"]].iloc[0].dropna().unique()
            for end in ends:
                if end < own[self.x].max():
                    place = count.get(end, 0)
                    count[end] = place + 1
                    look = looks[name]
                    axes.axvline(end, color=look.colour, linewidth=0.9, linestyle=(0, (2, 3)), zorder=0.8)
                    axes.plot(
                        end,
                        1.035 + 0.05 * place,
                        look.marker,
                        color=look.colour,
                        markerfacecolor="white",
                        markersize=5,
                        transform=axes.get_xaxis_transform(),
                        clip_on=False,
                    )
        return max(count.values(), default=0)

    def _panel(
        self, axes: Axes, rows: pd.DataFrame, singles: pd.DataFrame, records: Records, levels: list[Any]
    ) -> None:
        places = size_axis(axes, levels, label=f"{wording.factor_text(self.x)} (cells)", linear=True)
        if self.metric == "accuracy" and (guess := chance(records)) is not None:
            theme.reference_line(axes, guess, "chance", dotted=True)
        looks = theme.looks(records.plan, self.hue)
        for i, (name, look) in enumerate(looks.items()):
            at, aside = theme.dodge(places, i, len(looks), logarithmic=False)
            mine = rows[rows[self.hue] == name].set_index(self.x).reindex(levels)
            points = singles[(singles[self.hue] == name) & singles[self.x].isin(mine.index[mine["n"] > 1])]
            theme.seeds_scatter(axes, [aside[x] for x in points[self.x]], points["value"].to_numpy(float), look)
            theme.interval_line(axes, np.array(list(at.values())), mine, look)

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        records = self._settled(records)
        by = self._factors(records)
        what = f"{self.split.capitalize()} {self.metric.replace('_', ' ')}"
        said = [f"{what}{wording.data_text(records)} against {wording.factor_text(self.x)} in cells."]
        said.append(wording.seeds_text(table, [*(["direction"] if self.direction else []), *by], unit=self.over))
        if (table["n"] > 1).any():
            said.append(f"Bars: {100 * self.level:g} % Student-t intervals; faint points: single {self.over}s.")
            said.append(wording.cut_text(table, self.metric))
        apart = len(records.plan.levels(self.hue)) > CROWDED and by[:-2] == []
        if apart and not self.direction:
            said.append("Pale: the other models.")
        if table["reach_low"].notna().any():
            lines = "Dashed lines" if apart else "Hollow marks above and dashed lines"
            said.append(
                f"{lines}: how far each model can see by its architecture (least and largest over the directions), "
                "where that is less than the largest distance. Beyond the largest, no model can know."
            )
        guess = chance(records) if self.metric == "accuracy" else None
        said.append(f"Dotted: chance, {100 * guess:.3g} %." if guess is not None else "")
        return " ".join(filter(None, said))

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        cells = [wording.interval(row, metric=self.metric) for row in table.to_dict("records")]
        rows = [*(["direction"] if self.direction else []), *by[:-2], self.x]
        return wording.wide(table, cells, rows=rows, columns=self.hue, names=records.plan.levels(self.hue))


def _directions(table: pd.DataFrame) -> list[Any]:
    return list(dict.fromkeys(table["direction"])) if "direction" in table else []
