"""Intervals over a few seeds: of a mean (Student), of resampled means, of a share (Clopper and Pearson)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import betaincinv, ndtri, stdtrit

from vision_attn.spec import InputError


def mean_interval(frame: pd.DataFrame, *, value: str = "value", by: Sequence[str], level: float = 0.95) -> pd.DataFrame:
    """The mean of `value` in every group of `by`, with the interval that covers the true mean with probability `level`.

        estimate ± t(n - 1, (1 + level) / 2) * sd / sqrt(n)                                  (Student, 1908)

    One row a group, missing keys being a group of their own: `by`, estimate, low, high, n, sd. n counts the values
    that are there. Of n = 1 the spread is unknown: low, high and sd are missing. Percentiles of a bootstrap would
    cover far less than they say at n = 3 to 10.
    """
    check_level(level)
    groups = frame.groupby(list(by), observed=True, dropna=False)[value]
    out = groups.agg(estimate="mean", n="count", sd="std").reset_index()
    half = half_width(out["sd"].to_numpy(float), out["n"].to_numpy(), level=level)
    out["low"], out["high"] = out["estimate"] - half, out["estimate"] + half
    return out[[*by, "estimate", "low", "high", "n", "sd"]]


def half_width(sd: np.ndarray, n: np.ndarray, *, level: float) -> np.ndarray:
    """Half the length of the Student-t interval of a mean; NaN where n < 2."""
    known = n >= 2
    degrees = np.where(known, n - 1, 1)
    width = stdtrit(degrees, (1 + level) / 2) * sd / np.sqrt(np.where(known, n, 1))
    return np.where(known, width, np.nan)


def resampled_means(values: np.ndarray, *, level: float, resamples: int, seed: int) -> np.ndarray:
    """Means over seeds as they might have been: (resamples, cells), of values (seeds, cells), missing ones NaN.

        mean_c + t(n_c - 1) / z * sum_s g_s (value_sc - mean_c) / sqrt(n_c (n_c - 1)),   g_s ~ N(0, 1)

    The multiplier bootstrap (van der Vaart and Wellner 1996, chapter 2.9) with Student's quantile over the normal one,
    both at (1 + level) / 2: the percentiles at `level` of one cell are the bounds of `mean_interval`. A seed has one
    weight for all cells, so pairs stay pairs, and a cell keeps all its seeds though others have more. A cell of one
    seed, whose spread nobody knows, is NaN.
    """
    count = (~np.isnan(values)).sum(axis=0)
    mean = np.full(values.shape[1], np.nan)
    mean[count > 0] = np.nanmean(values[:, count > 0], axis=0)
    degrees = np.where(count >= 2, count - 1, np.nan)
    wide = stdtrit(degrees, (1 + level) / 2) / ndtri((1 + level) / 2)
    weights = np.random.default_rng(seed).standard_normal((resamples, len(values)))
    return np.asarray(mean + wide * (weights @ np.nan_to_num(values - mean)) / np.sqrt(count * degrees))


def share_interval(successes: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a probability: what neither tail of the binomial rules out."""
    check_level(level)
    tail = (1 - level) / 2
    low = betaincinv(successes, trials - successes + 1, tail) if successes else 0.0
    high = betaincinv(successes + 1, trials - successes, 1 - tail) if successes < trials else 1.0
    return float(low), float(high)


def check_level(level: float) -> None:
    """Raise `InputError` unless `level` is a probability between 0 and 1."""
    if not 0 < level < 1:
        raise InputError(f"level of an interval must be between 0 and 1, such as 0.95. Got {level!r} instead.")
