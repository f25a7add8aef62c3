"""Coordinate curve: a metric against a coordinate of the records, such as the pixels of a shift, one line a model."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import theme
from vision_attn.figures.axes import share_axes, size_axis
from vision_attn.records import Records, chance, column, facets, pick, planned, require_factor
from vision_attn.statistics import mean_interval


@dataclasses.dataclass(frozen=True)
class CoordinateCurve:
    """What the curve of the figure `owner` shows.

    Records have the coordinates `x` and those of `among`, which maps each to the values that count, or to None for
    all. Within a run they are averaged; mean and Student-t interval are over the runs of the factor `over`.
    """

    owner: str
    metric: str
    x: str
    x_label: str
    y_label: str
    among: Mapping[str, tuple[str, ...] | None]
    hue: str
    over: str
    level: float

    def _factors(self, records: Records) -> list[str]:
        """The factors that tell the lines apart: panels, then hue."""
        for field in ("hue", "over"):
            require_factor(records.plan, field, self.owner, getattr(self, field))
        return [*facets(records.plan, used=(self.hue, self.over)), self.hue]

    def _singles(self, records: Records) -> pd.DataFrame:
        """One value for each cell of the plan and level of x."""
        names = {name: column(records, name) for name in (self.x, *self.among)}
        values = pick(records, self.metric, at={"split": "test"}, along=tuple(names.values()))
        for name, wanted in self.among.items():
            if wanted is not None and len(values):
                values = values[values[names[name]].isin(wanted)]
        values = values.rename(columns={names[self.x]: self._column(records)})
        keys = [*records.plan.factors, self._column(records)]
        if values.empty:
            return pd.DataFrame(columns=[*keys, "value"])
        means = values.groupby(keys, observed=True, dropna=False)["value"].mean().reset_index()
        means[keys[-1]] = _numbers(means[keys[-1]])
        return means

    def _column(self, records: Records) -> str:
        return column(records, self.x)

    def table(self, records: Records) -> pd.DataFrame:
        by, x, singles = self._factors(records), self._column(records), self._singles(records)
        cells, columns = self._cells(records, by, singles), ["estimate", "low", "high", "n", "sd"]
        if singles.empty:
            out = cells.assign(**{x: np.nan}, **dict.fromkeys(columns, np.nan))
        else:
            levels = pd.DataFrame({x: sorted(singles[x].unique())})
            means = mean_interval(singles, by=[*by, x], level=self.level)
            out = cells.merge(levels, how="cross").merge(means, on=[*by, x], how="left")
        out["n"] = out["n"].fillna(0).astype(int)
        return out[[*by, x, *columns, "planned"]]

    def _cells(self, records: Records, by: list[str], singles: pd.DataFrame) -> pd.DataFrame:
        """The cells planned, without panels whose runs are all done and have no such x, as their data do not."""
        cells, panels = planned(records, by), by[:-1]
        if singles.empty or not panels:
            return cells
        others = records.runs.loc[records.runs["state"] != "done", panels]
        kept = {tuple(row) for frame in (singles, others) for row in frame[panels].itertuples(index=False)}
        return cells[[tuple(row) in kept for row in cells[panels].itertuples(index=False)]].reset_index(drop=True)

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Sheet | None = None) -> theme.Sheet:
        by, singles = self._factors(records), self._singles(records)
        looks = theme.looks(records.plan, self.hue)
        with theme.style():
            parts = theme.panels(table, by[:-1])
            figure, axes = theme.canvas(len(parts), into=into)
            for each, (title, rows) in zip(axes, parts, strict=True):
                if table["n"].sum():
                    own = singles.merge(rows[by].drop_duplicates(), on=by)
                    self._panel(each, rows, own, records)
                else:
                    theme.blank(each)
                theme.titled(each, title)
                if theme.is_left(each):
                    each.set_ylabel(f"{self.y_label} (%)" if wording.is_share(self.metric) else self.y_label)
            if wording.is_share(self.metric):
                share_axes(axes)
            shown = {name: look for name, look in looks.items() if name in set(table[self.hue])}
            theme.legend(figure, {wording.level_text(self.hue, k): theme.handle(look) for k, look in shown.items()})
        return figure

    def _panel(self, axes: Axes, rows: pd.DataFrame, singles: pd.DataFrame, records: Records) -> None:
        x = self._column(records)
        levels = sorted(rows[x].unique())
        places = size_axis(axes, levels, label=self.x_label)
        if self.metric == "accuracy" and (guessing := chance(records)) is not None:
            theme.reference_line(axes, guessing, "chance", dotted=True)
        looks = theme.looks(records.plan, self.hue)
        for i, (name, look) in enumerate(looks.items()):
            at, aside = theme.dodge(places, i, len(looks), logarithmic=axes.get_xscale() == "log")
            mine = rows[rows[self.hue] == name].set_index(x).reindex(levels)
            points = singles[(singles[self.hue] == name) & singles[x].isin(mine.index[mine["n"] > 1])]
            theme.seeds_scatter(axes, [aside[each] for each in points[x]], points["value"].to_numpy(float), look)
            theme.interval_line(axes, np.array(list(at.values())), mine, look)

    def caption(self, table: pd.DataFrame, records: Records, *, quantity: str, of: str, reading: str) -> str:
        """The quantity, `of` what images, how it is read, then seeds, intervals and chance."""
        by = self._factors(records)
        fewest = table.sort_values("n", kind="stable").drop_duplicates(by).sort_index()
        said = [
            f"{quantity}{wording.data_text(records)}, {of}.",
            reading,
            wording.seeds_text(fewest, by, unit=self.over),
        ]
        if (table["n"] > 1).any():
            said.append(f"Bars: {100 * self.level:g} % Student-t intervals; faint points: single {self.over}s.")
            said.append(wording.cut_text(table, self.metric))
        if self.metric == "accuracy" and (guessing := chance(records)) is not None:
            said.append(f"Dotted: chance, {100 * guessing:.3g} %.")
        return " ".join(filter(None, said))

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        by, x = self._factors(records), self._column(records)
        cells = [wording.interval(row, metric=self.metric) for row in table.to_dict("records")]
        texts = table.assign(**{x: table[x].astype(object).where(table[x].notna(), "–")})
        names = records.plan.levels(self.hue)
        return wording.wide(texts, cells, rows=[*by[:-1], x], columns=self.hue, names=names)


def _numbers(cells: pd.Series) -> pd.Series:
    """Levels of a coordinate as plain numbers, whole where all of them are."""
    plain = cells.astype(float)
    return plain.astype("int64") if (plain % 1 == 0).all() else plain
