"""Images needed: how many training images reach an accuracy along a factor, and the exponent of that."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import theme
from vision_attn.figures.axes import log_axis, require_sizes
from vision_attn.figures.lines import Lines, Panel
from vision_attn.figures.marks import hollow_mark
from vision_attn.figures.view import View
from vision_attn.records import Records, planned
from vision_attn.spec import spec
from vision_attn.statistics import sizes_needed

CENSORED = {"estimate": "censored", "low": "low_censored", "high": "high_censored"}
EDGES, ARROWS = {"below": "smallest", "above": "largest"}, {"below": "v", "above": "^"}
EXPONENTS = ("exponent", "exponent_low", "exponent_high")


@spec
class ImagesNeeded(Lines):
    """The number of training images at which mean accuracy reaches `threshold`, against `x`, both in logarithms.

    It is read off the mean accuracies at the levels of `size`, never beyond them: what lies outside is censored,
    "above" the largest or "below" the smallest, and drawn as an arrow there. The exponent of a line is its slope, over
    those levels of `x` whose number is known (`statistics.sizes_needed`). Intervals are percentiles over resampled
    seeds; bounds of the exponent that leave the sizes measured are missing.
    """

    title: ClassVar[str] = "Images needed"
    opens_table: ClassVar[bool] = True
    own_columns: ClassVar[tuple[str, ...]] = (
        *("censored", "low_censored", "high_censored", "smallest", "largest"),
        *(*EXPONENTS, "levels", "of_levels"),
    )
    factor_fields: ClassVar[tuple[str, ...]] = ("x", "hue", "over", "size")
    interval: ClassVar[str] = "percentile bootstrap"
    ends_at_100: ClassVar[bool] = False

    metric: str = "accuracy"
    split: str = "test"
    threshold: float = 0.8
    x: str = "patches"
    size: str = "train_size"
    resamples: int = 2000

    def check(self) -> None:
        super().check()
        self.require("metric", wording.is_share(self.metric), "a share that is best at 1, such as 'accuracy'")
        self.require("threshold", 0 < self.threshold < 1, "between 0 and 1, such as 0.8 for 80 %")
        self.require("x", self.x != self.size, f"another factor than size = {self.size!r}")
        self.require("resamples", self.resamples >= 20, "20 or more")

    def heading(self) -> str:
        given = ", ".join(wording.level_text(*one) for one in self.given)
        text = f"{wording.headed(self._aim())}, against {wording.factor_text(self.x)}"
        return f"{text}: {given}" if given else text

    def view(self, records: Records) -> View:
        what = type(self).__name__
        require_sizes(records.plan, what, self.x)
        require_sizes(records.plan, what, self.size, field="size")
        return super().view(records)

    def values(self, view: View) -> pd.DataFrame:
        return view.pick(self.metric, split=self.split)

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        options = {name: getattr(self, name) for name in ("x", "size", "threshold", "over", "level", "resamples")}
        found = sizes_needed(self.values(view), by=view.rows, **options)
        grid = planned(view, [*view.by, self.size]).groupby(view.by, observed=True)["planned"].min().reset_index()
        out = grid.merge(found, on=view.by, how="left")
        for name, said in CENSORED.items():
            sizes = out[name].astype(float)
            out[said] = np.select([sizes == 0, np.isinf(sizes)], ["below", "above"], "")
            out[name] = sizes.where(np.isfinite(sizes) & (sizes > 0))
        exponents = list(EXPONENTS)
        out[exponents] = out[exponents].astype(float).replace([np.inf, -np.inf], np.nan)
        counts = ["n", "levels", "of_levels"]
        out[counts] = out[counts].fillna(0).astype(int)
        return out[[*view.by, "estimate", "low", "high", "n", "planned", *self.own_columns]]

    def metric_name(self) -> str:
        """What is along y is a number of images."""
        return ""

    def singles(self, view: View) -> pd.DataFrame | None:
        return None

    def cut(self, table: pd.DataFrame, view: View) -> tuple[float, float] | None:
        return None

    def lines(self, panel: Panel, view: View) -> None:
        rows = panel.rows.copy()
        for end in ("low", "high"):
            for side, edge in EDGES.items():
                rows[end] = rows[end].mask(rows[CENSORED[end]] == side, rows[edge])
            rows[end] = rows[end].where(rows["estimate"].notna())
        super().lines(Panel(panel.axes, rows, panel.styles, panel.places, None), view)

    def marks(
        self, axes: Axes, own: pd.DataFrame, at: dict[Any, float], style: theme.Style, rows: pd.DataFrame
    ) -> None:
        """Arrows where the number lies beyond the sizes measured."""
        for side, edge in EDGES.items():
            look = hollow_mark(theme.Style(style.colour, ARROWS[side]))
            for level, size in own.loc[own["censored"] == side, edge].items():
                axes.plot(at[level], size, linestyle="", **look, zorder=3)

    def finish(self, panels: Any, table: pd.DataFrame, view: View) -> None:
        sizes = table.loc[table["n"] > 0, ["smallest", "largest"]].to_numpy(float)
        if len(sizes):
            panels[0].set_yscale("log")
            panels[0].set_ylim(sizes.min() / 1.6, sizes.max() * 1.6)
            log_axis(panels[0])

    def quantity(self, view: View) -> str:
        return self._aim()

    def _aim(self) -> str:
        return f"images for {100 * self.threshold:g} % {self.split} {wording.metric_text(self.metric)}"

    def sentence(self, table: pd.DataFrame, view: View) -> str:
        given = "".join(f", {wording.level_text(*one)}" for one in self.given)
        return (
            f"Training {self._aim()}{view.data_text}{given}, against {self.x_text(view)}, both on logarithmic axes; "
            "read off straight lines between the mean accuracies, made monotone, never beyond the sizes measured."
        )

    def bars(self) -> str:
        return f"Bars: {100 * self.level:g} % percentile intervals over resampled {self.over}s."

    def remarks(self, table: pd.DataFrame, view: View) -> list[str]:
        if not table["n"].sum():
            return [view.elsewhere(table, self.metric, self.split)]
        said = []
        firsts = table[table["n"] > 0].drop_duplicates(view.rows)
        known = [
            f"{wording.cell_text(row, view.rows[::-1])} {_exponent(row)}{_of_all(row)}"
            for row in firsts.to_dict("records")
            if row["levels"] > 1
        ]
        if known:
            over = f"the exponent of {self.x_text(view)}, the slope over the levels with a known number"
            said.append(f"{wording.headed(over)}: {wording.listing(known)}.")
        open_ones = table[table["censored"] != ""].to_dict("records")
        if open_ones:
            names = [f"{wording.cell_text(row, view.by)} ({_number(row)})" for row in open_ones]
            said.append(f"Arrows: beyond the sizes measured: {wording.listing(names, most=12)}.")
        return said

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        view = self.view(records)
        out = []
        for _, rows in table.groupby(view.rows, observed=True, dropna=False, sort=False):
            cells, first = rows.to_dict("records"), rows[rows["n"] > 0].to_dict("records")
            out.append(
                view.heads(cells[0])
                | {wording.level_text(self.x, row[self.x]): _number(row) for row in cells}
                | {
                    "exponent": _exponent(first[0]) if first else "–",
                    "levels": f"{first[0]['levels']} of {len(cells)}" if first else f"0 of {len(cells)}",
                }
            )
        return pd.DataFrame(out).fillna("–")


def _number(row: dict[Any, Any]) -> str:
    """The number of images with its interval, or a bound: 410 [350, 480], more than 16,000."""
    if not row["n"]:
        return "–"
    if row["censored"]:
        return _end(row, "estimate")
    text = _end(row, "estimate")
    if not (_is_open(row, "low") and _is_open(row, "high")):
        text += f" [{_end(row, 'low')}, {_end(row, 'high')}]"
    return text if row["n"] == row["planned"] else f"{text} (n = {row['n']})"


def _is_open(row: dict[Any, Any], name: str) -> bool:
    return pd.isna(row[name]) and not row[CENSORED[name]]


def _of_all(row: dict[Any, Any]) -> str:
    """Where numbers of some levels are not known: how many the exponent is of."""
    return f" over {row['levels']} of {row['of_levels']} levels" if row["levels"] < row["of_levels"] else ""


def _end(row: dict[Any, Any], name: str) -> str:
    if said := row[CENSORED[name]]:
        return f"more than {row['largest']:,.0f}" if said == "above" else f"fewer than {row['smallest']:,.0f}"
    return f"{row[name]:,.0f}"


def _exponent(row: dict[Any, Any]) -> str:
    """1.9 [1.7, 2.2]; "open" for a bound that leaves the sizes measured."""
    if pd.isna(row["exponent"]):
        return "none"
    if row["n"] < 2:
        return f"{row['exponent']:.2f}"
    low, high = ("open" if pd.isna(row[name]) else f"{row[name]:.2f}" for name in EXPONENTS[1:])
    return f"{row['exponent']:.2f} [{low}, {high}]"
