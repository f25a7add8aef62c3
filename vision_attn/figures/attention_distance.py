"""Attention distance: how far each head looks, layer by layer, and the nearest head against the training images."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from vision_attn import wording
from vision_attn.figures import theme
from vision_attn.figures.axes import size_axis
from vision_attn.figures.base import OverSeeds
from vision_attn.records import Records, column, facets, pick, planned
from vision_attn.spec import spec
from vision_attn.statistics import mean_interval

IMAGES = ("true", "shuffled")


@spec
class AttentionDistanceByHead(OverSeeds):
    """The mean attention distance of every head against the layer, a dot a head, a panel a model.

    Heads have no identity across seeds: within a layer they are sorted by distance, and the first of every seed are
    averaged, the second, and so on. Hollow: the same on images whose patches are shuffled.
    """

    title: ClassVar[str] = "Attention distance by head"

    def _factors(self, records: Records) -> list[str]:
        return [*facets(records.plan, used=(self.hue, self.over)), self.hue]

    def table(self, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        names = {column(records, "layer"): "layer"}
        parts = []
        for images in IMAGES:
            values = pick(records, "attention_distance", at={"images": images}, along=("layer", "head"))
            values = values.rename(columns=names).reindex(columns=[*by, "run", self.over, "layer", "value"])
            ranks = values.groupby([*by, self.over, "run", "layer"], observed=True)["value"].rank(method="first")
            parts.append(values.assign(images=images, rank=ranks.astype("Int64")))
        keys = [*by, "images", "layer", "rank"]
        means = mean_interval(pd.concat(parts, ignore_index=True), by=keys, level=self.level)
        even = pick(records, "attention_distance_uniform", at={}, along=("layer",)).rename(columns=names)
        even = even.reindex(columns=[*by, "layer", "value"])
        even = even.groupby([*by, "layer"], observed=True)["value"].mean().rename("uniform").reset_index()
        out = planned(records, by).merge(means, on=by, how="left").merge(even, on=[*by, "layer"], how="left")
        out["n"] = out["n"].fillna(0).astype(int)
        return out[[*keys, "estimate", "low", "high", "n", "sd", "uniform", "planned"]]

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Sheet | None = None) -> theme.Sheet:
        records = self._settled(records)
        by = self._factors(records)
        looks = theme.looks(records.plan, self.hue)
        shown = table[table["n"] > 0]
        with theme.style():
            parts = theme.panels(shown if len(shown) else table, by)
            figure, axes = theme.canvas(len(parts), into=into)
            layers = sorted(shown["layer"].dropna().unique())
            for each, (title, rows) in zip(axes, parts, strict=True):
                _heads(each, rows[rows["n"] > 0], looks[rows[self.hue].iloc[0]])
                theme.titled(each, title)
                each.set_xticks([float(layer) for layer in layers])
                each.set_xlabel("layer")
                if theme.is_left(each):
                    each.set_ylabel("attention distance (px)")
                if not len(shown):
                    theme.blank(each)
            if len(shown):
                axes[0].set_xlim(float(layers[0]) - 0.6, float(layers[-1]) + 0.6)
                axes[0].set_ylim(0, 1.08 * float(shown[["estimate", "uniform"]].max().max()))
            ink: dict[str, Any] = {"color": theme.INK, "linestyle": ""}
            entries = {
                "a head": Line2D([], [], marker="o", **ink),
                "on shuffled patches": Line2D([], [], marker="o", markerfacecolor="white", **ink),
                "attending to all alike": Line2D([], [], color=theme.FAINT, linewidth=1.4),
            }
            theme.legend(figure, entries)
        return figure

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        records = self._settled(records)
        by = self._factors(records)
        cells = table[table["n"] > 0].groupby(by, observed=True)[["n", "planned"]].max().reset_index()
        said = [
            f"Mean distance in pixels between a token and what it attends to{wording.data_text(records)}, weighted by "
            "the attention; prefix tokens are left out and the rest is normalised again. A dot is a head: sorted "
            "within its layer, then averaged over seeds. Line: attention spread evenly.",
            wording.seeds_text(cells if len(cells) else table, by[::-1], unit=self.over),
        ]
        lacking = table.loc[table["n"] == 0, self.hue]
        if len(cells) and len(lacking):
            names = [str(name) for name in dict.fromkeys(lacking)]
            said.append(f"Without attention weights, or not measured: {wording.listing(names)}.")
        return " ".join(said)

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        """Of every layer the nearest, the mean and the farthest head, beside shuffled patches and even attention."""
        records = self._settled(records)
        by = self._factors(records)
        out = []
        for key, rows in table.groupby([*by, "layer"], observed=True, dropna=False):
            names = [*by, "layer"]
            head = {wording.factor_text(n): wording.level_cell(v) for n, v in zip(names, key, strict=True)}
            true, mixed = (rows.loc[rows["images"] == kind, "estimate"] for kind in IMAGES)
            cells = {"nearest head": true.min(), "mean": true.mean(), "farthest head": true.max()}
            cells |= {"mean, shuffled patches": mixed.mean(), "even attention": rows["uniform"].mean()}
            out.append(head | {name: wording.number(value) for name, value in cells.items()})
        return pd.DataFrame(out)


def _heads(axes: Axes, rows: pd.DataFrame, look: theme.Look) -> None:
    """The heads of one model: a column of dots a layer, shuffled patches beside it, even attention as a line."""
    even = rows.drop_duplicates("layer")
    for layer, height in zip(even["layer"], even["uniform"], strict=True):
        axes.hlines(height, float(layer) - 0.4, float(layer) + 0.4, color=theme.FAINT, linewidth=1.4, zorder=1)
    for images, shift, face in (("true", -0.13, look.colour), ("shuffled", 0.17, "white")):
        own = rows[rows["images"] == images]
        x = own["layer"].to_numpy(float) + shift
        axes.vlines(
            x, own["low"].to_numpy(float), own["high"].to_numpy(float), color=look.colour, linewidth=0.8, alpha=0.45
        )
        axes.plot(x, own["estimate"].to_numpy(float), "o", color=look.colour, markerfacecolor=face, markersize=4.5)


@spec
class MinimumHeadDistance(OverSeeds):
    """The attention distance of the nearest head of the first attention layer, against the number of training images.

    Of each run the smallest over heads, then the mean over seeds. Where small data leaves attention less local, it
    falls as training images are added.
    """

    title: ClassVar[str] = "Nearest head of the first layer"
    factor_fields: ClassVar[tuple[str, ...]] = ("x", "hue", "over")

    x: str = "train_size"
    layer: int = 1
    images: str = "true"

    def check(self) -> None:
        super().check()
        self.require("images", self.images in IMAGES, "'true' or 'shuffled'")

    def _factors(self, records: Records) -> list[str]:
        return [*facets(records.plan, used=(self.x, self.hue, self.over)), self.hue, self.x]

    def _values(self, records: Records) -> pd.DataFrame:
        at = {"layer": self.layer, "images": self.images}
        values = pick(records, "attention_distance", at=at, along=("head",))
        keys = [*self._factors(records), self.over]
        return values.groupby(keys, observed=True)["value"].min().reset_index()

    def table(self, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        out = planned(records, by).merge(
            mean_interval(self._values(records), by=by, level=self.level), on=by, how="left"
        )
        out["n"] = out["n"].fillna(0).astype(int)
        even = pick(records, "attention_distance_uniform", at={"layer": self.layer})
        means = even.groupby(by, observed=True)["value"].mean().rename("uniform").reset_index()
        out = out.merge(means, on=by, how="left")
        return out[[*by, "estimate", "low", "high", "n", "sd", "uniform", "planned"]]

    def _attentive(self, table: pd.DataFrame) -> set[Any]:
        """The models that have attention; all of them as long as nothing is measured."""
        return set(table.loc[table["n"] > 0, self.hue]) or set(table[self.hue])

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Sheet | None = None) -> theme.Sheet:
        records = self._settled(records)
        by = self._factors(records)
        levels = records.plan.levels(self.x)
        own = self._attentive(table)
        looks = {name: look for name, look in theme.looks(records.plan, self.hue).items() if name in own}
        singles = self._values(records)
        with theme.style():
            parts = theme.panels(table, by[:-2])
            figure, axes = theme.canvas(len(parts), into=into)
            for each, (title, rows) in zip(axes, parts, strict=True):
                places = size_axis(each, levels, label=wording.factor_text(self.x))
                for height in rows["uniform"].dropna().round(6).unique()[:1]:
                    theme.reference_line(each, height, "attending to all alike")
                for i, (name, look) in enumerate(looks.items()):
                    at, aside = theme.dodge(places, i, len(looks), logarithmic=each.get_xscale() == "log")
                    mine = rows[rows[self.hue] == name].set_index(self.x).reindex(levels)
                    points = singles.merge(rows[by].drop_duplicates(), on=by)
                    points = points[points[self.hue] == name]
                    theme.seeds_scatter(each, [aside[x] for x in points[self.x]], points["value"].to_numpy(float), look)
                    theme.interval_line(each, np.array(list(at.values())), mine, look)
                theme.titled(each, title)
                if theme.is_left(each):
                    each.set_ylabel(f"distance of the nearest head,\nlayer {self.layer} (px)")
                if not table["n"].sum():
                    theme.blank(each)
            theme.legend(figure, {wording.level_text(self.hue, k): theme.handle(look) for k, look in looks.items()})
        return figure

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        records = self._settled(records)
        names = self._attentive(table)
        own = table[table[self.hue].isin(names)]
        said = [
            f"Smallest mean attention distance among the heads of layer {self.layer}{wording.data_text(records)}, "
            f"against the {wording.factor_text(self.x)}. Line: attention spread evenly.",
            wording.seeds_text(own, self._factors(records), unit=self.over),
        ]
        if (table["n"] > 1).any():
            said.append(f"Bars: {100 * self.level:g} % Student-t intervals; faint points: single {self.over}s.")
        lacking = [str(name) for name in records.plan.levels(self.hue) if name not in names]
        if lacking:
            said.append(f"Without attention weights, or not measured: {wording.listing(lacking)}.")
        return " ".join(said)

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        cells = [wording.interval(row, metric="") for row in table.to_dict("records")]
        names = [name for name in records.plan.levels(self.hue) if name in self._attentive(table)]
        return wording.wide(table, cells, rows=[*by[:-2], self.x], columns=self.hue, names=names)
