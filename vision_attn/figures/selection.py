"""Selection: how every level of a factor, such as the learning rate, does on validation images, and which is taken."""

import dataclasses
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import lettering, marks, theme
from vision_attn.figures.axes import rows_axis, rows_size, size_axis
from vision_attn.figures.base import Figure
from vision_attn.figures.recipes import RATE, Recipes, rates_alone, settings_behind
from vision_attn.plan import Plan
from vision_attn.records import Records, require_factor
from vision_attn.selection import selections
from vision_attn.spec import spec

LONG = 12
"""Characters of the longest level from which on levels are rows, as their names would not fit below one another."""
RING = 12
"""The size of the ring around what is chosen, in points."""
DOT = 9
"""How near two marks of a row overlap, in points."""
STEP = 0.34
"""How far apart they are then drawn, in rows."""


@dataclasses.dataclass(frozen=True)
class _Tried:
    """A level that is measured: its row of the table, its learning rate, and all else of its runs."""

    row: dict[Any, Any]
    rate: float
    others: frozenset[str]

    def alike(self, rows: list[Self]) -> list[Self]:
        """The rows that differ from this one in the rate alone, with itself."""
        return [one for one in rows if one.others == self.others]

    def lacks(self, rows: list[Self]) -> str:
        """On which sides of its rate none of these has done worse; "" where both have such a one."""
        own = self.alike(rows)
        if len(own) == 1:
            return "no other tried"
        sides = {"lower": [one for one in own if one.rate < self.rate]}
        sides["higher"] = [one for one in own if one.rate > self.rate]
        said = []
        for word, beyond in sides.items():
            if not any(one.row["estimate"] < self.row["estimate"] for one in beyond):
                said.append(f"no {word} one did worse" if beyond else f"none {word} tried")
        return " and ".join(said)


@spec
class Selection(Figure):
    """The mean final validation accuracy of every level of `choose`, for every level of `hue`; the best is chosen.

    The choice is made anew for every combination of the factors `by`, each a panel. The mean is over all other
    factors. Other figures and verdicts of the experiment show the runs at the chosen level only.

    Levels that are names of whole recipes, such as trials of a search, lie along their learning rates on a logarithmic
    axis, with a panel for every level of `hue`; what else tells them apart, such as the weight decay or crops, are
    styles of lines and marks. Where that is not enough, they are rows. Where one name is another recipe in every
    group, as "best" is, the table says what each sets, as far as not all do.
    """

    title: ClassVar[str] = "Choice on validation images"
    opens_table: ClassVar[bool] = True

    choose: str = "learning_rate"
    hue: str = "model"
    metric: str = "val_accuracy"
    by: tuple[str, ...] = ()

    def check(self) -> None:
        self.require("metric", wording.is_share(self.metric), "a share that is best at 1, such as 'val_accuracy'")

    def applies(self, plan: Plan) -> bool:
        """Where there are several levels to choose from."""
        return len(plan.factors.get(self.choose, ())) != 1

    def table(self, records: Records) -> pd.DataFrame:
        names = {"choose": (self.choose,), "hue": (self.hue,), "by": self.by}
        for field, factors in names.items():
            for name in factors:
                require_factor(records.plan, field, "Selection", name)
        table = selections(records, over=self.choose, by=(*self.by, self.hue), metric=self.metric)
        behind = self._behind(records)
        if behind is None:
            return table
        keys = [*self.by, self.hue, self.choose]
        return table.merge(behind.astype(table[keys].dtypes.to_dict()), on=keys, how="left")

    def _behind(self, records: Records) -> pd.DataFrame | None:
        """The settings behind levels that are called by one name in every group and are another recipe in each."""
        return settings_behind(records.plan, choose=self.choose, hue=self.hue, by=self.by)

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Canvas | None = None) -> theme.Canvas:
        levels = self._levels(records)
        styles = theme.styles(records.plan, self.hue)
        shown = wording.percent(table).assign(low=np.nan, high=np.nan, ringed=self._ringed(table))
        recipes = Recipes.read(records.plan, choose=self.choose, by=[*self.by, self.hue])
        if recipes is not None and table["n"].sum():
            return self._by_rate(shown[shown["n"] > 0], recipes, styles, into)
        with theme.style(into):
            parts = theme.panels(shown, self.by)
            texts, is_named = lettering.row_names(map(self._text, levels), into=into), self._are_names(levels)
            size = rows_size(texts, len(parts), panel=3.6, row=0.28) if is_named else None
            beside = lettering.text_width(texts) if is_named else 0.0
            figure, axes = theme.canvas(len(parts), columns=2, size=size, beside=beside, into=into)
            quantity = f"{self._quantity} (%)"
            for each, (title, rows) in zip(axes, parts, strict=True):
                if is_named:
                    self._rows(each, rows, levels, styles)
                    rows_axis(each, texts)
                    each.set_xlabel(quantity)
                else:
                    self._panel(each, rows, levels, styles)
                    each.set_ylabel(quantity)
                lettering.titled(each, title)
            if not table["n"].sum():
                for each in axes:
                    lettering.blank(each)
            measured = set(table.loc[table["n"] > 0, self.hue]) or set(styles)
            drawn = {name: style for name, style in styles.items() if name in measured}
            line = "" if is_named else None
            entries = {wording.level_text(self.hue, k): marks.handle(s, line=line) for k, s in drawn.items()}
            lettering.legend(figure, entries)
        return figure

    def _panel(self, axes: Axes, rows: pd.DataFrame, levels: list[Any], styles: dict[Any, theme.Style]) -> None:
        axes.margins(y=0.5 * RING / 72 / theme.height(axes) + 0.05)
        places = size_axis(axes, levels, label=wording.factor_text(self.choose))
        for i, (name, style) in enumerate(styles.items()):
            at, _ = marks.dodge(places, i, len(styles), logarithmic=axes.get_xscale() == "log")
            of_level = rows[rows[self.hue] == name].set_index(self.choose).reindex(levels)
            said = wording.level_text(self.hue, name)
            marks.interval_line(axes, np.array(list(at.values())), of_level, style, name=said)
            for level, row in of_level[of_level["ringed"].astype("boolean").fillna(False)].iterrows():
                _ring(axes, at[level], row["estimate"], style)

    def _rows(self, axes: Axes, rows: pd.DataFrame, levels: list[Any], styles: dict[Any, theme.Style]) -> None:
        """Levels that are called by a long name as rows, the first on top; marks that would overlap are moved apart."""
        found, names = rows.dropna(subset="estimate"), list(styles)
        near = 1.1 * np.ptp(found["estimate"].to_numpy(float)) * DOT / 72 / theme.width(axes) if len(found) else 0.0
        for place, level in enumerate(levels):
            own = found[found[self.choose] == level].sort_values("estimate", kind="stable")
            crowds = (own["estimate"].diff() >= near).cumsum()
            for _, crowd in own.groupby(crowds):
                at = place + STEP * (np.arange(len(crowd)) - (len(crowd) - 1) / 2) * min(1, 2.5 / len(crowd))
                ordered = sorted(crowd.to_dict("records"), key=lambda row: names.index(row[self.hue]))
                for y, row in zip(at, ordered, strict=True):
                    style = styles[row[self.hue]]
                    axes.plot(row["estimate"], y, linestyle="", **marks.mark(style, size=1.1))
                    if row["ringed"]:
                        _ring(axes, row["estimate"], y, style)

    def _by_rate(
        self, measured: pd.DataFrame, recipes: Recipes, styles: dict[Any, theme.Style], into: theme.Canvas | None
    ) -> theme.Canvas:
        """A panel for every level of `hue`, the learning rate along x, a line for every other setting told apart."""
        keys = [*self.by, self.hue, self.choose]
        bare = measured[measured.columns.difference(recipes.settings.columns.difference(keys), sort=False)]
        shown = bare.merge(recipes.settings.astype(measured[keys].dtypes.to_dict()), on=keys)
        used: dict[str, dict[str, Any]] = {}
        with theme.style(into):
            parts = self._grid(shown, styles)
            columns = min(4, max(2, shown[self.hue].nunique()))
            figure, axes = theme.canvas(len(parts), columns=columns, into=into)
            for each, (title, rows) in zip(axes, parts, strict=True):
                each.margins(y=0.5 * RING / 72 / theme.height(each) + 0.05)
                places = size_axis(each, recipes.rates, label="learning rate")
                if rows.empty:
                    lettering.titled(each, title)
                    lettering.blank(each)
                    continue
                style = styles[rows[self.hue].iloc[0]]
                groups = rows.groupby(list(recipes.told), dropna=False) if recipes.told else [((), rows)]
                for key, own in groups:
                    look, line = recipes.style(key), own.sort_values(RATE)
                    name = ", ".join(map(wording.level_text, recipes.told, key))
                    used.setdefault(name, look)
                    at = line[RATE].astype(float).map(places).to_numpy(float)
                    marks.interval_line(each, at, line, style, **look, name=name)
                for row in rows[rows["ringed"]].to_dict("records"):
                    _ring(each, places[float(row[RATE])], row["estimate"], style)
                lettering.titled(each, title)
                lettering.label_y(each, f"{self._quantity} (%)")
            ink = theme.Style(theme.INK, "o")
            if len(used) > 1:
                lettering.legend(figure, {name: marks.handle(ink, **look) for name, look in sorted(used.items())})
        return figure

    def _grid(self, shown: pd.DataFrame, styles: dict[Any, theme.Style]) -> list[tuple[str, pd.DataFrame]]:
        """The rows of every panel: a line of panels a combination of `by`, in each the same levels of `hue`."""
        names = [name for name in styles if (shown[self.hue] == name).any()]
        out = []
        for title, rows in theme.panels(shown, self.by):
            for name in names:
                said = wording.level_text(self.hue, name)
                out.append((f"{title}, {said}" if title else said, rows[rows[self.hue] == name]))
        return out

    @property
    def _quantity(self) -> str:
        return wording.history_text(self.metric)

    def _ringed(self, table: pd.DataFrame) -> pd.Series:
        """Whether a row is the best of several levels that are measured of its group: only then it was chosen."""
        groups = [table[name] for name in (*self.by, self.hue)]
        measured = (table["n"] > 0).groupby(groups, observed=True, dropna=False).transform("sum")
        return table["chosen"] & (table["n"] > 0) & (measured > 1)

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        if not table["n"].sum():
            return "Nothing is measured yet."
        runs = int(table["n"].sum())
        return (
            f"Final {self._quantity}{wording.data_text(records)} by {wording.factor_text(self.choose)}, mean over all "
            f"other factors ({runs:,} runs; any that diverges counts as 0).{self._layout(records)} Ringed: "
            f"chosen for that {wording.factor_text(self.hue)}, of equal ones the first. "
            f"Test images have no part in the choice.{self._edges(table, records)}"
        )

    def _edges(self, table: pd.DataFrame, records: Records) -> str:
        """Which choices have no worse learning rate on one side, of those tried with all else equal.

        And where the best of the other settings that were tried at several rates has none: it was passed over, and
        may be so for its rate alone.
        """
        groups = [*self.by, self.hue]
        known = rates_alone(records.plan, [*groups, self.choose])
        tried = table.assign(ringed=self._ringed(table))[table["n"] > 0]
        chosen, passed = [], []
        for _, group in tried.groupby(groups, observed=True, dropna=False) if known else ():
            rows = [
                _Tried(row, *known[tuple(row[name] for name in (*groups, self.choose))])
                for row in group.to_dict("records")
            ]
            for own in (one for one in rows if one.row["ringed"]):
                name = wording.cell_text(own.row, groups[::-1])
                if lacks := own.lacks(rows):
                    chosen.append(f"{name} ({own.rate:g}, {lacks})")
                others = [one for one in rows if one.others != own.others and len(one.alike(rows)) > 1]
                best = max(others, key=lambda one: one.row["estimate"], default=None)
                if best is not None and (lacks := best.lacks(rows)):
                    passed.append(f"{name} ({self._text(best.row[self.choose])}: {best.rate:g}, {lacks})")
        heads = (
            "The chosen learning rate does not lie between two worse ones with all else equal, so that another may do "
            "better",
            "Of other settings tried at several rates the best may do better at another",
        )
        return "".join(
            f" {head}: {'; '.join(ends)}." for head, ends in zip(heads, (chosen, passed), strict=True) if ends
        )

    def _layout(self, records: Records) -> str:
        """What the caption says of levels that lie along their learning rates."""
        recipes = Recipes.read(records.plan, choose=self.choose, by=[*self.by, self.hue])
        if recipes is None:
            return ""
        others = f"; lines and marks tell {wording.listing([*map(wording.factor_text, recipes.told)])} apart"
        return f" Each lies at its learning rate{others if recipes.told else ''}."

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        cells = [
            wording.number(row["estimate"], metric=self.metric) + (" (chosen)" if is_choice else "")
            for row, is_choice in zip(table.to_dict("records"), self._ringed(table), strict=True)
        ]
        if (behind := self._behind(records)) is not None:
            heads = [*self.by, self.hue, *(name for name in behind if name not in (*self.by, self.hue))]
            rows = [wording.heads({name: row[name] for name in heads}) for row in table.to_dict("records")]
            quantity = f"{self._quantity} (%)"
            return pd.DataFrame([row | {quantity: cell} for row, cell in zip(rows, cells, strict=True)])
        levels, names = self._levels(records), records.plan.levels(self.hue)
        if self._are_names(levels):
            return wording.wide(table, cells, rows=[*self.by, self.choose], columns=self.hue, names=names)
        return wording.wide(table, cells, rows=[*self.by, self.hue], columns=self.choose, names=levels)

    def _are_names(self, levels: list[Any]) -> bool:
        """Whether levels have names so long that they are rows."""
        return not all(map(wording.is_number, levels)) and max(map(len, map(self._text, levels))) > LONG

    def _text(self, level: Any) -> str:
        return wording.level_text(self.choose, level)

    def _levels(self, records: Records) -> list[Any]:
        levels = list(records.plan.levels(self.choose))
        return sorted(levels) if all(map(wording.is_number, levels)) else levels


def _ring(axes: Axes, x: float, y: float, style: theme.Style) -> None:
    """A ring around the mark of what is chosen."""
    axes.plot(x, y, "o", markersize=RING, markerfacecolor="none", markeredgecolor=style.colour)
