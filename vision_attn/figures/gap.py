"""Gap: the paired difference to a reference model against the number of training images."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import theme
from vision_attn.figures.axes import percent_axis, size_axis
from vision_attn.figures.base import OverSeeds
from vision_attn.plan import Plan
from vision_attn.records import Records, facets, may_have, pick, planned, require_level
from vision_attn.spec import spec
from vision_attn.statistics import holm, outperformance, paired_difference, paired_p, pairs

TESTED = ("p", "p_holm", "outperformance", "outperformance_low", "outperformance_high")


@spec
class Gap(OverSeeds):
    """The mean difference to `reference`, seed by seed on the same subset, with its Student-t interval.

    Above zero: better than the reference (for a loss: worse). `p` is that of Student's paired t-test and `p_holm`
    corrected for the number of levels of `x` at which a level of `hue` is compared (Holm 1979), in every panel by
    itself. `outperformance`: the probability of being above the reference in a pair (Bouthillier et al. 2021).
    """

    title: ClassVar[str] = "Gap to the reference"
    factor_fields: ClassVar[tuple[str, ...]] = ("x", "hue", "over")

    reference: str
    metric: str = "accuracy"
    split: str = "test"
    x: str = "train_size"

    def applies(self, plan: Plan) -> bool:
        """Where the reference is among the levels of `hue`."""
        return super().applies(plan) and may_have(plan, self.hue, self.reference)

    def _settled(self, records: Records) -> Records:
        records = super()._settled(records)
        require_level(records.plan, "reference", "Gap", self.hue, self.reference)
        return records

    def _factors(self, records: Records) -> list[str]:
        return [*facets(records.plan, used=(self.x, self.hue, self.over)), self.x, self.hue]

    def _values(self, records: Records) -> pd.DataFrame:
        return pick(records, self.metric, at={"split": self.split})

    def _has_reference(self, records: Records) -> bool:
        return bool((self._values(records)[self.hue] == self.reference).any())

    def table(self, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        grid = planned(records, by)
        grid = grid[grid[self.hue] != self.reference].reset_index(drop=True)
        if not self._has_reference(records):
            empty = dict.fromkeys(("estimate", "low", "high", "sd", *TESTED), np.nan)
            return grid.assign(reference=self.reference, **empty).assign(n=0, dropped=0, dropped_pairs="")
        gaps = paired_difference(
            self._values(records),
            by=by[:-1],
            pair_on=[self.over],
            compare=self.hue,
            reference=self.reference,
            level=self.level,
        )
        out = grid.merge(gaps, on=by, how="left").merge(self._tests(records, by), on=by, how="left")
        out = out.astype(grid[by].dtypes.to_dict())  # a merge forgets the order of levels
        out["p_holm"] = np.nan
        alike = [name for name in by if name != self.x]
        for _, own in out.groupby(alike, observed=True, dropna=False):
            out.loc[own.index, "p_holm"] = holm(own["p"].to_numpy(float))
        out = out.assign(reference=self.reference)
        for name in ("n", "dropped"):
            out[name] = out[name].fillna(0).astype(int)
        out["dropped_pairs"] = out["dropped_pairs"].astype(object).fillna("")
        columns = ["estimate", "low", "high", "n", "sd", "planned", "dropped", "dropped_pairs", *TESTED]
        return out[[*by, "reference", *columns]]

    def _tests(self, records: Records, by: list[str]) -> pd.DataFrame:
        """p and the probability of being better in a pair, with its bounds, of every cell."""
        both = pairs(self._values(records), by=by[:-1], pair_on=[self.over], compare=self.hue, reference=self.reference)
        wins = outperformance(both, by=by, level=self.level)
        names = dict(zip(("estimate", "low", "high"), TESTED[2:], strict=True))
        p = paired_p(both, by=by).drop(columns="p_holm")
        return p.merge(wins.rename(columns=names).drop(columns="n"), on=by)

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Sheet | None = None) -> theme.Sheet:
        records = self._settled(records)
        by = self._factors(records)
        with theme.style():
            parts = theme.panels(table, by[:-2])
            figure, axes = theme.canvas(len(parts), into=into)
            for each, (title, rows) in zip(axes, parts, strict=True):
                self._panel(each, rows, self._pairs(rows, records, by), records)
                theme.titled(each, title)
                if theme.is_left(each):
                    unit = " (percentage points)" if wording.is_share(self.metric) else ""
                    each.set_ylabel(
                        f"difference in {self.split} {self.metric.replace('_', ' ')}\nto {self.reference}{unit}"
                    )
            looks = {k: v for k, v in theme.looks(records.plan, self.hue).items() if k != self.reference}
            if not table["n"].sum():
                for each in axes:
                    theme.blank(each)
            theme.legend(figure, {wording.level_text(self.hue, k): theme.handle(look) for k, look in looks.items()})
        return figure

    def _pairs(self, rows: pd.DataFrame, records: Records, by: list[str]) -> pd.DataFrame:
        if not self._has_reference(records):
            return pd.DataFrame(columns=[*by, "difference"])
        both = pairs(self._values(records), by=by[:-1], pair_on=[self.over], compare=self.hue, reference=self.reference)
        return both.dropna(subset="difference").merge(rows[by].drop_duplicates(), on=by)

    def _panel(self, axes: Axes, rows: pd.DataFrame, singles: pd.DataFrame, records: Records) -> None:
        levels = records.plan.levels(self.x)
        places = size_axis(axes, levels, label=wording.factor_text(self.x))
        theme.reference_line(axes, 0, self.reference)
        looks = {k: v for k, v in theme.looks(records.plan, self.hue).items() if k != self.reference}
        for i, (name, look) in enumerate(looks.items()):
            at, aside = theme.dodge(places, i, len(looks), logarithmic=axes.get_xscale() == "log")
            mine = rows[rows[self.hue] == name].set_index(self.x).reindex(levels)
            points = singles[(singles[self.hue] == name) & singles[self.x].isin(mine.index[mine["n"] > 1])]
            theme.seeds_scatter(axes, [aside[x] for x in points[self.x]], points["difference"].to_numpy(float), look)
            theme.interval_line(axes, np.array(list(at.values())), mine, look)
            unsure = mine[mine["estimate"].notna() & ~(mine["p_holm"] < 1 - self.level) & rows["p"].notna().any()]
            hollow: dict[str, Any] = {
                "color": look.colour,
                "markerfacecolor": "white",
                "markeredgecolor": look.colour,
                "zorder": 3,
            }
            axes.plot([at[x] for x in unsure.index], unsure["estimate"].to_numpy(float), look.marker, **hollow)
        if wording.is_share(self.metric):
            percent_axis(axes)

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        records = self._settled(records)
        by = self._factors(records)
        what = f"{self.split} {self.metric.replace('_', ' ')}"
        said = [
            f"Difference in {what} to {self.reference}{wording.data_text(records)}, paired by {self.over} "
            f"({self._pairing(records, by)}).",
            wording.seeds_text(table, [by[-1], *by[:-1]], unit=self.over),
        ]
        if (table["n"] > 1).any():
            bars = f"Bars: {100 * self.level:g} % Student-t intervals of the mean difference"
            said.append(
                f"{bars}, each cell by itself (not corrected for their number); faint points: single {self.over}s."
            )
            said.append(
                f"Filled marks: p < {1 - self.level:.3g} (paired t-test) after Holm's correction for the levels of "
                f"{wording.factor_text(self.x)} of each line; hollow: not."
            )
        alone = int(table["dropped"].sum())
        if alone:
            said.append(f"{alone} values have no partner and are left out (dropped_pairs in the CSV names them).")
        return " ".join(said)

    def _pairing(self, records: Records, by: list[str]) -> str:
        """What the members of a pair share, by the hashes of their training subsets."""
        if "subset_sha256" not in records.runs:
            return "nothing is known of their training subsets"
        subsets = records.runs.groupby([*by[:-1], self.over], observed=True, dropna=False)["subset_sha256"].nunique()
        return (
            "the same training subset" if (subsets <= 1).all() else "though not the same training subset in every pair"
        )

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        cells = [wording.interval(row, metric=self.metric, signed=True) for row in table.to_dict("records")]
        names = [level for level in records.plan.levels(self.hue) if level != self.reference]
        return wording.wide(table, cells, rows=by[:-1], columns=self.hue, names=names)
