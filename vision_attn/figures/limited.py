"""Limited: where the largest budget still limits a model, as hollow marks."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import theme
from vision_attn.figures.marks import whiten
from vision_attn.figures.view import View
from vision_attn.records import Records, pick
from vision_attn.statistics import limits
from vision_attn.statistics.limits import FITTED
from vision_attn.statistics.tails import ROUNDING

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


def limits_remarks(table: pd.DataFrame, view: View, *, by: Sequence[str]) -> list[str]:
    """What a caption says of the limits in a table whose cells are told apart by `by`.

    What hollow marks are, and which cells gain nothing from training though they do not fit their training images:
    there a larger network might gain from the same data.
    """
    said = [LIMITED_TEXT] if (table["limited_by"] == "budget").any() else []
    is_low = table["train_accuracy"] < FITTED - ROUNDING
    small = (table["limited_by"] == "data") & is_low & ~table[view.hue].isin(view.fitted)
    if small.any():
        names = [view.hue, *(name for name in by if name != view.hue)]
        cells = [
            f"{wording.cell_text(row, names)} ({100 * row['train_accuracy']:.1f} %)"
            for row in table[small].to_dict("records")
        ]
        said.append(
            f"Where more training gains nothing, though the network knows less than {100 * FITTED:g} % of its training "
            f"images, its size may be the limit rather than the data: {wording.listing(cells)}."
        )
    return said
