"""Attention distance: how far each head looks, layer by layer, and the nearest head against the training images."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from vision_attn import wording
from vision_attn.figures import lettering, marks, theme
from vision_attn.figures.base import OverSeeds
from vision_attn.figures.lines import Lines
from vision_attn.figures.view import View
from vision_attn.records import Records
from vision_attn.spec import spec
from vision_attn.statistics import mean_interval

IMAGES = ("true", "shuffled")


@spec
class AttentionDistanceByHead(OverSeeds):
    """The mean attention distance of every head against the layer, one dot per head, one panel per model.

    Heads have no identity across seeds: within a layer they are sorted by distance, and the first of every seed are
    averaged, the second, and so on. Hollow: the same on images whose patches are shuffled.
    """

    title: ClassVar[str] = "Attention distance by head"
    measured_by: ClassVar[str] = "AttentionDistance"
    own_columns: ClassVar[tuple[str, ...]] = ("images", "layer", "rank", "uniform")
    own_values: ClassVar[tuple[str, ...]] = ("layer",)

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        by, names = view.by, {view.column("layer"): "layer"}
        parts = []
        for images in IMAGES:
            values = view.pick("attention_distance", images=images, along=("layer", "head")).rename(columns=names)
            values = values.reindex(columns=[*by, "run", self.over, "layer", "value"])
            ranks = values.groupby([*by, self.over, "run", "layer"], observed=True)["value"].rank(method="first")
            parts.append(values.assign(images=images, rank=ranks.astype("Int64")))
        keys = [*by, "images", "layer", "rank"]
        means = mean_interval(pd.concat(parts, ignore_index=True), by=keys, level=self.level)
        even = view.pick("attention_distance_uniform", along=("layer",)).rename(columns=names)
        even = even.reindex(columns=[*by, "layer", "value"]).groupby([*by, "layer"], observed=True)["value"].mean()
        out = view.joined(means, by=by).merge(even.rename("uniform").reset_index(), on=[*by, "layer"], how="left")
        return out[[*keys, "estimate", "low", "high", "n", "sd", "uniform", "planned"]]

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Canvas | None = None) -> theme.Canvas:
        view = self.view(records)
        shown = table[table["n"] > 0]
        with theme.style(into):
            parts = view.parts(shown if len(shown) else table, view.by)
            sheet, panels = theme.canvas(len(parts), into=into)
            layers = sorted(shown["layer"].dropna().unique())
            for axes, (title, rows) in zip(panels, parts, strict=True):
                if len(shown):
                    _heads(axes, rows[rows["n"] > 0], view.styles[rows[self.hue].iloc[0]])
                else:
                    lettering.blank(axes)
                lettering.titled(axes, title)
                axes.set_xticks([float(layer) for layer in layers])
                axes.set_xlabel("layer")
                axes.set_ylabel("attention distance (px)")
            if len(shown):
                panels[0].set_xlim(float(layers[0]) - 0.6, float(layers[-1]) + 0.6)
                panels[0].set_ylim(0, 1.08 * float(shown[["estimate", "uniform"]].max().max()))
            ink: dict[str, Any] = {"color": theme.INK, "linestyle": ""}
            entries = {
                "a head": Line2D([], [], marker="o", **ink),
                "on shuffled patches": Line2D([], [], marker="o", markerfacecolor="white", **ink),
                "uniform attention": Line2D([], [], color=theme.FAINT, linewidth=1.4),
            }
            lettering.legend(sheet, entries)
        return sheet

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        view = self.view(records)
        cells = table[table["n"] > 0].groupby(view.by, observed=True)[["n", "planned"]].max().reset_index()
        said = [
            f"Mean distance in pixels between a token and what it attends to{view.data_text}, weighted by "
            "the attention; prefix tokens are left out and the rest is normalised again. A dot is a head: sorted "
            "within its layer, then averaged over seeds. Line: uniform attention.",
            wording.seeds_text(cells if len(cells) else table, view.rows[::-1], unit=self.over),
        ]
        lacking = dict.fromkeys(str(name) for name in table.loc[table["n"] == 0, self.hue])
        if len(cells) and lacking:
            said.append(f"Without attention weights, or not measured: {wording.listing(list(lacking))}.")
        return " ".join(said)

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        """Of every layer the nearest, the mean and the farthest head, beside shuffled patches and uniform attention."""
        view = self.view(records)
        names = [*view.by, "layer"]
        out = []
        for key, rows in table.groupby(names, observed=True, dropna=False):
            true, mixed = (rows.loc[rows["images"] == kind, "estimate"] for kind in IMAGES)
            cells = {"nearest head": true.min(), "mean": true.mean(), "farthest head": true.max()}
            cells |= {"mean, shuffled patches": mixed.mean(), "uniform attention": rows["uniform"].mean()}
            texts = {name: wording.number(value) for name, value in cells.items()}
            out.append(wording.heads(dict(zip(names, key, strict=True))) | texts)
        return pd.DataFrame(out)


def _heads(axes: Axes, rows: pd.DataFrame, style: theme.Style) -> None:
    """The heads of one model: a column of dots a layer, shuffled patches beside it, uniform attention as a line."""
    even = rows.drop_duplicates("layer")
    for layer, height in zip(even["layer"], even["uniform"], strict=True):
        axes.hlines(height, float(layer) - 0.4, float(layer) + 0.4, color=theme.FAINT, linewidth=1.4, zorder=1)
    for images, shift, face in (("true", -0.13, style.colour), ("shuffled", 0.17, "white")):
        own = rows[rows["images"] == images]
        x = own["layer"].to_numpy(float) + shift
        low, high = own["low"].to_numpy(float), own["high"].to_numpy(float)
        axes.vlines(x, low, high, color=style.colour, linewidth=0.8, alpha=0.45)
        axes.plot(x, own["estimate"].to_numpy(float), "o", color=style.colour, markerfacecolor=face, markersize=4.5)


@spec
class MinimumHeadDistance(Lines):
    """The attention distance of the nearest head of the first attention layer, against the number of training images.

    Of each run the smallest over heads, then the mean over seeds. Where small data leaves attention less local, it
    falls as training images are added.
    """

    title: ClassVar[str] = "Nearest head of the first layer"
    measured_by: ClassVar[str] = "AttentionDistance"
    own_columns: ClassVar[tuple[str, ...]] = ("uniform",)

    x: str = "train_size"
    layer: int = 1
    images: str = "true"

    def check(self) -> None:
        super().check()
        self.require("images", self.images in IMAGES, "'true' or 'shuffled'")

    def values(self, view: View) -> pd.DataFrame:
        values = view.pick("attention_distance", layer=self.layer, images=self.images, along=("head",))
        return values.groupby([*view.by, self.over], observed=True)["value"].min().reset_index()

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        even = view.pick("attention_distance_uniform", layer=self.layer).groupby(view.by, observed=True)["value"].mean()
        out = super().table(view).merge(even.rename("uniform").reset_index(), on=view.by, how="left")
        return out[[*(name for name in out if name not in ("uniform", "planned")), "uniform", "planned"]]

    def line_levels(self, table: pd.DataFrame, view: View) -> list[Any]:
        """The models that have attention; all of them as long as nothing is measured."""
        own = set(table.loc[table["n"] > 0, self.hue]) or set(table[self.hue])
        return [name for name in view.levels(self.hue) if name in own]

    def under(self, axes: Axes, rows: pd.DataFrame, view: View) -> None:
        for height in np.unique(rows["uniform"].dropna().round(6))[:1]:
            marks.reference_line(axes, height, "uniform attention")

    def quantity(self, view: View) -> str:
        return f"smallest mean attention distance\nover heads, layer {self.layer} (px)"

    def sentence(self, table: pd.DataFrame, view: View) -> str:
        return (
            f"Smallest mean attention distance among the heads of layer {self.layer}{view.data_text}, "
            f"against the {wording.factor_text(self.x)}. Line: uniform attention."
        )

    def counted(self, table: pd.DataFrame, view: View) -> tuple[pd.DataFrame, list[str]]:
        return table[table[self.hue].isin(self.line_levels(table, view))], view.by

    def remarks(self, table: pd.DataFrame, view: View) -> list[str]:
        lacking = [str(name) for name in view.levels(self.hue) if name not in self.line_levels(table, view)]
        return [f"Without attention weights, or not measured: {wording.listing(lacking)}."] if lacking else []
