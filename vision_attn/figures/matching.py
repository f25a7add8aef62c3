"""Matching: how alike in size and in training the compared models are."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from vision_attn import wording
from vision_attn.figures import lettering, theme
from vision_attn.figures.axes import row_height
from vision_attn.figures.base import Figure
from vision_attn.plan import Plan
from vision_attn.records import (
    Records,
    column,
    facets,
    fitted_levels,
    may_have,
    pick,
    require_factor,
    require_level,
)
from vision_attn.spec import InputError, spec

MEASURES = {"params": "parameters", "flops": "forward FLOPs"}
TRAINING = ("updates", "images_seen", "epochs", "learning_rate")
SCALE = "branch_sd"
"""What the mixers add before training, where the probe `BranchScale` has measured it."""
OWN = (
    *(f"{metric}{end}" for metric in MEASURES for end in ("", "_ratio")),
    *("verdict", "epochs"),
    *(f"{name}_{end}" for name in (*TRAINING, SCALE) for end in ("min", "max")),
)
"""Columns of its table, and one that they are made of, that no factor of its rows may take the names of."""


@spec
class Matching(Figure):
    """Parameters and forward FLOPs of every model as a ratio to `reference`, and the budget each was trained with.

    Beside them stands how large what the mixers add is before training, smallest to largest of the layers, where the
    probe `BranchScale` has measured it.
    The verdict is "inside" where every measure named in `on` is within `tolerance` of the reference's. A model has one
    row, or one for each of its sizes where those change with another factor. Baselines that are fitted, not trained,
    have none.
    """

    title: ClassVar[str] = "Matching"
    measured_by: ClassVar[str] = "Size"
    opens_table: ClassVar[bool] = True

    reference: str | int | float | bool
    on: tuple[str, ...] = ("params",)
    tolerance: float = 0.02
    hue: str = "model"

    def check(self) -> None:
        self.require("on", bool(self.on) and set(self.on) <= set(MEASURES), "one or both of 'params', 'flops'")
        self.require("tolerance", 0 < self.tolerance < 1, "between 0 and 1")

    def applies(self, plan: Plan) -> bool:
        """Where the reference is among the levels of `hue`."""
        return may_have(plan, self.hue, self.reference)

    def _factors(self, records: Records) -> list[str]:
        """The factors that tell models apart: those with which parameters or FLOPs change, and `hue`."""
        require_factor(records.plan, "hue", "Matching", self.hue)
        require_level(records.plan, "reference", "Matching", self.hue, self.reference)
        sizes = pd.concat([pick(records, metric, at={}) for metric in MEASURES])
        changing = []
        for name in facets(records.plan, used=(self.hue,)):
            others = [other for other in records.plan.factors if other != name]
            groups = sizes.groupby([*others, "metric"], observed=True, dropna=False)["value"]
            if (groups.nunique() > 1).any():
                changing.append(name)
        taken = [name for name in changing if name in (*OWN, "reference")]
        taken += [self.hue] if self.hue in OWN else []
        if taken:
            raise InputError(f"factors of Matching must have other names than columns of its own. Got {taken[0]!r}.")
        return [*changing, self.hue]

    def table(self, records: Records) -> pd.DataFrame:
        by = self._factors(records)
        out = records.runs[by].drop_duplicates().sort_values(by).reset_index(drop=True)
        for metric in MEASURES:
            means = pick(records, metric, at={}).groupby(by, observed=True, dropna=False)["value"].mean()
            out = out.merge(means.rename(metric).reset_index(), on=by, how="left")
        for metric in MEASURES:
            own = out[out[self.hue] == self.reference][[*by[:-1], metric]].rename(columns={metric: "reference"})
            reference = out.merge(own, on=by[:-1])["reference"] if by[:-1] else own["reference"].iloc[0]
            out[f"{metric}_ratio"] = (out[metric] / reference).mask(out[metric] == reference, 1.0)
        out["verdict"] = [self._verdict(row) for row in out.to_dict("records")]
        out = out.merge(_budgets(records, by), on=by, how="left")
        scales = pick(records, SCALE, at={}, along=("layer",))
        if len(scales):
            out = out.merge(_scales(scales, records, by), on=by, how="left")
        fitted = fitted_levels(records.plan, self.hue) - {self.reference}
        return _merged(out[~out[self.hue].isin(fitted)], by[:-1], self.hue)

    def _verdict(self, row: dict[Any, Any]) -> str:
        ratios = [row[f"{metric}_ratio"] for metric in self.on]
        if any(pd.isna(ratio) for ratio in ratios):
            return "not measured"
        if row[self.hue] == self.reference:
            return "reference"
        return "inside" if all(abs(ratio - 1) <= self.tolerance for ratio in ratios) else "outside"

    def is_empty(self, table: pd.DataFrame) -> bool:
        return bool(table[list(MEASURES)].isna().all(axis=None))

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Canvas | None = None) -> theme.Canvas:
        by = self._factors(records)
        styles = theme.styles(records.plan, self.hue)
        with theme.style(into):
            whole = [_name(row, by) for row in table.to_dict("records")]
            names = lettering.row_names(whole, into=into)
            size = (4.3 + 0.072 * max(len(name) for name in whole), 1.35 + row_height(names, 0.42) * len(table))
            figure, (axes,) = theme.canvas(1, size=size, into=into)
            axes.grid(visible=False)
            axes.axvspan(1 - self.tolerance, 1 + self.tolerance, color="#bbbbbb", alpha=0.5, linewidth=0)
            axes.axvline(1, color=theme.INK, linewidth=0.8)
            low, high = _octaves(table[[f"{metric}_ratio" for metric in MEASURES]].to_numpy(float))
            _ratio_axis(axes, low, high)
            left, right = np.log2(axes.get_xlim())
            for place, row in enumerate(table.to_dict("records")):
                style = styles[row[self.hue]]
                for metric, shift in (("params", -0.14), ("flops", 0.14)):
                    ratio = row[f"{metric}_ratio"]
                    if not pd.isna(ratio):
                        face = style.colour if metric == "params" else "white"
                        at = float(np.clip(ratio, 2.0 ** (low - 0.5), 2.0 ** (high + 0.5)))
                        if at == ratio:  # else nothing, or a ratio to nothing: on no axis of ratios
                            axes.plot(at, place + shift, "o", markersize=6.5, color=style.colour, markerfacecolor=face)
                        text = f"{wording.short(row[metric])} ({_ratio(ratio)})"
                        has_room = np.log2(at) - left > ROOM * (right - left)
                        is_left = has_room and (at < 1 or np.isinf(ratio))
                        beside: dict[str, Any] = {"ha": "right" if is_left else "left", **_BESIDE}
                        offset = (-7 if is_left else 7, 0)
                        axes.annotate(text, (at, place + shift), offset, textcoords="offset points", **beside)
            axes.set_yticks(range(len(table)), [lettering.shown(name) for name in names])
            axes.set_ylim(len(table) - 0.5, -0.5)
            axes.set_xlabel(f"ratio to {self.reference}; grey: within ±{100 * self.tolerance:g} %")
            lettering.wrap_x(axes, beside=lettering.text_width(names))
            entries = {"parameters": theme.INK, "forward FLOPs of an image": "white"}
            lettering.legend(figure, {text: _dot(face) for text, face in entries.items()})
        return figure

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        by, on = self._factors(records), " and ".join(MEASURES[metric] for metric in self.on)
        said = [
            f"Size of the models as a ratio to {self.reference}, matched on {on} within ±{100 * self.tolerance:g} %."
        ]
        for verdict, sentence in (("outside", "Outside the tolerance"), ("not measured", "Not measured yet")):
            rows = table[table["verdict"] == verdict].to_dict("records")
            if names := [_name(row, by) for row in rows]:
                said.append(f"{sentence}: {wording.listing(names, most=12)}.")
        said.append("One multiplication with its addition counts as two FLOPs.")
        if f"{SCALE}_min" in table:
            said.append(
                "Scale of the mixers: the standard deviation of what they add to the tokens before training, smallest "
                "to largest of the layers."
            )
        return " ".join(said)

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        by = self._factors(records)
        out = []
        for row in table.to_dict("records"):
            cells = {name.replace("_", " "): str(row[name]) for name in by[::-1]}
            for metric, name in (("params", "parameters"), ("flops", "FLOPs an image")):
                known = not pd.isna(row[metric])
                size = f"{row[metric]:,.0f}" if metric == "params" else wording.short(row[metric])
                cells[name] = f"{size} ({_ratio(row[f'{metric}_ratio'])})" if known else "–"
            cells["verdict"] = row["verdict"]
            for name in TRAINING:
                cells[name.replace("_", " ")] = _range(row[f"{name}_min"], row[f"{name}_max"])
            if f"{SCALE}_min" in row:
                cells["scale of the mixers"] = _range(row[f"{SCALE}_min"], row[f"{SCALE}_max"])
            out.append(cells)
        return pd.DataFrame(out)


MOST_TICKS = 7
ROOM = 0.3
"""Of the axis, what must lie to the left of a point for its text to stand there."""
LEFT, RIGHT = 0.86, 1.14
"""Octaves of the axis beyond its lowest and its highest power of 2."""
_BESIDE: dict[str, Any] = {"fontsize": 8, "va": "center", "color": theme.INK}


def _dot(face: str) -> Line2D:
    return Line2D([], [], linestyle="", marker="o", color=theme.INK, markerfacecolor=face)


def _budgets(records: Records, by: list[str]) -> pd.DataFrame:
    """What was spent on training, as the range over a model's runs. Peak learning rate, from the logged updates."""
    runs, history = records.runs, records.history
    parts = {name: runs[column(records, name)] for name in ("updates", "images_seen") if column(records, name) in runs}
    sizes = column(records, "train_size")
    frame = runs[by].assign(**parts)
    if "images_seen" in frame and sizes in runs:
        frame["epochs"] = frame["images_seen"].astype(float) / runs[sizes].astype(float)
    rate = column(records, "learning_rate")
    if rate in history:
        peaks = history.groupby("run")[rate].max()
        frame["learning_rate"] = runs["run"].map(_planned_rates(records)).fillna(runs["run"].map(peaks)).astype(float)
    frame = frame.reindex(columns=[*by, *TRAINING])
    groups = frame.groupby(by, observed=True, dropna=False)
    return groups.agg(**{f"{n}_{f}": (n, f) for n in TRAINING for f in ("min", "max")}).reset_index()


def _scales(values: pd.DataFrame, records: Records, by: list[str]) -> pd.DataFrame:
    """The smallest and the largest scale of the layers, each the mean over runs."""
    layers = values.groupby([*by, column(records, "layer")], observed=True, dropna=False)["value"].mean()
    groups = layers.groupby(by, observed=True, dropna=False)
    return groups.agg(**{f"{SCALE}_min": "min", f"{SCALE}_max": "max"}).reset_index()


def _planned_rates(records: Records) -> dict[str, float]:
    """The learning rate that each run's recipe asks for, where the plan says it."""
    usual = records.plan.defaults.get("Recipe", {}).get("learning_rate")
    rates = {key: entry.run["recipe"].get("learning_rate", usual) for key, entry in records.plan.runs.items()}
    return {key: rate for key, rate in rates.items() if rate is not None}


ALL = "all levels"


def _merged(table: pd.DataFrame, others: list[str], hue: str) -> pd.DataFrame:
    """One row for each size of a model: at which levels of the `others` it has it, or `ALL` where it has no other."""
    measured = table[[f"{metric}_ratio" for metric in MEASURES]].notna().any(axis=1)
    table = table[measured | ~measured.groupby(table[hue], observed=True).transform("any")]
    if not others or table.empty:
        return table.reset_index(drop=True)
    sizes = [f"{metric}{end}" for metric in MEASURES for end in ("", "_ratio")]
    count, out = table.drop_duplicates([hue, *sizes])[hue].value_counts(), []
    for _, rows in table.groupby([hue, *sizes], observed=True, dropna=False, sort=False):
        row = rows.iloc[0].to_dict()
        for name in others:
            levels = list(dict.fromkeys(rows[name]))
            texts = [wording.level_text(name, level) for level in levels]
            row[name] = ALL if count[row[hue]] == 1 else levels[0] if len(levels) == 1 else wording.listing(texts)
        for name in [one for one in (*TRAINING, SCALE) if f"{one}_min" in table]:
            row |= {f"{name}_min": rows[f"{name}_min"].min(), f"{name}_max": rows[f"{name}_max"].max()}
        out.append(row)
    merged = pd.DataFrame(out, columns=table.columns).astype({hue: table[hue].dtype})
    if (merged[others] == ALL).any(axis=None):  # else levels come first, each with all models
        merged = merged.sort_values(hue, kind="stable")
    return merged.reset_index(drop=True)


def _name(row: dict[Any, Any], by: list[str]) -> str:
    """A row in words: ViT, 250 images and 1k images."""
    levels = [(name, row[name]) for name in by[::-1] if row[name] != ALL]
    return ", ".join(level if isinstance(level, str) else wording.level_text(name, level) for name, level in levels)


def _ratio(ratio: float) -> str:
    if ratio >= 1000:
        return "×∞" if np.isinf(ratio) else f"×{ratio:,.0f}"
    return "–" if pd.isna(ratio) else f"×{ratio:.3g}" if abs(ratio - 1) > 0.1 else f"×{ratio:.3f}"


def _range(low: float, high: float) -> str:
    texts = ["–" if pd.isna(value) else f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in (low, high)]
    return texts[0] if texts[0] == texts[1] else "–".join(texts)


def _octaves(ratios: np.ndarray) -> tuple[int, int]:
    """The powers of 2 between which the ratios lie, at least half to twice.

    They begin earlier where else a text had room neither left of its point nor between that and the reference's line.
    """
    powers = np.log2(ratios[np.isfinite(ratios) & (ratios > 0)])
    low = min(-1, int(np.floor(powers.min(initial=0) - 0.01)))
    high = max(1, int(np.ceil(powers.max(initial=0) + 0.01)))
    below = powers[powers < 0]
    while np.any(np.maximum(below - (low - LEFT), -below) < ROOM * (high + RIGHT - low + LEFT)):
        low -= 1
    return low, high


def _ratio_axis(axes: Any, low: int, high: int) -> None:
    """A base-2 axis between those powers, with as many ticks as can be read, and room for texts beside the points."""
    step = -(-(high - low + 1) // MOST_TICKS)
    ticks = [2.0**power for power in range(low, high + 1) if power % step == 0]
    axes.set_xscale("log", base=2)
    axes.set_xlim(2.0 ** (low - LEFT), 2.0 ** (high + RIGHT))
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"×{x:g}" if x > 0.1 else f"×{x:.2g}"))
