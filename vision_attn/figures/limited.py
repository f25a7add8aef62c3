"""Limited: where the largest budget still limits a model, as hollow marks."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import theme
from vision_attn.figures.marks import whiten
from vision_attn.figures.view import View
from vision_attn.records import pick
from vision_attn.statistics import limits
from vision_attn.statistics.limits import FITTED
from vision_attn.statistics.tails import ROUNDING

FITS = f"{100 * FITTED:g} % on their training images"
GAIN = "1.5 points gained from the last fourfold budget (upper bound)"
LARGEST = "largest budget of a cell"


def limited(view: View, *, by: Sequence[str], budget: str, over: str = "seed") -> pd.DataFrame:
    """What limits every cell `by` at its largest budget: `by`, that budget (`LARGEST`), train_accuracy, limited_by.

    "" of what is fitted instead of trained: it has no budget that its data could be told from.
    """
    train, test = (pick(view, "accuracy", at={"split": split}) for split in ("train", "test"))
    columns = [LARGEST, "train_accuracy", "limited_by"]
    if test.empty or over not in view.plan.factors:
        return pd.DataFrame(columns=[*by, *columns]).astype(test[list(by)].dtypes.to_dict())
    cell = {name: f"{name} of a cell" for name in by}  # a factor may have the name of a column of limits
    parts = (part.rename(columns=cell) for part in (train, test))
    found = limits(*parts, by=list(cell.values()), budget=budget, over=over)
    found = found[[*cell.values(), "budget", *columns[1:]]].set_axis([*by, *columns], axis=1)
    found["limited_by"] = found["limited_by"].mask(found[view.hue].isin(view.fitted), "")
    return found


def mark_hollow(axes: Axes, own: pd.DataFrame, at: dict[Any, float], style: theme.Style) -> None:
    """White marks over those of a line that are limited by the budget."""
    whiten(axes, own[(own["limited_by"] == "budget") & own["estimate"].notna()], at, style)


def limits_remarks(table: pd.DataFrame, view: View, *, by: Sequence[str], is_ladder: bool) -> list[str]:
    """What a caption says of the limits in a table whose cells are told apart by `by`.

    What hollow marks are, and which cells gain nothing from training though they do not fit their training images:
    there a larger network might gain from the same data. `is_ladder` says that there are several budgets.
    """
    said = [_hollow_text(set(table["limited_by"]), is_ladder)] if (table["limited_by"] == "budget").any() else []
    small = (table["limited_by"] == "data") & (table["train_accuracy"] < FITTED - ROUNDING)
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


def _hollow_text(found: set[str], is_ladder: bool) -> str:
    """What hollow marks are, and the filled ones, where there are any."""
    rule = f"at least {FITS}{f', or no more than {GAIN}' if is_ladder else ''}"
    if "data" in found:
        others = "the others at the largest budget" if is_ladder else "the others"
        return f"Hollow: limited by the budget of training; {others} by their data: {rule}."
    every = "" if "not measured" in found else ", as all at their largest budget" if is_ladder else ", as all here"
    return f"Hollow{every}: limited by the budget of training, not by their data, which would take {rule}."
