"""Fitted curves: error against the number of training images, and the formula that predicts it best."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import marks, theme
from vision_attn.figures.axes import log_axis, require_sizes
from vision_attn.figures.lines import Panel, SplitLines
from vision_attn.figures.view import View
from vision_attn.records import Records
from vision_attn.spec import spec
from vision_attn.statistics import CURVES, fitted_curves, fitted_error
from vision_attn.statistics.tails import ROUNDING

MEASURED = "measured"
EDGE = 0.025
"""How high over the lower edge of a panel an arrow stands, of its height."""
FORMULAS = {"power": "a n^−b + c", "exponential": "a exp(−b n) + c", "logarithm": "a − b log n"}


@spec
class FittedCurves(SplitLines):
    """The error, 1 - `metric`, against `x` on logarithmic axes, and the fitted curve of every level of `hue`.

    Drawn is the kind of curve that, fitted without the largest size, misses it least; between the sizes measured
    only. Rows of the table: kind "measured", a mean at every size; then a kind of curve each, at the largest size
    measured, with its error there, its parameters, the reliance on data (Hoiem et al. 2021) and why it failed.
    """

    title: ClassVar[str] = "Fitted learning curves"
    own_columns: ClassVar[tuple[str, ...]] = (
        "kind",
        "a",
        "a_low",
        "a_high",
        "b",
        "b_low",
        "b_high",
        "c",
        "c_low",
        "c_high",
        "data_reliance",
        "data_reliance_low",
        "data_reliance_high",
        "sizes",
        "left_out_error",
        "chosen",
        "failed",
    )
    opens_table: ClassVar[bool] = True

    x: str = "train_size"
    resamples: int = 200

    def check(self) -> None:
        super().check()
        self.require("metric", wording.is_share(self.metric), "a share that is best at 1, such as 'accuracy'")
        self.require("resamples", self.resamples >= 20, "20 or more")

    def view(self, records: Records) -> View:
        require_sizes(records.plan, "FittedCurves", self.x)
        return super().view(records)

    def values(self, view: View) -> pd.DataFrame:
        """The errors; what is only rounding is 0."""
        values = super().values(view)
        errors = 1 - values["value"]
        return values.assign(value=errors.where(errors > ROUNDING, 0.0))

    def singles(self, view: View) -> None:
        """None, beside the curves."""

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        by, errors = view.by, self.values(view)
        means = view.means(errors, by=by)
        options = {"x": self.x, "over": self.over, "level": self.level, "resamples": self.resamples}
        fits = fitted_curves(errors, by=by[:-1], **options)  # type: ignore[arg-type]
        seeds = means.groupby(by[:-1], observed=True)["planned"].max().reset_index()
        fits = seeds.merge(pd.DataFrame({"kind": list(CURVES)}), how="cross").merge(
            fits, on=[*by[:-1], "kind"], how="left"
        )
        fits["failed"] = fits["failed"].astype(object).fillna("not measured yet")
        out = pd.concat([means.assign(kind=MEASURED, failed=""), fits.astype({self.x: float})], ignore_index=True)
        out = out.astype(means[by[:-1]].dtypes.to_dict())  # a merge forgets the order of levels
        for name in ("n", "sizes"):
            out[name] = out[name].fillna(0).astype(int)
        out["chosen"] = out["chosen"].astype("boolean").fillna(False).astype(bool)
        return out[
            [*by[:-1], "kind", *(name for name in fits.columns if name not in (*by[:-1], "kind", "planned")), "planned"]
        ]

    def lines(self, panel: Panel, view: View) -> None:
        """Means as marks, and the chosen curve through them."""
        for i, (name, style) in enumerate(panel.styles.items()):
            own = panel.rows[panel.rows[self.hue] == name]
            means = own[own["kind"] == MEASURED].set_index(self.x).reindex(list(panel.places))
            at, said = np.array(list(panel.places.values())), wording.level_text(self.hue, name)
            if self._is_log(view):
                if len(zero := means[means["estimate"] <= 0]):
                    self._below(panel, zero, i, style["style"], said)
                means["low"] = means["low"].clip(lower=1e-4)
                means = means.mask(means["estimate"] <= 0)
            marks.interval_line(panel.axes, at, means, style["style"], line="", name=said)
            for row in own[own["chosen"]].to_dict("records"):
                n = np.geomspace(own.loc[own["kind"].eq(MEASURED) & (own["n"] > 0), self.x].min(), row[self.x], 100)
                error = fitted_error(row["kind"], n, a=row["a"], b=row["b"], c=row["c"])
                line = style.get("line", "-")
                panel.axes.plot(n, 100 * error, color=style["style"].colour, linestyle=line, zorder=1.7)

    def _below(self, panel: Panel, rows: pd.DataFrame, index: int, style: theme.Style, said: str) -> None:
        """Arrows at the lower edge for means of 0, which have no place on a logarithmic axis."""
        look, axes = marks.hollow_mark(theme.Style(style.colour, "v")), panel.axes
        places, _ = marks.dodge(panel.places, index, len(panel.styles), logarithmic=axes.get_xscale() == "log")
        at, where = [places[level] for level in rows.index], axes.get_xaxis_transform()
        (drawn,) = axes.plot(at, [EDGE] * len(rows), linestyle="", transform=where, **look, zorder=3)
        marks.tell(axes, drawn, rows.to_dict("records"), said)

    def _is_log(self, view: View) -> bool:
        """Whether any error is more than 0; else y is linear."""
        return bool((self.values(view)["value"] > 0).any())

    def under(self, axes: Axes, rows: pd.DataFrame, view: View) -> None:
        """Nothing: chance is drawn where the axis reaches it, once that is known."""

    def compared(self, view: View) -> None:
        """None: chance has its name where it is drawn."""

    def finish(self, panels: Sequence[Axes], table: pd.DataFrame, view: View) -> None:
        means = table.loc[table["kind"] == MEASURED, "estimate"].dropna()
        if not (means > 0).any():
            if len(means):
                panels[0].set_ylim(-0.05, 1)
            return
        panels[0].set_yscale("log")
        panels[0].set_ylim(_lowest(means), min(100.0, 1.3 * float(means.max())))
        log_axis(panels[0], dense=True)
        guess = self.chance(view)
        for axes in panels:
            if guess is not None and 100 * (1 - guess) < axes.get_ylim()[1]:
                marks.reference_line(axes, 100 * (1 - guess), "chance", dotted=True)

    def ends(self, drawn: pd.DataFrame, places: dict[Any, float], view: View) -> list[tuple[str, float, float, str]]:
        ends = super().ends(drawn, places, view)
        return ends if min((y for _, _, y, _ in ends), default=1) > 0 else []  # at the lower edge names have no room

    def quantity(self, view: View) -> str:
        return f"{self.split} error, 1 − {self.metric.replace('_', ' ')}"

    def sentence(self, table: pd.DataFrame, view: View) -> str:
        what = f"{self.split.capitalize()} error, 1 − {self.metric.replace('_', ' ')}{view.data_text}"
        means = table.loc[table["kind"] == MEASURED, "estimate"].dropna()
        how = ": every error is 0" if len(means) and not means.any() else ", both on logarithmic axes"
        return f"{what}, against the {wording.factor_text(self.x)}{how}."

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        view = self.view(records)
        means, fits = table[table["kind"] == MEASURED], table[table["kind"] != MEASURED]
        said = [self.sentence(table, view), wording.seeds_text(means, view.by, unit=self.over)]
        if (means["n"] > 1).any():
            said.append(f"Bars: {100 * self.level:g} % Student-t intervals, clipped to the axis.")
        if fits["chosen"].any():
            kinds = [
                f"{FORMULAS[kind]} for {wording.listing([self._name(row, view) for row in rows.to_dict('records')])}"
                for kind, rows in fits[fits["chosen"]].groupby("kind", sort=False)
            ]
            weighted = ", weighted by 1 / variance of the means," if (means["high"] > means["low"]).any() else ""
            said.append(
                f"Lines: the least-squares fit{weighted} of the formula that misses the largest size least when fitted "
                f"to the others: {'; '.join(kinds)}. They end with the sizes measured."
            )
        said += self._unseen(means, fits, view)
        without = fits.groupby(view.rows, observed=True).filter(lambda rows: not rows["chosen"].any())
        names = list(dict.fromkeys(self._name(row, view) for row in without.to_dict("records")))
        said.append(f"No fit could be judged for {wording.listing(names)}." if names and len(means) else "")
        said += self.remarks(means, view)
        return " ".join(filter(None, said))

    def _unseen(self, means: pd.DataFrame, fits: pd.DataFrame, view: View) -> list[str]:
        """What lies below the logarithmic axis: means of 0, and the ends of lines."""
        if not (means["estimate"] > 0).any():
            return []
        zero = [wording.cell_text(row, view.by) for row in means[means["estimate"] <= 0].to_dict("records")]
        low = fits[fits["chosen"] & (fits["estimate"] < _lowest(means["estimate"]))]
        lines = [self._name(row, view) for row in low.to_dict("records")]
        return [
            f"Arrows: error 0, below the axis: {wording.listing(zero)}." if zero else "",
            f"Lines that leave the axis at the bottom: {wording.listing(lines)}." if lines else "",
        ]

    def _name(self, row: dict[Any, Any], view: View) -> str:
        return " at ".join(wording.level_text(name, row[name]) for name in [self.hue, *view.panels])

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        view = self.view(records)
        out = []
        for row in table[table["kind"] != MEASURED].to_dict("records"):
            missed = wording.quantity(row["left_out_error"], metric=self.metric, unit="points")
            out.append(
                view.heads(row)
                | {"curve": FORMULAS[row["kind"]]}
                | {name: _cell(row, name) for name in ("a", "b", "c")}
                | {
                    "error at the largest size (%)": _cell(row, "estimate", metric=self.metric),
                    "reliance on data (points)": _cell(row, "data_reliance", metric=self.metric),
                    "misses the largest, left out, by": missed + (" (chosen)" if row["chosen"] else ""),
                    "failed": row["failed"],
                }
            )
        return pd.DataFrame(out)


def _lowest(means: pd.Series) -> float:
    """Where the axis of those means begins."""
    return float(means[means > 0].min()) / 1.5


def _cell(row: dict[Any, Any], name: str, *, metric: str = "") -> str:
    """A quantity with its interval."""
    low, high = ("low", "high") if name == "estimate" else (f"{name}_low", f"{name}_high")
    bounds = {key: round(row[at], 9) for key, at in (("estimate", name), ("low", low), ("high", high))}
    return wording.interval(bounds | {"n": row["n"], "planned": row["planned"]}, metric=metric)
