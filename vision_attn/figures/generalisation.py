"""Generalisation: accuracy on the training images beside accuracy on the test images."""

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

SPLITS = ("train", "test")


@spec
class Generalisation(OverSeeds):
    """A metric on the training and on the test images, a panel a level of `hue`.

    Both low: the model underfits. Training high and test low: it overfits. The height between the lines is the
    generalisation gap.
    """

    title: ClassVar[str] = "Training against test"
    factor_fields: ClassVar[tuple[str, ...]] = ("x", "hue")

    metric: str = "accuracy"
    x: str = "train_size"

    def _factors(self, records: Records) -> list[str]:
        return [*facets(records.plan, used=(self.x, self.hue, self.over)), self.hue, self.x]

    def table(self, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        parts = []
        for split in SPLITS:
            means = mean_interval(pick(records, self.metric, at={"split": split}), by=by, level=self.level)
            parts.append(planned(records, by).merge(means, on=by, how="left").assign(split=split))
        out = pd.concat(parts, ignore_index=True)
        out["split"] = pd.Categorical(out["split"], categories=SPLITS, ordered=True)
        out["n"] = out["n"].fillna(0).astype(int)
        return out[[*by, "split", "estimate", "low", "high", "n", "sd", "planned"]]

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Sheet | None = None) -> theme.Sheet:
        records = self._settled(records)
        by = self._factors(records)
        looks = theme.looks(records.plan, self.hue)
        with theme.style():
            parts = theme.panels(table, by[:-1])
            columns = len(looks) if len(looks) <= 4 else 3
            figure, axes = theme.canvas(len(parts), columns=columns, into=into)
            for each, (title, rows) in zip(axes, parts, strict=True):
                self._panel(each, rows, looks[rows[self.hue].iloc[0]], records)
                theme.titled(each, title)
                if theme.is_left(each):
                    each.set_ylabel(self.metric.replace("_", " ") + (" (%)" if wording.is_share(self.metric) else ""))
            ink = theme.Look(theme.INK, "o")
            entries = {"training images": theme.handle(ink, hollow=True), "test images": theme.handle(ink)}
            if wording.is_share(self.metric):
                share_axes(axes)
            if not table["n"].sum():
                for each in axes:
                    theme.blank(each)
            theme.legend(figure, entries)
        return figure

    def _panel(self, axes: Axes, rows: pd.DataFrame, look: theme.Look, records: Records) -> None:
        levels = records.plan.levels(self.x)
        places = size_axis(axes, levels, label=wording.factor_text(self.x))
        if self.metric == "accuracy" and (level := chance(records)) is not None:
            theme.reference_line(axes, level, "chance", dotted=True)
        x = np.array(list(places.values()))
        lines = [rows[rows["split"] == split].set_index(self.x).reindex(levels) for split in SPLITS]
        train, test = (line["estimate"].to_numpy(float) for line in lines)
        axes.fill_between(x, train, test, color=look.colour, alpha=0.10, linewidth=0)
        for line, hollow in zip(lines, (True, False), strict=True):
            theme.interval_line(axes, x, line, look, hollow=hollow)

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        records = self._settled(records)
        by = self._factors(records)
        what = self.metric.replace("_", " ")
        said = [
            f"{what.capitalize()} on the training subset and on the test images{wording.data_text(records)}. Both low: "
            "underfitting; training high and test low: overfitting. The shaded height is the generalisation gap.",
            wording.seeds_text(table[table["split"] == "test"], by, unit=self.over),
        ]
        if (table["n"] > 1).any():
            said.append(f"Bars: {100 * self.level:g} % Student-t intervals.")
            said.append(wording.cut_text(table, self.metric))
        if self.metric == "accuracy" and chance(records) is not None:
            said.append("Dotted: chance.")
        return " ".join(filter(None, said))

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        test = table[table["split"] == "test"]
        train = {tuple(row[name] for name in by): row for row in table[table["split"] == "train"].to_dict("records")}
        cells = []
        for row in test.to_dict("records"):
            other = train[tuple(row[name] for name in by)]
            texts = [wording.number(each["estimate"], metric=self.metric) for each in (other, row)]
            cells.append(" → ".join(texts) if row["n"] or other["n"] else "–")
        rows = [*by[:-2], self.x]
        return wording.wide(test, cells, rows=rows, columns=self.hue, names=records.plan.levels(self.hue))
