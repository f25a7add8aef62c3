"""Arm curve: what a treatment of the images or of training, an arm of the experiment, does to every model."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import theme
from vision_attn.figures.axes import share_axes, size_axis
from vision_attn.figures.base import OverSeeds
from vision_attn.plan import Plan
from vision_attn.records import Records, chance, facets, pick, planned, require_level
from vision_attn.spec import spec
from vision_attn.statistics import mean_interval, paired_difference

LINES = ("--", ":", "-.")
NAMES = {"estimate": "difference", "low": "difference_low", "high": "difference_high", "n": "pairs"}


@spec
class ArmCurve(OverSeeds):
    """A metric against `x`, a panel a level of `hue` on common axes, a line a level of `arm`; `baseline` is solid.

    A model whose lines lie apart relies on what the arm takes away, such as the order of the pieces of an image.
    Models that are planned at the baseline only are left out.
    The table has the difference to the baseline, paired by `over`, with its Student-t interval.
    """

    title: ClassVar[str] = "Arms of the experiment"
    factor_fields: ClassVar[tuple[str, ...]] = ("arm", "x", "hue", "over")

    arm: str
    baseline: str | int | float | bool
    metric: str = "accuracy"
    split: str = "test"
    x: str = "train_size"

    def check(self) -> None:
        super().check()
        self.require("arm", self.arm not in (self.x, self.hue, self.over), "a factor other than x, hue and over")

    def applies(self, plan: Plan) -> bool:
        """Where there are several arms to compare."""
        return super().applies(plan) and len(plan.factors.get(self.arm, ())) != 1

    def _settled(self, records: Records) -> Records:
        records = super()._settled(records)
        require_level(records.plan, "baseline", "ArmCurve", self.arm, self.baseline)
        return records

    def _factors(self, records: Records) -> list[str]:
        used = (self.arm, self.x, self.hue, self.over)
        return [*facets(records.plan, used=used), self.hue, self.x, self.arm]

    def table(self, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        values = pick(records, self.metric, at={"split": self.split})
        means = mean_interval(values, by=by, level=self.level)
        grid = planned(records, by)
        compared = grid.loc[grid[self.arm] != self.baseline, self.hue].unique()
        out = grid[grid[self.hue].isin(compared)].merge(means, on=by, how="left")
        if (values[self.arm] == self.baseline).any():
            options = {"compare": self.arm, "reference": self.baseline, "level": self.level}
            gaps = paired_difference(values, by=by[:-1], pair_on=[self.over], **options)  # type: ignore[arg-type]
            gaps[self.arm] = gaps[self.arm].astype(out[self.arm].dtype)
            out = out.merge(gaps.rename(columns=NAMES)[[*by, *NAMES.values()]], on=by, how="left")
        else:
            out = out.assign(**dict.fromkeys(NAMES.values(), np.nan))
        for name in ("n", "pairs"):
            out[name] = out[name].fillna(0).astype(int)
        return out[[*by, "estimate", "low", "high", "n", "sd", "planned", *NAMES.values()]]

    def _looks(self, records: Records, colour: str) -> dict[Any, dict[str, Any]]:
        """How the line of every arm is drawn in a colour: the baseline's solid and filled, the others' not."""
        others = [level for level in records.plan.levels(self.arm) if level != self.baseline]
        own: dict[Any, dict[str, Any]] = {self.baseline: {"look": theme.Look(colour, theme.MARKERS[0])}}
        for i, level in enumerate(others):
            marker = theme.MARKERS[(i + 1) % len(theme.MARKERS)]
            own[level] = {"look": theme.Look(colour, marker), "hollow": True, "line": LINES[i % len(LINES)]}
        return own

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Sheet | None = None) -> theme.Sheet:
        records = self._settled(records)
        by = self._factors(records)
        models = theme.looks(records.plan, self.hue)
        with theme.style():
            parts = theme.panels(table, by[:-2])
            figure, axes = theme.canvas(len(parts), columns=len(parts) if len(parts) <= 4 else 3, into=into)
            for each, (title, rows) in zip(axes, parts, strict=True):
                self._panel(each, rows, records, models[rows[self.hue].iloc[0]].colour)
                theme.titled(each, title)
                if theme.is_left(each):
                    label = f"{self.split} {self.metric.replace('_', ' ')}"
                    each.set_ylabel(f"{label} (%)" if wording.is_share(self.metric) else label)
            if wording.is_share(self.metric):
                share_axes(axes)
            if not table["n"].sum():
                for each in axes:
                    theme.blank(each)
            ink = self._looks(records, theme.INK)
            theme.legend(figure, {wording.level_text(self.arm, arm): theme.handle(**own) for arm, own in ink.items()})
        return figure

    def _panel(self, axes: Axes, rows: pd.DataFrame, records: Records, colour: str) -> None:
        levels = records.plan.levels(self.x)
        places = size_axis(axes, levels, label=wording.factor_text(self.x))
        if self.metric == "accuracy" and (guess := chance(records)) is not None:
            theme.reference_line(axes, guess, "chance", dotted=True)
        looks = self._looks(records, colour)
        for i, (arm, own) in enumerate(looks.items()):
            at, _ = theme.dodge(places, i, len(looks), logarithmic=axes.get_xscale() == "log")
            mine = rows[rows[self.arm] == arm].set_index(self.x).reindex(levels)
            theme.interval_line(axes, np.array(list(at.values())), mine, **own)

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        records = self._settled(records)
        what = f"{self.split.capitalize()} {self.metric.replace('_', ' ')}{wording.data_text(records)}"
        said = [
            f"{what} against the {wording.factor_text(self.x)}, a panel a {wording.factor_text(self.hue)}, lines: "
            f"{wording.factor_text(self.arm)}, solid {wording.level_text(self.arm, self.baseline)}.",
            wording.seeds_text(table, self._factors(records), unit=self.over),
        ]
        if (table["n"] > 1).any():
            said.append(f"Bars: {100 * self.level:g} % Student-t intervals.")
            said.append(
                f"In the table also the difference to {wording.level_text(self.arm, self.baseline)}, paired by "
                f"{self.over}, each cell by itself (not corrected for their number)."
            )
            said.append(wording.cut_text(table, self.metric))
        if self.metric == "accuracy" and (guess := chance(records)) is not None:
            said.append(f"Dotted: chance, {100 * guess:.3g} %.")
        return " ".join(filter(None, said))

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        cells = []
        for row in table.to_dict("records"):
            cell = wording.interval(row, metric=self.metric)
            if row["pairs"]:
                gap = {key: row[name] for key, name in NAMES.items()} | {"planned": row["planned"]}
                cell += f"; difference {wording.interval(gap, metric=self.metric, signed=True)}"
            cells.append(cell)
        return wording.wide(table, cells, rows=by[:-1], columns=self.arm, names=records.plan.levels(self.arm))
