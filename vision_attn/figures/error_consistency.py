"""Error consistency: do two models get the same images wrong, more often than chance makes them?"""

import itertools
from typing import Any, ClassVar

import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import marks, theme
from vision_attn.figures.dots import Dots
from vision_attn.figures.view import View
from vision_attn.records import Records
from vision_attn.spec import spec
from vision_attn.statistics import error_consistency, mean_interval

PAIR = ["first", "second"]


@spec
class ErrorConsistency(Dots):
    """Cohen's kappa of the correctness of two models, image by image, from `CorrectByImage` (Geirhos et al. 2020).

    A row a pair of levels of `hue`: the mean over seeds, both models of a pair having the same seed; of a model with
    itself, two seeds next to each other. 1: the same images are wrong; 0: no more in common than two models of such
    accuracies have by chance (arXiv:2006.16736).
    """

    title: ClassVar[str] = "Mistakes in common"
    measured_by: ClassVar[str] = "CorrectByImage"
    own_columns: ClassVar[tuple[str, ...]] = ("first", "second")

    metric: str = "correct"
    along: str = "image"

    def _pairs(self, view: View) -> list[tuple[Any, Any]]:
        return list(itertools.combinations_with_replacement(view.levels(self.hue), 2))

    def rows(self, view: View) -> dict[Any, str]:
        return {pair: self._text(pair) for pair in self._pairs(view)}

    def key(self, row: dict[Any, Any]) -> Any:
        return row["first"], row["second"]

    def _text(self, pair: tuple[Any, Any]) -> str:
        first, second = (wording.level_text(self.hue, level) for level in pair)
        return f"{first}, another seed" if pair[0] == pair[1] else f"{first} and {second}"

    def _values(self, view: View) -> pd.DataFrame:
        """Kappa of every pair of levels and seed: the panels, `first`, `second`, the seed and `value`."""
        image, found = view.column(self.along), view.pick(self.metric, along=(self.along,))
        columns = [*view.panels, *PAIR, self.over, "value"]
        if found.empty:
            return pd.DataFrame(columns=columns)
        rows = []
        groups = found.groupby(list(view.panels), observed=True, dropna=False) if view.panels else [((), found)]
        for key, part in groups:
            wide = part.pivot_table(index=image, columns=[self.hue, self.over], values="value", observed=True)
            for first, second in self._pairs(view):
                for one, other in self._seeds(wide, first, second):
                    kappa = error_consistency(wide[first, one].to_numpy(), wide[second, other].to_numpy())
                    rows.append([*key, first, second, one, kappa])
        return pd.DataFrame(rows, columns=columns).dropna(subset="value")

    def _seeds(self, wide: pd.DataFrame, first: Any, second: Any) -> list[tuple[Any, Any]]:
        """The pairs of seeds at which two levels are compared; of a level with itself each with the next."""
        have = [[seed for level, seed in wide.columns if level == name] for name in (first, second)]
        if first != second:
            return [(seed, seed) for seed in have[0] if seed in have[1]]
        own = have[0]
        return [] if len(own) < 2 else list(zip(own, [*own[1:], *own[:1]], strict=True))[: 1 if len(own) == 2 else None]

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        by = [*view.panels, *PAIR]
        found = mean_interval(self._values(view), by=by, level=self.level)
        cells = pd.DataFrame(self._pairs(view), columns=PAIR)
        if view.panels:
            cells = view.runs[list(view.panels)].drop_duplicates().merge(cells, how="cross")
        out = cells.astype(object).merge(found.astype(dict.fromkeys(by, object)), on=by, how="left")
        planned = view.runs[self.over].nunique()
        lacks_pair = (out["first"] == out["second"]) & (planned <= 2)
        out["planned"] = planned
        out.loc[lacks_pair, "planned"] = planned - 1
        out["n"] = out["n"].fillna(0).astype(int)
        return out[[*by, "estimate", "low", "high", "n", "sd", "planned"]]

    def draw_row(self, axes: Axes, row: dict[Any, Any], place: int, view: View) -> None:
        is_one = row["first"] == row["second"]
        marks.interval_dot(axes, row, place, view.styles[row["first"]] if is_one else theme.Style(theme.INK, "o"))

    def draw_axis(self, axes: Axes, view: View) -> None:
        axes.set_xlabel("error consistency (kappa)")
        axes.axvline(0, color=theme.INK, linewidth=1.1, zorder=1)

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        view = self.view(records)
        said = [
            f"Error consistency of pairs of {wording.factor_text(self.hue)}s{view.data_text}: 1 is the same "
            "mistakes, 0 as many in common as their accuracies alone give.",
            wording.seeds_text(table, [*view.panels, *PAIR], unit=self.over),
        ]
        if (table["n"] > 1).any():
            said.append(f"Bars: {100 * self.level:g} % Student-t intervals over {self.over}s.")
        return " ".join(said)

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        view = self.view(records)
        out = []
        for row in table.to_dict("records"):
            heads = view.heads(row, list(view.panels))
            text = self._text((row["first"], row["second"]))
            out.append(heads | {"pair": text, "kappa": wording.interval(row, metric="")})
        return pd.DataFrame(out)
