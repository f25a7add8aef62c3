"""Error consistency: do two models get the same images wrong, more often than chance makes them?"""

from typing import Any, ClassVar

import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import marks, theme
from vision_attn.figures.dots import Dots
from vision_attn.figures.pairs import PAIR, joined, overlap_text, pair_text, pairs, seeds_of
from vision_attn.figures.view import View
from vision_attn.records import Records
from vision_attn.spec import spec
from vision_attn.statistics import error_consistency, mean_interval


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
    own_values: ClassVar[tuple[str, ...]] = own_columns

    metric: str = "correct"
    along: str = "image"

    def rows(self, view: View) -> dict[Any, str]:
        return {pair: pair_text(self.hue, pair) for pair in pairs(view)}

    def key(self, row: dict[Any, Any]) -> Any:
        return row["first"], row["second"]

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
            for first, second in pairs(view):
                for one, other in seeds_of(wide.columns, (first, second)):
                    kappa = error_consistency(wide[first, one].to_numpy(), wide[second, other].to_numpy())
                    rows.append([*key, first, second, one, kappa])
        return pd.DataFrame(rows, columns=columns).dropna(subset="value")

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        by = [*view.panels, *PAIR]
        out = joined(view, mean_interval(self._values(view), by=by, level=self.level))
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
        return " ".join(filter(None, [*said, overlap_text(table, self.over)]))

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        view = self.view(records)
        out = []
        for row in table.to_dict("records"):
            heads = view.heads(row, list(view.panels))
            text = pair_text(self.hue, (row["first"], row["second"]))
            out.append(heads | {"pair": text, "kappa": wording.interval(row, metric="")})
        return pd.DataFrame(out)
