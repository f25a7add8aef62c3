"""Crossover and data equivalence: numbers of images, with intervals, or a bound where the sizes measured end."""

import abc
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import lettering, marks, theme
from vision_attn.figures.axes import require_sizes, size_axis
from vision_attn.figures.dots import Dots
from vision_attn.figures.view import View
from vision_attn.records import Records, planned, rows_at
from vision_attn.spec import spec
from vision_attn.statistics import Estimate, crossover, equivalent_size

NOT_MEASURED = "not measured"
PLACES = {"": ("estimate", "center"), "above": ("largest", "right"), "below": ("smallest", "left")}
"""Where a mark lies, by how it is censored, and how a text there is set so that it stays within the axes."""
COLUMNS = [
    *("estimate", "low", "high", "n", "n_most", "dropped", "dropped_pairs"),
    *("censored", "low_censored", "high_censored", "smallest", "largest", "said"),
]


@spec
class ComparedSizes(Dots, abc.ABC):
    """A number of images for every level of `hue` but the reference, read off the measured means.

    Intervals are percentiles over resampled seeds. What lies outside the sizes that both have been measured at is
    censored: "above" the largest, "below" the smallest; such estimates and bounds are missing. `n` is the number of
    pairs at the size that has fewest, `n_most` at the one that has most; `dropped` values have no partner.
    """

    own_columns: ClassVar[tuple[str, ...]] = (
        "reference",
        "n_most",
        "dropped",
        "dropped_pairs",
        "censored",
        "low_censored",
        "high_censored",
        "smallest",
        "largest",
        "said",
    )

    factor_fields: ClassVar[tuple[str, ...]] = ("x", "hue", "over")
    says_nothing: ClassVar[bool] = False
    interval: ClassVar[str] = "percentile bootstrap"
    above: ClassVar[str]
    below: ClassVar[str]
    """How a censored size is put into words, with a place for the last size measured."""

    reference: str | int | float | bool
    metric: str = "accuracy"
    split: str = "test"
    x: str = "train_size"
    resamples: int = 2000

    @property
    def shows_differences_only(self) -> bool:
        return True

    def check(self) -> None:
        super().check()
        self.require("metric", wording.is_share(self.metric), "a share that is best at 1, such as 'accuracy'")
        self.require("resamples", self.resamples >= 20, "20 or more")

    @abc.abstractmethod
    def _estimate(self, values: pd.DataFrame, other: Any) -> Estimate:
        """The size for one level of `hue`."""

    @abc.abstractmethod
    def _quantity(self) -> str:
        """The size in a caption, of what it is the number."""

    def _options(self) -> dict[str, Any]:
        names = ("x", "reference", "level", "resamples")
        return {**{name: getattr(self, name) for name in names}, "compare": self.hue, "pair_on": [self.over]}

    def view(self, records: Records) -> View:
        require_sizes(records.plan, type(self).__name__, self.x)
        return super().view(records)

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        by, values = view.rows, view.pick(self.metric, split=self.split)
        grid = planned(view, view.by).groupby(by, observed=True)["planned"].min().reset_index()
        grid = grid[grid[self.hue] != self.reference].reset_index(drop=True)
        rows = []
        for cell in grid[by].to_dict("records"):
            in_panel = rows_at(values, {name: cell[name] for name in by[:-1]})
            rows.append(self._row(self._estimate(in_panel, cell[self.hue])))
        out = pd.concat([grid, pd.DataFrame(rows, columns=COLUMNS)], axis=1).assign(reference=self.reference)
        return out[[*by, "reference", *COLUMNS[:-1], "planned", "said"]]

    def _row(self, found: Estimate) -> dict[str, Any]:
        row: dict[str, Any] = {name: getattr(found, name) for name in ("n", "n_most", "dropped", "dropped_pairs")}
        for name, mark in (("estimate", "censored"), ("low", "low_censored"), ("high", "high_censored")):
            size = getattr(found, name)
            row[mark] = "above" if np.isinf(size) else "below" if size == 0 else ""
            row[name] = np.nan if row[mark] else size
        sizes = found.sizes or (np.nan,)
        row |= {"smallest": sizes[0], "largest": sizes[-1]}
        return row | {"said": self._words(row, "estimate", "censored") if found.sizes else NOT_MEASURED}

    def _words(self, row: dict[Any, Any], name: str, mark: str) -> str:
        """A size in words, censored or not."""
        if row[mark]:
            bound = row["largest"] if row[mark] == "above" else row["smallest"]
            return (self.above if row[mark] == "above" else self.below).format(f"{bound:,.0f}")
        return f"{row[name]:,.0f}"

    def _end(self, row: dict[Any, Any], name: str) -> str:
        """An end of the interval in words."""
        return self._words(row, name, f"{name}_censored")

    def instead(self, table: pd.DataFrame, records: Records) -> str:
        """Where every size lies beyond those measured: which models, and where those end."""
        known = table[table["said"] != NOT_MEASURED]
        if known.empty or (known["censored"] == "").any():
            return ""
        view = self.view(records)
        names = known.apply(lambda row: wording.cell_text(row.to_dict(), view.rows[::-1]), axis=1)
        said = [f"{text} ({wording.listing(list(own))})" for text, own in names.groupby(known["said"], sort=False)]
        return f"{self._quantity()}: {'; '.join(said)}."

    def draw_axis(self, axes: Axes, view: View) -> None:
        room = max(12, int((theme.width(axes) - lettering.text_width(self.rows(view).values())) / 0.08))
        size_axis(axes, view.levels(self.x), label=lettering.wrapped(self._label(), room))

    def draw_row(self, axes: Axes, row: dict[Any, Any], place: int, view: View) -> None:
        _draw_row(axes, row, place, view.styles[row[self.hue]])

    def _label(self) -> str:
        return wording.factor_text(self.x)

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        view = self.view(records)
        of = f"{self.split} {self.metric.replace('_', ' ')}{view.data_text}"
        said = [
            f"{self._quantity()}, by {of}; read off straight lines between the measured means, never beyond them.",
            wording.seeds_text(table, view.rows[::-1], unit=f"paired {self.over}"),
        ]
        if (table["n"] > 1).any():
            said.append(f"Bars: {100 * self.level:g} % percentile intervals over resampled {self.over}s.")
        if (table["n_most"] > table["n"]).any():
            said.append(f"Sizes with more pairs use them all (up to {table['n_most'].max()}).")
        said.append(wording.alone_text(table, view.rows[::-1]))
        is_open = (table[["censored", "low_censored", "high_censored"]] != "").any(axis=None)
        if is_open and not self.instead(table, view):
            said.append("Arrows: beyond the sizes measured, so only a bound is known.")
        said.append(view.elsewhere(table, self.metric, self.split))
        return " ".join(filter(None, said))

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        view = self.view(records)
        out = []
        for row in table.to_dict("records"):
            ends = [self._end(row, name) for name in ("low", "high")]
            is_known = row["n"] > 1 and row["said"] != NOT_MEASURED
            out.append(
                view.heads(row)
                | {
                    self._label(): row["said"],
                    f"{100 * self.level:g} % interval": " to ".join(dict.fromkeys(ends)) if is_known else "–",
                }
                | self._further(row)
                | {f"paired {self.over}s": _pairs_text(row)}
            )
        return pd.DataFrame(out)

    def _further(self, row: dict[Any, Any]) -> dict[str, str]:
        """Further cells of a row as it is printed."""
        return {}


@spec
class Crossover(ComparedSizes):
    """The size from which on a model is at least as good as the reference, at every larger size measured."""

    title: ClassVar[str] = "Crossover"
    above: ClassVar[str] = "none up to {}"
    below: ClassVar[str] = "at every size from {}"

    def _estimate(self, values: pd.DataFrame, other: Any) -> Estimate:
        return crossover(values, other=other, **self._options())

    def _quantity(self) -> str:
        return f"The {wording.factor_text(self.x)} from which on a model is at least as good as {self.reference}"

    def _end(self, row: dict[Any, Any], name: str) -> str:
        if row["low_censored"] == row["high_censored"] != "":
            return super()._end(row, name)
        texts = {"below": f"{row['smallest']:,.0f} or fewer", "above": f"more than {row['largest']:,.0f}"}
        return texts.get(row[f"{name}_censored"]) or super()._end(row, name)

    def _label(self) -> str:
        return f"as good as {self.reference} from (images)"


@spec
class DataEquivalence(ComparedSizes):
    """How many images the reference needs to be as good as a model with the most: what the model's data are worth."""

    title: ClassVar[str] = "Data equivalence"
    above: ClassVar[str] = "more than {}"
    below: ClassVar[str] = "fewer than {}"

    def _estimate(self, values: pd.DataFrame, other: Any) -> Estimate:
        return equivalent_size(values, other=other, **self._options())

    def _quantity(self) -> str:
        return f"How many images {self.reference} needs to be as good as the model at its largest training set"

    def draw_row(self, axes: Axes, row: dict[Any, Any], place: int, view: View) -> None:
        super().draw_row(axes, row, place, view)
        if row["said"] != NOT_MEASURED:
            end, side = PLACES[row["censored"]]
            below: dict[str, Any] = {"ha": side, "va": "top", "fontsize": 7.5, "textcoords": "offset points"}
            axes.annotate(f"with {row['largest']:,.0f}", (row[end], place), (0, -5), color=theme.SOFT, **below)

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        return f"{super().caption(table, records)} Under each mark: how many images the model itself has."

    def _label(self) -> str:
        return f"images that {self.reference} needs"

    def _further(self, row: dict[Any, Any]) -> dict[str, str]:
        times = "–" if np.isnan(row["estimate"]) else f"{row['largest'] / row['estimate']:.2g}"
        most = "–" if np.isnan(row["largest"]) else f"{row['largest']:,.0f}"
        return {"as good as with": most, "times as many": times}


def _pairs_text(row: dict[Any, Any]) -> str:
    """The pairs at the size that has fewest, of those planned, and at the one that has most: 3 of 3, up to 6."""
    return f"{row['n']} of {row['planned']}" + (f", up to {row['n_most']}" if row["n_most"] > row["n"] else "")


def _draw_row(axes: Axes, row: dict[Any, Any], place: int, style: theme.Style) -> None:
    """One model: its size as a mark, or an arrow at the end it lies beyond, and the interval, arrows at open ends."""
    if row["said"] == NOT_MEASURED:
        where = axes.get_yaxis_transform()
        axes.text(0.5, place, NOT_MEASURED, transform=where, ha="center", va="center", color=theme.FAINT)
        return
    ends = {"above": row["largest"], "below": row["smallest"]}
    arrows = {"above": ">", "below": "<"}
    low, high = (ends.get(row[f"{end}_censored"], row[end]) for end in ("low", "high"))
    if not (np.isnan(low) or np.isnan(high)):
        axes.hlines(place, low, high, color=style.colour, linewidth=1.6, alpha=0.75, zorder=2)
        for end, at in (("low", low), ("high", high)):
            if mark := arrows.get(row[f"{end}_censored"]):
                axes.plot(at, place, mark, color=style.colour, markersize=6, markerfacecolor="white", zorder=2.5)
    if row["censored"]:
        at, is_above = ends[row["censored"]], row["censored"] == "above"
        axes.plot(at, place, arrows[row["censored"]], color=style.colour, markersize=8, zorder=3)
        offset, side = ((-7, 5), "right") if is_above else ((7, 5), "left")
        axes.annotate(
            row["said"], (at, place), offset, textcoords="offset points", ha=side, fontsize=8, color=theme.FAINT
        )
    else:
        (drawn,) = axes.plot(row["estimate"], place, linestyle="", **marks.mark(style, size=1.2), zorder=3)
        marks.tell(axes, drawn, [row])
