"""Learning curve: a metric against the number of training images."""

from typing import ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import theme
from vision_attn.figures.axes import share_axes, size_axis
from vision_attn.figures.base import OverSeeds
from vision_attn.records import Records, chance, facets, pick, planned
from vision_attn.spec import spec
from vision_attn.statistics import mean_interval


@spec
class LearningCurve(OverSeeds):
    """The mean of a metric over seeds against a factor, one line a level of `hue`, with Student-t intervals."""

    title: ClassVar[str] = "Learning curve"
    factor_fields: ClassVar[tuple[str, ...]] = ("x", "hue")

    metric: str = "accuracy"
    split: str = "test"
    x: str = "train_size"

    def _factors(self, records: Records) -> list[str]:
        """The factors that tell the points apart: panels, lines, x."""
        return [*facets(records.plan, used=(self.x, self.hue, self.over)), self.hue, self.x]

    def table(self, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        values = pick(records, self.metric, at={"split": self.split})
        means = mean_interval(values, by=by, level=self.level)
        out = planned(records, by).merge(means, on=by, how="left")
        out["n"] = out["n"].fillna(0).astype(int)
        return out[[*by, "estimate", "low", "high", "n", "sd", "planned"]]

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Sheet | None = None) -> theme.Sheet:
        records = self._settled(records)
        by = self._factors(records)
        singles = pick(records, self.metric, at={"split": self.split})
        with theme.style():
            parts = theme.panels(table, by[:-2])
            figure, axes = theme.canvas(len(parts), into=into)
            for each, (title, rows) in zip(axes, parts, strict=True):
                self._panel(each, rows, singles.merge(rows[by].drop_duplicates(), on=by), records)
                theme.titled(each, title)
                label = f"{self.split} {self.metric.replace('_', ' ')}"
                if theme.is_left(each):
                    each.set_ylabel(f"{label} (%)" if wording.is_share(self.metric) else label)
            looks = theme.looks(records.plan, self.hue)
            if wording.is_share(self.metric):
                share_axes(axes)
            if not table["n"].sum():
                for each in axes:
                    theme.blank(each)
            theme.legend(figure, {wording.level_text(self.hue, k): theme.handle(look) for k, look in looks.items()})
        return figure

    def _panel(self, axes: Axes, rows: pd.DataFrame, singles: pd.DataFrame, records: Records) -> None:
        levels = records.plan.levels(self.x)
        places = size_axis(axes, levels, label=wording.factor_text(self.x))
        if self.metric == "accuracy" and (level := chance(records)) is not None:
            theme.reference_line(axes, level, "chance", dotted=True)
        looks = theme.looks(records.plan, self.hue)
        for i, (name, look) in enumerate(looks.items()):
            at, aside = theme.dodge(places, i, len(looks), logarithmic=axes.get_xscale() == "log")
            mine = rows[rows[self.hue] == name].set_index(self.x).reindex(levels)
            points = singles[(singles[self.hue] == name) & singles[self.x].isin(mine.index[mine["n"] > 1])]
            theme.seeds_scatter(axes, [aside[x] for x in points[self.x]], points["value"].to_numpy(float), look)
            theme.interval_line(axes, np.array(list(at.values())), mine, look)

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        records = self._settled(records)
        names = self._factors(records)
        what = f"{self.split.capitalize()} {self.metric.replace('_', ' ')}"
        quantity = f"{what}{wording.data_text(records)} against the {wording.factor_text(self.x)}"
        bars = f"Bars: {100 * self.level:g} % Student-t intervals; faint points: single {self.over}s."
        if not (table["n"] > 1).any():
            bars = ""
        dotted = chance(records) if self.metric == "accuracy" else None
        dots = f"Dotted: chance, {100 * dotted:.3g} %." if dotted is not None else ""
        return " ".join(
            filter(
                None,
                [
                    f"{quantity}.",
                    wording.seeds_text(table, names, unit=self.over),
                    bars,
                    wording.cut_text(table, self.metric),
                    dots,
                ],
            )
        )

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        cells = [wording.interval(row, metric=self.metric) for row in table.to_dict("records")]
        rows = [*by[:-2], self.x]
        return wording.wide(table, cells, rows=rows, columns=self.hue, names=records.plan.levels(self.hue))
