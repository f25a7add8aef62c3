"""Limited: where the largest budget still limits a model, as hollow marks."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from vision_attn.figures import theme
from vision_attn.figures.marks import whiten
from vision_attn.records import Records, pick
from vision_attn.statistics import limits

LIMITED_TEXT = (
    "Hollow: limited by the budget of training; the others at the largest budget by their data: at least 95 % on their "
    "training images, or no more than 1.5 points gained from the last fourfold budget (upper bound)."
)


def limited(records: Records, *, by: Sequence[str], budget: str, over: str = "seed") -> pd.DataFrame:
    """What limits every cell `by` at its largest budget: `by`, budget, train_accuracy, limited_by."""
    train, test = (pick(records, "accuracy", at={"split": split}) for split in ("train", "test"))
    columns = ["budget", "train_accuracy", "limited_by"]
    if test.empty or over not in records.plan.factors:
        return pd.DataFrame(columns=[*by, *columns]).astype(test[list(by)].dtypes.to_dict())
    return limits(train, test, by=by, budget=budget, over=over)[[*by, *columns]]


def mark_hollow(axes: Axes, own: pd.DataFrame, at: dict[Any, float], style: theme.Style) -> None:
    """White marks over those of a line that are limited by the budget."""
    whiten(axes, own[(own["limited_by"] == "budget") & own["estimate"].notna()], at, style)
