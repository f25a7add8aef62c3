"""Fitted curves: error against the number of training images, and the formula that predicts it best."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import theme
from vision_attn.figures.axes import log_axis, percent_axis, require_sizes, size_axis
from vision_attn.figures.base import OverSeeds
from vision_attn.records import Records, chance, facets, pick, planned
from vision_attn.spec import spec
from vision_attn.statistics import CURVES, fitted_curves, fitted_error, mean_interval

MEASURED = "measured"
FORMULAS = {"power": "a n^−b + c", "exponential": "a exp(−b n) + c", "logarithm": "a − b log n"}


@spec
class FittedCurves(OverSeeds):
    """The error, 1 - `metric`, against `x` on logarithmic axes, and the fitted curve of every level of `hue`.

    Drawn is the kind of curve that, fitted without the largest size, misses it least; between the sizes measured
    only. Rows of the table: kind "measured", a mean at every size; then a kind of curve each, at the largest size
    measured, with its error there, its parameters, the reliance on data (Hoiem et al. 2021) and why it failed.
    """

    title: ClassVar[str] = "Fitted learning curves"
    opens_table: ClassVar[bool] = True
    factor_fields: ClassVar[tuple[str, ...]] = ("x", "hue", "over")

    metric: str = "accuracy"
    split: str = "test"
    x: str = "train_size"
    resamples: int = 200

    def check(self) -> None:
        super().check()
        self.require("metric", wording.is_share(self.metric), "a share that is best at 1, such as 'accuracy'")
        self.require("resamples", self.resamples >= 20, "20 or more")

    def _settled(self, records: Records) -> Records:
        require_sizes(records.plan, "FittedCurves", self.x)
        return super()._settled(records)

    def _factors(self, records: Records) -> list[str]:
        return [*facets(records.plan, used=(self.x, self.hue, self.over)), self.hue, self.x]

    def table(self, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        values = pick(records, self.metric, at={"split": self.split})
        errors = values.assign(value=1 - values["value"])
        means = planned(records, by).merge(mean_interval(errors, by=by, level=self.level), on=by, how="left")
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

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Sheet | None = None) -> theme.Sheet:
        records = self._settled(records)
        by = self._factors(records)
        looks = theme.looks(records.plan, self.hue)
        with theme.style():
            parts = theme.panels(table, by[:-2])
            figure, axes = theme.canvas(len(parts), into=into)
            for each, (title, rows) in zip(axes, parts, strict=True):
                self._panel(each, rows, records)
                theme.titled(each, title)
                if theme.is_left(each):
                    each.set_ylabel(f"{self.split} error, 1 − {self.metric.replace('_', ' ')} (%)")
            means = table.loc[table["kind"] == MEASURED, "estimate"].dropna()
            if (means > 0).any():
                axes[0].set_yscale("log")
                axes[0].set_ylim(float(means[means > 0].min()) / 1.5, min(1.0, 1.3 * float(means.max())))
                log_axis(axes[0], dense=True)
                for each in axes:
                    percent_axis(each)
                    self._chance(each, records)
            else:
                for each in axes:
                    theme.blank(each)
            entries = {wording.level_text(self.hue, k): theme.handle(look) for k, look in looks.items()}
            theme.legend(figure, entries)
        return figure

    def _panel(self, axes: Axes, rows: pd.DataFrame, records: Records) -> None:
        levels = records.plan.levels(self.x)
        places = size_axis(axes, levels, label=wording.factor_text(self.x))
        looks = theme.looks(records.plan, self.hue)
        for name, look in looks.items():
            own = rows[rows[self.hue] == name]
            means = own[own["kind"] == MEASURED].set_index(self.x).reindex(levels)
            means["low"] = means["low"].clip(lower=1e-6)
            theme.interval_line(axes, np.array(list(places.values())), means, look, line="")
            for row in own[own["chosen"]].to_dict("records"):
                n = np.geomspace(means.index[means["n"] > 0].min(), row[self.x], 100)
                error = fitted_error(row["kind"], n, a=row["a"], b=row["b"], c=row["c"])
                axes.plot(n, error, color=look.colour, zorder=1.7)

    def _chance(self, axes: Axes, records: Records) -> None:
        """The error of guessing, where the axis reaches it."""
        guess = chance(records) if self.metric == "accuracy" else None
        if guess is not None and 1 - guess < axes.get_ylim()[1]:
            theme.reference_line(axes, 1 - guess, "chance", dotted=True)

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        records = self._settled(records)
        by = self._factors(records)
        means, fits = table[table["kind"] == MEASURED], table[table["kind"] != MEASURED]
        said = [
            f"{self.split.capitalize()} error, 1 − {self.metric.replace('_', ' ')}{wording.data_text(records)}, "
            f"against the {wording.factor_text(self.x)}, both on logarithmic axes.",
            wording.seeds_text(means, by, unit=self.over),
        ]
        if (means["n"] > 1).any():
            said.append(f"Bars: {100 * self.level:g} % Student-t intervals, drawn as far as the axis.")
        if fits["chosen"].any():
            kinds = [
                f"{FORMULAS[kind]} for {wording.listing([self._name(row, by) for row in rows.to_dict('records')])}"
                for kind, rows in fits[fits["chosen"]].groupby("kind", sort=False)
            ]
            said.append(
                "Lines: the least-squares fit, weighted by the variance of the means, of the formula that misses the "
                f"largest size least when fitted to the others: {'; '.join(kinds)}. They end with the sizes measured."
            )
        without = fits.groupby(by[:-1], observed=True).filter(lambda rows: not rows["chosen"].any())
        names = list(dict.fromkeys(self._name(row, by) for row in without.to_dict("records")))
        said.append(f"No fit could be judged for {wording.listing(names)}." if names and len(means) else "")
        return " ".join(filter(None, said))

    def _name(self, row: dict[Any, Any], by: list[str]) -> str:
        return " at ".join(wording.level_text(name, row[name]) for name in [self.hue, *by[:-2]])

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        records = self._settled(records)
        by = self._factors(records)
        out = []
        for row in table[table["kind"] != MEASURED].to_dict("records"):
            missed = wording.quantity(row["left_out_error"], metric=self.metric, unit="points")
            out.append(
                {wording.factor_text(name): wording.level_cell(row[name]) for name in by[:-1]}
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


def _cell(row: dict[Any, Any], name: str, *, metric: str = "") -> str:
    """A quantity with its interval."""
    low, high = ("low", "high") if name == "estimate" else (f"{name}_low", f"{name}_high")
    bounds = {key: round(row[at], 9) for key, at in (("estimate", name), ("low", low), ("high", high))}
    return wording.interval(bounds | {"n": row["n"], "planned": row["planned"]}, metric=metric)
