"""Altered images: what all figures of a metric against how much the test images are altered share."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import pandas as pd

from vision_attn.figures.coordinate_lines import CoordinateLines
from vision_attn.figures.view import View
from vision_attn.spec import spec

LABELS = {
    "accuracy": "test accuracy",
    "consistency": "same class",
    "correct_consistency": "same class, if right",
    "logit_change_max": "largest change of a logit",
    "logit_change_mean": "mean change of logits",
}
QUANTITY = {
    "accuracy": "Test accuracy",
    "consistency": "Share of test images whose class stays the same",
    "correct_consistency": "Share of the correctly classified test images whose class stays the same",
    "logit_change_max": "Largest change of any logit of any test image",
    "logit_change_mean": "Mean change of the logits of the test images, without sign",
}


@spec
class AlteredImages(CoordinateLines, abc.ABC):
    """A metric of altered test images against how much they are altered, one line a level of `hue`.

    Records have the coordinates `coordinate` and those of `among`. Within a run they are averaged; mean and Student-t
    interval are over the runs of the factor `over`.
    """

    factor_fields: ClassVar[tuple[str, ...]] = ("hue", "over")
    coordinate: ClassVar[str]
    x_label: ClassVar[str]

    @abc.abstractmethod
    def among(self) -> Mapping[str, tuple[str, ...] | None]:
        """The other coordinates of the records, each with the values that count, or None for all."""

    @abc.abstractmethod
    def altered(self) -> tuple[str, str]:
        """Of what images the metric is, and how that is read."""

    def metric_name(self) -> str:
        return getattr(self, "metric", "accuracy")

    def x_name(self, view: View) -> str:
        return view.column(self.coordinate)

    def x_text(self, view: View) -> str:
        return self.x_label

    def values(self, view: View) -> pd.DataFrame:
        """One value for each cell of the plan and level of x."""
        among = {view.column(name): wanted for name, wanted in self.among().items()}
        values = view.pick(self.metric_name(), split="test", along=(self.coordinate, *self.among()))
        for name, wanted in among.items():
            if wanted is not None and len(values):
                values = values[values[name].isin(wanted)]
        keys = [*view.plan.factors, self.x_name(view)]
        if values.empty:
            return pd.DataFrame(columns=[*keys, "value"])
        means = values.groupby(keys, observed=True, dropna=False)["value"].mean().reset_index()
        return self.whole(means.astype({keys[-1]: float}), keys[-1])

    def cells(self, view: View, values: pd.DataFrame) -> pd.DataFrame:
        """The cells planned, without panels whose runs are all done and have no such x, as their data do not."""
        cells, panels = super().cells(view, values), list(view.panels)
        if values.empty or not panels:
            return cells
        others = view.runs.loc[view.runs["state"] != "done", panels]
        kept = {tuple(row) for frame in (values, others) for row in frame[panels].itertuples(index=False)}
        return cells[[tuple(row) in kept for row in cells[panels].itertuples(index=False)]].reset_index(drop=True)

    def legend(self, table: pd.DataFrame, view: View) -> dict[str, Any]:
        return view.legend([name for name in view.styles if name in set(table[self.hue])])

    def quantity(self, view: View) -> str:
        return LABELS[self.metric_name()]

    def sentence(self, table: pd.DataFrame, view: View) -> str:
        of, reading = self.altered()
        return f"{QUANTITY[self.metric_name()]}{view.data_text}, {of}. {reading}"
