"""Choice: how every level of a factor, such as the learning rate, does on validation images, and which is taken."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd

from vision_attn.choice import choices
from vision_attn.figures import theme, wording
from vision_attn.figures.axes import percent_axis, size_axis
from vision_attn.figures.base import Figure
from vision_attn.records import Records, require_factor
from vision_attn.spec import spec


@spec
class Choice(Figure):
    """The mean final validation accuracy of every level of `choose`, for every level of `hue`; the best is chosen.

    The mean is over all other factors. Other figures and verdicts show the runs at the chosen level only.
    """

    title: ClassVar[str] = "Choice on validation images"
    opens_table: ClassVar[bool] = True

    choose: str = "learning_rate"
    hue: str = "model"
    metric: str = "val_accuracy"

    def applies(self, plan: dict[str, Any]) -> bool:
        """Where there are several levels to choose from."""
        return len(plan["factors"].get(self.choose, ())) != 1

    def table(self, records: Records) -> pd.DataFrame:
        for field in ("choose", "hue"):
            require_factor(records.plan, field, "Choice", getattr(self, field))
        return choices(records, over=self.choose, by=(self.hue,), metric=self.metric)

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Sheet | None = None) -> theme.Sheet:
        levels = sorted(records.plan["factors"][self.choose])
        looks = theme.looks(records.plan, self.hue)
        with theme.style():
            figure, (axes,) = theme.canvas(1, into=into)
            places = size_axis(axes, levels, label=wording.factor_text(self.choose))
            for i, (name, look) in enumerate(looks.items()):
                at, _ = theme.dodge(places, i, len(looks), logarithmic=axes.get_xscale() == "log")
                mine = table[table[self.hue] == name].set_index(self.choose).reindex(levels)
                line = mine.assign(low=np.nan, high=np.nan)
                theme.interval_line(axes, np.array(list(at.values())), line, look)
                best = mine[mine["chosen"].astype("boolean").fillna(False) & mine["estimate"].notna()]
                ring = {"markersize": 12, "markerfacecolor": "none", "markeredgecolor": look.colour}
                for level, row in best.iterrows():
                    axes.plot(at[level], row["estimate"], "o", **ring)  # type: ignore[arg-type]
            axes.set_ylabel(self.metric.replace("val_", "validation ").replace("_", " ") + " (%)")
            percent_axis(axes)
            if not table["n"].sum():
                theme.blank(axes)
            theme.legend(figure, {wording.level_text(self.hue, k): theme.handle(look) for k, look in looks.items()})
        return figure

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        if not table["n"].sum():
            return "Nothing is measured yet."
        runs = int(table["n"].sum())
        return (
            f"Final {self.metric.replace('val_', 'validation ').replace('_', ' ')}{wording.data_text(records)} by "
            f"{wording.factor_text(self.choose)}, mean over all other factors ({runs:,} runs; one that diverged counts "
            f"as 0). Ringed: chosen for that {wording.factor_text(self.hue)}, of equal ones the smaller. Test images "
            "have no part in the choice."
        )

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        cells = [
            wording.number(row["estimate"], metric=self.metric) + (" (chosen)" if row["chosen"] and row["n"] else "")
            for row in table.to_dict("records")
        ]
        levels = sorted(records.plan["factors"][self.choose])
        return wording.wide(table, cells, rows=[self.hue], columns=self.choose, names=levels)
