"""Cross CKA: which layers of one network make of images what layers of another make of them."""

import math
from typing import ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import lettering, theme
from vision_attn.figures.base import OverSeeds
from vision_attn.figures.pairs import PAIR, joined, overlap_text, pair_text, pairs, seeds_of
from vision_attn.figures.view import View
from vision_attn.records import Records
from vision_attn.spec import spec
from vision_attn.statistics import mean_interval, sketched_cka

CELL, NUMBER = 0.46, 0.3
"""The inches of a cell, and those that the number in it needs."""


@spec
class CrossCKA(OverSeeds):
    """Linear CKA of every layer of one model with every layer of another for the same images, from `CKASketch`.

    A panel a pair of levels of `hue`: the mean over seeds, both networks of a pair having the same seed; of a model
    with itself, two seeds next to each other, which is as alike as networks are that differ in nothing else. 1: alike
    but for a rotation and a scale; 0: no more than layers that have nothing to do with each other, by the `estimator`
    "unbiased". The "biased" one is above 0 also there, the more the wider the layers and the fewer the images.
    """

    title: ClassVar[str] = "Layers of two networks"
    measured_by: ClassVar[str] = "CKASketch"
    own_columns: ClassVar[tuple[str, ...]] = (*PAIR, "layer", "other")
    own_values: ClassVar[tuple[str, ...]] = own_columns
    interval: ClassVar[str] = ""

    estimator: str = "unbiased"

    def check(self) -> None:
        super().check()
        self.require("estimator", self.estimator in ("unbiased", "biased"), "'unbiased' or 'biased'")

    def heading(self) -> str:
        return f"{self.title}, {self.estimator} estimate"

    def _values(self, view: View) -> pd.DataFrame:
        """CKA of every pair of layers of every pair of networks: panels, first, second, layer, other, seed, value."""
        found = view.pick("hsic", estimator=self.estimator, along=("layer", "signs"))
        found = view.plainly(found, ("layer", "signs"))
        columns = [*view.panels, *PAIR, "layer", "other", self.over, "value"]
        rows = []
        groups = found.groupby(list(view.panels), observed=True, dropna=False) if view.panels else [((), found)]
        for key, part in groups if len(found) else []:
            networks = {}
            for network, own in part.groupby([self.hue, self.over], observed=True):
                own = own.sort_values("layer")
                networks[network] = own["layer"].astype(int).tolist(), own["signs"].tolist()
            for first, second in pairs(view):
                for one, other in seeds_of(networks, (first, second)):
                    (layers, signs), (others, rivals) = networks[first, one], networks[second, other]
                    for (down, across), value in np.ndenumerate(sketched_cka(signs, rivals)):
                        rows.append([*key, first, second, layers[down], others[across], one, value])
        return pd.DataFrame(rows, columns=columns)

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        by = [*view.panels, *PAIR, "layer", "other"]
        out = joined(view, mean_interval(self._values(view), by=by, level=self.level))
        return out[[*by, "estimate", "low", "high", "n", "sd", "planned"]]

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Canvas | None = None) -> theme.Canvas:
        view = self.view(records)
        parts = [
            ("\n".join(filter(None, [title, pair_text(self.hue, pair)])), rows)
            for title, own in view.parts(table)
            for pair in pairs(view)
            if (rows := own[(own["first"] == pair[0]) & (own["second"] == pair[1])])["n"].sum()
        ]
        with theme.style(into):
            if not parts:
                figure, (axes,) = theme.canvas(1, into=into)
                lettering.blank(axes)
                return figure
            side = max(int(table[name].max()) for name in ("layer", "other"))
            wide, across = CELL * side + 0.6, min(3, len(parts))
            if isinstance(into, theme.Page) and into.given_width:
                across = max(1, min(across, int(into.given_width / (NUMBER * side + 0.6))))
            down = -(-len(parts) // across)
            figure = theme.sheet((wide * across, (wide + 0.6) * down), into=into, is_scaled=True)
            grid = figure.subplots(down, across, squeeze=False).ravel()
            for axes in grid[len(parts) :]:
                axes.set_visible(False)
            for axes, (title, rows) in zip(grid, parts, strict=False):
                _matrix(axes, rows)
                lettering.titled(axes, title)
                axes.set_xlabel("layer")
                axes.set_ylabel("layer")
        return figure

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        view = self.view(records)
        counted = table.sort_values("n", kind="stable").drop_duplicates([*view.panels, *PAIR]).sort_index()
        said = [
            f"Linear CKA ({self.estimator} estimate) of the layers of pairs of {wording.factor_text(self.hue)}s"
            f"{view.data_text}: rows are layers of the one named first.",
            wording.seeds_text(counted, [*view.panels, *PAIR], unit=self.over),
        ]
        if len(error := self._errors(view)):
            said.append(f"From sketches of the layers: one value has a standard error of {max(error):.2g} at most.")
        return " ".join(filter(None, [*said, overlap_text(table, self.over)]))

    def _errors(self, view: View) -> list[float]:
        """The largest standard error of one value, for every length of sketches: pi / 2 over the root of their bits."""
        found = view.pick("hsic", estimator=self.estimator, along=("layer", "signs"))
        lengths = found[view.column("signs")].str.rstrip("=").str.len().unique() if len(found) else []
        return [math.pi / 2 / math.sqrt(6 * length // 8 * 8) for length in lengths]

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        view = self.view(records)
        others = sorted(table["other"].dropna().astype(int).unique())
        out = []
        for key, own in table.groupby([*view.panels, *PAIR, "layer"], observed=True, dropna=False, sort=False):
            levels = dict(zip([*view.panels, *PAIR, "layer"], key, strict=True))
            cells = {row["other"]: wording.interval(row, metric="cka") for row in own.to_dict("records")}
            head = view.heads(levels, view.panels) | {"pair": pair_text(self.hue, (levels["first"], levels["second"]))}
            head |= wording.heads({"layer": levels["layer"]})
            out.append(head | {f"with layer {other}": cells.get(other, "–") for other in others})
        return pd.DataFrame(out)


def _matrix(axes: Axes, rows: pd.DataFrame) -> None:
    """The values of a panel as colours with their numbers, layer 1 at the top and on the left."""
    values = rows.pivot(index="layer", columns="other", values="estimate").sort_index().sort_index(axis=1)
    axes.imshow(values.to_numpy(float), cmap="Blues", vmin=0, vmax=1)
    for (down, across), value in np.ndenumerate(values.to_numpy(float)):
        if not np.isnan(value):
            colour = "white" if value > 0.6 else theme.INK
            text = f"{value:.2f}".replace("-", "−")
            axes.text(across, down, text, ha="center", va="center", color=colour, fontsize=7)
    axes.set_xticks(range(values.shape[1]), [f"{layer:g}" for layer in values.columns])
    axes.set_yticks(range(values.shape[0]), [f"{layer:g}" for layer in values.index])
