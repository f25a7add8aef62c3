"""Variation: how far single runs scatter between training subsets, and between seeds on one subset."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import marks, theme
from vision_attn.figures.dots import Dots
from vision_attn.figures.view import View
from vision_attn.plan import Plan
from vision_attn.records import Records, planned
from vision_attn.spec import spec
from vision_attn.statistics import hierarchical_interval, pairs, variance_components
from vision_attn.statistics.paired import PAIRED

VALUE, DIFFERENCE = "value", "difference"
SOURCES = {"sd_outer": "between training subsets", "sd_inner": "between seeds on one subset"}
SPREAD = ("sd_outer", "sd_outer_low", "sd_outer_high", "sd_inner", "sd_inner_low", "sd_inner_high")


@spec
class Variation(Dots):
    """The standard deviation of a metric between levels of `outer`, and between the seeds within one.

    Training subsets are `outer`, `over` are the seeds within each. Also of the difference to `reference` in pairs of
    one subset and seed: where it scatters less than two single values would, pairing makes comparisons sharper.
    The mean's interval knows of both levels: it is Student's of the means of the subsets.
    """

    title: ClassVar[str] = "Scatter of single runs"
    own_columns: ClassVar[tuple[str, ...]] = (
        "of",
        "reference",
        "units",
        "sd_outer",
        "sd_outer_low",
        "sd_outer_high",
        "sd_inner",
        "sd_inner_low",
        "sd_inner_high",
    )
    row_height: ClassVar[float] = 0.45
    interval: ClassVar[str] = "Williams (filled) and chi-square (hollow)"
    factor_fields: ClassVar[tuple[str, ...]] = ("outer", "hue", "over")

    reference: str | int | float | bool
    metric: str = "accuracy"
    split: str = "test"
    outer: str = "subset"

    def check(self) -> None:
        super().check()
        self.require("outer", self.outer not in (self.hue, self.over), "a factor other than hue and over")

    def applies(self, plan: Plan) -> bool:
        """Where there are several subsets, and the reference is among the levels of `hue`."""
        return super().applies(plan) and len(plan.factors.get(self.outer, ())) != 1

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        by, values = view.rows, view.pick(self.metric, split=self.split)
        parts = [values.assign(of=VALUE)]
        if (values[self.hue] == self.reference).any():
            options = {
                "pair_on": [self.outer, self.over],
                "compare": self.hue,
                "reference": self.reference,
                "names": PAIRED,
            }
            both = pairs(values, by=by[:-1], **options)  # type: ignore[arg-type]
            parts.append(both.assign(of=DIFFERENCE, value=both[PAIRED[2]]))
        keys, columns = [*by, "of"], [*by, "of", self.outer, "value"]
        frame = pd.concat([part[columns].astype({self.hue: object}) for part in parts], ignore_index=True)
        means = hierarchical_interval(frame, by=keys, outer=self.outer, level=self.level)
        spread = variance_components(frame, by=keys, outer=self.outer, level=self.level)
        grid = planned(view, by).merge(pd.DataFrame({"of": [VALUE, DIFFERENCE]}), how="cross")
        grid = grid[(grid["of"] == VALUE) | (grid[self.hue] != self.reference)]
        for found in (means, spread[[*keys, *SPREAD]]):
            grid = grid.merge(found.astype({self.hue: grid[self.hue].dtype}), on=keys, how="left")
        for name in ("n", "units"):
            grid[name] = grid[name].fillna(0).astype(int)
        grid["reference"] = [self.reference if of == DIFFERENCE else "" for of in grid["of"]]
        return grid[[*keys, "reference", "estimate", "low", "high", "n", "units", *SPREAD, "planned"]]

    def rows(self, view: View) -> dict[Any, str]:
        """Values first, then differences."""
        names = {name: wording.level_text(self.hue, name) for name in view.styles}
        rows = {(name, VALUE): text for name, text in names.items()}
        others = {name: text for name, text in names.items() if name != self.reference}
        return rows | {(name, DIFFERENCE): f"{text} − {names[self.reference]}" for name, text in others.items()}

    def key(self, row: dict[Any, Any]) -> Any:
        return row[self.hue], row["of"]

    def draw_row(self, axes: Axes, row: dict[Any, Any], place: int, view: View) -> None:
        """Both standard deviations: filled above, hollow below."""
        colour = view.styles[row[self.hue]].colour
        for name, aside, face in (("sd_outer", -0.14, colour), ("sd_inner", 0.14, "white")):
            value, low, high = (self._drawn(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
            axes.hlines(place + aside, low, high, color=colour, linewidth=1.3, alpha=0.75)
            style = {"color": colour, "markerfacecolor": face, "markersize": 6, "zorder": 3}
            (drawn,) = axes.plot(value, place + aside, "o", **style)  # type: ignore[arg-type]
            told = {"estimate": value, "low": low, "high": high, "n": row["n"]}
            marks.tell(axes, drawn, [told], SOURCES[name])

    def _drawn(self, value: float) -> float:
        """A standard deviation as it is drawn: in percentage points where the metric is a share."""
        return 100 * value if wording.is_share(self.metric) else value

    def draw_axis(self, axes: Axes, view: View) -> None:
        unit = " (percentage points)" if wording.is_share(self.metric) else ""
        axes.set_xlabel(f"standard deviation of {self.split} {self.metric.replace('_', ' ')}{unit}")

    def finish(self, panels: list[Axes], table: pd.DataFrame, view: View) -> None:
        high = table[["sd_outer_high", "sd_inner_high", "sd_outer", "sd_inner"]].max().max()
        wide = min(high, self._widest(table)) if high > 0 else 1.0
        panels[0].set_xlim(self._drawn(-0.02 * wide), self._drawn(1.05 * wide))

    def legend(self, view: View) -> dict[str, Any]:
        ink = theme.Style(theme.INK, "o")
        return {text: marks.handle(ink, hollow=name == "sd_inner", line="-") for name, text in SOURCES.items()}

    def _widest(self, table: pd.DataFrame) -> float:
        """To where the axis goes: three times the largest estimate, as upper bounds of few subsets go far beyond."""
        return 3 * float(table[list(SOURCES)].max().max())

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        view = self.view(records)
        known = table[table["sd_inner"].notna()]
        if known.empty:
            if table["n"].sum():
                return "There is one seed a subset: nothing to tell."
            return f"Nothing is measured yet. {view.elsewhere(table, self.metric, self.split)}".strip()
        what = f"{self.split} {self.metric.replace('_', ' ')}{view.data_text}"
        subsets, most = int(known["units"].max()), int(known["n"].max())
        said = [
            f"Standard deviation of {what}: filled, between training subsets; hollow, between seeds (initial weights "
            f"and order of the data) on one subset. {most} runs a model on {subsets} subsets, one-way random effects.",
            f"Bars: {100 * self.level:g} % intervals, clipped to the axis: Williams's between subsets, chi-square "
            "between seeds; the mean's in the table is Student's, of the subsets' means.",
        ]
        if (table["of"] == VALUE).all():
            said.append(f"Only {self.reference} is planned, so there is no difference to it.")
        lacking = table[(table["n"] < table["planned"])]
        if len(lacking):
            said.append(f"{len(lacking)} rows lack some of their runs.")
        for row in known[known["of"] == DIFFERENCE].to_dict("records"):
            said.append(self._gain(row, known))
        return " ".join(filter(None, said))

    def _gain(self, row: dict[Any, Any], table: pd.DataFrame) -> str:
        """What pairing does to the scatter of a difference, in a sentence that names its panel."""
        same = table["of"] == VALUE
        panels = [name for name in table.columns[: list(table.columns).index("of")] if name != self.hue]
        for name in panels:
            same &= table[name] == row[name]
        alone = table[same & table[self.hue].isin([row[self.hue], self.reference])]
        if len(alone) < 2:
            return ""
        unpaired = np.sqrt((alone["sd_outer"] ** 2 + alone["sd_inner"] ** 2).sum())
        paired = np.hypot(row["sd_outer"], row["sd_inner"])
        texts = [wording.quantity(sd, metric=self.metric, unit="points") for sd in (paired, unpaired)]
        pair = " minus ".join(wording.level_text(self.hue, name) for name in (row[self.hue], self.reference))
        where = f"{wording.headed(wording.cell_text(row, panels))}: " if panels else ""
        return f"{where}{pair} scatters by {texts[0]} in pairs, by {texts[1]} if they were independent."

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        view = self.view(records)
        rows, out = self.rows(view), []
        for row in table.to_dict("records"):
            head = view.heads(row, view.panels) | {"model": rows[self.key(row)]}
            head["mean"] = wording.interval(row, metric=self.metric, signed=row["of"] == DIFFERENCE)
            for name, text in SOURCES.items():
                bounds = {"estimate": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}
                head[text] = wording.interval({**bounds, "n": 0, "planned": 0}, metric=self.metric)
            out.append(head | {"runs": f"{row['n']} of {row['planned']}", "subsets": str(row["units"])})
        return pd.DataFrame(out)
