"""Learning curve: a metric against the number of training images."""

from typing import ClassVar

import pandas as pd

from vision_attn import wording
from vision_attn.figures.lines import Lines
from vision_attn.figures.view import View
from vision_attn.spec import spec


@spec
class LearningCurve(Lines):
    """The mean of a metric over seeds against a factor, one line a level of `hue`, with Student-t intervals."""

    title: ClassVar[str] = "Learning curve"
    factor_fields: ClassVar[tuple[str, ...]] = ("x", "hue")

    metric: str = "accuracy"
    split: str = "test"
    x: str = "train_size"

    def values(self, view: View) -> pd.DataFrame:
        return view.pick(self.metric, split=self.split)

    def quantity(self, view: View) -> str:
        return f"{self.split} {self.metric.replace('_', ' ')}"

    def sentence(self, table: pd.DataFrame, view: View) -> str:
        what = f"{self.split.capitalize()} {self.metric.replace('_', ' ')}{wording.data_text(view)}"
        return f"{what} against the {wording.factor_text(self.x)}."
