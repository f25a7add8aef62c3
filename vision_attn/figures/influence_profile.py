"""Influence profile: how much a place in the image moves a unit, by its distance."""

from typing import Any, ClassVar

import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import theme
from vision_attn.figures.axes import log_axis
from vision_attn.figures.base import OverSeeds
from vision_attn.records import Records, column, facets, pick, planned
from vision_attn.spec import spec
from vision_attn.statistics import mean_interval

QUANTITIES = {
    "influence_relative": "Mean squared gradient of a unit by the pixels of a cell",
    "intervention_relative": "Mean squared change of a unit when a cell is exchanged with that of another image",
}


@spec
class InfluenceProfile(OverSeeds):
    """Influence against distance in pixels, relative to influence spread evenly, a panel a layer, a line a model.

    The squared gradient of a unit by the pixels of a cell at that distance, divided by its mean over all cells
    (`own` with or without the unit's own). `layers` picks layers; None draws all. The first level of `dashed`, such
    as a factor of untrained and trained weights, is drawn dashed.
    """

    title: ClassVar[str] = "Influence by distance"

    metric: str = "influence_relative"
    own: str = "without"
    dashed: str | None = None
    layers: tuple[int, ...] | None = None

    def check(self) -> None:
        super().check()
        self.require("own", self.own in ("with", "without"), "'with' or 'without'")

    def _settled(self, records: Records) -> Records:
        return self._settled_for(records, *self.factor_fields, *(["dashed"] if self.dashed else []))

    def _factors(self, records: Records) -> list[str]:
        """The factors that tell lines apart: panels, dashes, colour."""
        dashes = [self.dashed] if self.dashed else []
        return [*facets(records.plan, used=(self.hue, self.over, *dashes)), *dashes, self.hue]

    def table(self, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        layer, distance = column(records, "layer"), column(records, "distance")
        values = pick(records, self.metric, at={"own": self.own}, along=("layer", "distance"))
        if self.layers is not None and layer in values:
            values = values[values[layer].isin(self.layers)]
        keys = [*by, "layer", "distance_px"]
        named = values.rename(columns={layer: "layer", distance: "distance_px"}).reindex(
            columns=[*by, "layer", "distance_px", "value"]
        )
        means = mean_interval(named, by=keys, level=self.level)
        grid = planned(records, by)
        out = grid.merge(means, on=by, how="left")
        out["n"] = out["n"].fillna(0).astype(int)
        out = out.sort_values(keys).reset_index(drop=True)
        return out[[*keys, "estimate", "low", "high", "n", "sd", "planned"]]

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Sheet | None = None) -> theme.Sheet:
        records = self._settled(records)
        by = self._factors(records)
        looks = theme.looks(records.plan, self.hue)
        shown = table[table["n"] > 0]
        outer = by[: -2 if self.dashed else -1]
        with theme.style():
            parts = theme.panels(shown if len(shown) else table, [*outer, *(["layer"] if len(shown) else [])])
            figure, axes = theme.canvas(len(parts), columns=min(4, len(parts)), into=into)
            for each, (title, rows) in zip(axes, parts, strict=True):
                theme.reference_line(each, 1, "even")
                self._panel(each, rows, looks, records)
                theme.titled(each, title)
                each.set_xlabel("distance (px)")
                if theme.is_left(each):
                    each.set_ylabel("influence / even influence")
                if not len(shown):
                    theme.blank(each)
            if (shown["estimate"] > 0).any():
                axes[0].set_yscale("log")
                positive = shown.loc[shown["estimate"] > 0, "estimate"]
                axes[0].set_ylim(max(float(positive.min()) / 2, 1e-6), float(positive.max()) * 2)
                log_axis(axes[0])
            theme.legend(figure, self._entries(looks, records))
        return figure

    def _panel(self, axes: Axes, rows: pd.DataFrame, looks: dict[Any, theme.Look], records: Records) -> None:
        for name, look in looks.items():
            mine = rows[(rows[self.hue] == name) & (rows["n"] > 0)]
            for level in records.plan.levels(self.dashed) if self.dashed else [None]:
                own = mine[mine[self.dashed] == level] if self.dashed else mine
                own = own.assign(estimate=own["estimate"].where(own["estimate"] > 0))
                own = own.assign(low=own["low"].clip(lower=1e-9))
                theme.interval_line(
                    axes, own["distance_px"].to_numpy(float), own, look, hollow=self._hollow(level, records)
                )

    def _hollow(self, level: Any, records: Records) -> bool:
        return self.dashed is not None and level == records.plan.levels(self.dashed)[0]

    def _entries(self, looks: dict[Any, theme.Look], records: Records) -> dict[str, Any]:
        entries = {wording.level_text(self.hue, name): theme.handle(look) for name, look in looks.items()}
        if self.dashed:
            ink = theme.Look(theme.INK, "o")
            for level in records.plan.levels(self.dashed):
                text = wording.level_text(self.dashed, level)
                entries[text] = theme.handle(ink, hollow=self._hollow(level, records))
        return entries

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        records = self._settled(records)
        said = [
            f"{QUANTITIES.get(self.metric, self.metric.replace('_', ' '))}{wording.data_text(records)}, against the "
            f"distance between them, divided by its mean over all cells ({self.own} the unit's own). 1: all distances "
            "weigh the same. Panels: layers, 0 being the patch embedding or stem; each model ends with its own last "
            "layer.",
            wording.seeds_text(_cells(table, self._factors(records)), self._factors(records)[::-1], unit=self.over),
        ]
        if (table["n"] > 1).any():
            said.append(f"Bars: {100 * self.level:g} % Student-t intervals.")
        zeros = int((table["estimate"] == 0).sum())
        if zeros:
            said.append(f"A line ends where influence is 0, which a logarithmic axis cannot show ({zeros} points).")
        return " ".join(said)

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        shown = table[table["n"] > 0] if table["n"].sum() else table
        cells = [wording.interval(row, metric=self.metric) for row in shown.to_dict("records")]
        rows = [*by[:-1], "layer", "distance_px"]
        shown = shown.assign(layer=shown["layer"].astype(object), distance_px=shown["distance_px"].astype(object))
        return wording.wide(shown, cells, rows=rows, columns=self.hue, names=records.plan.levels(self.hue))


def _cells(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """How many seeds every combination of factors has, whatever its layers and distances."""
    return table.groupby(by, observed=True)[["n", "planned"]].max().reset_index()
