"""Dot plot: the mean of a metric for every model, or its difference to one of them, as rows."""

from typing import Any, ClassVar

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator

from vision_attn import wording
from vision_attn.figures import marks, theme
from vision_attn.figures.axes import difference_axis
from vision_attn.figures.base import Levels
from vision_attn.figures.dots import Dots
from vision_attn.figures.view import View
from vision_attn.records import Records, rows_at
from vision_attn.spec import spec
from vision_attn.statistics import mean_interval, pairs
from vision_attn.statistics.paired import PAIRED


@spec
class DotPlot(Dots):
    """A row a level of `hue`, such as the conditions of an ablation: the mean over seeds with its Student-t interval.

    With a `reference` it is the difference to that level, seed by seed. Faint: single seeds. Other factors of several
    levels have a panel for every combination. `at` gives coordinates of the records beside the split, such as a layer.
    """

    title: ClassVar[str] = "Models compared"
    own_columns: ClassVar[tuple[str, ...]] = ("reference",)
    opens_table: ClassVar[bool] = True

    reference: str | int | float | bool | None = None
    metric: str = "accuracy"
    split: str | None = "test"
    at: Levels = ()

    def heading(self) -> str:
        given = "".join(f", {wording.level_text(*one)}" for one in self.given)
        less = "" if self.reference is None else f": difference to {self.reference}"
        return wording.headed(self._what()) + given + less

    def _values(self, view: View) -> pd.DataFrame:
        """One value a run, or a pair."""
        at: dict[str, Any] = {**({"split": self.split} if self.split else {}), **dict(self.at)}
        values = view.pick(self.metric, **at)
        if self.reference is None:
            return values
        if not (values[self.hue] == self.reference).any():
            return values.iloc[:0]
        options = {"compare": self.hue, "reference": self.reference, "names": PAIRED}
        both = pairs(values, by=view.panels, pair_on=[self.over], **options)  # type: ignore[arg-type]
        return both.assign(value=both[PAIRED[2]]).dropna(subset="value")

    @property
    def shows_differences_only(self) -> bool:
        return self.reference is not None

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        found = mean_interval(self._values(view), by=view.rows, level=self.level)
        out = view.joined(found, by=view.rows).astype(view.runs[view.rows].dtypes.to_dict())
        out = out[out[self.hue] != self.reference].reset_index(drop=True)
        return out[[*view.rows, "estimate", "low", "high", "n", "sd", "planned"]]

    @property
    def is_of_shares(self) -> bool:
        return wording.is_share(self.metric) and self.reference is None

    def draw_axis(self, axes: Axes, view: View) -> None:
        axes.set_xlabel(self._quantity())
        if unit := wording.unit_of(self.metric):
            axes.xaxis.set_major_formatter(EngFormatter(unit))
        if unit or not wording.is_share(self.metric):
            axes.xaxis.set_major_locator(MaxNLocator(4))  # numbers with a unit or many places are wide
        if self.reference is not None:
            axes.axvline(0, color=theme.INK, linewidth=1.1, zorder=1)

    def finish(self, panels: list[Axes], table: pd.DataFrame, view: View) -> None:
        super().finish(panels, table, view)
        if self.reference is not None:
            difference_axis(panels[0], table, along="x")

    def draw_row(self, axes: Axes, row: dict[Any, Any], place: int, view: View) -> None:
        scale, style = 100 if wording.is_share(self.metric) else 1, view.styles[row[self.hue]]
        values = rows_at(self._values(view), {name: row[name] for name in view.rows})
        if row["n"] > 1:
            axes.scatter(
                scale * values["value"], [place + 0.22] * len(values), s=9, color=style.colour, alpha=0.45, lw=0
            )
        drawn = {**{key: scale * row[key] for key in ("estimate", "low", "high")}, "n": row["n"]}
        marks.interval_dot(axes, drawn, place, style)

    def _what(self) -> str:
        """What is measured, of which images."""
        said = f" ({wording.at_text(self.at)})" if self.at else ""
        return f"{self.split or ''} {wording.metric_text(self.metric)}".strip() + said

    def _quantity(self) -> str:
        what = self._what()
        if self.reference is None:
            return f"{what} (%)" if wording.is_share(self.metric) else what
        unit = " (percentage points)" if wording.is_share(self.metric) else ""
        return f"difference in {what}\nto {wording.level_text(self.hue, self.reference)}{unit}"

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        view = self.view(records)
        what = self._what()
        said = f"{wording.headed(what)}{view.data_text}"
        if self.reference is not None:
            said = f"Difference in {what} to {self.reference}{view.data_text}, paired by {self.over}"
        out = [f"{said}.", wording.seeds_text(table, view.rows[::-1], unit=self.over)]
        if (table["n"] > 1).any():
            each = "" if self.reference is None else ", no correction for multiple comparisons"
            out.append(f"Bars: {100 * self.level:g} % Student-t intervals{each}; faint points: single {self.over}s.")
        if self.is_of_shares:
            out.append(wording.cut_text(table, self.metric))
        if self.split and not self.at:
            out.append(view.elsewhere(table, self.metric, self.split))
        return " ".join(filter(None, out))

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        view = self.view(records)
        signed = self.reference is not None
        name = "difference" if signed else wording.metric_text(self.metric)
        column = name + ({True: " (points)", False: " (%)"}[signed] if wording.is_share(self.metric) else "")
        rows = table.to_dict("records")
        cells = [wording.interval(row, metric=self.metric, signed=signed) for row in rows]
        return pd.DataFrame([view.heads(row) | {column: cell} for row, cell in zip(rows, cells, strict=True)])
