"""Deletion curves: how sure a model stays while patches go, or come back, in the order of each method's map."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from vision_attn import wording
from vision_attn.figures import marks, palette, theme
from vision_attn.figures.coordinate_lines import CoordinateLines
from vision_attn.figures.lines import Panel
from vision_attn.figures.methods import in_order
from vision_attn.figures.view import View
from vision_attn.records import Records
from vision_attn.spec import spec
from vision_attn.statistics import mean_interval

BASELINES = ("random", "centred Gaussian")
"""Methods that know nothing of the network: grey."""
ORDERS = {"deletion": "deleted", "insertion": "put back"}


@spec
class DeletionCurves(CoordinateLines):
    """The mean probability of the class against the share of patches deleted, or put back, from `DeletionCurve`.

    A panel a model, a line a method, the baselines grey; Student-t intervals over seeds are in the table. `order`
    "deletion": the most important patches go first, and the lower the line the better the map; "insertion": the most
    important come back first, and the higher the better. `fill`: what a patch that is away has in its place.
    """

    title: ClassVar[str] = "Deletion curves"
    measured_by: ClassVar[str] = "DeletionCurve"
    own_columns: ClassVar[tuple[str, ...]] = ("method", "share")
    own_values: ClassVar[tuple[str, ...]] = own_columns
    factor_fields: ClassVar[tuple[str, ...]] = ("hue", "over")
    is_linear: ClassVar[bool] = True
    interval: ClassVar[str] = ""

    order: str = "deletion"
    fill: str = "mean"

    def check(self) -> None:
        super().check()
        self.require("order", self.order in ORDERS, "'deletion' or 'insertion'")

    def heading(self) -> str:
        return f"{self.order.capitalize()} curves: {wording.at_text([('fill', self.fill)])}"

    def metric_name(self) -> str:
        return f"{self.order}_probability"

    def x_name(self, view: View) -> str:
        return "share"

    def line_name(self) -> str:
        return "method"

    def panel_names(self, view: View) -> list[str]:
        return view.rows

    def values(self, view: View) -> pd.DataFrame:
        values = view.pick(self.metric_name(), fill=self.fill, along=("method", "share"))
        values = view.plainly(values, ("method", "share"))
        return values.reindex(columns=[*view.plan.factors, "method", "share", "value", "run"])

    def line_levels(self, table: pd.DataFrame, view: View) -> list[Any]:
        return in_order(self.values(view), "method")

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        by = [*view.rows, "method", "share"]
        values = self.values(view)
        place = {method: i for i, method in enumerate(in_order(values, "method"))}
        out = view.joined(mean_interval(values, by=by, level=self.level), by=view.rows)
        out = out.reindex(columns=[*by, "estimate", "low", "high", "n", "sd", "planned"])
        out["share"] = out["share"].astype(float)
        for key in (out["share"], out["method"].map(place).astype(float)):
            out = out.loc[key.reindex(out.index).sort_values(kind="stable").index]
        return out.sort_values(view.rows, kind="stable").reset_index(drop=True)

    def singles(self, view: View) -> None:
        """None: the lines are many."""

    def lines(self, panel: Panel, view: View) -> None:
        """The means alone, where they are: bars and marks of so many lines would hide them."""
        for name, style in panel.styles.items():
            own = panel.rows[panel.rows["method"] == name].dropna(subset="estimate")
            (drawn,) = panel.axes.plot(
                own["share"], own["estimate"], color=style["style"].colour, linestyle=style.get("line", "-")
            )
            marks.tell(panel.axes, drawn, own.to_dict("records"), str(name))

    def styles(self, rows: pd.DataFrame, names: Sequence[Any], view: View) -> dict[Any, dict[str, Any]]:
        shown = set(rows["method"])
        return {name: style for name, style in self._styles(names).items() if name in shown}

    def _styles(self, names: Sequence[Any]) -> dict[Any, dict[str, Any]]:
        """How the line of every method is drawn: in the order of colours, the baselines grey and broken."""
        asked = [name for name in names if name not in BASELINES]
        colours = [palette.style(i).colour for i in range(len(asked))]
        own: dict[Any, dict[str, Any]] = {
            name: {"style": theme.Style(colour, "")} for name, colour in zip(asked, colours, strict=True)
        }
        for line, name in zip(("--", ":"), BASELINES, strict=True):
            own[name] = {"style": theme.Style(theme.FAINT, ""), "line": line}
        return {name: own[name] for name in names}

    def legend(self, table: pd.DataFrame, view: View) -> dict[str, Any]:
        return {str(name): marks.handle(**style) for name, style in self._styles(self.line_levels(table, view)).items()}

    def finish(self, panels: Any, table: pd.DataFrame, view: View) -> None:
        for axes in panels if table["n"].sum() else []:
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"])

    def x_text(self, view: View) -> str:
        return f"patches {ORDERS[self.order]} (%)"

    def quantity(self, view: View) -> str:
        return "probability"

    def sentence(self, table: pd.DataFrame, view: View) -> str:
        filled = wording.at_text([("fill", self.fill)])
        return (
            f"Probability of the class{view.data_text} against the share of patches {ORDERS[self.order]}, the most "
            f"important first by the map of each method ({filled})."
        )

    def counted(self, table: pd.DataFrame, view: View) -> tuple[pd.DataFrame, list[str]]:
        return table.sort_values("n", kind="stable").drop_duplicates(view.rows).sort_index(), view.rows[::-1]

    def bars(self) -> str:
        known = "Grey and broken: maps that know nothing of the network."
        return f"In the table: {100 * self.level:g} % Student-t intervals. {known}"

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        view = self.view(records)
        own = table.assign(
            method=table["method"].astype(object).where(table["method"].notna(), "–"),
            share=[np.nan if pd.isna(share) else 100 * share for share in table["share"]],
        ).rename(columns={"share": self.x_text(view)})
        names = [*self.line_levels(table, view)] or ["–"]
        return view.wide(own, self.cell, rows=[*view.rows, self.x_text(view)], columns="method", names=names)
