"""Condition curve: what a treatment of the images or of training does to every model."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from vision_attn import wording
from vision_attn.figures import marks, theme
from vision_attn.figures.lines import SplitLines
from vision_attn.figures.view import View
from vision_attn.plan import Plan
from vision_attn.records import Records, may_have, planned, require_level
from vision_attn.spec import spec
from vision_attn.statistics import mean_interval, paired_difference

LINES = ("--", ":", "-.")
NAMES = {"estimate": "difference", "low": "difference_low", "high": "difference_high", "n": "pairs"}


@spec
class ConditionCurve(SplitLines):
    """A metric against `x`, one panel per level of `hue`, one line per level of `condition`, `baseline` solid.

    A model whose lines lie apart relies on what the condition takes away, such as the order of the pieces of an image.
    Models that are planned at the baseline only are left out.
    The table has the difference to the baseline, paired by `over`, with its Student-t interval.
    """

    title: ClassVar[str] = "Conditions"
    own_columns: ClassVar[tuple[str, ...]] = (
        "difference",
        "difference_low",
        "difference_high",
        "pairs",
        "dropped",
        "dropped_pairs",
    )
    factor_fields: ClassVar[tuple[str, ...]] = ("condition", "x", "hue", "over")

    condition: str
    baseline: str | int | float | bool
    x: str = "train_size"

    def check(self) -> None:
        super().check()
        self.require(
            "condition", self.condition not in (self.x, self.hue, self.over), "a factor other than x, hue and over"
        )

    def applies(self, plan: Plan) -> bool:
        """Where there are several conditions to compare, the baseline among them."""
        has_baseline = may_have(plan, self.condition, self.baseline)
        return super().applies(plan) and has_baseline and len(plan.factors.get(self.condition, ())) != 1

    def view(self, records: Records) -> View:
        view = super().view(records)
        require_level(view.plan, "baseline", "ConditionCurve", self.condition, self.baseline)
        return view

    def line_name(self) -> str:
        return self.condition

    def panel_names(self, view: View) -> list[str]:
        return [*view.panels, self.hue]

    def singles(self, view: View) -> None:
        """None: several lines of bars are enough."""

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        by, values = [*view.by, self.condition], self.values(view)
        grid = planned(view, by)
        compared = grid.loc[grid[self.condition] != self.baseline, self.hue].unique()
        means = mean_interval(values, by=by, level=self.level)
        out = grid[grid[self.hue].isin(compared)].merge(means, on=by, how="left")
        if (values[self.condition] == self.baseline).any():
            options = {"compare": self.condition, "reference": self.baseline, "level": self.level}
            gaps = paired_difference(values, by=view.by, pair_on=[self.over], **options)  # type: ignore[arg-type]
            gaps[self.condition] = gaps[self.condition].astype(out[self.condition].dtype)
            out = out.merge(gaps.rename(columns=NAMES)[[*by, *NAMES.values()]], on=by, how="left")
        else:
            out = out.assign(**dict.fromkeys(NAMES.values(), np.nan))
        for name in ("n", "pairs"):
            out[name] = out[name].fillna(0).astype(int)
        return out[[*by, "estimate", "low", "high", "n", "sd", "planned", *NAMES.values()]]

    def styles(self, rows: pd.DataFrame, names: Sequence[Any], view: View) -> dict[Any, dict[str, Any]]:
        return self._conditions(view.styles[rows[self.hue].iloc[0]].colour if len(rows) else theme.INK, view)

    def _conditions(self, colour: str, view: View) -> dict[Any, dict[str, Any]]:
        """How the line of every condition is drawn in a colour: the baseline's solid and filled, the others' not."""
        others = [level for level in view.levels(self.condition) if level != self.baseline]
        own: dict[Any, dict[str, Any]] = {self.baseline: {"style": theme.Style(colour, theme.MARKERS[0])}}
        for i, level in enumerate(others):
            marker = theme.MARKERS[(i + 1) % len(theme.MARKERS)]
            own[level] = {"style": theme.Style(colour, marker), "hollow": True, "line": LINES[i % len(LINES)]}
        return own

    def columns(self, panels: int, view: View) -> int:
        return panels if panels <= 4 else 3

    def legend(self, table: pd.DataFrame, view: View) -> dict[str, Any]:
        return {
            wording.level_text(self.condition, condition): marks.handle(**own)
            for condition, own in self._conditions(theme.INK, view).items()
        }

    def sentence(self, table: pd.DataFrame, view: View) -> str:
        return (
            f"{self.what(view)} against the {wording.factor_text(self.x)}, one panel per "
            f"{wording.factor_text(self.hue)}, lines: {wording.factor_text(self.condition)}, solid "
            f"{wording.level_text(self.condition, self.baseline)}."
        )

    def counted(self, table: pd.DataFrame, view: View) -> tuple[pd.DataFrame, list[str]]:
        return table, [*view.by, self.condition]

    def bars(self) -> str:
        return (
            f"Bars: {100 * self.level:g} % Student-t intervals. In the table also the difference to "
            f"{wording.level_text(self.condition, self.baseline)}, paired by {self.over}; no correction "
            "for multiple comparisons."
        )

    def cell(self, row: dict[Any, Any]) -> str:
        text = wording.interval(row, metric=self.metric)
        if not row["pairs"]:
            return text
        gap = {key: row[name] for key, name in NAMES.items()} | {"planned": row["planned"]}
        return f"{text}; difference {wording.interval(gap, metric=self.metric, signed=True)}"

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        view = self.view(records)
        return view.wide(table, self.cell, rows=view.by, columns=self.condition)
