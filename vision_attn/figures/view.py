"""View: the records as one figure sees them, and what tells its points apart."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Self

import pandas as pd

from vision_attn import wording
from vision_attn.figures import marks, theme
from vision_attn.records import Records, column, facets, fitted_levels, pick, planned
from vision_attn.statistics import mean_interval


@dataclasses.dataclass(frozen=True)
class View(Records):
    """The records at the levels that a figure shows, computed once.

    `panels`: the factors of several levels that it does not draw, each combination of which has a panel; `hue`: the
    factor whose levels have colours; `over`: the one that means are taken over; `x`: the factor along x, if one is;
    `budget`: the factor of which every cell is shown at its largest level, if one is; `budgets`: these levels;
    `limited`: what limits it there.
    """

    figure: Any = None
    panels: tuple[str, ...] = ()
    hue: str = "model"
    over: str = "seed"
    x: str = ""
    level: float = 0.95
    budget: str = ""
    budgets: tuple[Any, ...] = ()
    limited: pd.DataFrame | None = None

    @classmethod
    def of(cls, records: Records, *, figure: Any, used: Sequence[str]) -> Self:
        """The view of `figure` of records at chosen levels, of which the factors `used` need no panels."""
        own = {field.name: getattr(records, field.name) for field in dataclasses.fields(Records)}
        x = getattr(figure, "x", "")
        panels = tuple(facets(records.plan, used=[*used, figure.hue, figure.over, x]))
        x = x if x in records.plan.factors else ""
        return cls(**own, figure=figure, panels=panels, hue=figure.hue, over=figure.over, x=x, level=figure.level)

    @property
    def rows(self) -> list[str]:
        """The factors that tell lines apart, or rows: panels, then `hue`."""
        return [*self.panels, self.hue]

    @property
    def by(self) -> list[str]:
        """The factors that tell points apart: those of the lines, then x."""
        return [*self.rows, *([self.x] if self.x else [])]

    def levels(self, factor: str) -> list[Any]:
        """The levels of a factor, in the plan's order."""
        return self.plan.levels(factor)

    def pick(self, metric: str, *, along: Sequence[str] = (), **at: Any) -> pd.DataFrame:
        """The records of a metric at those coordinates and no others; coordinates `along` at any value.

        Coordinates `along` keep their names, also where a factor of that name stands in the records.
        """
        return pick(self, metric, at=at, along=along)

    def elsewhere(self, table: pd.DataFrame, metric: str, *splits: str) -> str:
        """What a caption says where a table has nothing of a metric that has values, of other images than `splits`."""
        if table["n"].sum():
            return ""
        own = self.values[self.values["metric"] == metric]
        if own.empty and (others := self._metrics_of(splits)):
            more = " or another of them" if len(others) > 1 else ""
            return f'There are values of {wording.listing(others)}: give metric="{others[0]}"{more}.'
        if own.empty or any(len(self.pick(metric, split=split)) for split in splits):
            return ""
        name, drawn = self.column("split"), " or ".join(splits)
        found = list(own[name].dropna().astype(str).unique()) if name in own else []
        if found and not set(found) & set(splits):
            return f"There are values of {metric} of the split {', '.join(found)}, but none of {drawn}."
        return f"There are values of {metric}, but none that have the split {drawn!r} and nothing beside."

    def _metrics_of(self, splits: Sequence[str]) -> list[str]:
        """The metrics that runs which are done have of those splits, with no coordinate beside."""
        values, name = self.values, self.column("split")
        coordinates = list(values.columns[list(values.columns).index("value") + 1 :])
        if name not in coordinates:
            return []
        is_plain = values[[one for one in coordinates if one != name]].isna().all(axis=1)
        done = self.runs.loc[self.runs["state"] == "done", "run"]
        found = values[is_plain & values[name].isin(splits) & values["run"].isin(done) & values["value"].notna()]
        return list(found["metric"].astype(str).unique())

    def column(self, name: str) -> str:
        """The column of a coordinate, where a factor may have taken the name itself."""
        return column(self, name)

    def plainly(self, values: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
        """The values with those coordinates under their own names, instead of a factor that has taken one."""
        taken = {self.column(name): name for name in names}
        return values.drop(columns=[name for own, name in taken.items() if own != name]).rename(columns=taken)

    def means(self, values: pd.DataFrame, *, by: Sequence[str], also: Sequence[str] = ()) -> pd.DataFrame:
        """The mean of `value` with its interval in every cell planned, measured or not.

        Columns: `by`, then `also` (coordinates of the values), estimate, low, high, n, sd, planned.
        """
        keys = [*by, *also]
        found = mean_interval(values.reindex(columns=[*keys, "value"]), by=keys, level=self.level)
        return self.joined(found, by=by)[[*keys, "estimate", "low", "high", "n", "sd", "planned"]]

    def joined(self, found: pd.DataFrame, *, by: Sequence[str], counts: Sequence[str] = ("n",)) -> pd.DataFrame:
        """What was found, beside the number of runs planned in every cell; where nothing was, the `counts` are 0."""
        out = planned(self, by).merge(found, on=list(by), how="left")
        for name in counts:
            out[name] = out[name].fillna(0).astype(int)
        return out

    @functools.cached_property
    def styles(self) -> dict[Any, theme.Style]:
        """The colour and marker of every level of `hue`; baselines are grey."""
        styles = theme.styles(self.plan, self.hue)
        return {
            name: theme.Style(theme.FAINT, style.marker) if name in self.fitted else style
            for name, style in styles.items()
        }

    @functools.cached_property
    def fitted(self) -> set[Any]:
        """The levels of `hue` all of whose runs are fitted instead of trained: baselines without a network."""
        return fitted_levels(self.plan, self.hue)

    @property
    def data_text(self) -> str:
        """The data and, of several, the budget for the first sentence of a caption: " on digits at the largest ..."."""
        if not self.budget:
            return wording.data_text(self)
        levels = wording.listing([wording.exact(one) if wording.is_number(one) else one for one in self.budgets])
        several = f" of each ({wording.factor_text(self.budget)} {levels})" if len(self.budgets) > 1 else ""
        return f"{wording.data_text(self)} at the largest budget of training{several}"

    def legend(self, names: Sequence[Any] | None = None) -> dict[str, Any]:
        """A legend entry for every level of `hue`, or for some of them."""
        shown = self.styles if names is None else names
        return {wording.level_text(self.hue, name): marks.handle(**self.style(name)) for name in shown}

    def style(self, name: Any) -> dict[str, Any]:
        """How the line of a level is drawn: arguments of `marks.interval_line`. Baselines are grey, without marks."""
        if name not in self.fitted:
            return {"style": self.styles[name]}
        index = [one for one in self.styles if one in self.fitted].index(name)
        return {"style": theme.Style(theme.FAINT, ""), "line": theme.DASHES[index % len(theme.DASHES)]}

    def parts(
        self, table: pd.DataFrame, names: Sequence[str] | None = None, *, with_empty: bool = False
    ) -> list[tuple[str, pd.DataFrame]]:
        """The rows of every panel with its title.

        A panel of which nothing is measured is left out where something is of others, unless `with_empty`.
        """
        parts = theme.panels(table, self.panels if names is None else names)
        measured = parts if with_empty or "n" not in table else [one for one in parts if one[1]["n"].sum()]
        return measured or parts

    def heads(self, row: dict[Any, Any], names: Sequence[str] | None = None) -> dict[str, str]:
        """The first cells of a row as it is printed: its levels under the names of their factors."""
        chosen = self.rows if names is None else names
        return wording.heads({name: row[name] for name in chosen})

    def wide(
        self,
        table: pd.DataFrame,
        cell: Callable[[dict[Any, Any]], str],
        *,
        rows: Sequence[str],
        columns: str = "",
        names: Sequence[Any] | None = None,
    ) -> pd.DataFrame:
        """The table as it is printed: a row for every combination of `rows`, a column a level of `hue` or `columns`."""
        across = columns or self.hue
        cells = [cell(row) for row in table.to_dict("records")]
        return wording.wide(
            table, cells, rows=rows, columns=across, names=self.levels(across) if names is None else names
        )
