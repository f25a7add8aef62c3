"""Method plot: a metric of every method that models were asked by, such as methods of saliency, as rows."""

from typing import Any, ClassVar

import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import marks, theme
from vision_attn.figures.base import Levels
from vision_attn.figures.dots import Dots
from vision_attn.figures.methods import in_order
from vision_attn.figures.view import View
from vision_attn.records import Records, rows_at
from vision_attn.spec import spec
from vision_attn.statistics import mean_interval


@spec
class MethodPlot(Dots):
    """A row a level of the coordinate `rows`: the mean over seeds with its Student-t interval, a colour a model.

    Faint: single seeds. `at` gives further coordinates of the records, such as a fill. Other factors of several levels
    have a panel for every combination.
    """

    title: ClassVar[str] = "Methods compared"
    measured_by: ClassVar[str] = "Pointing"
    opens_table: ClassVar[bool] = True

    metric: str = "hit_share"
    method: str = "method"
    at: Levels = ()

    def coordinates(self) -> tuple[str, ...]:
        return (self.method,)

    def _values(self, view: View) -> pd.DataFrame:
        values = view.pick(self.metric, **dict(self.at), along=(self.method,))
        return values.reindex(columns=[*view.plan.factors, view.column(self.method), "value", "run"])

    def _methods(self, view: View) -> list[Any]:
        return in_order(self._values(view), view.column(self.method))

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        name, methods = view.column(self.method), self._methods(view)
        columns = [*view.rows, name, "estimate", "low", "high", "n", "sd", "planned"]
        found = mean_interval(self._values(view), by=[*view.rows, name], level=self.level)
        out = view.joined(found, by=view.rows).reindex(columns=columns)
        place = {method: i for i, method in enumerate(methods)}
        order = out[name].map(place).astype(float).argsort(kind="stable")
        out = out.iloc[order].sort_values(view.rows, kind="stable")
        return out.rename(columns={name: self.method}).reset_index(drop=True)

    def rows(self, view: View) -> dict[Any, str]:
        return {method: str(method) for method in self._methods(view)}

    def key(self, row: dict[Any, Any]) -> Any:
        return row[self.method]

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Canvas | None = None) -> theme.Canvas:
        return super().draw(table[table["n"] > 0], records, into=into)

    @property
    def is_of_shares(self) -> bool:
        return wording.is_share(self.metric)

    def draw_axis(self, axes: Axes, view: View) -> None:
        axes.set_xlabel(self._what() + (" (%)" if wording.is_share(self.metric) else ""))

    def draw_row(self, axes: Axes, row: dict[Any, Any], place: int, view: View) -> None:
        scale, levels = 100 if wording.is_share(self.metric) else 1, list(view.styles)
        at = place + 0.5 * (levels.index(row[self.hue]) - (len(levels) - 1) / 2) / len(levels)
        own = {**{name: row[name] for name in view.rows}, view.column(self.method): row[self.method]}
        values, style = rows_at(self._values(view), own), view.styles[row[self.hue]]
        if row["n"] > 1:
            axes.scatter(scale * values["value"], [at] * len(values), s=9, color=style.colour, alpha=0.35, lw=0)
        drawn = {**{key: scale * row[key] for key in ("estimate", "low", "high")}, "n": row["n"]}
        marks.interval_dot(axes, drawn, at, style, name=wording.level_text(self.hue, row[self.hue]))

    def legend(self, view: View) -> dict[str, Any]:
        return {wording.level_text(self.hue, name): marks.handle(style, line="") for name, style in view.styles.items()}

    def _what(self) -> str:
        return wording.metric_text(self.metric) + (f" ({wording.at_text(self.at)})" if self.at else "")

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        view = self.view(records)
        counted = table.sort_values("n", kind="stable").drop_duplicates(view.rows).sort_index()
        said = f"{self._what().capitalize()} by {self.method.replace('_', ' ')}{view.data_text}."
        out = [said, wording.seeds_text(counted, view.rows[::-1], unit=self.over)]
        if (table["n"] > 1).any():
            out.append(f"Bars: {100 * self.level:g} % Student-t intervals; faint points: single {self.over}s.")
        if self.is_of_shares:
            out.append(wording.cut_text(table, self.metric))
        return " ".join(filter(None, out))

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        view = self.view(records)
        cells = [wording.interval(row, metric=self.metric) for row in table.to_dict("records")]
        rows, own = (
            [*view.panels, self.method],
            table.assign(**{self.method: table[self.method].astype(object).fillna("–")}),
        )
        order = {method: i for i, method in enumerate([*self._methods(view), "–"])}
        wide = wording.wide(own, cells, rows=rows, columns=self.hue, names=view.levels(self.hue))
        heads = wording.factor_text(self.method)
        return wide.sort_values(heads, key=lambda column: column.map(order), kind="stable") if len(wide) else wide
