"""Receptive field by layer: what a layer could see by its architecture, beside what it does see."""

from typing import ClassVar

import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import lettering, marks, theme
from vision_attn.figures.axes import powers_axis
from vision_attn.figures.base import OverSeeds
from vision_attn.records import Records
from vision_attn.spec import spec

KINDS = ("theoretical", "effective")


@spec
class ReceptiveFieldByLayer(OverSeeds):
    """The theoretical receptive field of each layer in pixels, beside the effective one.

    Theoretical is the longer side of the support of the gradient in the mode `mode`; effective is the side of the
    smallest square around a unit that holds the `share` 0.5 or 0.9 of its influence (`own` with or without the unit's
    own cell), which cannot be more.
    """

    title: ClassVar[str] = "Receptive field by layer"
    measured_by: ClassVar[str] = "ReceptiveField"
    own_columns: ClassVar[tuple[str, ...]] = ("kind", "layer", "extent")
    own_values: ClassVar[tuple[str, ...]] = ("layer", "extent")

    mode: str = "architectural"
    own: str = "with"
    share: float = 0.5

    def check(self) -> None:
        super().check()
        self.require("own", self.own in ("with", "without"), "'with' or 'without'")
        self.require("share", self.share in (0.5, 0.9), "0.5 or 0.9")

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        theoretical = view.pick("receptive_field", mode=self.mode, along=("layer", "extent"))
        effective = view.pick("effective_receptive_field", own=self.own, share=self.share, along=("layer",))
        names = {view.column(name): name for name in ("layer", "extent")}
        both = zip(KINDS, (theoretical.rename(columns=names), effective.rename(columns=names)), strict=True)
        values = pd.concat([one.assign(kind=kind) for kind, one in both], ignore_index=True)
        values["kind"] = pd.Categorical(values["kind"], categories=KINDS, ordered=True)
        values["extent"] = values["extent"].fillna("") if "extent" in values else ""
        return view.means(values, by=view.rows, also=("kind", "layer", "extent"))

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Canvas | None = None) -> theme.Canvas:
        view = self.view(records)
        shown = table[table["n"] > 0]
        with theme.style(into):
            parts = view.parts(table, view.rows)
            sheet, panels = theme.canvas(len(parts), columns=min(4, len(parts)), into=into)
            for axes, (title, rows) in zip(panels, parts, strict=True):
                for name in rows[self.hue].unique():
                    _panel(axes, rows[rows["n"] > 0], view.styles[name])
                lettering.titled(axes, title)
                axes.set_xlabel("layer")
                axes.set_ylabel("receptive field (px)")
                if not len(shown):
                    lettering.blank(axes)
            if len(shown):
                last = int(shown["layer"].max())
                panels[0].set_xticks(range(0, last + 1, 1 + last // 8))
                panels[0].set_yscale("log", base=2)
                panels[0].set_ylim(
                    float(shown.loc[shown["estimate"] > 0, "estimate"].min()) / 1.5,
                    float(shown["estimate"].max()) * 1.5,
                )
                powers_axis(panels[0])
            ink = theme.Style(theme.INK, "o")
            effective = f"effective ({100 * self.share:g} % of influence)"
            entries = {"theoretical": marks.handle(ink), effective: marks.handle(ink, hollow=True)}
            lettering.legend(sheet, entries)
        return sheet

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        view = self.view(records)
        cells = table.groupby(view.rows, observed=True)[["n", "planned"]].max().reset_index()
        bars = f" Bars: {100 * self.level:g} % Student-t intervals." if (table["n"] > 1).any() else ""
        return (
            f"Filled: the theoretical receptive field, the longer side of what a unit depends on ({self.mode} mode; "
            "the side of the image where it is global or cut, as the table says). Hollow: the side of the smallest "
            f"square around a unit that holds {100 * self.share:g} % of the influence on it ({self.own} its own cell)"
            f"{view.data_text}, cut at the border. Layer 0 is the patch embedding or stem. "
            f"{wording.seeds_text(cells, view.rows[::-1], unit=self.over)}{bars}"
        )

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        names = [*self.view(records).rows, "layer"]
        out = []
        for key, rows in table.groupby(names, observed=True, dropna=False):
            head = wording.heads(dict(zip(names, key, strict=True)))
            for kind in KINDS:
                own = rows[rows["kind"] == kind].to_dict("records")
                head[f"{kind} (px)"] = wording.interval(own[0], metric="") if own else "–"
                if own and own[0]["extent"] in ("cut", "global"):
                    head[f"{kind} (px)"] += f" ({own[0]['extent']})"
            out.append(head)
        return pd.DataFrame(out)


def _panel(axes: Axes, rows: pd.DataFrame, style: theme.Style) -> None:
    for kind in KINDS:
        of_kind = rows[rows["kind"] == kind].sort_values("layer")
        of_kind = of_kind.assign(low=of_kind["low"].clip(lower=1e-3))
        marks.interval_line(
            axes, of_kind["layer"].to_numpy(float), of_kind, style, hollow=kind == "effective", name=kind
        )
