"""Map of the effective receptive field: which places around a unit move it, layer by layer, model by model."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from vision_attn import wording
from vision_attn.figures import lettering, theme
from vision_attn.figures.base import OverSeeds
from vision_attn.figures.landmarks import landmarks
from vision_attn.records import Records
from vision_attn.spec import spec


@spec
class ErfMap(OverSeeds):
    """The mean influence of the cell at each offset from a unit, layers in rows, models in columns.

    Drawn are the `layers`, or of every model its first, middle and last one; the table has all.

    Every map is divided by its own maximum, so shapes can be compared and heights cannot; the colour is logarithmic
    down to `floor` and the same in all panels. The unit's own cell, to which residual connections give a peak that
    dwarfs all else (Raghu et al. 2021), is left out unless `own` is "with".
    """

    title: ClassVar[str] = "Effective receptive fields"
    measured_by: ClassVar[str] = "Influence"
    own_columns: ClassVar[tuple[str, ...]] = ("layer", "row", "column", "of_largest")
    own_values: ClassVar[tuple[str, ...]] = ("layer", "row", "column")
    interval: ClassVar[str] = ""

    metric: str = "erf_map"
    layers: tuple[int, ...] | None = None
    own: str = "without"
    floor: float = 1e-3

    def check(self) -> None:
        super().check()
        self.require("own", self.own in ("with", "without"), "'with' or 'without'")
        self.require("floor", 0 < self.floor < 1, "between 0 and 1, such as 0.001")

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        by, names = view.rows, {view.column(name): name for name in ("layer", "row", "column")}
        values = view.pick(self.metric, along=tuple(names.values())).rename(columns=names)
        if self.layers is not None:
            values = values[values["layer"].isin(self.layers)]
        keys = [*by, *names.values()]
        out = view.means(values, by=by, also=tuple(names.values())).sort_values(keys).reset_index(drop=True)
        is_own = (out["row"] == 0) & (out["column"] == 0)
        shown = out["estimate"].mask(is_own & (self.own == "without"))
        largest = shown.groupby([out[name] for name in (*by, "layer")], observed=True).transform("max")
        out["of_largest"] = (shown / largest).mask(shown == 0, 0.0)
        return out[[*keys, "estimate", "low", "high", "n", "of_largest", "planned"]]

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Canvas | None = None) -> theme.Canvas:
        view = self.view(records)
        layers = self._layers(table[table["n"] > 0])
        measured = {name for _, own in layers for name in own}
        blocks, names = view.parts(table), [name for name in view.levels(self.hue) if name in measured]
        with theme.style(into):
            if not layers:
                figure, (axes,) = theme.canvas(1, into=into)
                lettering.blank(axes)
                return figure
            lines = [(f"{title}\n{head}".strip(), rows, own) for title, rows in blocks for head, own in layers]
            are_told = self.layers is None and any(len(set(own.values())) > 1 for _, own in layers)
            beside = _columns(len(names), into)
            blocks_down = -(-len(names) // beside)
            size = (1.0 + 1.55 * beside, 0.7 + 1.5 * len(lines) * blocks_down)
            figure = theme.sheet(size, into=into, is_scaled=True)
            grid = figure.subplots(len(lines) * blocks_down, beside, squeeze=False)
            norm, image = LogNorm(self.floor, 1), None
            wide = (theme.inches(figure) - 1.0) / beside if beside < len(names) else None
            for place in range(beside * blocks_down):
                block, across = divmod(place, beside)
                for down, (title, rows, own) in enumerate(lines):
                    axes = grid[block * len(lines) + down][across]
                    if place >= len(names):
                        axes.set_visible(False)
                        continue
                    name = names[place]
                    found = _map(rows[(rows["layer"] == own[name]) & (rows[self.hue] == name)])
                    image = _picture(axes, found, norm) or image
                    if are_told:
                        axes.set_xlabel(f"layer {own[name]:g}")
                    if across == 0:
                        axes.set_ylabel(lettering.shown(title))
                    if down == 0:
                        lettering.titled(axes, wording.level_text(self.hue, name), wide=wide)
            if image is not None:
                figure.colorbar(image, ax=grid.ravel().tolist(), label="part of the largest", shrink=0.8, aspect=30)
        return figure

    def _layers(self, measured: pd.DataFrame) -> list[tuple[str, dict[Any, float]]]:
        """The rows of maps: their names, and which layer of each model they are."""
        own = {name: list(rows["layer"].unique()) for name, rows in measured.groupby(self.hue, observed=True)}
        if self.layers is None:
            return landmarks(own)
        known = sorted({layer for layers in own.values() for layer in layers})
        return [(f"layer {layer:g}", dict.fromkeys(own, layer)) for layer in known]

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        view = self.view(records)
        cells = table.groupby(view.rows, observed=True)[["n", "planned"]].max().reset_index()
        return (
            "Mean squared gradient of a unit with respect to the pixels of the cell so many cells below (rows) and to "
            f"the right (columns) of it{view.data_text}; the cross marks the unit, whose "
            f"own cell is {'left out' if self.own == 'without' else 'included'}. Each map is divided by its own "
            f"maximum; darkest: {self.floor:g} of it and less. {self._shown()} "
            f"{wording.seeds_text(cells, view.rows[::-1], unit=self.over)}"
        )

    def _shown(self) -> str:
        if self.layers is None:
            return "Rows: the first, the middle and the last layer of every model."
        return "Blank: the model has no such layer."

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        """How compact each map is: the smallest part of it that holds half, and 90 %, of its mass."""
        names = [*self.view(records).rows, "layer"]
        out = []
        for key, rows in table.groupby(names, observed=True, dropna=False):
            head = wording.heads(dict(zip(names, key, strict=True)))
            known = rows.loc[rows["of_largest"].notna(), "estimate"].to_numpy(float)
            areas = {f"area of {share:g} %": _area(known, share / 100) for share in (50, 90)}
            out.append(head | areas | {"n": str(rows["n"].max())})
        return pd.DataFrame(out)


def _columns(models: int, into: theme.Canvas | None) -> int:
    """How many models stand side by side: all of them, but on a narrow page as many as have an inch each."""
    if not isinstance(into, theme.Page) or not into.given_width:
        return models
    return max(1, min(models, int(into.given_width - 1.0)))


def _map(rows: pd.DataFrame) -> pd.DataFrame:
    """One map as a grid, rows downwards."""
    return rows.pivot(index="row", columns="column", values="of_largest")


def _picture(axes: Axes, grid: pd.DataFrame, norm: LogNorm) -> Any:
    """Draw one map; None, and an empty place, where there is none."""
    axes.set_xticks([])
    axes.set_yticks([])
    if grid.empty:
        axes.spines[:].set_visible(False)
        return None
    rows, columns = grid.index.to_numpy(float), grid.columns.to_numpy(float)
    extent = (columns[0] - 0.5, columns[-1] + 0.5, rows[-1] + 0.5, rows[0] - 0.5)
    values = np.clip(grid.to_numpy(float), norm.vmin, None)
    image = axes.imshow(values, norm=norm, cmap="viridis", extent=extent, interpolation="nearest")
    axes.plot(0, 0, "+", color="white", markersize=6, markeredgewidth=1.2)
    axes.plot(0, 0, "+", color=theme.INK, markersize=6, markeredgewidth=0.5)
    return image


def _area(values: np.ndarray, share: float) -> str:
    """The smallest part of the cells that holds that share of the mass, in percent."""
    if not values.size or values.sum() <= 0:
        return "–"
    held = np.sort(values)[::-1].cumsum() / values.sum()
    return f"{100 * (np.searchsorted(held, share) + 1) / values.size:.3g} %"
