"""Learning curve: a metric against the number of training images."""

import dataclasses
from typing import Any, ClassVar

import pandas as pd
from matplotlib.axes import Axes

from vision_attn.figures import theme
from vision_attn.figures.limited import LARGEST, limited, limits_remarks, mark_hollow
from vision_attn.figures.lines import SplitLines
from vision_attn.figures.view import View
from vision_attn.records import Records
from vision_attn.spec import spec


@spec
class LearningCurve(SplitLines):
    """The mean of a metric over seeds against a factor, one line a level of `hue`, with Student-t intervals.

    Where `budget` is a factor that is not `given`, every cell is shown at its largest, with a hollow mark where the
    budget limits it there rather than the data (`statistics.limits`). Models that are fitted, not trained, are grey.
    """

    title: ClassVar[str] = "Learning curve"
    own_columns: ClassVar[tuple[str, ...]] = ("train_accuracy", "limited_by")
    factor_fields: ClassVar[tuple[str, ...]] = ("x", "hue")

    x: str = "train_size"

    def view(self, records: Records) -> View:
        if isinstance(records, View) and records.figure == self:
            return records
        top, budget = super().view(records), self.budget_factor(records)
        if not budget:
            return top
        whole = self.replace(budget=None).view(records)
        found = limited(whole, by=top.by, budget=budget, over=self.over)
        return dataclasses.replace(top, limited=found.drop(columns=LARGEST))

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        out = super().table(view)
        if view.limited is None:
            return out
        out = out.merge(view.limited, on=view.by, how="left").astype(out[view.by].dtypes.to_dict())
        shown = out["n"] > 0  # else what is known is of a smaller budget
        said = out["limited_by"].astype(object).where(shown).fillna("")
        return out.assign(train_accuracy=out["train_accuracy"].where(shown), limited_by=said)

    def marks(
        self, axes: Axes, own: pd.DataFrame, at: dict[Any, float], style: theme.Style, rows: pd.DataFrame
    ) -> None:
        if "limited_by" in own:
            mark_hollow(axes, own, at, style)

    def remarks(self, table: pd.DataFrame, view: View) -> list[str]:
        is_limited = "limited_by" in table
        said = limits_remarks(table, view, by=view.by, is_ladder=bool(view.budget)) if is_limited else []
        return [*super().remarks(table, view), *said]
