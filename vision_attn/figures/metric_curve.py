"""Metric curve: any metric against a factor, or against a coordinate of its records, such as tokens or layer."""

from typing import Any, ClassVar

import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures.axes import log_axis
from vision_attn.figures.base import Levels
from vision_attn.figures.coordinate_lines import CoordinateLines
from vision_attn.figures.lines import Lines
from vision_attn.figures.view import View
from vision_attn.records import Records
from vision_attn.spec import spec


@spec
class MetricCurve(CoordinateLines):
    """The mean of a metric over seeds against `x`, one line a level of `hue`, with Student-t intervals.

    `x` is a factor, or a coordinate that the records have; `at` gives their other coordinates, such as the split or
    the layer. With `log_y` y is logarithmic, where all means are positive. Other factors of several levels have a
    panel for every combination.
    """

    title: ClassVar[str] = "A metric along x"
    factor_fields: ClassVar[tuple[str, ...]] = ("hue", "over")

    metric: str = "accuracy"
    x: str = "train_size"
    at: Levels = (("split", "test"),)
    log_y: bool = False

    def heading(self) -> str:
        at = [one for one in self.at if one != ("split", "test")]
        said = [*([wording.at_text(at)] if at else []), *(wording.level_text(*one) for one in self.given)]
        what = wording.headed(wording.metric_text(self.metric))
        return f"{what} against {wording.factor_text(self.x)}" + (f": {', '.join(said)}" if said else "")

    def coordinates(self) -> tuple[str, ...]:
        return (self.x,)

    def x_name(self, view: View) -> str:
        return view.x or view.column(self.x)

    def values(self, view: View) -> pd.DataFrame:
        at: dict[str, Any] = dict(self.at)
        values = view.pick(self.metric, **at, along=() if view.x else (self.x,))
        if view.x or values.empty:
            return values.reindex(columns=[*view.plan.factors, *([] if view.x else [self.x_name(view)]), "value"])
        return self.whole(values, self.x_name(view))

    def levels_by(self, view: View) -> list[str]:
        return list(view.panels)

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        return Lines.table(self, view) if view.x else super().table(view)

    def places(self, table: pd.DataFrame, view: View) -> list[Any]:
        return Lines.places(self, table, view) if view.x else super().places(table, view)

    def is_log(self, table: pd.DataFrame) -> bool:
        return bool(self.log_y and (table["estimate"].dropna() > 0).all() and table["n"].sum())

    def cut(self, table: pd.DataFrame, view: View) -> tuple[float, float] | None:
        return None if self.is_log(table) else super().cut(table, view)

    def finish(self, panels: Any, table: pd.DataFrame, view: View) -> None:
        if self.is_log(table):
            first: Axes = panels[0]
            first.set_yscale("log")
            log_axis(first, unit=wording.unit_of(self.metric))
        else:
            super().finish(panels, table, view)

    def quantity(self, view: View) -> str:
        return wording.metric_text(self.metric)

    def sentence(self, table: pd.DataFrame, view: View) -> str:
        where = f" ({wording.at_text(self.at)})" if self.at else ""
        what = wording.headed(wording.metric_text(self.metric))
        return f"{what}{where}{view.data_text} against {wording.factor_text(self.x)}."

    def remarks(self, table: pd.DataFrame, view: View) -> list[str]:
        at = dict(self.at)
        if view.x:
            return [view.elsewhere(table, self.metric, str(at["split"]))] if set(at) == {"split"} else []
        is_drawn = (table["n"] > 0).groupby([table[name] for name in view.rows], observed=True).transform("any")
        lacking = table[is_drawn & (table["n"] == 0)].to_dict("records")
        names = [wording.cell_text(row, [*view.rows[::-1], self.x_name(view)]) for row in lacking]
        return [f"Without a value: {wording.listing(names, most=12)}."] if names else []

    def counted(self, table: pd.DataFrame, view: View) -> tuple[pd.DataFrame, list[str]]:
        return Lines.counted(self, table, view) if view.x else super().counted(table, view)
