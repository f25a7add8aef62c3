"""What limits a cell of a learning curve: its data, or the budget it was trained with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from vision_attn.spec import InputError
from vision_attn.statistics.intervals import check_level, mean_interval
from vision_attn.statistics.tails import ROUNDING

FITTED = 0.95
"""The accuracy on its training images from which on a network fits them."""


def limits(
    train: pd.DataFrame,
    test: pd.DataFrame,
    *,
    by: Sequence[str],
    budget: str | None = "images_seen",
    value: str = "value",
    over: str = "seed",
    fitted: float = FITTED,
    gain: float = 0.015,
    step: float = 4.0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Whether the cells `by`, such as (model, size), are limited by their data or by their training budget.

    `train` and `test` hold the accuracy, in [0, 1], on the training images without augmentation and on the test
    images, one row per cell, level of the factor `budget` and seed. At its largest budget B a cell is limited by its
    data where one of two things holds, else by its budget:

        fits: mean accuracy on the training images >= `fitted`
        flat: upper bound of the Student-t interval of the gain < `gain`,  gain = test(B) - test(B') seed by seed,
              B' the largest budget <= B / `step`

    A cell that is flat and does not fit may be limited by the size of its network rather than by its data. Without a
    smaller budget, with `budget` None, or with fewer than two seeds at both there is no gain, and only fitting counts.
    Where accuracy on the training images is missing too, nothing is known: "not measured".
    One row a cell: `by`, budget, train_accuracy, gain, gain_low, gain_high, n (pairs), fits, flat, limited_by ("data",
    "budget", "not measured").
    """
    check_level(level)
    ladder = budget or "budget"
    parts = []
    for split, frame in (("test", test), ("train", train)):
        part = (frame if budget else frame.assign(budget=np.nan)).dropna(subset=[value])
        if part.duplicated([*by, ladder, over]).any():
            raise InputError(f"by of limits must leave one value a cell, budget and {over}. Got several instead.")
        parts.append(part[[*by, ladder, over, value]].assign(_split=split))
    both = pd.concat(parts, ignore_index=True)
    rows = []
    for key, part in both.groupby(list(by), observed=True, dropna=False):
        row = _limit(part, ladder, over, value, step, level)
        rows.append(dict(zip(by, key, strict=True)) | row)
    numbers = ["train_accuracy", "gain", "gain_low", "gain_high"]
    out = pd.DataFrame(rows, columns=[*by, "budget", *numbers, "n"])
    out = out.astype({**dict.fromkeys(["budget", *numbers], float), "n": int})
    out["fits"], out["flat"] = out["train_accuracy"] >= fitted - ROUNDING, out["gain_high"] < gain - ROUNDING
    known = out["train_accuracy"].notna() | out["gain_high"].notna()
    is_data = out["fits"] | out["flat"]
    out["limited_by"] = np.where(is_data, "data", np.where(known, "budget", "not measured"))
    return out.astype({name: test[name].dtype for name in by})


def _limit(part: pd.DataFrame, ladder: str, over: str, value: str, step: float, level: float) -> dict[str, Any]:
    """Training accuracy and gain of one cell at its largest budget."""
    train, test = (part[part["_split"] == split] for split in ("train", "test"))
    largest = part[ladder].max()
    if not np.isnan(largest):
        train = train[train[ladder] == largest]
    row = {"budget": largest, "train_accuracy": train[value].mean(), "n": 0}
    below = test.loc[test[ladder] <= largest / step * (1 + 1e-6), ladder]
    if len(below):
        top, before = (test[test[ladder] == rung].set_index(over)[value] for rung in (largest, below.max()))
        gains = (top - before).dropna().rename("value").to_frame().assign(all=0)
        for one in mean_interval(gains, by=["all"], level=level).to_dict("records"):
            row |= {"gain": one["estimate"], "gain_low": one["low"], "gain_high": one["high"], "n": one["n"]}
    return row
