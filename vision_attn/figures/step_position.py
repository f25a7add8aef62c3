"""Step position: how far recall reaches, beside how far the architecture and the influence profile reach."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from vision_attn import wording
from vision_attn.figures import theme
from vision_attn.figures.axes import rows_axis
from vision_attn.figures.base import OverSeeds
from vision_attn.figures.recalled import distances, recalled
from vision_attn.records import Records, chance, column, facets, pick, planned
from vision_attn.spec import spec
from vision_attn.statistics import mean_interval, psychometric_midpoint

FOUND = {
    "between": "between two distances",
    "beyond": "above midway throughout",
    "before": "never above midway",
    "not monotone": "not monotone, no step",
    "no step": "no step fits",
    "not measured": "–",
}


@spec
class StepPosition(OverSeeds):
    """The distance at which accuracy falls through midway, beside the theoretical reach and the influence radius d50.

    All in cells of `cell` pixels. The step is fitted between chance (of the data, or `chance`) and `ceiling`, and
    left out where the curve is no such step (`statistics.psychometric_midpoint`); its interval is a bootstrap over
    seeds. d50 is that of the last layer without the own cell, averaged over distances.
    """

    title: ClassVar[str] = "Position of the step"
    opens_table: ClassVar[bool] = True

    metric: str = "accuracy"
    split: str = "test"
    x: str = "distance"
    mode: str = "architectural"
    cell: float = 4.0
    ceiling: float = 1.0
    chance: float | None = None

    def check(self) -> None:
        super().check()
        self.require("cell", self.cell > 0, "above 0")

    def _settled(self, records: Records) -> Records:
        return self._settled_for(records, *self.factor_fields, also=(self.x,))

    def _factors(self, records: Records) -> list[str]:
        return [*facets(records.plan, used=(self.x, self.hue, self.over)), self.hue]

    def _values(self, records: Records) -> pd.DataFrame:
        return recalled(records, what="StepPosition", metric=self.metric, split=self.split, x=self.x)

    def table(self, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        guess = self.chance if self.chance is not None else chance(records)
        values = self._values(records)
        steps = psychometric_midpoint(
            values,
            by=by,
            chance=0.0 if guess is None else guess,
            ceiling=self.ceiling,
            x=self.x,
            over=self.over,
            level=self.level,
        )
        out = planned(records, [*by, self.over]).drop(columns="planned")
        out = out.groupby(by, observed=True).size().rename("planned").reset_index()
        out = out.merge(steps, on=by, how="left")
        out["n"] = out["n"].fillna(0).astype(int)
        out["found"] = out["found"].astype(object).fillna("not measured")
        out["censored"] = out["censored"].astype(object).fillna("")
        reach = _last(pick(records, "reach", at={"mode": self.mode}, along=("layer", "direction")), records)
        ends = reach.groupby(self.hue, observed=True)["value"].agg(reach_low="min", reach_high="max").reset_index()
        out = out.merge(ends, on=self.hue, how="left")
        return out.merge(self._radii(records, by), on=by, how="left")

    def _radii(self, records: Records, by: list[str]) -> pd.DataFrame:
        """d50 in cells, over seeds: of each the mean over distances."""
        values = _last(pick(records, "d50", at={"own": "without"}, along=("layer",)), records)
        keys = [*by, self.over]
        seeds = values.groupby(keys, observed=True)["value"].mean().div(self.cell).reset_index()
        means = mean_interval(seeds, by=by, level=self.level)
        names = {"estimate": "d50", "low": "d50_low", "high": "d50_high", "n": "d50_n"}
        return means.rename(columns=names)[[*by, *names.values()]]

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Sheet | None = None) -> theme.Sheet:
        records = self._settled(records)
        by = self._factors(records)
        looks = theme.looks(records.plan, self.hue)
        last = max(distances(records, self._values(records), self.x))
        with theme.style():
            parts = theme.panels(table, by[:-1])
            longest = max(len(wording.level_text(self.hue, name)) for name in looks)
            width = 0.072 * longest + 3.9 * min(2, len(parts))
            rows = -(-len(parts) // 2)
            size = (width, (0.95 + 0.4 * len(looks)) * rows + 0.5)
            figure, axes = theme.canvas(len(parts), columns=2, size=size, into=into)
            for each, (title, own) in zip(axes, parts, strict=True):
                for place, (name, look) in enumerate(looks.items()):
                    mine = own[own[self.hue] == name].to_dict("records")
                    for row in mine:
                        _row(each, row, place, look, last=last)
                rows_axis(each, [wording.level_text(self.hue, name) for name in looks])
                each.set_xlim(-0.5, last + 1.5)
                each.set_xlabel(f"{wording.factor_text(self.x)} (cells)")
                theme.titled(each, title)
                if not own["n"].sum():
                    each.text(
                        0.5, 0.5, "nothing measured yet", transform=each.transAxes, ha="center", color=theme.FAINT
                    )
            theme.legend(figure, _entries())
        return figure

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        records = self._settled(records)
        said = [
            f"Filled: the {wording.factor_text(self.x)} at which {self.split} {self.metric}"
            f"{wording.data_text(records)} falls through the middle between ceiling and chance, by a logistic fit",
        ]
        said[0] += f", with the {100 * self.level:g} % interval of a bootstrap over {self.over}s."
        said.append(wording.seeds_text(table, self._factors(records)[::-1], unit=self.over))
        if (table["low"] < -0.5).any() or (
            table["high"] > max(distances(records, self._values(records), self.x)) + 1.5
        ).any():
            said.append("Intervals are drawn as far as the axis; the table has them whole.")
        refused = [row for row in table.to_dict("records") if row["found"] in ("not monotone", "no step")]
        if refused:
            names = [
                f"{wording.cell_text(row, self._factors(records)[::-1])} ({FOUND[row['found']]})" for row in refused
            ]
            said.append(f"Left out, as a step does not fit: {wording.listing(names)}.")
        said.append("An arrow: the fall lies beyond (or before) all distances measured, so the step is censored.")
        if table["reach_low"].notna().any():
            said.append(
                "Grey bar: the theoretical reach r, least to largest over directions; a network that uses all of it "
                "falls between r and r + 1."
            )
        if table["d50"].notna().any():
            said.append("Hollow: the radius that holds half of the influence on the last layer, own cell left out.")
        return " ".join(said)

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        out = []
        for row in table.to_dict("records"):
            head = {wording.factor_text(name): wording.level_cell(row[name]) for name in self._factors(records)}
            radius = {"estimate": row["d50"], "low": row["d50_low"], "high": row["d50_high"]}
            has_step = not pd.isna(row["estimate"])
            is_mere = has_step and row["found"] == "step"
            out.append(
                head
                | {
                    "step": wording.interval(row, metric="") if has_step else row["censored"] or FOUND[row["found"]],
                    "found": "fitted" if is_mere else FOUND[row["found"]],
                    "reach": _range(row["reach_low"], row["reach_high"]),
                    "d50": wording.interval({**radius, "n": 0, "planned": 0}, metric=""),
                    f"{self.over}s": str(row["n"]),
                }
            )
        return pd.DataFrame(out)


def _last(values: pd.DataFrame, records: Records) -> pd.DataFrame:
    """The rows of each run's last layer."""
    layer = column(records, "layer")
    return values[values[layer] == values.groupby("run")[layer].transform("max")] if len(values) else values


def _row(axes: Axes, row: dict[Any, Any], place: int, look: theme.Look, *, last: float) -> None:
    """One model: its reach as a bar, d50 hollow, the step filled or an arrow at the end it lies beyond."""
    if not pd.isna(row["reach_low"]):
        low, high = row["reach_low"], row["reach_high"]
        axes.plot([low, high], [place, place], color="#cfcfcf", linewidth=7, solid_capstyle="butt", zorder=1)
        axes.plot([low, high], [place, place], "|", color=theme.FAINT, markersize=12, zorder=1.1)
    if not pd.isna(row["d50"]):
        axes.plot(row["d50"], place + 0.24, "o", color=look.colour, markerfacecolor="white", markersize=5, zorder=2.5)
        if not pd.isna(row["d50_low"]):
            axes.hlines(place + 0.24, row["d50_low"], row["d50_high"], color=look.colour, linewidth=0.9)
    theme.interval_dot(axes, row, place, look)
    ends = {"beyond": (last, ">", row["low"]), "before": (0, "<", row["high"])}
    if row["found"] in ends:
        _, marker, at = ends[row["found"]]
        axes.plot(at, place, marker, color=look.colour, markersize=8, zorder=3)


def _range(low: float, high: float) -> str:
    return wording.short(low) if np.isnan(low) or low == high else f"{wording.short(low)} to {wording.short(high)}"


def _entries() -> dict[str, Line2D]:
    ink: dict[str, Any] = {"color": theme.INK, "linestyle": ""}
    return {
        "step of recall": Line2D([], [], marker="o", **ink),
        "theoretical reach": Line2D([], [], color="#cfcfcf", linewidth=7),
        "d50 of influence": Line2D([], [], marker="o", markerfacecolor="white", **ink),
        "beyond what was measured": Line2D([], [], marker=">", **ink),
    }
