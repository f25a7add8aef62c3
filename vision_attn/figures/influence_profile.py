"""Influence profile: how much a place in the image moves a unit, by its distance."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import lettering, marks, theme
from vision_attn.figures.axes import log_axis
from vision_attn.figures.base import OverSeeds
from vision_attn.figures.landmarks import landmarks
from vision_attn.figures.view import View
from vision_attn.records import Records
from vision_attn.spec import spec

QUANTITIES = {
    "influence_relative": "Mean squared gradient of a unit with respect to the pixels of a cell",
    "intervention_relative": "Mean squared change of a unit when a cell is exchanged with that of another image",
}


@spec
class InfluenceProfile(OverSeeds):
    """Influence against distance in pixels, relative to influence spread evenly: panels are layers, lines models.

    The squared gradient of a unit with respect to the pixels of a cell at that distance, divided by its mean over all
    cells (`own` with or without the unit's own). Drawn are the `layers`, or of every model its first, middle and last
    one; the table has all. The first level of `dashed`, such as a factor of untrained and trained weights, is drawn
    dashed.
    """

    title: ClassVar[str] = "Influence by distance"
    measured_by: ClassVar[str] = "Influence"
    own_columns: ClassVar[tuple[str, ...]] = ("layer", "distance_px")
    own_values: ClassVar[tuple[str, ...]] = own_columns
    factor_fields: ClassVar[tuple[str, ...]] = ("hue", "over", "dashed")

    metric: str = "influence_relative"
    own: str = "without"
    dashed: str | None = None
    layers: tuple[int, ...] | None = None

    def check(self) -> None:
        super().check()
        self.require("own", self.own in ("with", "without"), "'with' or 'without'")

    def _by(self, view: View) -> list[str]:
        """The factors that tell lines apart: panels, dashes, colour."""
        return [*view.panels, *([self.dashed] if self.dashed else []), self.hue]

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        by, names = self._by(view), {view.column("layer"): "layer", view.column("distance"): "distance_px"}
        values = view.pick(self.metric, own=self.own, along=("layer", "distance"))
        values = values.rename(columns=names).reindex(columns=[*by, *names.values(), "value"])
        if self.layers is not None:
            values = values[values["layer"].isin(self.layers)]
        out = view.means(values, by=by, also=tuple(names.values()))
        return out.sort_values([*by, *names.values()]).reset_index(drop=True)

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Canvas | None = None) -> theme.Canvas:
        view = self.view(records)
        shown = table[table["n"] > 0]
        with theme.style(into):
            parts = self._panels(shown, view) if len(shown) else view.parts(table)
            sheet, panels = theme.canvas(len(parts), columns=min(4, len(parts)), into=into)
            for axes, (title, rows) in zip(panels, parts, strict=True):
                marks.reference_line(axes, 1)
                self._panel(axes, rows, view)
                lettering.titled(axes, title)
                axes.set_xlabel("distance (px)")
                axes.set_ylabel("influence / even influence")
                if not len(shown):
                    lettering.blank(axes)
            positive = shown.loc[shown["estimate"] > 0, "estimate"]
            if len(positive):
                panels[0].set_yscale("log")
                panels[0].set_ylim(max(float(positive.min()) / 2, 1e-6), float(positive.max()) * 2)
                log_axis(panels[0])
            for axes, (_, rows) in zip(panels if len(positive) else [], parts, strict=False):
                _name_even(axes, rows[rows["estimate"] > 0])
            lettering.legend(sheet, self._entries(view))
        return sheet

    def _panels(self, shown: pd.DataFrame, view: View) -> list[tuple[str, pd.DataFrame]]:
        """The rows of every panel with its title: chosen layers, or one landmark of every model."""
        if self.layers is not None:
            return view.parts(shown, [*view.panels, "layer"])
        own = {name: list(rows["layer"].unique()) for name, rows in shown.groupby(self.hue, observed=True)}
        out = []
        for title, rows in view.parts(shown):
            for head, chosen in landmarks(own):
                is_chosen = rows["layer"] == rows[self.hue].astype(object).map(chosen)
                out.append((", ".join(filter(None, [title, head])), rows[is_chosen]))
        return out

    def _panel(self, axes: Axes, rows: pd.DataFrame, view: View) -> None:
        for name, style in view.styles.items():
            for level in view.levels(self.dashed) if self.dashed else [None]:
                own = rows[(rows[self.hue] == name) & (rows["n"] > 0)]
                own = own[own[self.dashed] == level] if self.dashed else own
                own = own.assign(estimate=own["estimate"].where(own["estimate"] > 0), low=own["low"].clip(lower=1e-9))
                x = own["distance_px"].to_numpy(float)
                texts = [wording.level_text(self.hue, name)]
                texts += [wording.level_text(self.dashed, level)] if self.dashed else []
                marks.interval_line(axes, x, own, style, hollow=self._is_hollow(level, view), name=", ".join(texts))

    def _is_hollow(self, level: Any, view: View) -> bool:
        return level in self._told(view)[:1]

    def _told(self, view: View) -> list[Any]:
        """The levels of what is dashed, where there are several to tell apart."""
        levels = list(view.levels(self.dashed)) if self.dashed else []
        return levels if len(levels) > 1 else []

    def _entries(self, view: View) -> dict[str, Any]:
        ink, entries = theme.Style(theme.INK, "o"), view.legend()
        for level in self._told(view):
            text = wording.level_text(self.dashed or "", level)
            entries[text] = marks.handle(ink, hollow=self._is_hollow(level, view))
        return entries

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        view = self.view(records)
        by = self._by(view)
        cells = table.groupby(by, observed=True)[["n", "planned"]].max().reset_index()
        said = [
            f"{QUANTITIES.get(self.metric, self.metric.replace('_', ' '))}{view.data_text}, against the "
            f"distance between them, divided by its mean over all cells ({self.own} the unit's own). 1: all distances "
            f"weigh the same. Panels: {self._shown()}.",
            wording.seeds_text(cells, by[::-1], unit=self.over),
        ]
        if (table["n"] > 1).any():
            said.append(f"Bars: {100 * self.level:g} % Student-t intervals.")
        zeros = int((table["estimate"] == 0).sum())
        if zeros:
            said.append(f"A line ends where influence is 0, which a logarithmic axis cannot show ({zeros} points).")
        return " ".join(said)

    def _shown(self) -> str:
        if self.layers is None:
            return "the first, the middle and the last layer of every model"
        return "layers, 0 being the patch embedding or stem"

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        view = self.view(records)
        shown = table[table["n"] > 0] if table["n"].sum() else table
        shown = shown.assign(layer=shown["layer"].astype(object), distance_px=shown["distance_px"].astype(object))
        rows = [*self._by(view)[:-1], "layer", "distance_px"]
        return view.wide(shown, lambda row: wording.interval(row, metric=self.metric), rows=rows)


def _name_even(axes: Axes, rows: pd.DataFrame) -> None:
    """Name the line of even influence at an end where nothing else is drawn, if there is one."""
    bounds = [rows[end].fillna(rows["estimate"]).clip(lower=1e-9) for end in ("low", "high")]
    taken = np.column_stack([rows["distance_px"].astype(float), *bounds])
    if (end := marks.free_end(axes, 1, "even", taken)) is not None:
        marks.name_line(axes, 1, "even", at=end)
