"""Receptive field by layer: what a layer could see by its architecture, beside what it does see."""

from typing import Any, ClassVar

import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import theme
from vision_attn.figures.axes import powers_axis
from vision_attn.figures.base import OverSeeds
from vision_attn.records import Records, column, facets, pick, planned
from vision_attn.spec import spec
from vision_attn.statistics import mean_interval

KINDS = ("theoretical", "effective")


@spec
class ReceptiveFieldByLayer(OverSeeds):
    """The theoretical receptive field of each layer in pixels, beside twice the radius d50 of its influence.

    Theoretical is the longer side of the support of the gradient in the mode `mode`; effective is the diameter within
    which half of the influence lies (`own` with or without the unit's own cell).
    """

    title: ClassVar[str] = "Receptive field by layer"

    mode: str = "architectural"
    own: str = "with"

    def check(self) -> None:
        super().check()
        self.require("own", self.own in ("with", "without"), "'with' or 'without'")

    def _factors(self, records: Records) -> list[str]:
        return [*facets(records.plan, used=(self.hue, self.over)), self.hue]

    def table(self, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        theoretical = pick(records, "receptive_field", at={"mode": self.mode}, along=("layer",))
        effective = pick(records, "d50", at={"own": self.own}, along=("layer",))
        both = zip(KINDS, (theoretical, effective.assign(value=2 * effective["value"])), strict=True)
        values = pd.concat([one.assign(kind=kind) for kind, one in both], ignore_index=True)
        values = values.rename(columns={column(records, "layer"): "layer"}).reindex(
            columns=[*by, "kind", "layer", "value"]
        )
        values["kind"] = pd.Categorical(values["kind"], categories=KINDS, ordered=True)
        keys = [*by, "kind", "layer"]
        out = planned(records, by).merge(mean_interval(values, by=keys, level=self.level), on=by, how="left")
        out["n"] = out["n"].fillna(0).astype(int)
        return out[[*keys, "estimate", "low", "high", "n", "sd", "planned"]]

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Sheet | None = None) -> theme.Sheet:
        records = self._settled(records)
        by = self._factors(records)
        looks = theme.looks(records.plan, self.hue)
        shown = table[table["n"] > 0]
        with theme.style():
            parts = theme.panels(table, by)
            figure, axes = theme.canvas(len(parts), columns=min(4, len(parts)), into=into)
            for each, (title, rows) in zip(axes, parts, strict=True):
                _panel(each, rows[rows["n"] > 0], looks[rows[self.hue].iloc[0]])
                theme.titled(each, title)
                each.set_xlabel("layer")
                if theme.is_left(each):
                    each.set_ylabel("receptive field (px)")
                if not len(shown):
                    theme.blank(each)
            if len(shown):
                last = int(shown["layer"].max())
                axes[0].set_xticks(range(0, last + 1, 1 + last // 8))
                axes[0].set_yscale("log", base=2)
                axes[0].set_ylim(
                    float(shown.loc[shown["estimate"] > 0, "estimate"].min()) / 1.5,
                    float(shown["estimate"].max()) * 1.5,
                )
                powers_axis(axes[0])
            ink = theme.Look(theme.INK, "o")
            entries = {"theoretical": theme.handle(ink), "effective (2 × d50)": theme.handle(ink, hollow=True)}
            theme.legend(figure, entries)
        return figure

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        records = self._settled(records)
        by = self._factors(records)
        cells = table.groupby(by, observed=True)[["n", "planned"]].max().reset_index()
        bars = f" Bars: {100 * self.level:g} % Student-t intervals." if (table["n"] > 1).any() else ""
        return (
            f"Filled: the theoretical receptive field, the longer side of what a unit depends on ({self.mode} mode; "
            "the side of the image where it has no end). Hollow: twice the radius that holds half of the influence on "
            f"a unit ({self.own} its own cell){wording.data_text(records)}. Layer 0 is the patch embedding or stem. "
            f"{wording.seeds_text(cells, by[::-1], unit=self.over)}{bars}"
        )

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        out = []
        for key, rows in table.groupby([*by, "layer"], observed=True, dropna=False):
            names = [*by, "layer"]
            head: dict[str, Any] = {
                wording.factor_text(n): wording.level_cell(v) for n, v in zip(names, key, strict=True)
            }
            for kind in KINDS:
                mine = rows[rows["kind"] == kind].to_dict("records")
                head[f"{kind} (px)"] = wording.interval(mine[0], metric="") if mine else "–"
            out.append(head)
        return pd.DataFrame(out)


def _panel(axes: Axes, rows: pd.DataFrame, look: theme.Look) -> None:
    for kind in KINDS:
        mine = rows[rows["kind"] == kind].sort_values("layer")
        mine = mine.assign(low=mine["low"].clip(lower=1e-3))
        theme.interval_line(axes, mine["layer"].to_numpy(float), mine, look, hollow=kind == "effective")
