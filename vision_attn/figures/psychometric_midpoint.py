"""Psychometric midpoint: how far a network relates cells, beside its architecture and its influence."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from vision_attn import wording
from vision_attn.figures import marks, theme
from vision_attn.figures.by_distance import by_distance, distances
from vision_attn.figures.dots import Dots
from vision_attn.figures.view import View
from vision_attn.plan import Plan
from vision_attn.records import Records, chance, planned
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
LEAST = 3
"""Distances that a step of two parameters is fitted to."""
REACH: dict[str, Any] = {"linestyle": "", "marker": "|", "color": "#9a9a9a", "markersize": 13, "markeredgewidth": 3}
"""How the ends of a reach look, which are one where it is the same in all directions."""
REFUSED = ("not monotone", "no step")
"""What is found of curves that are no steps."""


@spec
class PsychometricMidpoint(Dots):
    """The distance at which accuracy falls through midway, beside the theoretical reach and the influence radius d50.

    All in cells of `cell` pixels. The step is fitted between chance (of the data, or `chance`) and `ceiling`, and
    left out where the curve is no such step (`statistics.psychometric_midpoint`); its interval is a bootstrap over
    seeds. d50 is that of the last layer without the own cell, averaged over distances.
    """

    title: ClassVar[str] = "Psychometric midpoint"
    own_columns: ClassVar[tuple[str, ...]] = (
        "scale",
        "rmse",
        "found",
        "censored",
        "reach_low",
        "reach_high",
        "d50",
        "d50_low",
        "d50_high",
        "d50_n",
    )
    interval: ClassVar[str] = "bootstrap"

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

    def applies(self, plan: Plan) -> bool:
        """Where there are distances enough for a fit: three or more, where they are planned at all."""
        return super().applies(plan) and len(plan.factors.get(self.x, range(LEAST))) >= LEAST

    def coordinates(self) -> tuple[str, ...]:
        return (self.x,)

    def _values(self, view: View) -> pd.DataFrame:
        return by_distance(view, what="PsychometricMidpoint", metric=self.metric, split=self.split, x=self.x)

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        by, guess = view.rows, self.chance if self.chance is not None else chance(view)
        fitted = {"chance": 0.0 if guess is None else guess, "ceiling": self.ceiling, "level": self.level}
        steps = psychometric_midpoint(self._values(view), by=by, x=self.x, over=self.over, **fitted)  # type: ignore[arg-type]
        out = planned(view, [*by, self.over]).drop(columns="planned")
        out = out.groupby(by, observed=True).size().rename("planned").reset_index()
        out = out.merge(steps, on=by, how="left")
        out["n"] = out["n"].fillna(0).astype(int)
        out["found"] = out["found"].astype(object).fillna("not measured")
        out["censored"] = out["censored"].astype(object).fillna("")
        reach = _last(view.pick("reach", mode=self.mode, along=("layer", "direction")), view)
        ends = reach.groupby(self.hue, observed=True)["value"].agg(reach_low="min", reach_high="max").reset_index()
        return out.merge(ends, on=self.hue, how="left").merge(self._radii(view), on=by, how="left")

    def _radii(self, view: View) -> pd.DataFrame:
        """d50 in cells, over seeds: of each the mean over distances."""
        values = _last(view.pick("d50", own="without", along=("layer",)), view)
        seeds = values.groupby([*view.rows, self.over], observed=True)["value"].mean().div(self.cell).reset_index()
        means = mean_interval(seeds, by=view.rows, level=self.level)
        names = {"estimate": "d50", "low": "d50_low", "high": "d50_high", "n": "d50_n"}
        return means.rename(columns=names)[[*view.rows, *names.values()]]

    def _farthest(self, view: View) -> float:
        """The largest distance asked."""
        return max(distances(view, self._values(view), self.x))

    def draw_row(self, axes: Axes, row: dict[Any, Any], place: int, view: View) -> None:
        _row(axes, row, place, view.styles[row[self.hue]])

    def draw_axis(self, axes: Axes, view: View) -> None:
        axes.set_xlim(-0.5, self._farthest(view) + 1.5)
        axes.set_xlabel(f"{wording.factor_text(self.x)} (cells)")

    def legend(self, view: View) -> dict[str, Any]:
        return _entries()

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        view = self.view(records)
        said = [
            f"Filled: the {wording.factor_text(self.x)} at which {self.split} {self.metric}"
            f"{view.data_text} falls through the middle between ceiling and chance, by a logistic fit",
        ]
        said[0] += f", with the {100 * self.level:g} % interval of a bootstrap over {self.over}s."
        said.append(wording.seeds_text(table, view.rows[::-1], unit=self.over))
        said.append(view.elsewhere(table, self.metric, self.split))
        if (table["low"] < -0.5).any() or (table["high"] > self._farthest(view) + 1.5).any():
            said.append("Intervals are clipped to the axis; full values in the table.")
        refused = [row for row in table.to_dict("records") if row["found"] in REFUSED]
        if refused:
            names = [f"{wording.cell_text(row, view.rows[::-1])} ({FOUND[row['found']]})" for row in refused]
            said.append(f"Left out, as a step does not fit: {wording.listing(names)}.")
        said.append("An arrow: the fall lies beyond (or before) all distances measured, so the step is censored.")
        if table["reach_low"].notna().any():
            said.append(
                "Grey: the theoretical reach r, least to largest over directions; a network that uses all of it "
                "falls between r and r + 1."
            )
        if table["d50"].notna().any():
            said.append("Hollow: the radius that holds half of the influence on the last layer, own cell left out.")
        return " ".join(filter(None, said))

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        view = self.view(records)
        out = []
        for row in table.to_dict("records"):
            radius = {"estimate": row["d50"], "low": row["d50_low"], "high": row["d50_high"]}
            has_step = not pd.isna(row["estimate"])
            is_mere = has_step and row["found"] == "step"
            out.append(
                view.heads(row)
                | {
                    "step": wording.interval(row, metric="") if has_step else row["censored"] or FOUND[row["found"]],
                    "found": "fitted" if is_mere else FOUND[row["found"]],
                    "reach": _range(row["reach_low"], row["reach_high"]),
                    "d50": wording.interval({**radius, "n": 0, "planned": 0}, metric=""),
                    f"{self.over}s": str(row["n"]),
                }
            )
        return pd.DataFrame(out)


def _last(values: pd.DataFrame, view: View) -> pd.DataFrame:
    """The rows of each run's last layer."""
    layer = view.column("layer")
    return values[values[layer] == values.groupby("run")[layer].transform("max")] if len(values) else values


def _row(axes: Axes, row: dict[Any, Any], place: int, style: theme.Style) -> None:
    """One model: its reach as a bar, d50 hollow, the step filled or an arrow at the end it lies beyond."""
    if not pd.isna(row["reach_low"]):
        low, high = row["reach_low"], row["reach_high"]
        axes.plot([low, high], [place, place], color="#cfcfcf", linewidth=7, solid_capstyle="butt", zorder=1)
        axes.plot([low, high], [place, place], **REACH, zorder=1.1)
    if not pd.isna(row["d50"]):
        axes.plot(row["d50"], place + 0.24, "o", color=style.colour, markerfacecolor="white", markersize=5, zorder=2.5)
        if not pd.isna(row["d50_low"]):
            axes.hlines(place + 0.24, row["d50_low"], row["d50_high"], color=style.colour, linewidth=0.9)
    marks.interval_dot(axes, row, place, theme.Style(style.colour, "o"))
    if row["found"] in REFUSED:
        where: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "va": "bottom"}
        axes.annotate(FOUND[row["found"]], (0, place), (4, 5), fontsize=7.5, color=theme.SOFT, **where)
    ends = {"beyond": (">", row["low"]), "before": ("<", row["high"])}
    if row["found"] in ends:
        marker, at = ends[row["found"]]
        axes.plot(at, place, marker, color=style.colour, markersize=8, zorder=3)


def _range(low: float, high: float) -> str:
    return wording.short(low) if np.isnan(low) or low == high else f"{wording.short(low)} to {wording.short(high)}"


def _entries() -> dict[str, Line2D]:
    ink: dict[str, Any] = {"color": theme.INK, "linestyle": ""}
    return {
        "psychometric midpoint": Line2D([], [], marker="o", **ink),
        "theoretical reach": Line2D([], [], **REACH),
        "d50 of influence": Line2D([], [], marker="o", markerfacecolor="white", **ink),
        "beyond what was measured": Line2D([], [], marker=">", **ink),
    }
