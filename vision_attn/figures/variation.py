"""Variation: how far single runs scatter between training subsets, and between seeds on one subset."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from vision_attn import wording
from vision_attn.figures import theme
from vision_attn.figures.axes import rows_axis
from vision_attn.figures.base import OverSeeds
from vision_attn.plan import Plan
from vision_attn.records import Records, facets, may_have, pick, planned, require_level
from vision_attn.spec import spec
from vision_attn.statistics import hierarchical_interval, pairs, variance_components

VALUE, DIFFERENCE = "value", "difference"
SOURCES = {"sd_outer": "between training subsets", "sd_inner": "between seeds on one subset"}
SPREAD = ("sd_outer", "sd_outer_low", "sd_outer_high", "sd_inner", "sd_inner_low", "sd_inner_high")


@spec
class Variation(OverSeeds):
    """The standard deviation of a metric between levels of `outer`, and between the seeds within one.

    Training subsets are `outer`, `over` are the seeds within each. Also of the difference to `reference` in pairs of
    one subset and seed: where it scatters less than two single values would, pairing makes comparisons sharper.
    The mean's interval knows of both levels (hierarchical bootstrap).
    """

    title: ClassVar[str] = "Scatter of single runs"
    opens_table: ClassVar[bool] = True
    factor_fields: ClassVar[tuple[str, ...]] = ("outer", "hue", "over")

    reference: str
    metric: str = "accuracy"
    split: str = "test"
    outer: str = "subset"

    def check(self) -> None:
        super().check()
        self.require("outer", self.outer not in (self.hue, self.over), "a factor other than hue and over")

    def applies(self, plan: Plan) -> bool:
        """Where there are several subsets, and the reference is among the levels of `hue`."""
        has_reference = may_have(plan, self.hue, self.reference)
        return super().applies(plan) and has_reference and len(plan.factors.get(self.outer, ())) != 1

    def _settled(self, records: Records) -> Records:
        records = super()._settled(records)
        require_level(records.plan, "reference", "Variation", self.hue, self.reference)
        return records

    def _factors(self, records: Records) -> list[str]:
        return [*facets(records.plan, used=(self.hue, self.over, self.outer)), self.hue]

    def table(self, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        values = pick(records, self.metric, at={"split": self.split})
        parts = [values.assign(of=VALUE)]
        if (values[self.hue] == self.reference).any():
            options = {"pair_on": [self.outer, self.over], "compare": self.hue, "reference": self.reference}
            both = pairs(values, by=by[:-1], **options)  # type: ignore[arg-type]
            parts.append(both.assign(of=DIFFERENCE, value=both["difference"]))
        keys, columns = [*by, "of"], [*by, "of", self.outer, "value"]
        frame = pd.concat([part[columns].astype({self.hue: object}) for part in parts], ignore_index=True)
        means = hierarchical_interval(frame, by=keys, outer=self.outer, level=self.level)
        spread = variance_components(frame, by=keys, outer=self.outer, level=self.level)
        grid = planned(records, by).merge(pd.DataFrame({"of": [VALUE, DIFFERENCE]}), how="cross")
        grid = grid[(grid["of"] == VALUE) | (grid[self.hue] != self.reference)]
        for found in (means, spread[[*keys, *SPREAD]]):
            grid = grid.merge(found.astype({self.hue: grid[self.hue].dtype}), on=keys, how="left")
        for name in ("n", "units"):
            grid[name] = grid[name].fillna(0).astype(int)
        grid["reference"] = np.where(grid["of"] == DIFFERENCE, self.reference, "")
        return grid[[*keys, "reference", "estimate", "low", "high", "n", "units", *SPREAD, "planned"]]

    def _rows(self, records: Records) -> dict[tuple[Any, str], str]:
        """The rows of a panel, values first, with their names."""
        names = {name: wording.level_text(self.hue, name) for name in records.plan.levels(self.hue)}
        rows = {(name, VALUE): text for name, text in names.items()}
        others = {name: text for name, text in names.items() if name != self.reference}
        return rows | {(name, DIFFERENCE): f"{text} − {names[self.reference]}" for name, text in others.items()}

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Sheet | None = None) -> theme.Sheet:
        records = self._settled(records)
        rows, looks = self._rows(records), theme.looks(records.plan, self.hue)
        with theme.style():
            parts = theme.panels(table, self._factors(records)[:-1])
            width = 0.072 * max(map(len, rows.values())) + 3.9 * min(2, len(parts))
            size = (width, (0.95 + 0.45 * len(rows)) * -(-len(parts) // 2) + 0.5)
            figure, axes = theme.canvas(len(parts), columns=2, size=size, into=into)
            for each, (title, own) in zip(axes, parts, strict=True):
                place = own.set_index([self.hue, "of"])
                for i, key in enumerate(rows):
                    if key in place.index:
                        _draw_row(each, place.loc[key], i, looks[key[0]])
                rows_axis(each, list(rows.values()))
                unit = " (percentage points)" if wording.is_share(self.metric) else ""
                each.set_xlabel(f"standard deviation of {self.split} {self.metric.replace('_', ' ')}{unit}")
                theme.titled(each, title)
                if not own["n"].sum():
                    theme.blank(each)
            high = table[["sd_outer_high", "sd_inner_high", "sd_outer", "sd_inner"]].max().max()
            wide = min(high, self._widest(table)) if high > 0 else 1.0
            axes[0].set_xlim(-0.02 * wide, 1.05 * wide)
            if wording.is_share(self.metric):
                axes[0].xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:.3g}"))
            ink = theme.Look(theme.INK, "o")
            marks = {name: theme.handle(ink, hollow=name == "sd_inner", line="-") for name in SOURCES}
            theme.legend(figure, {text: marks[name] for name, text in SOURCES.items()})
        return figure

    def _widest(self, table: pd.DataFrame) -> float:
        """To where the axis goes: three times the largest estimate, as upper bounds of few subsets go far beyond."""
        return 3 * float(table[list(SOURCES)].max().max())

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        records = self._settled(records)
        known = table[table["sd_inner"].notna()]
        if known.empty:
            return (
                "Nothing is measured yet." if not table["n"].sum() else "There is one seed a subset: nothing to tell."
            )
        what = f"{self.split} {self.metric.replace('_', ' ')}{wording.data_text(records)}"
        subsets, most = int(known["units"].max()), int(known["n"].max())
        said = [
            f"Standard deviation of {what}: filled, between training subsets; hollow, between seeds (initial weights "
            f"and order of the data) on one subset. {most} runs a model on {subsets} subsets, one-way random effects.",
            f"Bars: {100 * self.level:g} % intervals, drawn as far as the axis: Williams's between subsets, chi-square "
            "between seeds; the mean's in the table is a hierarchical bootstrap.",
        ]
        lacking = table[(table["n"] < table["planned"])]
        if len(lacking):
            said.append(f"{len(lacking)} rows lack some of their runs.")
        for row in known[known["of"] == DIFFERENCE].to_dict("records"):
            said.append(self._gain(row, known))
        return " ".join(filter(None, said))

    def _gain(self, row: dict[Any, Any], table: pd.DataFrame) -> str:
        """What pairing does to the scatter of a difference, in a sentence."""
        same = table["of"] == VALUE
        for name in table.columns[: list(table.columns).index("of")]:
            if name != self.hue:
                same &= table[name] == row[name]
        alone = table[same & table[self.hue].isin([row[self.hue], self.reference])]
        if len(alone) < 2:
            return ""
        unpaired = np.sqrt((alone["sd_outer"] ** 2 + alone["sd_inner"] ** 2).sum())
        paired = np.hypot(row["sd_outer"], row["sd_inner"])
        texts = [wording.quantity(sd, metric=self.metric, unit="points") for sd in (paired, unpaired)]
        name = wording.level_text(self.hue, row[self.hue])
        return f"{name} minus {self.reference} scatters by {texts[0]} in pairs, by {texts[1]} if they were independent."

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        rows, out = self._rows(records), []
        for row in table.to_dict("records"):
            head = {wording.factor_text(name): wording.level_cell(row[name]) for name in self._factors(records)[:-1]}
            head["model"] = rows[row[self.hue], row["of"]]
            head["mean"] = wording.interval(row, metric=self.metric, signed=row["of"] == DIFFERENCE)
            for name, text in SOURCES.items():
                bounds = {"estimate": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}
                head[text] = wording.interval({**bounds, "n": 0, "planned": 0}, metric=self.metric)
            out.append(head | {"runs": f"{row['n']} of {row['planned']}", "subsets": str(row["units"])})
        return pd.DataFrame(out)


def _draw_row(axes: Axes, row: pd.Series, place: int, look: theme.Look) -> None:
    """Both standard deviations of a row: filled above, hollow below."""
    for name, aside, face in (("sd_outer", -0.14, look.colour), ("sd_inner", 0.14, "white")):
        axes.hlines(
            place + aside, row[f"{name}_low"], row[f"{name}_high"], color=look.colour, linewidth=1.3, alpha=0.75
        )
        axes.plot(row[name], place + aside, "o", color=look.colour, markerfacecolor=face, markersize=6, zorder=3)
