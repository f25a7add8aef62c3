"""Lag curve: accuracy by how many steps of its sequence a model must carry the answer."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from vision_attn.figures import theme
from vision_attn.figures.lines import Panel, SplitLines
from vision_attn.figures.view import View
from vision_attn.records import Records, planned
from vision_attn.spec import spec
from vision_attn.statistics import mean_interval
from vision_attn.wording import short

COLUMNS = 5
"""Panels side by side."""
TICKS = (-56, -8, -1, 1, 8, 56)
"""Lags of 8 x 8 tokens: a cell along the sequence, a cell across it, seven across."""


@spec
class LagCurve(SplitLines):
    """The mean accuracy over seeds against the lag of the probe AccuracyByLag, one panel per level of `hue`.

    The lag is the number of tokens by which the target precedes its cue in the order in which the model reads; below 0
    it comes later, which a network that reads one way cannot know. The axis is logarithmic to both sides. A lag has one
    distance, so the factor `distance`, where there is one, needs no panels.
    """

    title: ClassVar[str] = "Accuracy by lag in the sequence"
    measured_by: ClassVar[str] = "AccuracyByLag"
    own_hues: ClassVar[tuple[str, ...]] = ("lag", "distance")
    factor_fields: ClassVar[tuple[str, ...]] = ("hue", "over")
    is_linear: ClassVar[bool] = True

    def coordinates(self) -> tuple[str, ...]:
        return ("lag", "distance")

    def x_name(self, view: View) -> str:
        return "lag"

    def panel_names(self, view: View) -> list[str]:
        return [*view.panels, self.hue]

    def values(self, view: View) -> pd.DataFrame:
        found = view.pick(self.metric, split=self.split, along=("lag",))
        return found.reindex(columns=[*dict.fromkeys([*found.columns, "lag"])])

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        values = self.values(view)
        near = [name for name in ("distance",) if name in view.plan.factors]
        runs = planned(view, [*view.rows, *near]).groupby(view.rows, observed=True)["planned"].max().reset_index()
        lags = values[[*view.rows, "lag"]].drop_duplicates()
        by = [*view.rows, "lag"]
        out = runs.merge(lags, on=view.rows, how="left").merge(
            mean_interval(values, by=by, level=self.level), on=by, how="left"
        )
        out["n"] = out["n"].fillna(0).astype(int)
        out = out.astype({name: runs[name].dtype for name in view.rows}).sort_values(by)
        return out[[*by, "estimate", "low", "high", "n", "sd", "planned"]].reset_index(drop=True)

    def places(self, table: pd.DataFrame, view: View) -> list[Any]:
        return sorted(table["lag"].dropna().unique())

    def columns(self, panels: int, view: View) -> int:
        return COLUMNS if panels > COLUMNS + 1 else 3

    def styles(self, rows: pd.DataFrame, names: Sequence[Any], view: View) -> dict[Any, dict[str, Any]]:
        return {name: {"style": view.styles[name]} for name in names if (rows[self.hue] == name).any()}

    def under(self, axes: Axes, rows: pd.DataFrame, view: View) -> None:
        """Chance, and the line between what has been read and what is yet to come."""
        super().under(axes, rows, view)
        axes.axvline(0, color=theme.FAINT, linewidth=0.8, zorder=0.5)

    def lines(self, panel: Panel, view: View) -> None:
        places = {lag: _place(lag) for lag in panel.places}
        ends = max(abs(place) for place in places.values()) + 0.5
        ticks = {_place(tick): short(tick).replace("-", "−") for tick in TICKS if abs(_place(tick)) < ends}
        panel.axes.set_xlim(-ends, ends)
        panel.axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
        panel.axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: ticks.get(x, "")))
        super().lines(dataclasses.replace(panel, places=places), view)

    def legend(self, table: pd.DataFrame, view: View) -> dict[str, Any]:
        """None: panels have titles."""
        return {}

    def x_text(self, view: View) -> str:
        return "lag (tokens)"

    def sentence(self, table: pd.DataFrame, view: View) -> str:
        return (
            f"{self.what(view)} against the number of "
            "tokens by which the target precedes its cue, in the order in which the model reads them, else row by row; "
            "left of 0 the target comes later."
        )

    def counted(self, table: pd.DataFrame, view: View) -> tuple[pd.DataFrame, list[str]]:
        return table, [self.hue, *view.panels, "lag"]

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        view = self.view(records)
        known = table.dropna(subset=["lag"])
        return view.wide(known, self.cell, rows=[*view.panels, "lag"])


def _place(lag: float) -> float:
    """Where a lag lies on an axis that is logarithmic to both sides of 0: the sign times log2(1 + |lag|)."""
    return float(np.sign(lag) * np.log2(1 + abs(lag)))
