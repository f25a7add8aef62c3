"""Gap: the paired difference to a reference model against the number of training images."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import theme
from vision_attn.figures.axes import difference_axis
from vision_attn.figures.lines import SplitLines
from vision_attn.figures.marks import reference_line, whiten
from vision_attn.figures.view import View
from vision_attn.records import Records, planned
from vision_attn.spec import spec
from vision_attn.statistics import holm, outperformance, paired_difference, paired_p, pairs
from vision_attn.statistics.paired import PAIRED

DIFFERENCE = PAIRED[2]
TESTED = ("p", "p_holm", "outperformance", "outperformance_low", "outperformance_high")


@spec
class Gap(SplitLines):
    """The mean difference to `reference`, seed by seed on the same subset, with its Student-t interval.

    Above zero: better than the reference (for a loss: worse). `p` is that of Student's paired t-test and `p_holm`
    corrected for the number of levels of `x` at which a level of `hue` is compared (Holm 1979), in every panel by
    itself. `outperformance`: the probability of being above the reference in a pair (Bouthillier et al. 2021).
    """

    title: ClassVar[str] = "Gap to the reference"
    own_columns: ClassVar[tuple[str, ...]] = (
        "reference",
        "dropped",
        "dropped_pairs",
        "p",
        "p_holm",
        "outperformance",
        "outperformance_low",
        "outperformance_high",
    )
    ends_at_100: ClassVar[bool] = False

    reference: str | int | float | bool
    x: str = "train_size"

    @property
    def shows_differences_only(self) -> bool:
        return True

    def singles(self, view: View) -> pd.DataFrame:
        """The difference of every pair."""
        both = self._pairs(view)
        return both.assign(value=both[DIFFERENCE]).dropna(subset="value")

    def _pairs(self, view: View) -> pd.DataFrame:
        values = self.values(view)
        by = [*view.panels, self.x]
        if not (values[self.hue] == self.reference).any():
            return pd.DataFrame(columns=[*by, self.hue, *PAIRED])
        return pairs(values, by=by, pair_on=[self.over], compare=self.hue, reference=self.reference, names=PAIRED)

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        alike, by = [*view.panels, self.x], [*view.panels, self.x, self.hue]
        grid = planned(view, by)
        grid = grid[grid[self.hue] != self.reference].reset_index(drop=True)
        both = self._pairs(view)
        if both.empty:
            empty = dict.fromkeys(("estimate", "low", "high", "sd", *TESTED), np.nan)
            return grid.assign(reference=self.reference, **empty).assign(n=0, dropped=0, dropped_pairs="")
        compared = {"compare": self.hue, "reference": self.reference, "level": self.level}
        gaps = paired_difference(self.values(view), by=alike, pair_on=[self.over], **compared)  # type: ignore[arg-type]
        out = grid.merge(gaps, on=by, how="left").merge(self._tests(both, by), on=by, how="left")
        out = out.astype(grid[by].dtypes.to_dict())  # a merge forgets the order of levels
        out["p_holm"] = np.nan
        for _, own in out.groupby([*view.panels, self.hue], observed=True, dropna=False):
            out.loc[own.index, "p_holm"] = holm(own["p"].to_numpy(float))
        for name in ("n", "dropped"):
            out[name] = out[name].fillna(0).astype(int)
        out["dropped_pairs"] = out["dropped_pairs"].astype(object).fillna("")
        columns = ["estimate", "low", "high", "n", "sd", "planned", "dropped", "dropped_pairs", *TESTED]
        return out.assign(reference=self.reference)[[*by, "reference", *columns]]

    def _tests(self, both: pd.DataFrame, by: list[str]) -> pd.DataFrame:
        """p and the probability of being better in a pair, with its bounds, of every cell."""
        names = dict(zip(("estimate", "low", "high"), TESTED[2:], strict=True))
        wins = outperformance(both, difference=DIFFERENCE, by=by, level=self.level).rename(columns=names)
        return paired_p(both, difference=DIFFERENCE, by=by).drop(columns="p_holm").merge(wins.drop(columns="n"), on=by)

    def line_levels(self, table: pd.DataFrame, view: View) -> list[Any]:
        return [name for name in view.levels(self.hue) if name != self.reference]

    def under(self, axes: Axes, rows: pd.DataFrame, view: View) -> None:
        reference_line(axes, 0)

    def compared(self, view: View) -> tuple[float, str]:
        return 0.0, wording.level_text(self.hue, self.reference)

    def marks(
        self, axes: Axes, own: pd.DataFrame, at: dict[Any, float], style: theme.Style, rows: pd.DataFrame
    ) -> None:
        """Hollow: not certain after the correction."""
        unsure = own[own["estimate"].notna() & ~(own["p_holm"] < 1 - self.level) & rows["p"].notna().any()]
        whiten(axes, unsure, at, style)

    def quantity(self, view: View) -> str:
        reference = wording.level_text(self.hue, self.reference)
        return f"difference in {self.split} {self.metric.replace('_', ' ')}\nto {reference}"

    def y_text(self, view: View) -> str:
        return self.quantity(view) + (" (percentage points)" if wording.is_share(self.metric) else "")

    def chance(self, view: View) -> None:
        """Guessing has no place among differences."""

    def finish(self, panels: Sequence[Axes], table: pd.DataFrame, view: View) -> None:
        difference_axis(panels[0], table, along="y")

    def sentence(self, table: pd.DataFrame, view: View) -> str:
        what = f"{self.split} {self.metric.replace('_', ' ')}"
        return (
            f"Difference in {what} to {self.reference}{view.data_text}, paired by {self.over} ({self._pairing(view)})."
        )

    def counted(self, table: pd.DataFrame, view: View) -> tuple[pd.DataFrame, list[str]]:
        return table, [self.hue, *view.panels, self.x]

    def bars(self) -> str:
        return (
            f"Bars: {100 * self.level:g} % Student-t intervals of the mean difference, no correction for "
            f"multiple comparisons; faint points: single {self.over}s. Filled marks: p < {1 - self.level:.3g} "
            f"(paired t-test), Holm-corrected over the levels of {wording.factor_text(self.x)} of each line; "
            "hollow: not."
        )

    def remarks(self, table: pd.DataFrame, view: View) -> list[str]:
        return [*super().remarks(table, view), wording.alone_text(table, [self.hue, *view.panels, self.x])]

    def _pairing(self, view: View) -> str:
        """What the members of a pair share, by the hashes of their training subsets."""
        subset = view.column("subset_sha256")
        if subset not in view.runs:
            return "nothing is known of their training subsets"
        groups = view.runs.groupby([*view.panels, self.x, self.over], observed=True, dropna=False)
        is_same = (groups[subset].nunique() <= 1).all()
        return "the same training subset" if is_same else "though not the same training subset in every pair"

    def cell(self, row: dict[Any, Any]) -> str:
        return wording.interval(row, metric=self.metric, signed=True)
