"""Expected best: what a search would have found with fewer trials, and whether more would change the order."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures.lines import Lines
from vision_attn.figures.view import View
from vision_attn.plan import Plan
from vision_attn.records import Records, column, rows_at
from vision_attn.selection import finals
from vision_attn.spec import spec
from vision_attn.statistics import expected_best, search_leads


@spec
class ExpectedBest(Lines):
    """The expected best of so many trials drawn at random, one line a level of `hue` (Dodge et al. 2019).

    A trial is a level of the factor `trial`; its value is the mean over seeds of the final validation accuracy, a run
    that diverged counting as 0. Intervals are percentiles over resampled trials. Test images have no part in it.

    Of trials that were chosen one after another, each with what the earlier ones had found, as in the presets
    `in_turn` of the experiment, it describes the list and is no forecast of a random search: the caption says so.
    """

    title: ClassVar[str] = "What the search found"
    own_columns: ClassVar[tuple[str, ...]] = ("trials", "leader", "tie", "ahead_at")
    factor_fields: ClassVar[tuple[str, ...]] = ("trial", "hue", "over")
    is_linear: ClassVar[bool] = True

    trial: str = "trial"
    metric: str = "val_accuracy"
    resamples: int = 2000
    in_turn: tuple[str, ...] = ()

    def bars_text(self) -> str:
        return f"bars: {100 * self.level:g} % percentile intervals over resampled trials"

    def check(self) -> None:
        super().check()
        self.require("metric", wording.is_share(self.metric), "a share that is best at 1, such as 'val_accuracy'")
        self.require("resamples", self.resamples >= 20, "20 or more")

    def applies(self, plan: Plan) -> bool:
        """Where there are several trials."""
        return super().applies(plan) and len(plan.factors.get(self.trial, ())) != 1

    def values(self, view: View) -> pd.DataFrame:
        """The final value of every run."""
        return finals(view, column(view, self.metric))

    def singles(self, view: View) -> None:
        """None: the trials themselves are no points of these curves."""

    def x_name(self, view: View) -> str:
        return "trials"

    def x_text(self, view: View) -> str:
        return "number of trials"

    def places(self, table: pd.DataFrame, view: View) -> list[Any]:
        return sorted(table["trials"].dropna().astype(int).unique())

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        options = {"trial": self.trial, "level": self.level, "resamples": self.resamples}
        found = expected_best(self.values(view), by=view.rows, **options)  # type: ignore[arg-type]
        cells = view.runs[[*view.rows, self.trial]].drop_duplicates()
        planned = cells.groupby(view.rows, observed=True, dropna=False).size().rename("planned").reset_index()
        out = planned.merge(found, on=view.rows, how="left").astype(view.runs[view.rows].dtypes.to_dict())
        out["n"] = out["n"].fillna(0).astype(int)
        out["trials"] = out["trials"].astype("Int64")
        return out[[*view.rows, "trials", "estimate", "low", "high", "n", "planned"]]

    def under(self, axes: Axes, rows: pd.DataFrame, view: View) -> None:
        """Nothing."""

    def quantity(self, view: View) -> str:
        return f"expected best {wording.history_text(self.metric)}"

    def sentence(self, table: pd.DataFrame, view: View) -> str:
        return (
            f"Expected best {wording.history_text(self.metric)}{view.data_text} of so many of the trials, drawn at "
            f"random (Dodge et al. 2019); a trial is the mean over its {self.over}s, a run that diverged counting as 0."
        )

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        view = self.view(records)
        if not table["n"].sum():
            return f"{self.sentence(table, view)} Nothing is measured yet."
        bars = f"Bars: {100 * self.level:g} % percentile intervals over resampled trials."
        lacking = table.drop_duplicates(view.rows)
        lacking = lacking[lacking["n"] < lacking["planned"]].to_dict("records")
        names = [f"{wording.cell_text(row, view.rows[::-1])} ({row['n']} of {row['planned']})" for row in lacking]
        missing = f"Not all planned trials are in: {wording.listing(names, most=5)}." if names else ""
        return " ".join(
            filter(None, [self.sentence(table, view), *self._limits(table, view), bars, missing, *self._leads(view)])
        )

    def _limits(self, table: pd.DataFrame, view: View) -> list[str]:
        """Why the curves are those of no random search, or of searches that were not equally long."""
        said = []
        if view.plan.preset in self.in_turn:
            said.append(
                "These trials are no random draw but were chosen one after another or round by round, knowing what the "
                "earlier ones had found: the curves describe this list and not a random search."
            )
        numbers = sorted(set(table["planned"]))
        if len(numbers) > 1:
            said.append(
                f"There are {numbers[0]} to {numbers[-1]} trials a line, so that some had more chances than others."
            )
        return said

    def _leads(self, view: View) -> list[str]:
        """Of every panel the order with all trials, which of it is a near tie, and which was another with fewer."""
        options = {"trial": self.trial, "compare": self.hue, "level": self.level, "resamples": self.resamples}
        found = search_leads(self.values(view), by=view.panels, **options)  # type: ignore[arg-type]
        said = []
        for title, rows in view.parts(found):
            if rows.empty:
                continue
            pairs = [
                [wording.level_text(self.hue, row[name]) for name in ("leader", self.hue)]
                for row in rows.to_dict("records")
            ]
            order = list(dict.fromkeys(name for pair in pairs for name in pair))
            ties = [" before ".join(pair) for pair, tie in zip(pairs, rows["tie"], strict=True) if tie]
            unknown = [" before ".join(pair) for pair, low in zip(pairs, rows["low"], strict=True) if pd.isna(low)]
            turned = [" before ".join(pair) for pair, at in zip(pairs, rows["ahead_at"], strict=True) if at]
            text = f"{f'{title}: ' if title else ''}with all trials the order is {wording.listing(order)}"
            text += f"; near ties (the interval of the lead reaches 0): {wording.listing(ties)}" if ties else ""
            text += f"; of one trial, so that how sure is not known: {wording.listing(unknown)}" if unknown else ""
            text += f"; the other way round with fewer trials: {wording.listing(turned)}" if turned else ""
            said.append(f"{wording.headed(text)}.")
        return said

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        view = self.view(records)
        trials = self.values(view).groupby([*view.rows, self.trial], observed=True)["value"].mean().reset_index()
        out = []
        for row in table.drop_duplicates(view.rows).to_dict("records"):
            levels = {name: row[name] for name in view.rows}
            own, whole = rows_at(trials, levels), rows_at(table, levels)
            best = own.sort_values("value", ascending=False).head(2)
            margin = best["value"].iloc[0] - best["value"].iloc[1] if len(best) == 2 else np.nan
            last = whole.iloc[-1]
            out.append(
                view.heads(row)
                | {
                    "best trial": str(best[self.trial].iloc[0]) if len(best) else "–",
                    "its accuracy (%)": wording.number(best["value"].iloc[0], metric=self.metric) if len(best) else "–",
                    "next": str(best[self.trial].iloc[1]) if len(best) == 2 else "–",
                    "margin (points)": wording.number(margin, metric=self.metric),
                    "expected best of all": wording.interval(last, metric=self.metric),
                    "trials": f"{row['n']} of {row['planned']}",
                }
            )
        return pd.DataFrame(out)
